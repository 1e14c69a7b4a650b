"""What `shoal explain cluster` says of worlds in trouble, at rest and idle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from shoal_operator.autoscaler.model import Bundle, Demand, Gang, GangStrategy
from shoal_operator.domain.cluster.report import report
from shoal_operator.domain.head import ActivityView

from .conftest import ClusterWorld, cpus, text

MakeWorld = Callable[..., Any]
GROUPS = [
    {"name": "first", "priority": 1, "maxReplicas": 2, "resources": {"CPU": 1}},
    {"name": "second", "maxReplicas": 1, "resources": {"CPU": 1}},
]


def explained(world: ClusterWorld) -> str:
    events: list[dict[str, Any]] = [
        {"eventTime": text(world.now), "action": str(event.action), "reason": str(event.reason), "note": event.message}
        for event in world.events
    ]
    return report(world.cluster(), list(world.pods.values()), events, world.now)


def in_trouble(cluster_world: MakeWorld, **spec: Any) -> Any:
    world = cluster_world(workerGroups=GROUPS, **spec)
    world.reconcile()
    world.start_pods()
    world.demands = (Demand(cpus(1), 3, examples=("f",)), Demand(cpus(64), 1, examples=("wide",)))
    world.reconcile()
    for name in world.workers():
        if "first" in name:
            world.gate_pod(name)
    world.wait(6)
    world.reconcile()
    world.reconcile()
    return world


def test_a_cluster_in_trouble_says_which_groups_are_avoided_and_why_work_waits(cluster_world: MakeWorld) -> None:
    limits = {"limits": {"maxWorkers": 7, "resources": {"CPU": 9}}}
    said = explained(in_trouble(cluster_world, autoscaling=limits))
    for words in (
        "cluster ns/demo is ready",
        "autoscaling is on: Aggressive, at most 7 workers and 9 CPU in all groups",
        "avoided since 2026-01-02 03:04:11Z: Unschedulable, 1 in a row; tried again at 2026-01-02 03:04:13Z (in 2 s)",
        "0/3 nodes are available",
        "about 1 x 64 CPU (task): Infeasible",
        "demo-second-0: Demand: ",
        "adding 2 workers to group `first` for ",
    ):
        assert words in said, said
    header, first, second = (
        line.split() for line in said.splitlines() if line.startswith(("GROUP", "first", "second"))
    )
    assert header[:4] == ["GROUP", "MIN", "MAX", "PRIORITY"]
    assert first[:4] == ["first", "0", "2", "1"]
    assert second[:4] == ["second", "0", "1", "0"]


def test_a_drain_and_an_idle_countdown_are_told_with_their_figures(cluster_world: MakeWorld) -> None:
    world = cluster_world(
        workerGroups=[{**GROUPS[0], "minReplicas": 1}], idlePolicy={"timeoutSeconds": 100, "action": "Delete"}
    )
    world.reconcile()
    world.start_pods()
    world.activity = ActivityView(idle_seconds=40)
    world.reconcile()
    world.spec["workerGroups"][0]["minReplicas"] = 0
    world.idle("demo-first-0", 61)
    world.reconcile()
    said = explained(world)
    assert "idle policy: Delete after 100 s without use" in said
    assert "unused since 2026-01-02 03:03:25Z, is deleted at 2026-01-02 03:05:05Z (in 60 s)" in said
    assert "demo-first-0: MinReplicas: group `first` has at least 1 replica; is drained (Idle, idle for 61 s" in said


def test_a_new_object_without_a_status_and_a_fixed_size_are_explained(cluster_world: MakeWorld) -> None:
    said = explained(cluster_world(workerGroups=GROUPS, autoscaling={"enabled": False}))
    assert "is not ready" in said
    assert "autoscaling is off" in said


def test_without_autoscaling_the_number_of_replicas_is_told_and_no_maximum(cluster_world: MakeWorld) -> None:
    group = {**GROUPS[0], "minReplicas": 1, "replicas": 3, "maxReplicas": 4}
    world = cluster_world(workerGroups=[group], autoscaling={"enabled": False})
    world.settle()
    world.start_pods()
    for name in world.workers():
        world.busy(name)
    world.demands = (Demand(cpus(1), 2),)
    world.reconcile()
    said = explained(world)
    header, row = (line.split() for line in said.splitlines() if line.startswith(("GROUP", "first")))
    assert (header[:3], row[:3]) == (["GROUP", "REPLICAS", "PRIORITY"], ["first", "3", "1"])
    assert "a task needs 1 CPU, group `first` is at its replicas (3), autoscaling is off" in said
    assert "demo-first-0: Replicas: group `first` has 3 replicas, autoscaling is off" in said


def test_bundles_that_go_to_one_node_are_told_as_one(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=GROUPS)
    world.settle()
    world.start_pods()
    two = Bundle(cpus(1), count=2)
    world.gangs = (
        Gang("a", "packed", GangStrategy.STRICT_PACK, (two,)),
        Gang("b", "spread", GangStrategy.STRICT_SPREAD, (Bundle(cpus(2)), two)),
    )
    world.reconcile()
    told = [(item["count"], item["shape"], item["verdict"]) for item in world.status["demand"]]
    assert told == [(1, "2 CPU on one node", "Infeasible"), (1, "2 CPU", "Infeasible")]
    assert "  about 1 x 2 CPU on one node (placement group): Infeasible" in explained(world)


def test_a_group_that_is_tried_is_told_apart_from_one_that_nothing_waits_for(cluster_world: MakeWorld) -> None:
    world = in_trouble(cluster_world)
    world.demands = ()
    for name in world.workers():
        world.lose_pod(name)
    world.wait(30)
    world.reconcile()
    assert not world.workers()
    assert "1 in a row; is tried with the next work for it" in explained(world)
    world.demands = (Demand(cpus(1), 3),)
    world.reconcile()
    assert [name for name in world.workers() if "first" in name] == ["demo-first-0"]
    assert "1 in a row; one replica is tried now" in explained(world)


def test_what_is_odd_is_left_out(cluster_world: MakeWorld) -> None:
    world = in_trouble(cluster_world)
    odd: list[dict[str, Any]] = [{}, {"metadata": None}, {"metadata": {"labels": {"shoal.dev/role": "worker"}}}]
    events: list[dict[str, Any]] = [
        {},
        {"eventTime": "yesterday", "action": "ScaleUp"},
        {"series": {}, "action": "ScaleUp", "eventTime": None},
    ]
    said = report(world.cluster(), odd, events, world.now + timedelta(days=1))
    assert "one replica is tried now" in said
    assert "last decisions" not in said


def test_placement_groups_that_the_head_does_not_list_keep_idle_workers_and_have_a_line(
    cluster_world: MakeWorld,
) -> None:
    world = cluster_world(workerGroups=[{**GROUPS[0], "idleTimeoutSeconds": 5}])
    world.settle()
    world.start_pods()
    world.demands = (Demand(cpus(1), 1),)
    world.settle()
    world.start_pods()
    world.demands = tuple(Demand(cpus(64 + number), 1) for number in range(12))
    world.gangs_left_out = 40
    for name in world.workers():
        world.idle(name, 60)
    assert world.workers()
    plan = world.reconcile()
    assert (plan.annotate_pods, plan.delete_pods) == ((), ())
    before = explained(world)
    assert "  about 40 x not listed (placement group): LimitReached\n    more placement groups wait than" in before
    assert len(world.status["demand"]) == 10, "it takes the place of one of many"
    world.gangs_left_out = 41
    assert world.reconcile().is_empty
    assert explained(world) == before, "a few more or less are no news"
    world.demands, world.gangs_left_out = (), 0
    assert [note.name for note in world.reconcile().annotate_pods] == world.workers()
