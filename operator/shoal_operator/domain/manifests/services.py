"""The Service in front of a head.

Invariant: its name and ports never change during a cluster's life; workers and the operator rely on them.
"""

from __future__ import annotations

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.labels import CLUSTER, ROLE, ROLE_HEAD, cluster_labels
from shoal_operator.domain.manifests.owners import child_metadata, with_applied_hash
from shoal_operator.domain.names import head_service_name
from shoal_operator.domain.plan import Manifest
from shoal_operator.engines import shoal


def build_head_service(cluster: ComputeCluster) -> Manifest:
    """The Service ``<cluster>-head``, to be applied."""
    name = cluster.metadata.name
    metadata = child_metadata(cluster, head_service_name(name), cluster_labels(name, "head", __version__))
    return with_applied_hash(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "ClusterIP",
                "selector": {CLUSTER: name, ROLE: ROLE_HEAD},
                "ports": [
                    {
                        "name": port["name"],
                        "port": port["containerPort"],
                        "targetPort": port["containerPort"],
                        "protocol": "TCP",
                    }
                    for port in shoal.ports(head=True)
                ],
            },
        }
    )
