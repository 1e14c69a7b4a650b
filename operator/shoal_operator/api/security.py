"""What protects a cluster's pods: who may connect to them, and what keeps the head from evictions.

Invariant: every default is the safe one; opening something is always written down in the spec.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from shoal_operator.api.meta import Model
from shoal_operator.api.tls import TlsSpec

PEERS_MAX: Final = 64

Peer = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""A NetworkPolicyPeer of Kubernetes, as users know it. The API server checks it when the policy is applied."""
Peers = Annotated[tuple[Peer, ...], Field(max_length=PEERS_MAX, json_schema_extra={"x-kubernetes-list-type": "atomic"})]
DisruptionPolicy = Literal["WhileBusy", "Always", "Never"]


class NetworkPolicySpec(Model):
    """Who may open connections to the cluster's pods, and where these may go. Enforced by the network's own engine."""

    mode: Literal["Isolated", "None"] = "Isolated"
    """Isolated: only pods of the cluster, the operator (to the head), and `ingressFrom`. None: no policy is made."""
    ingress_from: Peers = ()
    """NetworkPolicyPeers ({podSelector, namespaceSelector, ipBlock}) that may reach every port of the pods."""
    egress_to: Peers | None = None
    """Where the pods may connect to, besides the cluster itself and DNS (port 53). Absent: anywhere; []: nowhere."""


class SecuritySpec(Model):
    """What protects the cluster's pods from others."""

    tls: TlsSpec = TlsSpec()
    """Encryption of what goes over the network."""
    network_policy: NetworkPolicySpec = NetworkPolicySpec()
    """The NetworkPolicy of the cluster, which bears its name."""
