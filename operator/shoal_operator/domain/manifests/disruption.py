"""The PodDisruptionBudget of a head: while it stands, a node that is drained has to wait for the head.

Invariant: the budget says ``minAvailable: 1`` and never ``maxUnavailable: 0``: Kubernetes can count the latter only
for pods whose controller has a scale, and would report an error for ever. A head that is not ready may always be
evicted, so that a broken one holds no drain up.
"""

from __future__ import annotations

from typing import Final

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.cluster.idleness import rests
from shoal_operator.domain.head import HeadView
from shoal_operator.domain.labels import CLUSTER, ROLE, ROLE_HEAD, cluster_labels
from shoal_operator.domain.manifests.owners import child_metadata, with_applied_hash
from shoal_operator.domain.names import disruption_budget_name
from shoal_operator.domain.plan import Manifest

API_VERSION: Final = "policy/v1"
KIND: Final = "PodDisruptionBudget"


def is_protected(cluster: ComputeCluster, head: HeadView | None, *, before: bool) -> bool:
    """Whether the head is to be kept from evictions now.

    Args:
        cluster: what its spec says.
        head: the last word of the head.
        before: whether it is kept from them already. That stays while nobody can say if the head is busy.
    """
    if rests(cluster) or cluster.spec.disruption_policy == "Never":
        return False
    if cluster.spec.disruption_policy == "Always":
        return True
    return before if head is None or not head.reachable else head.is_busy


def build_head_budget(cluster: ComputeCluster) -> Manifest:
    """The budget ``<cluster>-head``, to be applied."""
    name = cluster.metadata.name
    metadata = child_metadata(cluster, disruption_budget_name(name), cluster_labels(name, "head", __version__))
    spec = {
        "minAvailable": 1,
        "selector": {"matchLabels": {CLUSTER: name, ROLE: ROLE_HEAD}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return with_applied_hash({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
