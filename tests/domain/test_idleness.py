"""A cluster that nobody uses is suspended or deleted when its idle policy says so, and never while somebody does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shoal_operator.domain.head import ActivityView
from shoal_operator.domain.plan import Plan

MakeWorld = Callable[..., Any]
TIMEOUT = 300


def idle_world(cluster_world: MakeWorld, action: str = "Suspend", idle_seconds: float = 0.0) -> Any:
    """A cluster with a head and one worker, not in use for that long."""
    world = cluster_world(
        workerGroups=[{"name": "one", "minReplicas": 1}],
        idlePolicy={"timeoutSeconds": TIMEOUT, "action": action},
    )
    world.settle()
    world.start_pods()
    world.activity = ActivityView()
    world.settle()
    world.wait(idle_seconds)
    world.activity = ActivityView(idle_seconds=idle_seconds)
    world.settle()
    return world


def pass_time(world: Any, seconds: float) -> Plan:
    """Time goes by, during which nobody uses the cluster; then one pass."""
    world.wait(seconds)
    world.activity = replace(world.activity, idle_seconds=world.activity.idle_seconds + seconds)
    plan: Plan = world.reconcile()
    return plan


def test_the_countdown_is_on_the_object_and_ends_to_the_second(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world, idle_seconds=10)
    idle = world.condition("Idle")
    assert (idle["status"], idle["reason"]) == ("True", "CountingDown")
    assert "counted since 2026-01-02T03:04:05Z; the cluster is suspended at 2026-01-02T03:09:05Z" in idle["message"]
    plan = pass_time(world, TIMEOUT - 11)
    assert plan.is_empty
    assert plan.requeue_after_seconds == pytest.approx(1, abs=0.01)
    assert world.condition("Idle") == idle, "nothing is written while it counts"
    pass_time(world, 1)
    assert world.condition("Suspended")["reason"] == "SuspendingIdle"
    assert len(world.pods) == 2, "it is told first"
    pass_time(world, 0.2)
    world.settle()
    assert not world.pods
    assert world.condition("Suspended")["reason"] == "IdleTimeout"
    assert world.condition("Suspended")["status"] == "True"
    assert "spec.idlePolicy" in world.status["message"]
    assert world.settle()[-1].is_empty


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ({"drivers": 1}, "a driver is connected"),
        ({"jobs": 2}, "a job waits or runs"),
        ({"detached_actors": 1}, "a detached actor lives"),
    ],
)
def test_a_cluster_in_use_is_left_alone(cluster_world: MakeWorld, use: dict[str, int], words: str) -> None:
    world = idle_world(cluster_world)
    world.activity = ActivityView(**use)
    world.wait(TIMEOUT * 10)
    world.settle()
    assert world.condition("Idle")["message"] == words
    assert world.condition("Idle")["reason"] == "InUse"
    assert "idleSince" not in world.status
    assert len(world.pods) == 2


def test_somebody_who_comes_after_the_announcement_keeps_the_pods(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world)
    pass_time(world, TIMEOUT)
    assert world.condition("Suspended")["reason"] == "SuspendingIdle"
    world.activity = ActivityView(drivers=1)
    world.settle()
    assert len(world.pods) == 2
    assert world.condition("Suspended")["reason"] == "NotSuspended"
    assert world.condition("Idle")["reason"] == "InUse"


def test_a_head_out_of_reach_ends_nothing(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world)
    world.head_answers = False
    pass_time(world, TIMEOUT * 2)
    assert world.condition("Idle")["status"] == "Unknown"
    assert len(world.pods) == 2


def test_a_head_that_does_not_say_ends_nothing(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world)
    world.activity = None
    world.wait(TIMEOUT * 2)
    world.settle()
    assert world.condition("Idle")["status"] == "Unknown"
    assert len(world.pods) == 2


def test_a_job_that_wants_the_cluster_brings_it_back_and_keeps_it(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world, idle_seconds=TIMEOUT)
    world.settle()
    pass_time(world, 0.2)
    world.settle()
    assert not world.pods
    world.wanted_by = ("train",)
    world.head_answers = False
    world.settle()
    assert "demo-head" in world.pods
    assert world.condition("Suspended")["reason"] == "NotSuspended"
    assert world.condition("Idle")["message"] == "ComputeJob `train` wants the cluster"


def test_an_edit_of_the_spec_brings_it_back(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world, idle_seconds=TIMEOUT)
    pass_time(world, 0.2)
    world.settle()
    assert not world.pods
    world.generation += 1
    world.head_answers = False
    world.settle()
    assert "demo-head" in world.pods


def test_an_edit_while_pods_go_brings_it_back_when_they_are_gone(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world, idle_seconds=TIMEOUT)
    leaving = copy.deepcopy(world.pods["demo-head"])
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    world.reconcile()
    world.pods["demo-head"] = leaving
    world.generation += 1
    world.reconcile()
    assert world.condition("Suspended")["reason"] == "Suspending"
    del world.pods["demo-head"]
    world.reconcile()
    world.settle()
    assert "demo-head" in world.pods


def test_the_cluster_is_deleted_after_it_was_told(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world, "Delete")
    told = pass_time(world, TIMEOUT)
    assert not told.delete
    assert world.condition("Idle")["reason"] == "IdleTimeout"
    world.wait(0.2)
    plan = world.plan()
    assert [(ref.kind, ref.name, ref.uid) for ref in plan.delete] == [("ComputeCluster", "demo", "cluster-uid")]
    assert [event.reason for event in plan.events] == ["IdleTimeout"]


def test_a_deletion_that_was_told_is_taken_back(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world, "Delete")
    pass_time(world, TIMEOUT)
    world.activity = ActivityView(jobs=1)
    plan = world.reconcile()
    assert not plan.delete
    assert world.condition("Idle")["reason"] == "InUse"


def test_a_new_head_counts_from_its_start(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world, idle_seconds=TIMEOUT - 5)
    world.incarnation, world.activity = "two", ActivityView(idle_seconds=1)
    plan = pass_time(world, 5)
    assert plan.requeue_after_seconds == pytest.approx(TIMEOUT - 6, abs=1)
    assert len(world.pods) == 2


def test_the_beginning_does_not_waver_with_the_head_s_clock(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world, idle_seconds=10)
    since = world.status["idleSince"]
    for error in (timedelta(seconds=1), timedelta(seconds=-1.4)):
        world.activity = ActivityView(idle_seconds=10 + error / timedelta(seconds=1))
        world.reconcile()
        assert world.status["idleSince"] == since


def test_a_policy_that_is_taken_away_counts_no_more(cluster_world: MakeWorld) -> None:
    world = idle_world(cluster_world)
    del world.spec["idlePolicy"]
    world.generation += 1
    pass_time(world, TIMEOUT * 2)
    assert world.condition("Idle")["reason"] == "NoIdlePolicy"
    assert "idleSince" not in world.status
    assert len(world.pods) == 2


@pytest.mark.parametrize("edit", ["policy", "timeout"])
def test_an_edit_of_the_policy_counts_from_the_edit(cluster_world: MakeWorld, edit: str) -> None:
    world = idle_world(cluster_world, idle_seconds=TIMEOUT - 10)
    if edit == "policy":
        del world.spec["idlePolicy"]
        world.generation += 1
        pass_time(world, TIMEOUT * 100)
        world.spec["idlePolicy"] = {"timeoutSeconds": TIMEOUT}
    else:
        world.spec["idlePolicy"] = {"timeoutSeconds": 5}
    world.generation += 1
    plan = pass_time(world, 0)
    assert plan.requeue_after_seconds == pytest.approx(world.spec["idlePolicy"]["timeoutSeconds"], abs=1)
    assert world.condition("Idle")["reason"] == "CountingDown"
    world.head_answers = False
    pass_time(world, 1)
    world.head_answers = True
    assert pass_time(world, 1).requeue_after_seconds is not None, "a moment of silence brings the end no nearer"
    assert world.condition("Idle")["reason"] == "CountingDown"
    pass_time(world, TIMEOUT)
    assert world.condition("Suspended")["reason"] == "SuspendingIdle"
