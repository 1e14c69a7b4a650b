"""Types of the built-in kinds as OpenAPI components, each under its own name.

Invariant: every type that a component refers to is in `used_by` of the kinds that need it, so no reference of a
document leads nowhere.
"""

from __future__ import annotations

from functools import cache

from shoal_operator.local.apiserver.schemas import FIELDS, schema_of
from shoal_operator.local.apiserver.values import Document

PREFIX = "io.k8s.api.core.v1."
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_INNER = frozenset({"additionalProperties", "items", "properties"})


@cache
def used_by(kind: str) -> frozenset[str]:
    """Names of the types that a kind is made of, without its own; empty for a kind without a table."""
    found: set[str] = set()
    waiting = [kind] if kind in FIELDS else []
    while waiting:
        for declared in FIELDS[waiting.pop()].values():
            name = declared.strip("[]{}")
            if name in FIELDS and name not in found:
                found.add(name)
                waiting.append(name)
    return frozenset(found - {kind})


def schema(name: str) -> Document:
    """One type; what its fields are made of stands elsewhere, behind references."""
    known = schema_of(name)["properties"]
    properties = {field: _field(declared, known[field]) for field, declared in FIELDS[name].items()}
    return {"type": "object", "properties": properties}


def _field(declared: str, known: Document) -> Document:
    outer = {name: value for name, value in known.items() if name not in _INNER}
    if declared[0] == "[":
        return outer | {"items": _field(declared[1:-1], known.get("items") or {})}
    if declared[0] == "{":
        return outer | {"additionalProperties": _field(declared[1:-1], known.get("additionalProperties") or {})}
    if declared not in FIELDS:
        return outer
    target = _OBJECT_META if declared == "ObjectMeta" else PREFIX + declared
    outer.pop("type", None)
    return outer | {"allOf": [{"$ref": f"#/components/schemas/{target}"}]}
