"""The planner on small, readable questions: what is added, what goes, and what is said about the rest."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import (
    ComingNode,
    Demand,
    Group,
    Limits,
    Node,
    ScalingPlan,
    ScalingRequest,
    Verdict,
)
from shoal_operator.autoscaler.plan import plan_workers


def res(**units: float) -> ResourceSet:
    return ResourceSet.from_units(units)


SMALL = Group("small", res(CPU=2), max_nodes=4, idle_timeout_seconds=10)
BIG = Group("big", res(CPU=16, GPU=1), max_nodes=2, idle_timeout_seconds=10)


def node(name: str, group: Group = SMALL, free: ResourceSet | None = None, idle: float = 0.0) -> Node:
    return Node(f"n-{name}", name, group.name, group.resources, group.resources if free is None else free, idle)


@pytest.mark.parametrize(
    ("demands", "groups", "nodes", "coming", "added"),
    [
        pytest.param([Demand(res(CPU=1), 3)], [SMALL], [], [], {"small": 2}, id="whole gap at once"),
        pytest.param([Demand(res(CPU=1), 100)], [SMALL], [], [], {"small": 4}, id="up to the maximum"),
        pytest.param([Demand(res(CPU=1), 2)], [SMALL], [node("a", idle=1)], [], {}, id="free node takes it"),
        pytest.param(
            [Demand(res(CPU=1), 2)], [SMALL], [node("a", free=res(CPU=1))], [], {"small": 1}, id="half-free node"
        ),
        pytest.param(
            [Demand(res(CPU=1), 4)], [SMALL], [], [ComingNode("a", "small")], {"small": 1}, id="coming counts"
        ),
        pytest.param([Demand(res(GPU=1), 1)], [SMALL, BIG], [], [], {"big": 1}, id="the only group that fits"),
        pytest.param([Demand(res(CPU=1), 2)], [SMALL, BIG], [], [], {"small": 1}, id="least waste"),
        pytest.param(
            [Demand(res(CPU=1), 2)],
            [SMALL, Group("first", res(CPU=16), priority=5)],
            [],
            [],
            {"first": 1},
            id="priority before waste",
        ),
        pytest.param(
            [Demand(res(CPU=1), 10), Demand(res(GPU=1), 1)],
            [SMALL, BIG],
            [],
            [],
            {"big": 1},
            id="small work in the rest of a big node",
        ),
        pytest.param([], [Group("kept", res(CPU=1), min_nodes=3)], [], [], {"kept": 3}, id="minimum"),
        pytest.param([Demand(res(), 50)], [SMALL], [], [], {"small": 1}, id="work that needs nothing"),
        pytest.param(
            [Demand(res(CPU=1), 1)],
            [SMALL, BIG],
            [],
            [ComingNode("a", "small", 9, "ImageUnavailable")],
            {"big": 1},
            id="next group when pods do not start",
        ),
    ],
)
def test_adds(
    demands: list[Demand], groups: list[Group], nodes: list[Node], coming: list[ComingNode], added: dict[str, int]
) -> None:
    plan = plan_workers(ScalingRequest(tuple(demands), tuple(groups), tuple(nodes), tuple(coming)))
    assert {addition.group: addition.count for addition in plan.add} == added


def test_shape_that_no_group_can_hold_is_infeasible_and_says_what_is_offered() -> None:
    plan = plan_workers(ScalingRequest((Demand(res(CPU=8), 5, examples=("train",)),), (SMALL,)))
    (unmet,) = plan.unmet
    assert unmet.verdict is Verdict.INFEASIBLE
    assert unmet.message == "task `train` needs 8 CPU, group `small` offers at most 2"
    assert (unmet.count, plan.add) == (5, ())


def test_infeasible_names_each_failing_dimension() -> None:
    plan = plan_workers(ScalingRequest((Demand(res(CPU=8, GPU=1), 1),), (SMALL,)))
    assert plan.unmet[0].message == "a task needs 8 CPU, 1 GPU, group `small` offers at most 2 CPU and no GPU"


def test_suspended_group_is_said_to_be_suspended() -> None:
    plan = plan_workers(ScalingRequest((Demand(res(CPU=8), 1),), (replace(SMALL, suspended=True, max_nodes=0),)))
    assert plan.unmet[0].message == "a task needs 8 CPU, group `small` (suspended) offers at most 2"


def test_full_group_is_a_limit_and_not_infeasible() -> None:
    full = tuple(node(f"a{i}", free=res()) for i in range(4))
    plan = plan_workers(ScalingRequest((Demand(res(CPU=1), 5),), (SMALL, BIG, BIG), full))
    assert not plan.unmet
    plan = plan_workers(ScalingRequest((Demand(res(CPU=1), 5),), (SMALL,), full))
    assert plan.unmet[0].verdict is Verdict.LIMIT_REACHED
    assert "group `small` is at its maxReplicas (4)" in plan.unmet[0].message


def test_every_group_is_named_those_behind_the_verdict_first() -> None:
    tiny = Group("tiny", res(CPU=0.5), priority=1)
    plan = plan_workers(ScalingRequest((Demand(res(CPU=2), 9),), (tiny, SMALL), limits=Limits(max_nodes=10)))
    told = "a task needs 2 CPU, group `small` is at its maxReplicas (4), group `tiny` offers at most 0.5"
    assert (plan.unmet[0].verdict, plan.unmet[0].message) == (Verdict.LIMIT_REACHED, told)


def test_limit_over_all_groups_is_named() -> None:
    plan = plan_workers(ScalingRequest((Demand(res(CPU=2), 3),), (SMALL,), limits=Limits(max_nodes=2)))
    assert [(item.group, item.count, item.reason) for item in plan.add] == [("small", 2, "Demand")]
    assert "no more than 2 workers" in plan.unmet[0].message


def test_blocked_pod_explains_itself() -> None:
    coming = (ComingNode("demo-small-0", "small", 3, "ImagePullBackOff", "no such image"),)
    plan = plan_workers(ScalingRequest((Demand(res(CPU=1), 1),), (SMALL,), (), coming))
    assert plan.unmet[0].verdict is Verdict.BLOCKED
    assert "pod demo-small-0 of group `small` does not start: ImagePullBackOff: no such image" in plan.unmet[0].message
    assert not plan.cancel


def test_label_selector_that_no_group_has_is_infeasible() -> None:
    plan = plan_workers(ScalingRequest((Demand(res(CPU=1), 1, (("zone", "a"),)),), (SMALL,)))
    assert plan.unmet[0].verdict is Verdict.INFEASIBLE
    assert "group `small` has no label zone=a" in plan.unmet[0].message


def test_head_capacity_counts_and_the_head_is_never_drained() -> None:
    head = Node("h", "demo-head", "head", res(CPU=1), res(CPU=1), idle_seconds=999, removable=False)
    plan = plan_workers(ScalingRequest((Demand(res(CPU=1), 1),), (SMALL,), (head,)))
    assert (plan.add, plan.drain, plan.unmet) == ((), (), ())


def test_idle_nodes_are_drained_longest_first_and_never_below_the_minimum() -> None:
    group = Group("small", res(CPU=2), min_nodes=1, max_nodes=4, idle_timeout_seconds=10)
    nodes = (node("a", idle=11), node("b", idle=30), node("c", idle=20))
    plan = plan_workers(ScalingRequest((), (group,), nodes))
    assert [removal.pod_name for removal in plan.drain] == ["b", "c"]


def test_a_pod_that_does_not_start_makes_up_for_no_idle_node() -> None:
    group = Group("small", res(CPU=2), min_nodes=1, max_nodes=4, idle_timeout_seconds=10)
    coming = ComingNode("stuck", "small", 3, "InvalidTemplate", "unknown field")
    plan = plan_workers(ScalingRequest((), (group,), (node("a", idle=99),), (coming,)))
    assert plan.drain == ()
    plan = plan_workers(ScalingRequest((), (group,), (node("a", idle=99), node("b", idle=50)), (coming,)))
    assert [removal.pod_name for removal in plan.drain] == ["a"]
    starts = replace(coming, blocked_reason="")
    plan = plan_workers(ScalingRequest((), (group,), (node("a", idle=99),), (starts,)))
    assert [removal.pod_name for removal in plan.drain] == ["a"]
    idle = tuple(slice_node(f"a{i}", "a", 9.0) for i in range(4))
    half = tuple(ComingNode(f"b{i}", "slices", 9, "Unschedulable" if i else "", replica="b") for i in range(4))
    assert plan_workers(ScalingRequest((), (slices(min_nodes=4),), idle, half)).drain == ()


def test_node_that_waiting_work_would_land_on_is_not_drained() -> None:
    nodes = (node("a", idle=100), node("b", idle=200))
    plan = plan_workers(ScalingRequest((Demand(res(CPU=1), 1),), (SMALL,), nodes))
    assert [removal.pod_name for removal in plan.drain] == ["b"]
    assert not plan.add


def test_next_check_is_when_the_first_node_has_been_idle_long_enough() -> None:
    plan = plan_workers(ScalingRequest((), (SMALL,), (node("a", idle=4), node("b", idle=7))))
    assert plan.next_check_seconds == pytest.approx(3)
    assert not plan.drain


def test_pods_that_have_not_joined_go_first_when_demand_vanished() -> None:
    coming = (ComingNode("old", "small", 50), ComingNode("young", "small", 11), ComingNode("new", "small", 1))
    group = Group("small", res(CPU=2), min_nodes=1, max_nodes=4, idle_timeout_seconds=10)
    plan = plan_workers(ScalingRequest((), (group,), (), coming))
    assert [removal.pod_name for removal in plan.cancel] == ["young", "old"]


def test_room_of_a_moment_ago_adds_no_node_and_gives_none_up() -> None:
    """One of two tasks was just placed on ``a``: its node says so already, what waits may still count it."""
    busy = replace(node("a", free=ResourceSet()), recently_available=res(CPU=2))
    coming = ComingNode("b", "small", age_seconds=60)
    waits = (Demand(res(CPU=2), 1),)
    alone = plan_workers(ScalingRequest(waits, (SMALL,), (busy,)))
    assert alone.add == ()
    plan = plan_workers(ScalingRequest(waits, (SMALL,), (busy,), (coming,)))
    assert plan.add == plan.cancel == ()
    idle = node("c", idle=60)
    assert plan_workers(ScalingRequest(waits, (SMALL,), (busy, idle))).drain == ()


def test_a_pod_that_was_just_asked_for_is_not_given_up_however_short_the_idle_timeout() -> None:
    hasty = replace(SMALL, idle_timeout_seconds=1)
    young = plan_workers(ScalingRequest((), (hasty,), (), (ComingNode("b", "small", age_seconds=4),)))
    assert (young.cancel, young.next_check_seconds) == ((), 6)
    old = plan_workers(ScalingRequest((), (hasty,), (), (ComingNode("b", "small", age_seconds=10),)))
    assert [removal.reason for removal in old.cancel] == ["NotNeeded"]


def test_lowered_maximum_removes_idle_nodes_first_and_then_the_youngest() -> None:
    group = Group("small", res(CPU=2), max_nodes=1, idle_timeout_seconds=1000)
    nodes = (replace(node("a"), age_seconds=9), node("b", idle=1), replace(node("c"), age_seconds=3))
    plan = plan_workers(ScalingRequest((), (group,), nodes))
    assert [(removal.pod_name, removal.reason) for removal in plan.drain] == [("b", "OverLimit"), ("c", "OverLimit")]


def slice_node(name: str, replica: str, idle: float = 0.0) -> Node:
    return replace(node(name, idle=idle), group="slices", replica=replica)


def slices(**more: Any) -> Group:
    return Group("slices", res(CPU=2), max_nodes=8, hosts=4, idle_timeout_seconds=5, **more)


def test_several_hosts_come_as_whole_replicas() -> None:
    one = plan_workers(ScalingRequest((Demand(res(CPU=2), 1),), (slices(),)))
    assert [(item.group, item.count) for item in one.add] == [("slices", 4)]
    two = plan_workers(ScalingRequest((Demand(res(CPU=2), 5),), (slices(),)))
    assert [item.count for item in two.add] == [8]
    many = plan_workers(ScalingRequest((Demand(res(CPU=2), 50),), (slices(),)))
    assert [item.count for item in many.add] == [8]
    assert "maxReplicas (2)" in many.unmet[0].message
    least = plan_workers(ScalingRequest((), (slices(min_nodes=4),)))
    assert [(item.count, item.reason) for item in least.add] == [(4, "MinReplicas")]


def test_several_hosts_go_as_whole_replicas() -> None:
    idle = tuple(slice_node(f"a{i}", "a", 9.0) for i in range(4))
    busy = (*(slice_node(f"b{i}", "b", 9.0) for i in range(3)), slice_node("b3", "b"))
    plan = plan_workers(ScalingRequest((), (slices(),), (*idle, *busy)))
    assert sorted(removal.pod_name for removal in plan.drain) == ["a0", "a1", "a2", "a3"]
    kept = plan_workers(ScalingRequest((), (slices(min_nodes=4),), idle))
    assert kept.drain == ()
    over = plan_workers(ScalingRequest((), (replace(slices(), max_nodes=4),), (*idle, *busy)))
    assert sorted(removal.pod_name for removal in over.drain) == ["a0", "a1", "a2", "a3"]


def test_a_replica_that_is_coming_is_given_up_as_a_whole() -> None:
    coming = tuple(ComingNode(f"a{i}", "slices", age_seconds=7.0 + i, replica="a") for i in range(4))
    request = ScalingRequest((), (slices(),), (), coming)
    assert plan_workers(request).cancel == ()
    assert plan_workers(request).next_check_seconds == 3.0
    older = tuple(replace(item, age_seconds=item.age_seconds + 5) for item in coming)
    assert len(plan_workers(replace(request, coming=older)).cancel) == 4


def test_nodes_of_a_group_that_is_gone_are_drained() -> None:
    plan = plan_workers(ScalingRequest((), (), (node("a", idle=1),)))
    assert [removal.pod_name for removal in plan.drain] == ["a"]


def test_order_of_the_question_does_not_matter() -> None:
    demands = [Demand(res(CPU=1), 7), Demand(res(CPU=2), 3), Demand(res(GPU=1), 1)]
    answers = {plan_workers(ScalingRequest(tuple(order), (BIG, SMALL))) for order in permutations(demands)}
    answers |= {plan_workers(ScalingRequest(tuple(demands), (SMALL, BIG)))}
    assert len(answers) == 1


def calls(request: ScalingRequest) -> tuple[int, ScalingPlan]:
    """Calls of functions that a plan takes: an effort that does not depend on the machine."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        plan = plan_workers(request)
    finally:
        sys.setprofile(None)
    return counted, plan


