"""Pods that do not start: graces, cool-downs, probes, and how a group comes back."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.autoscaler.worlds import of

from shoal_operator.autoscaler.cooldown import COOLDOWN_SECONDS_MAX, GRACE_SECONDS, cooldown_seconds, update_cooldowns
from shoal_operator.autoscaler.model import (
    Bundle,
    ComingNode,
    Cooldown,
    Demand,
    Gang,
    GangStrategy,
    Group,
    Node,
    ScalingPlan,
    ScalingRequest,
    Verdict,
)
from shoal_operator.autoscaler.plan import plan_workers

FIRST = Group("first", of({"CPU": 1}), max_nodes=10, priority=1, idle_timeout_seconds=60)
SECOND = Group("second", of({"CPU": 1}), max_nodes=10)
CPU = of({"CPU": 1})


def added(plan: ScalingPlan) -> dict[str, int]:
    return {item.group: item.count for item in plan.add}


def stuck(count: int, reason: str = "Unschedulable", age: float = 30.0) -> tuple[ComingNode, ...]:
    return tuple(ComingNode(f"first-{i}", "first", age, reason, "0/3 nodes are available") for i in range(count))


def ask(
    count: int, *coming: ComingNode, cooldowns: tuple[Cooldown, ...] = (), nodes: tuple[Node, ...] = ()
) -> ScalingPlan:
    return plan_workers(ScalingRequest((Demand(CPU, count),), (FIRST, SECOND), nodes, coming, cooldowns=cooldowns))


def later(cooldowns: tuple[Cooldown, ...], seconds: float) -> tuple[Cooldown, ...]:
    return tuple(replace(item, until_seconds_from_now=item.until_seconds_from_now - seconds) for item in cooldowns)


def test_others_step_in_and_one_probe_stays() -> None:
    plan = ask(4, *stuck(4))
    assert added(plan) == {"second": 4}
    assert sorted(removal.pod_name for removal in plan.cancel) == ["first-1", "first-2", "first-3"]
    assert plan.cooldowns == (Cooldown("first", "Unschedulable", 2.0, 1, "first-0"),)


def test_never_more_than_demand_and_what_is_in_flight() -> None:
    coming = (*stuck(1), *(ComingNode(f"second-{i}", "second", 3.0) for i in range(4)))
    assert (ask(4, *coming).add, ask(4, *coming).cancel) == ((), ())


def test_pods_that_nobody_replaces_all_stay() -> None:
    plan = plan_workers(ScalingRequest((Demand(CPU, 3),), (FIRST,), (), stuck(5)))
    assert sorted(removal.pod_name for removal in plan.cancel) == ["first-3", "first-4"]
    [unmet] = plan.unmet
    assert (unmet.verdict, unmet.count) == (Verdict.BLOCKED, 3)
    assert "pod first-0 of group `first` does not start: Unschedulable: 0/3 nodes are available" in unmet.message


def test_a_probe_that_starts_opens_the_group() -> None:
    before = ask(2, *stuck(2)).cooldowns
    starts = (ComingNode("first-0", "first", 31.0),)
    plan = ask(2, *starts, cooldowns=later(before, 1))
    assert (added(plan), plan.cooldowns) == ({"first": 1}, ())


def test_a_group_without_a_probe_is_tried_with_one_replica_when_its_time_is_over() -> None:
    remembered = (Cooldown("first", "QuotaExceeded", 2.0, 1, "first-0"),)
    closed = ask(3, cooldowns=remembered)
    assert (added(closed), closed.next_check_seconds) == ({"second": 3}, 2.0)
    over = later(remembered, 3)
    half = ask(3, cooldowns=over)
    assert added(half) == {"first": 1, "second": 2}
    tried = (ComingNode("first-1", "first", 0.5),)
    assert added(ask(9, *tried, cooldowns=half.cooldowns)) == {"second": 8}
    arrived = (Node("n", "first-1", "first", CPU, of({}), age_seconds=1.0),)
    after = ask(3, cooldowns=half.cooldowns, nodes=arrived)
    assert (added(after), after.cooldowns) == ({"first": 3}, ())


@pytest.mark.parametrize("strategy", [GangStrategy.STRICT_SPREAD, GangStrategy.SPREAD, GangStrategy.PACK])
def test_a_placement_group_that_needs_several_replicas_has_one_tried(strategy: GangStrategy) -> None:
    gang = Gang("g", "pair", strategy, (Bundle(CPU, (), 2),))

    def ask(cooldowns: tuple[Cooldown, ...], *coming: ComingNode, nodes: tuple[Node, ...] = (), most: int = 9):
        group = replace(FIRST, max_nodes=most)
        return plan_workers(ScalingRequest((), (group,), nodes, coming, gangs=(gang,), cooldowns=cooldowns))

    over = (Cooldown("first", "QuotaExceeded", -1.0, 1, "first-0"),)
    [tried] = ask(over).add
    assert (tried.group, tried.count, tried.reason) == ("first", 1, "PlacementGroup")
    assert [origin.text for origin in tried.origins] == [f"placement group `pair` (2 bundles of 1 CPU, {strategy})"]
    comes = ask(over, ComingNode("first-1", "first", 400.0))
    assert (comes.add, comes.cancel) == ((), ()), "one, and it stays"
    arrived = Node("n", "first-1", "first", CPU, CPU, age_seconds=1.0, idle_seconds=500.0)
    opened = ask(over, nodes=(arrived,))
    assert (added(opened), opened.drain, opened.cooldowns) == ({"first": 1}, (), ())
    assert ask(over, most=1).add == (), "it would be of no use"


def test_a_second_failure_takes_twice_as_long() -> None:
    over = (Cooldown("first", "QuotaExceeded", -0.5, 1, "first-0"),)
    again = ask(1, *stuck(1, "QuotaExceeded", 0.0), cooldowns=over)
    assert again.cooldowns == (Cooldown("first", "QuotaExceeded", 4.0, 2, "first-0"),)
    assert [cooldown_seconds(failures) for failures in (-1, 0, 1, 2, 3, 8, 9, 10**6)] == [2, 2, 2, 4, 8, 256, 300, 300]


def test_a_cooldown_is_of_one_group_and_one_reason() -> None:
    known = (Cooldown("first", "Unschedulable", 4.0, 2, "first-0"),)
    both = update_cooldowns(known, stuck(1, "ImagePullDenied"), (), ["first", "second"])
    assert [(item.reason, item.failures) for item in both] == [("ImagePullDenied", 1), ("Unschedulable", 2)]
    assert update_cooldowns(known, (), (), ["second"]) == ()


def test_old_nodes_do_not_show_that_new_pods_start() -> None:
    known = (Cooldown("first", "Unschedulable", 1.0, 1, "first-0"),)
    old = Node("n", "first-9", "first", CPU, CPU, age_seconds=500.0)
    assert update_cooldowns(known, (), (old,), ["first"]) == known
    assert update_cooldowns(known, (), (replace(old, age_seconds=0.5),), ["first"]) == ()


@pytest.mark.parametrize("until", [-700.0, -math.inf])
def test_what_was_long_ago_is_forgotten(until: float) -> None:
    assert update_cooldowns((Cooldown("first", "Unschedulable", until),), (), (), ["first"]) == ()


@pytest.mark.parametrize("until", [1e9, math.inf])
def test_a_clock_that_jumps_closes_no_group_for_long(until: float) -> None:
    [kept] = update_cooldowns((Cooldown("first", "Unschedulable", until),), (), (), ["first"])
    assert kept.until_seconds_from_now == COOLDOWN_SECONDS_MAX


def test_a_pod_in_its_grace_counts_and_is_looked_at_again_when_it_is_over() -> None:
    for reason, seconds in GRACE_SECONDS.items():
        plan = ask(1, ComingNode("first-0", "first", seconds - 0.5, reason))
        assert (plan.add, plan.cooldowns, plan.next_check_seconds) == ((), (), 0.5)
        assert [waiting.count for waiting in plan.waiting] == [1]


def test_a_minimum_is_kept_up_by_one_replica_at_a_time_after_failures() -> None:
    group = replace(FIRST, min_nodes=3)
    over = (Cooldown("first", "CrashLoop", -0.5, 3),)
    plan = plan_workers(ScalingRequest((), (group,), cooldowns=over))
    assert [(item.group, item.count, item.reason) for item in plan.add] == [("first", 1, "MinReplicas")]


def test_graces_and_refusals_are_these() -> None:
    short = {"ImageUnavailable": 3.0, "ContainerNotStarted": 3.0}
    long = ("VolumeClaimPending", "VolumeNotMounted", "SchedulingGated", "SandboxFailed")
    assert dict(GRACE_SECONDS) == short | dict.fromkeys(long, 5.0)
    assert cooldown_seconds(10**6, "PriorityClassMissing") == 60
