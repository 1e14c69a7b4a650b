"""The NetworkPolicy of a cluster: who may connect to its pods, and where these may go.

Invariants:
- pods of the cluster always reach each other, on every port, and a policy for egress always lets them ask DNS;
- the operator reaches the head's control port and nothing else;
- nobody else reaches anything that ``ingressFrom`` does not name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.labels import CLUSTER, cluster_labels
from shoal_operator.domain.manifests.owners import child_metadata, with_applied_hash
from shoal_operator.domain.names import network_policy_name
from shoal_operator.domain.plan import Manifest
from shoal_operator.engines import shoal

API_VERSION: Final = "networking.k8s.io/v1"
KIND: Final = "NetworkPolicy"
DNS_PORT: Final = 53
_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class OperatorPlace:
    """Where the operator's own pods are.

    Attributes:
        namespace: empty: it runs outside of the cluster, or was not told; no policy can let it in.
        pod_labels: labels that its pods have and others of its namespace do not.
    """

    namespace: str = ""
    pod_labels: Mapping[str, str] = field(default_factory=dict)


ELSEWHERE: Final = OperatorPlace()


def build_network_policy(cluster: ComputeCluster, operator: OperatorPlace) -> Manifest | None:
    """The policy ``<cluster>``, to be applied; None when the spec wants none."""
    wanted = cluster.spec.security.network_policy
    if wanted.mode == "None":
        return None
    name = cluster.metadata.name
    restricts_egress = wanted.egress_to is not None
    spec = {
        "podSelector": {"matchLabels": {CLUSTER: name}},
        "policyTypes": ["Ingress", "Egress"] if restricts_egress else ["Ingress"],
        "ingress": _ingress(cluster, operator),
        "egress": _egress(cluster) if restricts_egress else [],
    }
    metadata = child_metadata(cluster, network_policy_name(name), cluster_labels(name, "network", __version__))
    return with_applied_hash({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})


def _ingress(cluster: ComputeCluster, operator: OperatorPlace) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [{"from": [_pods_of(cluster)]}]
    if operator.namespace:
        peer: dict[str, Any] = {
            "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: operator.namespace}},
            "podSelector": {"matchLabels": dict(operator.pod_labels)},
        }
        rules.append({"from": [peer], "ports": [{"protocol": "TCP", "port": shoal.CONTROL_PORT}]})
    given = cluster.spec.security.network_policy.ingress_from
    if given:
        rules.append({"from": list(given)})
    return rules


def _egress(cluster: ComputeCluster) -> list[dict[str, Any]]:
    """Own pods and DNS, wherever it answers: its place differs between clusters, and without it nothing is found."""
    given = cluster.spec.security.network_policy.egress_to or ()
    dns = [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]
    rules: list[dict[str, Any]] = [{"to": [_pods_of(cluster)]}, {"ports": dns}]
    if given:
        rules.append({"to": list(given)})
    return rules


def _pods_of(cluster: ComputeCluster) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {CLUSTER: cluster.metadata.name}}}
