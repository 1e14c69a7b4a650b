"""Sets of field paths: which fields of an object somebody owns.

A path is a tuple of elements in the words of FieldsV1: `f:NAME` for a field, `k:{KEYS}` for an item of a
keyed list, `v:VALUE` for an item of a set. Invariant: `decode(encode(paths)) == paths`, and a path leads into
a list only where the schema says how its items are told apart (`x-kubernetes-list-type`); every other list is
one leaf.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from shoal_operator.local.apiserver import schema as schemas
from shoal_operator.local.apiserver.values import MISSING, Document, canonical

Path = tuple[str, ...]
FieldSet = frozenset[Path]

MEMBER: Any = object()
"""The value of a path that only says "this item is in the list"."""
HOLDER: Any = object()
"""The value of a map or list whose content has paths of its own."""

_UNTRACKED_ROOT = frozenset({"f:apiVersion", "f:kind"})
_UNTRACKED_METADATA = frozenset(
    {
        "f:creationTimestamp",
        "f:deletionGracePeriodSeconds",
        "f:deletionTimestamp",
        "f:generation",
        "f:managedFields",
        "f:name",
        "f:namespace",
        "f:resourceVersion",
        "f:selfLink",
        "f:uid",
    }
)


def list_keys(schema: Document) -> list[str] | None:
    """The keys of a keyed list, or None for a set or an atomic list."""
    if schema.get("x-kubernetes-list-type") != "map":
        return None
    return list(schema.get("x-kubernetes-list-map-keys") or ())


def item_key(item: Any, keys: list[str], items: Document) -> str:
    """The `k:` element of an item of a keyed list; a key left out counts with the schema's default."""
    named = items.get("properties") or {}
    values = {}
    for key in keys:
        value = item.get(key, MISSING) if isinstance(item, dict) else MISSING
        if value is MISSING:
            value = (named.get(key) or {}).get("default", _WELL_KNOWN_KEY_DEFAULTS.get(key, MISSING))
        if value is not MISSING:
            values[key] = value
    return "k:" + canonical(values)


_WELL_KNOWN_KEY_DEFAULTS = {"protocol": "TCP"}
"""Keys of built-in lists that may be left out."""


def leaves(document: Document, schema: Document) -> dict[Path, Any]:
    """Every tracked path of an object with its value (MEMBER for list items): what an applier owns."""
    return {path: value for path, value in paths(document, schema).items() if value is not HOLDER}


def paths(document: Document, schema: Document) -> dict[Path, Any]:
    """`leaves`, and with HOLDER the maps and lists that hold them: what a writer owns that made them."""
    found: dict[Path, Any] = {}
    for name, value in document.items():
        element = f"f:{name}"
        if element in _UNTRACKED_ROOT:
            continue
        known = schemas.child(schema, name) or {}
        if name == "metadata" and isinstance(value, dict):
            _metadata_leaves(value, known or METADATA_SCHEMA, found)
        else:
            _collect(value, known, (element,), found)
    return found


METADATA_SCHEMA: Document = {
    "properties": {
        "ownerReferences": {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {"x-kubernetes-map-type": "atomic"},
        },
        "finalizers": {"x-kubernetes-list-type": "set"},
    }
}
"""Metadata's lists are the same for every kind, whatever its schema says."""


def _metadata_leaves(metadata: Document, schema: Document, found: dict[Path, Any]) -> None:
    for name, value in metadata.items():
        element = f"f:{name}"
        if element not in _UNTRACKED_METADATA:
            known = METADATA_SCHEMA["properties"].get(name) or schemas.child(schema, name) or {}
            _collect(value, known, ("f:metadata", element), found)


def _collect(value: Any, schema: Document, path: Path, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value and schema.get("x-kubernetes-map-type") != "atomic":
        found[path] = HOLDER
        for name, item in value.items():
            _collect(item, schemas.child(schema, name) or {}, (*path, f"f:{name}"), found)
        return
    list_type = schema.get("x-kubernetes-list-type")
    if isinstance(value, list) and value and list_type == "map":
        items, keys = schema.get("items") or {}, list_keys(schema) or []
        found[path] = HOLDER
        whole = items.get("x-kubernetes-map-type") == "atomic"
        for item in value:
            item_path = (*path, item_key(item, keys, items))
            found[item_path] = item if whole else MEMBER
            if isinstance(item, dict) and not whole:
                for name, inner in item.items():
                    _collect(inner, schemas.child(items, name) or {}, (*item_path, f"f:{name}"), found)
        return
    if isinstance(value, list) and value and list_type == "set":
        found[path] = HOLDER
        for item in value:
            found[(*path, "v:" + canonical(item))] = MEMBER
        return
    found[path] = value


def encode(owned: Iterable[Path]) -> Document:
    """FieldsV1. A path that is also a prefix of others is written as `.`."""
    root: Document = {}
    for path in sorted(owned):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _drop_dots(root)


def _drop_dots(node: Document) -> Document:
    if set(node) == {"."}:
        return {}
    return {name: inner if name == "." else _drop_dots(inner) for name, inner in node.items()}


def decode(fields: Document) -> FieldSet:
    """Paths from FieldsV1."""
    found: list[Path] = []
    _decode(fields, (), found)
    return frozenset(found)


def _decode(node: Document, path: Path, found: list[Path]) -> None:
    if not node and path:
        found.append(path)
    for element, inner in node.items():
        if element == ".":
            found.append(path)
        else:
            _decode(inner, (*path, element), found)


def dotted(path: Path) -> str:
    """A path as conflict messages print it: `.spec.containers[name="main"].image`."""
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            pairs = json.loads(rest).items()
            text += "[" + ",".join(f"{key}={canonical(value)}" for key, value in pairs) + "]"
        else:
            text += f"[={rest}]"
    return text


def remove(value: Any, path: Path, schema: Document, kept: FieldSet = frozenset()) -> bool:
    """Take what is at `path` out of `value`, and the maps and lists that this empties unless they are `kept`.

    Returns whether there was something to take out.
    """
    return _remove(value, path, 0, schema, kept)


def _remove(value: Any, path: Path, depth: int, schema: Document, kept: FieldSet) -> bool:
    element, last = path[depth], depth + 1 == len(path)
    if element.startswith("f:") and isinstance(value, dict):
        name = element[2:]
        if name not in value:
            return False
        if not last:
            known = METADATA_SCHEMA if name == "metadata" else schemas.child(schema, name) or {}
            if not _remove(value[name], path, depth + 1, known, kept):
                return False
            if value[name] or path[: depth + 1] in kept:
                return True
        del value[name]
        return True
    index = _index_of(value, element, schema) if isinstance(value, list) else None
    if index is None:
        return False
    if not last:
        return _remove(value[index], path, depth + 1, schema.get("items") or {}, kept)
    del value[index]
    return True


def _index_of(value: list[Any], element: str, schema: Document) -> int | None:
    if element.startswith("k:"):
        keys, items = list_keys(schema) or [], schema.get("items") or {}
        matches = (i for i, item in enumerate(value) if item_key(item, keys, items) == element)
    else:
        matches = (i for i, item in enumerate(value) if "v:" + canonical(item) == element)
    return next(matches, None)
