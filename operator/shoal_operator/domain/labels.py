"""Every label and annotation key of the product, each said once.

Invariant: selectors use only keys of our own domain; a key never changes its meaning.
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "shoal.dev"

CLUSTER: Final = f"{DOMAIN}/cluster"
"""Label: name of the ComputeCluster that an object belongs to. The selector of informers."""
GROUP: Final = f"{DOMAIN}/group"
"""Label: worker group of a pod; ``head`` for the head."""
ROLE: Final = f"{DOMAIN}/role"
"""Label: ``head`` or ``worker``."""
REPLICA_INDEX: Final = f"{DOMAIN}/replica-index"
"""Label: number of a worker within its group, the last part of its name."""
TEMPLATE_HASH: Final = f"{DOMAIN}/template-hash"
"""Label: hash of what the pod was built from; another value means that the spec has changed since."""
JOB: Final = f"{DOMAIN}/job"
"""Label: name of the ComputeJob that made an object."""

DRAIN: Final = f"{DOMAIN}/drain"
"""Annotation: a drain in progress, JSON {"reason": ..., "deadline": RFC 3339}."""
APPLIED_HASH: Final = f"{DOMAIN}/applied-hash"
"""Annotation: hash of the manifest as the operator applied it; equal means nothing to write."""

HEAD_GROUP: Final = "head"
ROLE_HEAD: Final = "head"
ROLE_WORKER: Final = "worker"

MANAGED_BY: Final = "shoal-operator"
PART_OF: Final = "shoal"


def cluster_labels(cluster: str, component: str, version: str, job: str = "") -> dict[str, str]:
    """Labels of every object of a cluster.

    Args:
        cluster: name of the ComputeCluster.
        component: ``head``, ``worker`` or ``auth``.
        version: the operator's version.
        job: name of the ComputeJob that made the cluster, if one did.
    """
    result = {
        "app.kubernetes.io/name": PART_OF,
        "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": PART_OF,
        "app.kubernetes.io/version": version,
        "app.kubernetes.io/managed-by": MANAGED_BY,
        CLUSTER: cluster,
    }
    return {**result, JOB: job} if job else result
