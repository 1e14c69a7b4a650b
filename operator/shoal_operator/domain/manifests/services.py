"""The Services of a cluster: one in front of the head, and a headless one for each group of several hosts.

Invariant: names and ports never change during a cluster's life; workers and the operator rely on them.
"""

from __future__ import annotations

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeCluster, WorkerGroup
from shoal_operator.domain.labels import CLUSTER, GROUP, ROLE, ROLE_HEAD, ROLE_WORKER, cluster_labels
from shoal_operator.domain.manifests.owners import child_metadata, with_applied_hash
from shoal_operator.domain.names import group_service_name, head_service_name
from shoal_operator.domain.plan import Manifest
from shoal_operator.engines import shoal


def build_services(cluster: ComputeCluster) -> list[Manifest]:
    """All Services that the cluster shall have, to be applied."""
    several = [group for group in cluster.spec.worker_groups if group.hosts_per_replica > 1]
    return [build_head_service(cluster), *(build_group_service(cluster, group) for group in several)]


def build_head_service(cluster: ComputeCluster) -> Manifest:
    """The Service ``<cluster>-head``, to be applied."""
    name, wanted = cluster.metadata.name, cluster.spec.head.service
    labels = {**wanted.labels, **cluster_labels(name, "head", __version__)}
    metadata = child_metadata(cluster, head_service_name(name), labels)
    if wanted.annotations:
        metadata["annotations"] = dict(wanted.annotations)
    return with_applied_hash(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": wanted.type,
                # There is one head: whoever waits for it reaches it as soon as it listens, a probe or two earlier.
                "publishNotReadyAddresses": True,
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


def build_group_service(cluster: ComputeCluster, group: WorkerGroup) -> Manifest:
    """The headless Service ``<cluster>-<group>``: each pod of the group has a name below it, ready or not."""
    name = cluster.metadata.name
    labels = {**cluster_labels(name, ROLE_WORKER, __version__), GROUP: group.name}
    return with_applied_hash(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": child_metadata(cluster, group_service_name(name, group.name), labels),
            "spec": {
                "type": "ClusterIP",
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": {CLUSTER: name, GROUP: group.name, ROLE: ROLE_WORKER},
            },
        }
    )
