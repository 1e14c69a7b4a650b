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
"""Label: number of a replica within its group, part of its pods' names."""
HOST_INDEX: Final = f"{DOMAIN}/host-index"
"""Label: number of a pod within its replica, 0 to hostsPerReplica - 1; only in groups of several hosts."""
TEMPLATE_HASH: Final = f"{DOMAIN}/template-hash"
"""Label: hash of what the pod was built from; another value means that the spec has changed since."""
JOB: Final = f"{DOMAIN}/job"
"""Label: name of the ComputeJob that made an object."""

DRAIN: Final = f"{DOMAIN}/drain"
"""Annotation: a drain in progress, JSON {"reason": ..., "deadline": RFC 3339, "message": for people, or absent}."""
REPLACES: Final = f"{DOMAIN}/replaces"
"""Annotation: UID of the outdated pod that this one was made to replace."""
REPLICA_RAN: Final = f"{DOMAIN}/replica-ran"
"""Annotation: all hosts of the pod's replica had joined once; from then on the loss of one ends the replica."""
NODE_DEAD: Final = f"{DOMAIN}/node-dead-since"
"""Annotation: when the operator first heard that the head calls the pod's node dead, RFC 3339; the pod lives."""
CREATED_FOR: Final = f"{DOMAIN}/created-for"
"""Annotation: the rule that asked for a worker and the work behind it, for people: ``Demand: 12 tasks of 1 CPU``."""
HEAD_ATTEMPT: Final = f"{DOMAIN}/head-attempt"
"""Annotation: how many heads in a row, this one included, were made after one that had soon ended."""
APPLIED_HASH: Final = f"{DOMAIN}/applied-hash"
"""Annotation: hash of the manifest as the operator applied it; equal means nothing to write."""

STOP_PROGRAM: Final = f"{DOMAIN}/stop-program"
"""Finalizer: a job whose program runs on a cluster that is not its own; it goes once the program has stopped."""

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
