"""What a queue (Kueue) reads and writes: pod sets, suspend, and scheduling fields of the templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.domain.job.pod_sets import pod_sets
from shoal_operator.domain.manifests.pods import build_head_pod, worker_builder


def job(**spec: Any) -> ComputeJob:
    return ComputeJob.parse({"metadata": {"name": "x"}, "spec": {"entrypoint": "true", **spec}})


def test_head_first_then_every_group_with_the_pods_it_has_from_the_start() -> None:
    template = {"spec": {"containers": [{"name": "shoal", "resources": {"requests": {"cpu": "2"}}}]}}
    groups = [
        {"name": "slices", "minReplicas": 3, "hostsPerReplica": 4, "template": template},
        {"name": "elastic", "maxReplicas": 9},
    ]
    found = pod_sets(job(clusterSpec={"workerGroups": groups}))
    assert [(one.name, one.count) for one in found] == [("head", 1), ("slices", 12), ("elastic", 0)]
    assert found[1].template == template
    assert found[1].path == "spec.clusterSpec.workerGroups[0].template"


def test_fixed_size_counts_replicas() -> None:
    spec = {"autoscaling": {"enabled": False}, "workerGroups": [{"name": "a", "replicas": 5, "minReplicas": 1}]}
    assert pod_sets(job(clusterSpec=spec))[1].count == 5
    assert pod_sets(job(clusterSpec={**spec, "autoscaling": {"enabled": True}}))[1].count == 1


def test_a_suspended_group_asks_for_no_pods() -> None:
    groups = [{"name": "a", "minReplicas": 3, "suspend": True}]
    assert pod_sets(job(clusterSpec={"workerGroups": groups}))[1].count == 0


def test_job_on_a_cluster_that_is_there_asks_for_nothing() -> None:
    assert pod_sets(job(clusterRef={"name": "shared"})) == ()


def test_what_a_queue_writes_while_the_job_is_suspended_reaches_the_pods(job_world: Callable[..., Any]) -> None:
    world = job_world(suspend=True, clusterSpec={"workerGroups": [{"name": "a", "minReplicas": 1}]})
    world.settle()
    assert world.cluster is None
    placed = {
        "nodeSelector": {"zone": "east"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "schedulingGates": [{"name": "kueue.x-k8s.io/topology"}],
    }
    template = {"metadata": {"labels": {"kueue.x-k8s.io/podset": "a"}}, "spec": placed}
    world.spec["clusterSpec"] = {
        "head": {"template": template},
        "workerGroups": [{"name": "a", "minReplicas": 1, "template": template}],
    }
    world.spec["suspend"] = False
    world.settle()
    cluster = ComputeCluster.parse(world.cluster)
    pods = [build_head_pod(cluster), worker_builder(cluster, cluster.spec.worker_groups[0])(0)]
    for pod in pods:
        assert {key: pod["spec"][key] for key in placed} == placed
        assert pod["metadata"]["labels"]["kueue.x-k8s.io/podset"] == "a"


def test_job_that_another_controller_manages_is_left_alone(job_world: Callable[..., Any]) -> None:
    world = job_world(managedBy="kueue.x-k8s.io/multikueue")
    assert world.reconcile().is_empty
    assert world.status == {} or "conditions" not in world.status or world.status["conditions"] == []
