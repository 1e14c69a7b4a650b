"""Objects that `kubectl apply` made before its user turned to `kubectl apply --server-side`.

Client-side apply kept what it applied in an annotation. Invariant: kubectl's own server-side apply takes over
exactly the fields which that annotation says are its user's and which nobody changed since; and it keeps the
annotation true, so that the way back stays open.
"""

from __future__ import annotations

import json
from typing import Any

from shoal_operator.local.apiserver import fieldsets
from shoal_operator.local.apiserver.fieldsets import FieldSet
from shoal_operator.local.apiserver.values import MISSING, Document, dig, encode

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"
"""The only manager that this concerns; a user who does not want it names another one."""


def inherited_fields(live: Document, manager: str, schema: Document) -> FieldSet:
    """Fields that a server-side apply by `manager` may take without force."""
    text = dig(live, "metadata", "annotations", ANNOTATION)
    if manager != MANAGER or not isinstance(text, str):
        return frozenset()
    try:
        applied: Any = json.loads(text)
    except ValueError:
        return frozenset()
    if not isinstance(applied, dict):
        return frozenset()
    current = fieldsets.leaves(live, schema)
    said = fieldsets.leaves(applied, schema)
    return frozenset(path for path, value in said.items() if current.get(path, MISSING) == value)


def refresh(live: Document | None, merged: Document, config: Document, manager: str) -> None:
    """Rewrite the annotation of an object that has one, after kubectl applied `config` to it."""
    if manager != MANAGER or live is None or dig(live, "metadata", "annotations", ANNOTATION) is None:
        return
    annotations = dict(config["metadata"].get("annotations") or {})
    annotations.pop(ANNOTATION, None)
    said = config | {"metadata": config["metadata"] | {"annotations": annotations}}
    merged["metadata"].setdefault("annotations", {})[ANNOTATION] = encode(said).decode() + "\n"
