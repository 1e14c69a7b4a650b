"""What Go's JSON decoder says about a built-in object whose fields have the wrong types.

Invariant: pure; it reads the table of Kubernetes' fields and never changes the object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from shoal_operator.local.apiserver.schemas import FIELDS, QUANTITIES
from shoal_operator.local.apiserver.values import Document

_LONG = frozenset(
    {
        "activeDeadlineSeconds",
        "deletionGracePeriodSeconds",
        "fsGroup",
        "generation",
        "gracePeriodSeconds",
        "observedGeneration",
        "runAsGroup",
        "runAsUser",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
"""Whole numbers of 64 bits; all others have 32."""
_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?\Z")
_QUANTITY_WORDS = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_SCALARS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "string"),
    "boolean": ((bool,), "bool"),
    "integer": ((int,), "int32"),
    "number": ((int, float), "float64"),
}


def mismatch(kind: str, document: Document) -> str | None:
    """The first field of a `kind` that Go could not decode, in its words; None when all can be.

    Example: `mismatch("ConfigMap", {"data": {"k": 1}})` is "json: cannot unmarshal number into Go struct field
    ConfigMap.data of type string".
    """
    return next(_struct(kind, document, ""), None)


def _struct(struct: str, value: Document, path: str) -> Iterator[str]:
    for name, item in value.items():
        declared = FIELDS[struct].get(name)
        if declared is not None and item is not None:
            quantity = f"{struct}.{name}" in QUANTITIES
            yield from _value(declared, item, struct, f"{path}.{name}".lstrip("."), quantity=quantity)


def _value(declared: str, value: Any, struct: str, path: str, *, quantity: bool) -> Iterator[str]:
    if declared == "any" or value is None:
        return
    if declared[0] == "[" and isinstance(value, list):
        for item in value:
            yield from _value(declared[1:-1], item, struct, path, quantity=quantity)
    elif declared[0] == "{" and isinstance(value, dict):
        for item in value.values():
            yield from _value(declared[1:-1], item, struct, path, quantity=quantity)
    elif declared in FIELDS and isinstance(value, dict):
        yield from _struct(declared, value, path)
    elif quantity and declared == "string":
        if isinstance(value, bool | dict | list) or not _QUANTITY.match(str(value)):
            yield _QUANTITY_WORDS
    elif not _fits(declared, value):
        where = f"Go struct field {struct}.{path}"
        yield f"json: cannot unmarshal {_json_type(value)} into {where} of type {_go_type(declared, path)}"


def _fits(declared: str, value: Any) -> bool:
    types = _SCALARS.get(declared)
    if types is None:
        return False
    if isinstance(value, bool):
        return declared == "boolean"
    if declared == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, types[0])


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = ((str, "string"), (dict, "object"), (list, "array"))
    return next((name for kind, name in names if isinstance(value, kind)), "number")


def _go_type(declared: str, path: str) -> str:
    if declared[0] == "[":
        return "[]" + _go_type(declared[1:-1], path)
    if declared[0] == "{":
        return "map[string]" + _go_type(declared[1:-1], path)
    if declared == "integer" and path.rpartition(".")[2] in _LONG:
        return "int64"
    return _SCALARS[declared][1] if declared in _SCALARS else f"v1.{declared}"