def test_100_000_tasks_are_decided_at_once_and_quickly() -> None:
    group = Group("small", res(CPU=4, memory=1000), max_nodes=1000)
    calls(ScalingRequest((Demand(res(CPU=1), 1),), (group,)))  # the interpreter remembers what it saw the first time
    one, plan = calls(ScalingRequest((Demand(res(CPU=1), 100_000),), (group,)))
    assert [(item.group, item.count) for item in plan.add] == [("small", 1000)]
    few, _ = calls(ScalingRequest((Demand(res(CPU=1), 5000),), (group,)))
    assert one == few < 10_000
    demands = tuple(Demand(res(CPU=1, memory=i), 1000) for i in range(1, 101))
    many, plan = calls(ScalingRequest(demands, (group,)))
    assert [(item.group, item.count) for item in plan.add] == [("small", 1000)]
    assert many < 200_000


def test_a_verdict_lists_fifty_groups_and_names_four() -> None:
    groups = tuple(Group(f"g{index:02}", res(CPU=2), max_nodes=1) for index in range(60))
    [unmet] = plan_workers(ScalingRequest((Demand(res(CPU=3), 1),), groups)).unmet
    assert [refusal.group for refusal in unmet.tried] == [f"g{index:02}" for index in range(50)]
    assert unmet.message.count("offers at most 2") == 4
    assert unmet.message.endswith(" and 56 more groups")
