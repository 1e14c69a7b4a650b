"""Events of drains: one for each reason, with the pods that go for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MakeWorld = Callable[..., Any]


def drains(world: Any) -> list[str]:
    return sorted(event.message for event in world.events if event.reason == "DrainingWorkers")


def grown(cluster_world: MakeWorld, *groups: dict[str, Any]) -> Any:
    world = cluster_world(workerGroups=[{"resources": {"CPU": 1}, **group} for group in groups])
    world.settle()
    world.start_pods()
    for name in world.workers():
        world.busy(name)
    world.settle()
    world.events.clear()
    return world


def test_workers_that_go_for_two_limits_have_an_event_for_each(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, {"name": "spot", "minReplicas": 5, "maxReplicas": 5})
    world.spec["workerGroups"][0] |= {"minReplicas": 0, "maxReplicas": 4}
    world.spec["autoscaling"] = {"limits": {"maxWorkers": 2}}
    plan = world.reconcile()
    said = drains(world)
    assert [text.partition("(")[2] for text in said] == [
        "group `spot` may have 4 replicas (maxReplicas))",
        "the cluster may have no more than 2 workers (limits.maxWorkers))",
    ]
    counts = [text.count("demo-spot-") for text in said]
    assert counts == [1, 2]
    logged = [decision.why for decision in plan.decisions if decision.what.startswith("drain ")]
    assert sorted(logged) == [
        "OverLimit: group `spot` may have 4 replicas (maxReplicas)",
        "OverLimit: the cluster may have no more than 2 workers (limits.maxWorkers)",
    ]


def test_workers_that_have_been_idle_for_different_times_are_told_together(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, {"name": "spot", "minReplicas": 3, "maxReplicas": 5})
    world.spec["workerGroups"][0]["minReplicas"] = 0
    for seconds, name in enumerate(world.workers(), 61):
        world.idle(name, seconds)
    world.reconcile()
    [text] = drains(world)
    assert text.startswith("draining idle workers: demo-spot-")
    assert text.count("demo-spot-") == 3
    assert "idle for " in text


def test_workers_of_groups_with_other_timeouts_are_told_apart(cluster_world: MakeWorld) -> None:
    one = {"name": "one", "minReplicas": 1, "idleTimeoutSeconds": 10}
    world = grown(cluster_world, one, {"name": "two", "minReplicas": 1, "idleTimeoutSeconds": 20})
    for group in world.spec["workerGroups"]:
        group["minReplicas"] = 0
    for name in world.workers():
        world.idle(name, 30)
    world.reconcile()
    assert drains(world) == [
        "draining idle workers: demo-one-0 (idle for 30 s, its timeout is 10 s)",
        "draining idle workers: demo-two-0 (idle for 30 s, its timeout is 20 s)",
    ]
