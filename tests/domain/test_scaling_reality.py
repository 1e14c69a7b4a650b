"""Pods that do not start, in the model world: other groups step in, the status remembers, and recovery is used.

The pods of a group stay away for reasons of Kubernetes; the work is the same in all groups.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Demand
from shoal_operator.domain.cluster.cooldowns import blockages, remembered
from shoal_operator.domain.reasons import Reason
from shoal_operator.domain.refusals import Refusal

from .conftest import ClusterWorld, cpus, text

MakeWorld = Callable[..., Any]
FIRST = {"name": "first", "maxReplicas": 4, "priority": 1, "resources": {"CPU": 1}, "idleTimeoutSeconds": 30}
SECOND = {"name": "second", "maxReplicas": 4, "resources": {"CPU": 1}, "idleTimeoutSeconds": 30}
GRACE = 6.0
"""Longer than any grace."""
NEEDS = Demand(cpus(1), 3, examples=("f",))


@pytest.fixture
def world(cluster_world: MakeWorld) -> ClusterWorld:
    """Three tasks wait, and the head answers."""
    made: ClusterWorld = cluster_world(workerGroups=[copy.deepcopy(FIRST), copy.deepcopy(SECOND)])
    made.reconcile()
    made.start_pods()
    made.reconcile()
    made.demands = (NEEDS,)
    return made


def pods(world: ClusterWorld, group: str) -> list[str]:
    return [name for name in world.workers() if name.startswith(f"demo-{group}-")]


def blocked(world: ClusterWorld, group: str = "first") -> dict[str, Any]:
    found = next(item for item in world.status["workerGroups"] if item["name"] == group)
    return dict(found.get("blocked") or {})


def start(world: ClusterWorld, group: str) -> None:
    """The pods of one group run and join."""
    others = {name: world.pods[name] for name in world.workers() if not name.startswith(f"demo-{group}-")}
    for name in others:
        del world.pods[name]
    world.start_pods()
    world.pods.update(others)


def stick(world: ClusterWorld, group: str = "first", reason: str = "Unschedulable") -> None:
    for name in pods(world, group):
        world.gate_pod(name, reason)


def served_by_second(world: ClusterWorld) -> None:
    """Pods of the first group stick, those of the second serve the work."""
    world.reconcile()
    stick(world)
    world.wait(GRACE)
    world.reconcile()
    start(world, "second")
    world.demands = ()
    for name in pods(world, "second"):
        world.busy(name)
    world.settle()


@pytest.mark.parametrize("reason", ["Unschedulable", "SchedulingGated"])
def test_the_next_group_steps_in_within_one_pass_after_the_grace(world: ClusterWorld, reason: str) -> None:
    world.reconcile()
    assert (len(pods(world, "first")), len(pods(world, "second"))) == (3, 0)
    stick(world, reason=reason)
    world.wait(1)
    assert not world.reconcile().create_pods, "within its grace a pod is counted on"
    world.wait(GRACE)
    plan = world.reconcile()
    assert len(plan.create_pods) == 3
    assert len(pods(world, "second")) == 3
    said = blocked(world)
    assert (said["reason"], said["failures"]) == (reason, 1)
    assert said["retryAt"] > said["since"]
    assert "0/3 nodes are available" in said["message"]
    assert world.condition("WorkersReady")["reason"] == reason


def test_there_are_never_more_pods_than_demand_and_what_is_in_flight(world: ClusterWorld) -> None:
    served_by_second(world)
    assert pods(world, "first") == []
    assert len(pods(world, "second")) == 3
    world.demands = (Demand(cpus(1), 1),)
    for _ in range(20):
        world.reconcile()
        assert len(pods(world, "first")) <= 1, "one probe at most"
        assert len(world.workers()) <= 3 + 1 + 1
        stick(world)
        world.wait(3)


def test_what_was_avoided_is_used_again_when_the_reason_has_gone(world: ClusterWorld) -> None:
    served_by_second(world)
    world.wait(60)
    world.demands = (NEEDS,)
    world.settle()
    assert len(pods(world, "first")) == 1, "one replica is tried"
    start(world, "first")
    for name in pods(world, "first"):
        world.busy(name)
    world.settle()
    assert blocked(world) == {}
    assert len(pods(world, "first")) > 1, "and then the group is used"


def test_a_group_that_fails_again_is_left_alone_for_longer(world: ClusterWorld) -> None:
    served_by_second(world)
    waits = []
    world.demands = (Demand(cpus(1), 1),)
    before = first = blocked(world)
    for _ in range(200):
        world.reconcile()
        stick(world)
        after = blocked(world)
        if after["failures"] != before["failures"]:
            assert after["failures"] == before["failures"] + 1
            waits.append(remembered(world.cluster(), world.now)[0].until_seconds_from_now)
        before = after
        world.wait(4)
    assert after["since"] == first["since"], "since when it is avoided stands"
    assert len(waits) >= 4
    assert all(2 * short - 2 <= long <= 2 * short + 2 for short, long in pairwise(waits)), waits
    assert len(pods(world, "first")) == 1


def test_an_operator_that_starts_anew_goes_on_and_writes_nothing(world: ClusterWorld) -> None:
    served_by_second(world)
    status, names = copy.deepcopy(world.status), world.workers()
    world.wait(1)
    world.head_answers = False  # an operator that has just started has not heard of the head
    plan = world.plan()
    assert plan.is_empty
    world.head_answers = True
    assert world.reconcile().is_empty
    assert (world.status, world.workers()) == (status, names)


def test_the_status_is_not_written_because_time_passes_or_counts_wander(world: ClusterWorld) -> None:
    world.spec["workerGroups"] = [{**FIRST, "maxReplicas": 1}, {**SECOND, "maxReplicas": 1}]
    world.reconcile()
    stick(world)
    start(world, "second")
    world.wait(GRACE)
    world.reconcile()
    start(world, "second")
    world.busy("demo-second-0")
    said = []
    for count in (10, 14, 7, 12, 10):
        world.demands = (Demand(cpus(1), count, examples=("f",)),)
        world.reconcile()
        said.append(copy.deepcopy(world.status))
        world.wait(0.3)
    assert all(status == said[0] for status in said[1:])
    (waits,) = said[0]["demand"]
    assert (waits["shape"], waits["kind"], waits["verdict"], waits["count"]) == ("1 CPU", "task", "Blocked", 10)
    assert "group `first`" in waits["message"]
    world.demands = (Demand(cpus(1), 30, examples=("f",)),)
    world.reconcile()
    assert world.status["demand"][0]["count"] == 30
    world.demands = ()
    world.reconcile()
    assert "demand" not in world.status


def test_a_cooldown_that_is_over_is_not_written_again_while_nobody_asks(world: ClusterWorld) -> None:
    served_by_second(world)
    said = copy.deepcopy(world.status)
    for seconds in (1, 1, 1, 60, 7):
        world.wait(seconds)
        world.reconcile()
        assert world.status == said


def test_an_edit_of_the_spec_forgets_what_was_avoided(world: ClusterWorld) -> None:
    served_by_second(world)
    assert blocked(world)
    world.generation += 1
    world.spec["workerGroups"][0]["template"] = {"spec": {"nodeSelector": {"disk": "there"}}}
    world.demands = (NEEDS,)
    world.settle()
    assert len(pods(world, "first")) == 3
    assert blocked(world) == {}


def refusal(name: str = "demo-first-0") -> Refusal:
    return Refusal("first", name, Reason.QUOTA_EXCEEDED, "exceeded quota: small", "raise the ResourceQuota")


def test_a_quota_sends_work_to_another_group_at_once(world: ClusterWorld) -> None:
    world.refusals = (refusal(),)
    plan = world.reconcile()
    assert [pod["metadata"]["labels"]["shoal.dev/group"] for pod in plan.create_pods] == ["second"] * 3
    assert blocked(world)["reason"] == "QuotaExceeded"
    world.refusals = ()  # it is not refused any more, because it is not tried
    world.wait(1)
    assert not world.reconcile().create_pods
    assert blocked(world)["reason"] == "QuotaExceeded"
    world.wait(60)
    world.demands = (Demand(cpus(1), 6),)
    world.settle()
    assert len(pods(world, "first")) == 1, "when its time is over one replica is tried"


@pytest.mark.parametrize("limits", [{"maxWorkers": 3}, {"resources": {"CPU": 3}}], ids=["workers", "resources"])
def test_pods_that_do_not_start_give_way_where_the_cluster_may_have_no_more(
    world: ClusterWorld, limits: dict[str, Any]
) -> None:
    world.spec["autoscaling"] = {"limits": limits}
    world.demands = (Demand(cpus(1), 8),)
    world.reconcile()
    assert len(pods(world, "first")) == 3
    stick(world)
    world.wait(GRACE)
    plan = world.reconcile()
    assert {deletion.reason for deletion in plan.delete_pods} == {"NotNeeded"}
    assert any("giving up demo-first-" in event.message and "take its place" in event.message for event in plan.events)
    assert (len(pods(world, "first")), len(pods(world, "second"))) == (0, 3), "in one pass, and never more"
    for _ in range(20):
        world.wait(1)
        world.reconcile()
        assert len(world.workers()) == 3
    assert blocked(world)["reason"] == "Unschedulable"


def test_a_lost_machine_keeps_its_group_from_nothing(world: ClusterWorld) -> None:
    world.reconcile()
    start(world, "first")
    world.demands = ()
    for name in pods(world, "first"):
        world.busy(name)
    world.settle()
    lost = pods(world, "first")[0]
    true, false = {"status": "True"}, {"status": "False"}
    conditions = [{"type": "ContainersReady", **true}, {"type": "Ready", **false}]
    world.pods[lost]["status"] = {"phase": "Running", "conditions": conditions}
    world.nodes[lost] = replace(world.nodes[lost], alive=False)
    world.demands = (Demand(cpus(1), 1),)
    world.reconcile()
    assert blocked(world) == {}
    fresh = [name for name in pods(world, "first") if world.pods[name]["status"]["phase"] == "Pending"]
    assert len(fresh) == 1, "the work gets a worker of the same group at once"
    assert pods(world, "second") == []


def test_what_is_refused_is_tried_once_a_minute_at_least(world: ClusterWorld) -> None:
    world.spec["workerGroups"] = [FIRST]
    longest, last = 0.0, world.now
    for _ in range(300):
        # The API server's word stands only where it was asked.
        asked = bool(world.plan().create_pods)
        if asked:
            longest, last = max(longest, (world.now - last).total_seconds()), world.now
        world.refusals = (refusal(),) if asked else ()
        world.reconcile()
        assert world.workers() == []
        world.refusals = ()
        world.wait(2)
    assert 50 < longest <= 64
    assert blocked(world)["failures"] > 5


def test_what_is_refused_takes_nobodys_place_within_the_limits(world: ClusterWorld) -> None:
    world.spec["autoscaling"] = {"limits": {"maxWorkers": 3, "resources": {"CPU": 3}}}
    world.refusals = (refusal(),)
    world.reconcile()
    assert len(pods(world, "second")) == 3


def test_a_minimum_is_tried_again_when_its_time_is_over(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**FIRST, "minReplicas": 2}])
    world.refusals = (refusal(),)
    world.reconcile()
    assert world.workers() == []
    world.refusals = ()
    waited = 0.0
    while not (plan := world.reconcile()).create_pods:
        assert plan.requeue_after_seconds is not None, "nobody would look again"
        world.wait(plan.requeue_after_seconds)
        waited += plan.requeue_after_seconds
        assert waited < 60
    world.start_pods()
    world.settle()
    world.start_pods()
    world.settle()
    assert len(pods(world, "first")) == 2
    assert blocked(world) == {}


def test_a_minimum_that_is_not_tried_again_yet_is_not_ready(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**copy.deepcopy(FIRST), "minReplicas": 3}])
    world.reconcile()
    world.start_pods()
    for name in pods(world, "first"):
        world.lose_pod(name)
    world.refusals = (
        Refusal("first", "demo-first-0", Reason.QUOTA_EXCEEDED, "exceeded quota", "exceeded quota: small"),
    )
    world.reconcile()
    world.reconcile()
    world.refusals = ()
    plan = world.reconcile()
    assert not plan.create_pods, "the group is avoided for now"
    ready = world.condition("WorkersReady")
    assert (ready["status"], ready["reason"]) == ("False", "QuotaExceeded")
    assert "0 of at least 3 workers: " in ready["message"]
    assert "it is tried again at " in ready["message"]
    assert world.condition("Ready")["reason"] == "QuotaExceeded"
    for _ in range(4):
        world.wait(61)
        world.reconcile()
        world.start_pods()
    world.settle()
    assert len(pods(world, "first")) == 3
    assert world.condition("WorkersReady")["status"] == "True"


def test_where_machines_are_made_on_demand_a_pod_is_counted_on_for_longer(world: ClusterWorld) -> None:
    world.spec["autoscaling"] = {"unschedulableTimeoutSeconds": 120}
    world.generation += 1
    world.reconcile()
    stick(world)
    world.wait(GRACE)
    world.reconcile()
    assert (len(pods(world, "first")), len(pods(world, "second"))) == (3, 0)
    assert world.condition("WorkersReady")["reason"] == "Unschedulable", "it is told at once all the same"
    world.wait(120)
    world.reconcile()
    assert len(pods(world, "second")) == 3


def test_the_time_of_the_next_try_stands_unless_it_differs_by_more_than_two_passes_may(world: ClusterWorld) -> None:
    served_by_second(world)
    told = next(group for group in world.status["workerGroups"] if group["name"] == "first")
    told["blocked"]["retryAt"] = text(world.now + timedelta(seconds=60))
    [known] = remembered(world.cluster(), world.now)

    def seconds_later(seconds: float) -> float:
        moved = replace(known, until_seconds_from_now=known.until_seconds_from_now + seconds)
        after = blockages(world.cluster(), [moved], {}, world.now)["first"]
        return (after.retry_at - world.now).total_seconds() - 60

    assert [seconds_later(seconds) for seconds in (-3, -2, -1, 0, 1, 2, 3)] == [-3, 0, 0, 0, 0, 0, 3]


def test_one_pass_tells_the_log_of_fifty_decisions(cluster_world: MakeWorld) -> None:
    groups = [{"name": f"g{index}", "maxReplicas": 1, "resources": {f"r{index}": 1}} for index in range(60)]
    world: ClusterWorld = cluster_world(workerGroups=groups)
    world.reconcile()
    world.start_pods()
    world.demands = tuple(Demand(ResourceSet.from_units({f"r{index}": 1}), 1) for index in range(60))
    plan = world.reconcile()
    assert len(plan.create_pods) == 60
    assert len(plan.decisions) == 50
    assert all(line.what.startswith("add 1 worker to group `g") for line in plan.decisions)
