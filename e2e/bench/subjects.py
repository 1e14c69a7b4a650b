"""Whose operator is measured: ours, or KubeRay's where its binary is given.

Invariant: a measurement speaks of clusters of a head and equal workers; what they are called is said here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from shoal_operator.kube.resources import COMPUTE_CLUSTERS, Resource

Json = dict[str, Any]
ClusterKey = tuple[str, str]

METRICS = "127.0.0.1:9180"
RAY_CLUSTERS = Resource("ray.io", "v1", "rayclusters", "RayCluster")


@dataclass(frozen=True)
class Shoal:
    """The operator of this checkout, ``program`` being its installed command."""

    program: Path
    clusters: Resource = COMPUTE_CLUSTERS
    pod_label: str = "shoal.dev/cluster"
    """Label of a cluster's pods; its value is the cluster's name."""
    requests_metric: str = "shoal_operator_rest_client_requests_total"
    reconciles_metric: str = "shoal_operator_reconcile_total"
    has_heads: bool = True
    """Whether the fake heads can answer for its heads."""

    def command(self, kubeconfig: Path) -> Sequence[str]:
        """As the chart starts it, but for where the API server is."""
        return [
            str(self.program),
            f"--kubeconfig={kubeconfig}",
            "--all-namespaces",
            f"--metrics-address={METRICS}",
            "--lease-namespace=default",
        ]

    def cluster(self, key: ClusterKey, least: int, most: int) -> Json:
        """A ComputeCluster of one group."""
        return _object(self.clusters, key, self.resize(least, most)["spec"])

    def resize(self, least: int, most: int) -> Json:
        """MinReplicas and maxReplicas."""
        return {"spec": {"workerGroups": [{"name": "workers", "minReplicas": least, "maxReplicas": most}]}}


@dataclass(frozen=True)
class KubeRay:
    """KubeRay's operator, ``program`` being its manager binary. Its kinds have to be given, too."""

    program: Path
    concurrency: int = 1
    """Its own default."""
    clusters: Resource = RAY_CLUSTERS
    pod_label: str = "ray.io/cluster"
    requests_metric: str = "rest_client_requests_total"
    reconciles_metric: str = "controller_runtime_reconcile_total"
    has_heads: bool = False

    def command(self, kubeconfig: Path) -> Sequence[str]:
        """With its defaults, but for the address of the metrics."""
        return [
            str(self.program),
            f"--kubeconfig={kubeconfig}",
            f"--metrics-addr={METRICS}",
            "--health-probe-bind-address=127.0.0.1:9182",
            "--enable-leader-election=false",
            f"--reconcile-concurrency={self.concurrency}",
        ]

    def cluster(self, key: ClusterKey, least: int, most: int) -> Json:
        """A RayCluster of one group."""
        return _object(self.clusters, key, self.resize(least, most)["spec"])

    def resize(self, least: int, most: int) -> Json:
        """The whole groups: a merge patch replaces lists."""
        container = {"name": "ray", "image": "rayproject/ray:2.60.0"}
        template = {"spec": {"containers": [container]}}
        group = {
            "groupName": "workers",
            "replicas": least,
            "minReplicas": least,
            "maxReplicas": most,
            "rayStartParams": {},
            "template": template,
        }
        head = {"rayStartParams": {}, "template": template}
        return {"spec": {"headGroupSpec": head, "workerGroupSpecs": [group]}}


Subject: TypeAlias = Shoal | KubeRay


def _object(resource: Resource, key: ClusterKey, spec: Json) -> Json:
    metadata = {"namespace": key[0], "name": key[1]}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}
