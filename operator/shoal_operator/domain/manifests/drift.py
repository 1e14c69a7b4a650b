"""Whether an object that the operator applied still is what was applied.

Invariant: for kinds whose whole spec the operator writes; one that nobody touched never looks changed (the hash
knows what an API server drops), one whose spec somebody changed always does.
"""

from __future__ import annotations

from collections.abc import Iterable

from shoal_operator.domain.cluster.observed import ChildView
from shoal_operator.domain.hashing import spec_hash
from shoal_operator.domain.manifests.owners import applied_hash
from shoal_operator.domain.plan import Manifest, ObjectRef


def find(children: Iterable[ChildView], name: str) -> ChildView | None:
    """The child of that name."""
    return next((child for child in children if child.name == name), None)


def is_outdated(existing: ChildView | None, manifest: Manifest) -> bool:
    """Whether ``manifest`` has to be applied: it is missing, was another, or somebody changed its spec."""
    if existing is None or existing.applied_hash != applied_hash(manifest):
        return True
    return existing.spec_hash != spec_hash(manifest["spec"])


def deletion(child: ChildView) -> ObjectRef:
    """What deletes a child."""
    return ObjectRef(child.api_version, child.kind, child.name, child.uid)
