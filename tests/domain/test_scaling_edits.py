"""What an edit of the numbers does to workers, in the model world; docs/autoscaling.md has the same in words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shoal_operator.autoscaler.model import Demand
from shoal_operator.domain.head import DrainState

from .conftest import ClusterWorld, cpus

MakeWorld = Callable[..., Any]
GROUP = {"name": "small", "minReplicas": 0, "maxReplicas": 4, "resources": {"CPU": 1}, "idleTimeoutSeconds": 60}
OTHER = {"name": "other", "minReplicas": 0, "maxReplicas": 4, "resources": {"CPU": 1}, "idleTimeoutSeconds": 60}


def grown(cluster_world: MakeWorld, workers: int, *groups: dict[str, Any], **spec: Any) -> ClusterWorld:
    """A cluster with so many busy workers, and no work that waits."""
    world: ClusterWorld = cluster_world(**copy.deepcopy({"workerGroups": list(groups or (GROUP,)), **spec}))
    world.reconcile()
    world.start_pods()
    world.demands = (Demand(cpus(1), workers),)
    settle(world)
    world.demands = ()
    for name in world.workers():
        world.busy(name)
    settle(world)
    assert len(world.workers()) == workers
    return world


def settle(world: ClusterWorld) -> None:
    """Until nothing is left to do; pods start and join."""
    for _ in range(20):
        plan = world.reconcile()
        pending = [name for name, pod in world.pods.items() if pod["status"]["phase"] == "Pending"]
        world.start_pods()
        if plan.is_empty and not pending:
            return
    raise AssertionError("does not come to rest")


def edit(world: ClusterWorld, index: int = 0, **fields: Any) -> None:
    world.generation += 1
    world.spec["workerGroups"][index] |= fields


def drained(world: ClusterWorld) -> list[str]:
    """Workers that the head has been asked to drain."""
    return sorted(name for name, node in world.nodes.items() if node.drain_state is not DrainState.ACTIVE)


def test_a_raised_minimum_comes_and_a_lowered_one_goes_after_the_idle_timeout(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, 0)
    edit(world, minReplicas=2)
    settle(world)
    assert len(world.workers()) == 2
    for name in world.workers():
        world.idle(name, 59)
    edit(world, minReplicas=1)
    settle(world)
    assert len(world.workers()) == 2, "an edit takes nobody before his time"
    for name in world.workers():
        world.idle(name, 61)
    settle(world)
    assert len(world.workers()) == 1, "and the minimum stays"


def test_a_raised_maximum_gives_waiting_work_what_it_wants(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, 2, {**GROUP, "maxReplicas": 2})
    world.demands = (Demand(cpus(1), 2),)
    world.reconcile()
    assert world.condition("DemandSatisfied")["reason"] == "LimitReached"
    edit(world, maxReplicas=4)
    assert len(world.reconcile().create_pods) == 2


def test_a_lowered_maximum_drains_and_never_kills(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, 3)
    idle = world.workers()[1]
    world.idle(idle, 1)
    edit(world, maxReplicas=1)
    for _ in range(4):
        plan = world.reconcile()
        assert {deletion.name for deletion in plan.delete_pods} <= {idle}, "who is busy is not deleted"
        world.wait(2)
    (leaving,) = drained(world)
    assert len(world.workers()) == 2
    world.finish(leaving)
    settle(world)
    assert len(world.workers()) == 1
    assert world.spec["workerGroups"][0]["maxReplicas"] == 1


def test_a_drain_for_a_lowered_maximum_ends_with_its_deadline(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, 2, updateStrategy={"drainTimeoutSeconds": 30})
    edit(world, maxReplicas=1)
    world.reconcile()
    world.reconcile()
    world.wait(29)
    assert not world.reconcile().delete_pods
    world.wait(5)
    (deletion,) = world.reconcile().delete_pods
    assert deletion.reason == "DrainTimedOut"


def test_lowered_limits_of_the_whole_cluster_drain_as_well(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, 3)
    world.generation += 1
    world.spec["autoscaling"] = {"limits": {"maxWorkers": 2}}
    world.reconcile()
    world.reconcile()
    assert len(drained(world)) == 1
    world.spec["autoscaling"] = {"limits": {"resources": {"CPU": 1}}}
    world.generation += 1
    world.reconcile()
    world.reconcile()
    assert len(drained(world)) == 2


@pytest.mark.parametrize(("number", "workers"), [(None, 0), (1, 1), (3, 3)])
def test_autoscaling_switched_off_leaves_the_number_that_is_written(
    cluster_world: MakeWorld, number: int | None, workers: int
) -> None:
    written = {} if number is None else {"replicas": number}
    world = grown(cluster_world, 2, {**GROUP, **written})
    world.generation += 1
    world.spec["autoscaling"] = {"enabled": False, "limits": {"maxWorkers": 2}}
    world.demands = (Demand(cpus(1), 5),)
    for _ in range(4):
        world.reconcile()
        for name in drained(world):
            world.finish(name)
        world.start_pods()
        for name in set(world.nodes) - set(drained(world)):
            world.busy(name)
    assert len(world.workers()) == workers, "demand does not count, and neither do the limits"


def test_autoscaling_switched_on_again_takes_nobody_at_once(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**GROUP, "replicas": 3}], autoscaling={"enabled": False})
    world.reconcile()
    world.start_pods()
    settle(world)
    assert len(world.workers()) == 3
    world.generation += 1
    world.spec["autoscaling"] = {"enabled": True}
    for name in world.workers():
        world.idle(name, 10)
    settle(world)
    assert len(world.workers()) == 3
    for name in world.workers():
        world.idle(name, 61)
    settle(world)
    assert world.workers() == []


def test_replicas_edited_by_hand_count_without_autoscaling_and_are_never_undone(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, 2)
    edit(world, replicas=0)
    assert world.reconcile().is_empty, "with autoscaling the number means nothing"
    assert len(world.workers()) == 2
    world.generation += 1
    world.spec["autoscaling"] = {"enabled": False}
    edit(world, replicas=1)
    for _ in range(4):
        world.reconcile()
        for name in drained(world):
            world.finish(name)
    assert len(world.workers()) == 1
    edit(world, replicas=3)
    settle(world)
    assert len(world.workers()) == 3
    assert world.spec["workerGroups"][0]["replicas"] == 3


@pytest.mark.parametrize("how", ["removed", "suspended"])
def test_a_group_that_goes_gives_its_work_to_others(cluster_world: MakeWorld, how: str) -> None:
    world = grown(cluster_world, 2, GROUP, OTHER)
    mine = [name for name in world.workers() if "small" in name]
    world.generation += 1
    if how == "removed":
        world.spec["workerGroups"] = [item for item in world.spec["workerGroups"] if item["name"] == "other"]
    else:
        next(item for item in world.spec["workerGroups"] if item["name"] == "small")["suspend"] = True
    world.demands = (Demand(cpus(1), 1),)
    world.reconcile()
    world.reconcile()
    assert set(drained(world)) >= set(mine)
    assert any("other" in name for name in world.workers()), "new work goes elsewhere at once"
    for name in drained(world):
        world.finish(name)
    world.demands = ()
    world.reconcile()
    assert not [name for name in world.workers() if "small" in name]


def test_a_silent_head_loses_nobody_whatever_is_edited(cluster_world: MakeWorld) -> None:
    world = grown(cluster_world, 3)
    for name in world.workers():
        world.nodes[name] = replace(world.nodes[name], idle_seconds=1000.0, available=cpus(1))
    world.silence_seconds = 60.0
    edit(world, maxReplicas=1)
    for _ in range(5):
        plan = world.reconcile()
        assert not plan.delete_pods
        assert not plan.head_commands
        world.wait(10)
    assert len(world.workers()) == 3
