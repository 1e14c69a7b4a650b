"""What is wrong with an applied configuration before it is merged: its types, and items that are there twice.

Invariant: pure; the words are those of the real server, which reads a configuration by its schema first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from shoal_operator.local.apiserver import fieldsets
from shoal_operator.local.apiserver import schema as schemas
from shoal_operator.local.apiserver.values import Document

_NUMBERS = ("integer", "number")


def problems(schema: Document, value: Any, path: str = "") -> list[str]:
    """Each as `.path: words`."""
    return list(_problems(schema, value, path))


def _problems(schema: Document, value: Any, path: str) -> Iterator[str]:
    wanted = schema.get("type")
    if value is None or not wanted or schema.get("x-kubernetes-int-or-string"):
        return
    if wanted == "object" and isinstance(value, dict):
        for name, item in value.items():
            if path or name not in ("apiVersion", "kind", "metadata"):
                yield from _problems(schemas.child(schema, name) or {}, item, f"{path}.{name}")
    elif wanted == "array" and isinstance(value, list):
        yield from _list_problems(schema, value, path)
    elif not _fits(wanted, value, quantity=schema.get("format") == "quantity"):
        expected = {"object": "map", "array": "list", "integer": "numeric", "number": "numeric"}.get(wanted, wanted)
        yield f"{path}: expected {expected}, got {_shown(value)}"


def _fits(wanted: str, value: Any, *, quantity: bool) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if wanted == "string":
        return isinstance(value, str) or (quantity and number)
    return isinstance(value, bool) if wanted == "boolean" else wanted in _NUMBERS and number


def _shown(value: Any) -> str:
    """A value as Go prints its reader's wrapper of it."""
    if isinstance(value, str):
        return "&{" + value + "}"
    return "&value.valueUnstructured{Value:" + json.dumps(value) + "}"


def _list_problems(schema: Document, value: list[Any], path: str) -> Iterator[str]:
    items, keys = schema.get("items") or {}, fieldsets.list_keys(schema)
    is_set = schema.get("x-kubernetes-list-type") == "set"
    seen: set[str] = set()
    for index, item in enumerate(value):
        inner = f"{path}[{index}]"
        if keys is not None and isinstance(item, dict):
            element = fieldsets.item_key(item, keys, items)
            inner = path + fieldsets.dotted((element,))
            if element in seen:
                yield f"{path}: duplicate entries for key {fieldsets.dotted((element,))}"
            seen.add(element)
        elif is_set:
            inner = f"{path}[={json.dumps(item)}]"
        yield from _problems(items, item, inner)
