"""A head that is silent and not known to be gone: nobody loses a worker by an old word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Demand
from shoal_operator.domain.cluster.assessment import STALE_CHECK_SECONDS, STALE_SECONDS
from shoal_operator.domain.head import ActivityView

SMALL = {"name": "small", "minReplicas": 0, "maxReplicas": 4, "resources": {"CPU": 1}, "idleTimeoutSeconds": 60}
ONE = ResourceSet.from_units({"CPU": 1})

MakeWorld = Callable[..., Any]


@pytest.fixture
def world(cluster_world: MakeWorld) -> Any:
    """A cluster with two workers, and no work for them."""
    world = cluster_world(workerGroups=[SMALL])
    world.settle()
    world.start_pods()
    world.demands = (Demand(ONE, 2),)
    world.settle()
    world.start_pods()
    world.demands = ()
    world.settle()
    assert world.workers() == ["demo-small-0", "demo-small-1"]
    return world


def drained(world: Any) -> list[str]:
    return [annotation.name for annotation in world.reconcile().annotate_pods]


def test_an_old_word_takes_nobody_away_and_the_next_one_does(world: Any) -> None:
    for name in world.workers():
        world.idle(name, 300)
    world.silence_seconds = STALE_SECONDS + 1
    plan = world.reconcile()
    assert plan.is_empty
    assert plan.requeue_after_seconds <= STALE_CHECK_SECONDS, "its next word may be no news, which wakes nobody"
    told = world.condition("DemandSatisfied")
    assert (told["status"], told["reason"]) == ("Unknown", "NoDemandKnown")
    assert "said nothing for more than 20 s; no worker is taken away" in told["message"]
    world.silence_seconds = 1
    assert drained(world) == ["demo-small-0", "demo-small-1"]
    assert world.condition("DemandSatisfied")["status"] == "True"


def test_a_clock_that_jumps_makes_nobody_idle(world: Any) -> None:
    for name in world.workers():
        world.idle(name, 1)
    said = world.now
    for jump in (timedelta(hours=1), timedelta(hours=-1)):
        world.now = said + jump
        world.silence_seconds = jump / timedelta(seconds=1)
        assert world.reconcile().is_empty, jump


def test_pods_on_their_way_are_not_given_up_by_an_old_word(world: Any) -> None:
    world.demands = (Demand(ONE, 4),)
    for name in world.workers():
        world.busy(name)
    world.reconcile()
    assert len(world.workers()) == 4
    world.demands = ()
    world.wait(60)
    world.silence_seconds = 60
    assert world.reconcile().is_empty
    assert len(world.workers()) == 4


def test_work_that_waited_by_an_old_word_still_gets_workers(world: Any) -> None:
    world.demands = (Demand(ONE, 2),)
    for name in world.workers():
        world.busy(name)
    world.silence_seconds = STALE_SECONDS + 1
    world.reconcile()
    assert len(world.workers()) == 4


def test_an_old_word_does_not_count_down_to_the_end_of_an_unused_cluster(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[SMALL], idlePolicy={"timeoutSeconds": 60, "action": "Suspend"})
    world.activity = ActivityView(idle_seconds=55)
    world.settle()
    world.start_pods()
    world.silence_seconds = STALE_SECONDS + 1
    world.settle()
    assert world.condition("Idle")["status"] == "Unknown"
    assert world.head_answers
