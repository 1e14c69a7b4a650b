"""Metadata of objects that belong to one of our own.

Invariant: every object that we make has a controlling owner, so that deleting the owner deletes it.
"""

from __future__ import annotations

from typing import Any

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.domain.hashing import stable_hash
from shoal_operator.domain.labels import APPLIED_HASH
from shoal_operator.domain.plan import Manifest


def child_metadata(owner: ComputeCluster | ComputeJob, name: str, labels: dict[str, str]) -> dict[str, Any]:
    """Metadata of an object of ``owner``, in its namespace."""
    return {
        "name": name,
        "namespace": owner.metadata.namespace,
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": owner.api_version,
                "kind": owner.kind,
                "name": owner.metadata.name,
                "uid": owner.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def with_applied_hash(manifest: Manifest) -> Manifest:
    """``manifest`` with its own hash as an annotation, so that an unchanged one need not be written again."""
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), APPLIED_HASH: stable_hash(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def applied_hash(manifest: Manifest) -> str:
    """The hash that ``with_applied_hash`` has put in."""
    return str(manifest["metadata"]["annotations"][APPLIED_HASH])
