"""What Ray's autoscaler is tested for, and what is wrong with it, as questions to ours: decisions only.

The faults A1 to A15 and the behaviours are those that docs/kuberay.md lists; what is not a decision of the planner
is shown elsewhere, as that page says.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.autoscaler.worlds import carried_out, of

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import (
    Bundle,
    ComingNode,
    Demand,
    Gang,
    GangStrategy,
    Group,
    Limits,
    Node,
    ScalingPlan,
    ScalingRequest,
    Upscaling,
    UpscalingMode,
    Verdict,
)
from shoal_operator.autoscaler.plan import plan_workers

CPU = of({"CPU": 1})
SMALL = Group("small", of({"CPU": 2}), max_nodes=4, idle_timeout_seconds=10)
GPU = Group("gpu", of({"CPU": 4, "GPU": 1}), max_nodes=4, idle_timeout_seconds=10)


def added(plan: ScalingPlan) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in plan.add:
        found[item.group] = found.get(item.group, 0) + item.count
    return found


def node(name: str, group: Group = SMALL, free: ResourceSet | None = None, idle: float = 0.0) -> Node:
    return Node(f"n-{name}", name, group.name, group.resources, group.resources if free is None else free, idle)


def full(name: str, group: Group = SMALL) -> Node:
    return node(name, group, ResourceSet())


def joined(request: ScalingRequest, plan: ScalingPlan) -> ScalingRequest:
    """The world in which the added nodes have joined and are busy with nothing yet."""
    known = {group.name: group for group in request.groups}
    after = carried_out(request, plan)
    fresh = tuple(node(pod.pod_name, known[pod.group]) for pod in after.coming)
    return replace(after, nodes=(*after.nodes, *fresh), coming=())


def gang(strategy: GangStrategy, *bundles: Bundle, held: tuple[str, ...] = ()) -> Gang:
    return Gang("g1", "train", strategy, bundles, held)


# Faults


def test_a1_a_thousand_workers_in_one_plan() -> None:
    group = Group("worker", of({"CPU": 4}), max_nodes=1000)
    plan = plan_workers(ScalingRequest((Demand(CPU, 4000),), (group,)))
    assert (added(plan), plan.unmet, plan.held_back) == ({"worker": 1000}, (), 0)


def test_a4_a_group_whose_pods_hang_stops_no_other_in_either_direction() -> None:
    stuck = ComingNode("small-0", "small", 60, "Unschedulable", "0/3 nodes are available")
    request = ScalingRequest((Demand(of({"GPU": 1}), 1),), (SMALL, GPU), (full("b"), node("c", idle=60)), (stuck,))
    plan = plan_workers(request)
    assert added(plan) == {"gpu": 1}
    assert [removal.pod_name for removal in plan.drain] == ["c"]


@pytest.mark.parametrize(
    ("reason", "grace_seconds"),
    [
        ("Unschedulable", 5),
        ("SchedulingGated", 5),
        ("ImageUnavailable", 3),
        ("QuotaExceeded", 0),
        ("CrashLoop", 0),
        ("SomethingNew", 0),
    ],
)
def test_a5_the_next_group_is_tried_after_a_grace_of_seconds(reason: str, grace_seconds: float) -> None:
    second = Group("second", of({"CPU": 2}), priority=-1)

    def plan(age_seconds: float) -> ScalingPlan:
        pod = ComingNode("small-0", "small", age_seconds, reason)
        return plan_workers(ScalingRequest((Demand(CPU, 2),), (SMALL, second), (), (pod,)))

    if grace_seconds:
        early = plan(grace_seconds - 1)
        assert (added(early), early.next_check_seconds) == ({}, 1)
    late = plan(grace_seconds)
    assert added(late) == {"second": 1}
    assert late.cancel == (), "the stuck pod stays to show when the reason has gone"


def test_a6_slices_come_and_go_whole_and_one_idle_host_takes_none_down() -> None:
    slices = Group("slice", of({"TPU": 4}), max_nodes=8, hosts=4, idle_timeout_seconds=5)
    assert added(plan_workers(ScalingRequest((Demand(of({"TPU": 4}), 1),), (slices,)))) == {"slice": 4}
    hosts = tuple(
        replace(node(f"a{i}", slices, None if i == 3 else ResourceSet(), 99.0 if i == 3 else 0.0), replica="a")
        for i in range(4)
    )
    assert plan_workers(ScalingRequest((), (slices,), hosts)).drain == ()


def test_a7_any_name_of_an_accelerator_counts_and_is_kept_for_work_that_asks_for_it() -> None:
    for name in ("GPU", "TPU", "neuron_cores"):
        special = Group("special", of({"CPU": 4, name: 4}))
        plain = Group("plain", of({"CPU": 16}))
        assert added(plan_workers(ScalingRequest((Demand(CPU, 4),), (special, plain)))) == {"plain": 1}
        assert added(plan_workers(ScalingRequest((Demand(of({name: 1}), 4),), (special, plain)))) == {"special": 1}


def test_a8_priority_is_strict_and_bytes_of_memory_outweigh_nothing() -> None:
    gigabytes = {"memory": 64 * 2**30}
    tight = Group("tight", of({"CPU": 4, **gigabytes}))
    wasteful = Group("wasteful", of({"CPU": 64, **gigabytes}), priority=1)
    demand = Demand(of({"CPU": 1, "memory": 16 * 2**30}), 4)
    assert added(plan_workers(ScalingRequest((demand,), (tight, wasteful)))) == {"wasteful": 1}
    assert added(plan_workers(ScalingRequest((demand,), (tight, replace(wasteful, priority=0))))) == {"tight": 1}
    few = replace(wasteful, max_nodes=1)
    assert added(plan_workers(ScalingRequest((Demand(demand.shape, 8),), (tight, few)))) == {"tight": 1, "wasteful": 1}


def test_a10_what_is_remembered_is_in_the_plan_and_nowhere_else() -> None:
    stuck = ComingNode("small-0", "small", 60, "Unschedulable")
    first = plan_workers(ScalingRequest((Demand(CPU, 2),), (SMALL,), (), (stuck,)))
    [cooldown] = first.cooldowns
    assert (cooldown.group, cooldown.reason, cooldown.failures, cooldown.probe) == (
        "small",
        "Unschedulable",
        1,
        "small-0",
    )
    again = plan_workers(ScalingRequest((Demand(CPU, 2),), (SMALL,), (), (stuck,), cooldowns=first.cooldowns))
    assert again == first


def test_a12_work_that_fits_nowhere_is_told_with_every_group_that_was_tried() -> None:
    plan = plan_workers(ScalingRequest((Demand(of({"CPU": 8, "GPU": 2}), 3),), (SMALL, GPU)))
    [unmet] = plan.unmet
    assert (unmet.count, unmet.verdict) == (3, Verdict.INFEASIBLE)
    assert [refusal.message for refusal in unmet.tried] == [
        "group `gpu` offers at most 4 CPU and at most 1 GPU",
        "group `small` offers at most 2 CPU and no GPU",
    ]


def test_a13_custom_resources_may_be_fractions() -> None:
    group = Group("magic", of({"CPU": 4, "wand": 0.5}))
    plan = plan_workers(ScalingRequest((Demand(of({"wand": 0.1}), 10),), (group,)))
    assert (added(plan), plan.unmet) == ({"magic": 2}, ())


def test_a14_a_lowered_maximum_drains_and_cancels_what_has_not_joined_first() -> None:
    lower = replace(SMALL, max_nodes=1)
    busy = (replace(full("old"), age_seconds=90.0), replace(full("young"), age_seconds=5.0))
    plan = plan_workers(ScalingRequest((), (lower,), busy, (ComingNode("coming", "small"),)))
    assert [(removal.pod_name, removal.reason) for removal in plan.cancel] == [("coming", "OverLimit")]
    assert [(removal.pod_name, removal.node_id, removal.reason) for removal in plan.drain] == [
        ("young", "n-young", "OverLimit")
    ]
    assert plan.drain[0].text == "group `small` may have 1 replica (maxReplicas)"


# Behaviours


def test_one_worker_for_each_of_two_actors_and_none_when_they_are_gone() -> None:
    group = Group("worker", CPU, max_nodes=3, idle_timeout_seconds=10)
    first = plan_workers(ScalingRequest((Demand(CPU, 1, kind="actor"),), (group,)))
    assert added(first) == {"worker": 1}
    second = plan_workers(ScalingRequest((Demand(CPU, 1, kind="actor"),), (group,), (full("a", group),)))
    assert added(second) == {"worker": 1}
    idle = (node("a", group, idle=11), node("b", group, idle=12))
    assert len(plan_workers(ScalingRequest((), (group,), idle)).drain) == 2


def test_a_gpu_group_and_a_custom_one_are_found_by_what_they_offer() -> None:
    custom = Group("custom", of({"CPU": 1, "magic": 5}))
    request = ScalingRequest((Demand(of({"GPU": 1}), 1), Demand(of({"magic": 4}), 1)), (SMALL, GPU, custom))
    assert added(plan_workers(request)) == {"gpu": 1, "custom": 1}


def test_many_tasks_reach_the_maximum_exactly() -> None:
    request = ScalingRequest((Demand(CPU, 100),), (SMALL,))
    assert added(plan_workers(request)) == {"small": 4}
    after = joined(request, plan_workers(request))
    busy = tuple(full(item.pod_name) for item in after.nodes)
    again = plan_workers(ScalingRequest((Demand(CPU, 92),), (SMALL,), busy))
    assert (again.add, again.drain) == ((), ())


def test_a_raised_minimum_adds_and_work_adds_beyond_it() -> None:
    raised = replace(SMALL, min_nodes=2)
    assert added(plan_workers(ScalingRequest((), (raised,)))) == {"small": 2}
    busy = (full("a"), full("b"))
    assert added(plan_workers(ScalingRequest((Demand(CPU, 1),), (raised,), busy))) == {"small": 1}


def test_a_raised_maximum_adds() -> None:
    busy = tuple(full(name) for name in "abcd")
    assert added(plan_workers(ScalingRequest((Demand(CPU, 2),), (SMALL,), busy))) == {}
    more = replace(SMALL, max_nodes=5)
    assert added(plan_workers(ScalingRequest((Demand(CPU, 2),), (more,), busy))) == {"small": 1}


def test_each_group_has_its_own_idle_timeout() -> None:
    slow = replace(GPU, idle_timeout_seconds=30)
    plan = plan_workers(ScalingRequest((), (SMALL, slow), (node("a", idle=12), node("b", slow, idle=12))))
    assert [removal.pod_name for removal in plan.drain] == ["a"]
    assert plan.drain[0].text == "idle for 12 s, its timeout is 10 s"
    assert plan.next_check_seconds == 18


def test_work_without_accelerators_goes_to_a_gpu_group_when_it_is_the_only_one() -> None:
    assert added(plan_workers(ScalingRequest((Demand(CPU, 4),), (GPU,)))) == {"gpu": 1}


def test_an_idle_worker_stays_while_a_placement_group_needs_it() -> None:
    pair = gang(GangStrategy.STRICT_SPREAD, Bundle(of({"CPU": 2}), (), 2))
    request = ScalingRequest((), (SMALL,), (node("a", idle=99),), (ComingNode("b", "small", 15),), gangs=(pair,))
    plan = plan_workers(request)
    assert (plan.add, plan.drain, plan.cancel) == ((), (), ())
    blocked = replace(request, groups=(replace(SMALL, max_nodes=2),), nodes=(node("a", idle=99), full("c")), coming=())
    plan = plan_workers(blocked)
    assert [unmet.verdict for unmet in plan.unmet] == [Verdict.LIMIT_REACHED]
    assert plan.drain == (), "it waits for one more, and would have to come back"


def test_requested_resources_launch_nodes_and_hold_them() -> None:
    floor = (Demand(CPU, 6),)
    request = ScalingRequest((), (SMALL,), floors=floor)
    plan = plan_workers(request)
    assert [(item.group, item.count, item.reason) for item in plan.add] == [("small", 3, "RequestedResources")]
    assert plan.add[0].origins[0].text == "6 tasks of 1 CPU"
    there = (full("a"), node("b", idle=99), node("c", idle=99), node("d", idle=99))
    plan = plan_workers(ScalingRequest((), (SMALL,), there, floors=floor))
    assert plan.add == (), "used or not, all that nodes have counts"
    assert len(plan.drain) == 1
    plan = plan_workers(ScalingRequest((Demand(CPU, 2),), (SMALL,), (full("a"),), floors=(Demand(CPU, 4),)))
    assert added(plan) == {"small": 1}, "what is launched for it takes waiting work, too"


def test_nodes_for_work_count_for_what_is_requested_whichever_comes_first() -> None:
    waiting = (Demand(of({"GPU": 1}), 4),)
    plan = plan_workers(ScalingRequest(waiting, (SMALL, GPU), floors=(Demand(CPU, 16),)))
    assert added(plan) == {"gpu": 4}
    plan = plan_workers(ScalingRequest((Demand(CPU, 16),), (SMALL, GPU), floors=(Demand(of({"GPU": 1}), 4),)))
    assert added(plan) == {"gpu": 4}


def test_more_than_can_be_had_is_requested() -> None:
    plan = plan_workers(ScalingRequest((), (SMALL,), floors=(Demand(CPU, 10), Demand(of({"GPU": 1}), 1))))
    assert added(plan) == {"small": 4}
    assert sorted((unmet.verdict, unmet.count) for unmet in plan.unmet) == [("Infeasible", 1), ("LimitReached", 2)]


def test_a_group_that_was_appended_is_used_and_shrinks_to_nothing() -> None:
    fresh = Group("fresh", of({"CPU": 32}), max_nodes=1, idle_timeout_seconds=5)
    assert added(plan_workers(ScalingRequest((Demand(of({"CPU": 20}), 1),), (SMALL, fresh)))) == {"fresh": 1}
    assert len(plan_workers(ScalingRequest((), (SMALL, fresh), (node("a", fresh, idle=6),))).drain) == 1


@pytest.mark.parametrize(
    ("strategy", "nodes"),
    [
        (GangStrategy.STRICT_PACK, 1),
        (GangStrategy.PACK, 1),
        (GangStrategy.STRICT_SPREAD, 2),
        (GangStrategy.SPREAD, 2),
    ],
)
def test_placement_groups_take_one_node_or_one_for_each_bundle(strategy: GangStrategy, nodes: int) -> None:
    request = ScalingRequest((), (SMALL,), gangs=(gang(strategy, Bundle(CPU, (), 2)),))
    plan = plan_workers(request)
    assert [(item.group, item.count, item.reason) for item in plan.add] == [("small", nodes, "PlacementGroup")]
    assert [waiting.gang for waiting in plan.waiting] == list(request.gangs)
    assert plan_workers(carried_out(request, plan)).add == ()


@pytest.mark.parametrize("bundles", [(), (Bundle(CPU, (), 0),), (Bundle(CPU, (), -1),)])
@pytest.mark.parametrize("strategy", GangStrategy)
def test_a_placement_group_that_waits_for_no_bundle_takes_nothing(
    strategy: GangStrategy, bundles: tuple[Bundle, ...]
) -> None:
    plan = plan_workers(ScalingRequest((Demand(CPU, 1),), (SMALL,), gangs=(gang(strategy, *bundles),)))
    assert ([item.reason for item in plan.add], added(plan), plan.unmet) == (["Demand"], {"small": 1}, ())
    assert plan_workers(ScalingRequest((), (SMALL,), gangs=(gang(strategy, *bundles),))).add == ()
    assert plan_workers(ScalingRequest((), (), gangs=(gang(strategy, *bundles),))).unmet == ()


def named(name: str, strategy: GangStrategy, *bundles: Bundle, held: tuple[str, ...] = ()) -> Gang:
    return Gang(f"id-{name}", name, strategy, bundles, held)


SPREAD, PACK = GangStrategy.SPREAD, GangStrategy.PACK
TWO_OF_ONE = (Bundle(CPU), Bundle(CPU))


@pytest.mark.parametrize(
    ("gangs", "texts"),
    [
        ([named("sp", SPREAD, Bundle(CPU, (), 3))], ["placement group `sp` (3 bundles of 1 CPU, SPREAD)"]),
        ([named("pa", PACK, *TWO_OF_ONE)], ["placement group `pa` (2 bundles of 1 CPU, PACK)"]),
        (
            [named("a", PACK, *TWO_OF_ONE), named("b", PACK, Bundle(CPU, (), 2)), named("c", SPREAD, Bundle(CPU))],
            [
                "2 placement groups like `a` (2 bundles of 1 CPU, PACK)",
                "placement group `c` (1 bundle of 1 CPU, SPREAD)",
            ],
        ),
        (
            [named("m", SPREAD, Bundle(CPU, (), 2), Bundle(of({"CPU": 2})))],
            ["placement group `m` (2 bundles of 1 CPU and 1 bundle of 2 CPU, SPREAD)"],
        ),
        (
            [named("", SPREAD, *(Bundle(of({"CPU": size / 10})) for size in range(1, 6)))],
            [
                (
                    "placement group `id-` (1 bundle of 0.1 CPU and 1 bundle of 0.2 CPU and 1 bundle of 0.3 CPU "
                    "and 2 other kinds of bundles, SPREAD)"
                )
            ],
        ),
        (
            [named("l", GangStrategy.STRICT_SPREAD, Bundle(CPU), held=("elsewhere",))],
            ["placement group `l` (1 more bundle of 1 CPU, STRICT_SPREAD)"],
        ),
    ],
)
def test_nodes_for_placement_groups_say_which_and_with_which_bundles(gangs: list[Gang], texts: list[str]) -> None:
    plan = plan_workers(ScalingRequest((), (SMALL,), gangs=tuple(gangs)))
    assert [origin.text for addition in plan.add for origin in addition.origins] == texts
    assert sum(origin.units for origin in plan.add[0].origins) == sum(b.count for g in gangs for b in g.bundles)


def test_bundles_that_lost_their_node_are_placed_beside_those_that_have_one() -> None:
    nodes = (node("a", free=CPU), node("b", free=CPU))
    lost = gang(GangStrategy.STRICT_SPREAD, Bundle(CPU), held=("n-a",))
    assert plan_workers(ScalingRequest((), (SMALL,), nodes, gangs=(lost,))).add == ()
    assert added(plan_workers(ScalingRequest((), (SMALL,), nodes[:1], gangs=(lost,)))) == {"small": 1}
    together = gang(GangStrategy.STRICT_PACK, Bundle(CPU), held=("n-a",))
    assert plan_workers(ScalingRequest((), (SMALL,), nodes[:1], gangs=(together,))).unmet == ()
    plan = plan_workers(ScalingRequest((), (SMALL,), (full("a"), nodes[1]), gangs=(together,)))
    assert (plan.add, [unmet.verdict for unmet in plan.unmet]) == ((), [Verdict.LIMIT_REACHED])


def test_bundles_of_a_spread_group_leave_each_other_the_only_node_that_fits() -> None:
    tight = Group("tight", of({"CPU": 4, "memory": 2}), max_nodes=1)
    wide = Group("wide", of({"CPU": 4, "memory": 8}), max_nodes=1)
    for first, second in ((4, 2), (2, 4)):
        bundles = (Bundle(of({"CPU": first})), Bundle(of({"CPU": second, "memory": 4})))
        plan = plan_workers(ScalingRequest((), (tight, wide), gangs=(gang(GangStrategy.STRICT_SPREAD, *bundles),)))
        assert (added(plan), plan.unmet) == ({"tight": 1, "wide": 1}, ())


def test_a_gang_that_does_not_fit_into_the_limits_takes_nothing() -> None:
    plan = plan_workers(ScalingRequest((), (SMALL,), gangs=(gang(GangStrategy.STRICT_SPREAD, Bundle(CPU, (), 5)),)))
    [unmet] = plan.unmet
    assert (plan.add, unmet.verdict, unmet.count) == ((), Verdict.LIMIT_REACHED, 5)
    assert unmet.message == (
        "placement group `train` needs 5 bundles each on a node of its own, of them 1 CPU, "
        "group `small` may have no more than 4 replicas (maxReplicas)"
    )
    plan = plan_workers(ScalingRequest((), (SMALL,), gangs=(gang(GangStrategy.STRICT_PACK, Bundle(CPU, (), 3)),)))
    assert plan.unmet[0].verdict is Verdict.INFEASIBLE
    assert plan.unmet[0].message == "placement group `train` needs 3 CPU on one node, group `small` offers at most 2"


def test_conservative_growth_begins_with_five_and_then_doubles() -> None:
    group = Group("worker", CPU, max_nodes=50)
    slow = Upscaling(UpscalingMode.CONSERVATIVE)
    request = ScalingRequest((Demand(CPU, 10),), (group,), upscaling=slow)
    first = plan_workers(request)
    assert (added(first), first.held_back, first.next_check_seconds) == ({"worker": 5}, 5, 5)
    assert sum(waiting.count for waiting in first.waiting) == 10
    assert plan_workers(carried_out(request, first)).add == ()
    busy = tuple(full(f"w{i}", group) for i in range(5))
    second = plan_workers(ScalingRequest((Demand(CPU, 5),), (group,), busy, upscaling=slow))
    assert (added(second), second.held_back) == ({"worker": 5}, 0)
    many = tuple(full(f"w{i}", group) for i in range(12))
    assert added(plan_workers(ScalingRequest((Demand(CPU, 30),), (group,), many, upscaling=slow))) == {"worker": 12}


def test_slow_growth_still_brings_whole_replicas_and_minimums_at_once() -> None:
    slices = Group("slice", of({"CPU": 1}), max_nodes=80, hosts=8)
    slow = Upscaling(UpscalingMode.CONSERVATIVE)
    plan = plan_workers(ScalingRequest((Demand(CPU, 16),), (slices,), upscaling=slow))
    assert (added(plan), plan.held_back) == ({"slice": 8}, 8)
    least = Group("kept", CPU, min_nodes=20, max_nodes=20)
    assert added(plan_workers(ScalingRequest((), (least,), upscaling=slow))) == {"kept": 20}


# Limits over all groups


def test_twenty_tasks_of_five_cpus_take_ten_pods_of_ten() -> None:
    group = Group("worker", of({"CPU": 10}), max_nodes=100)
    plan = plan_workers(ScalingRequest((Demand(of({"CPU": 5}), 20),), (group,)))
    assert (added(plan), plan.unmet) == ({"worker": 10}, ())
    assert [(origin.text, origin.units) for origin in plan.add[0].origins] == [("20 tasks of 5 CPU", 20)]


def test_resources_of_all_groups_are_bounded_and_the_bound_is_named() -> None:
    limits = Limits(max_resources=of({"CPU": 6}))
    plan = plan_workers(ScalingRequest((Demand(CPU, 20),), (SMALL, GPU), limits=limits))
    assert sum({"small": 2, "gpu": 4}[name] * count for name, count in added(plan).items()) <= 6
    [unmet] = plan.unmet
    assert unmet.verdict is Verdict.LIMIT_REACHED
    assert "the cluster may have no more than 6 CPU" in unmet.message


def test_a_lowered_bound_over_all_groups_takes_the_lowest_priority_first() -> None:
    first = replace(GPU, priority=1)
    nodes = (full("a"), node("b", first, idle=1), full("c"))
    plan = plan_workers(ScalingRequest((), (SMALL, first), nodes, limits=Limits(max_nodes=2)))
    assert [removal.group for removal in plan.drain] == ["small"]
    assert plan.drain[0].text == "the cluster may have no more than 2 workers (limits.maxWorkers)"


# What a moment ago was


def test_work_of_a_moment_ago_keeps_nodes_and_adds_none() -> None:
    idle = (node("a", idle=99), node("b", idle=99))
    plan = plan_workers(ScalingRequest((Demand(CPU, 0, recent_count=3),), (SMALL,), idle))
    assert (plan.add, plan.drain, plan.waiting) == ((), (), ())
    assert len(plan_workers(ScalingRequest((), (SMALL,), idle)).drain) == 2


def test_consolidation_lets_idle_nodes_go_whose_work_fits_elsewhere() -> None:
    nodes = (node("a", idle=60), node("b", idle=50))
    request = ScalingRequest((Demand(CPU, 3),), (SMALL,), nodes, (ComingNode("c", "small", 3),))
    assert plan_workers(request).drain == ()
    plan = plan_workers(replace(request, consolidation=True))
    assert [(removal.pod_name, removal.text) for removal in plan.drain] == [("a", "its work fits on other nodes")]
    assert plan.add == plan_workers(carried_out(request, plan)).add == ()
    held = replace(request, consolidation=True, floors=(Demand(CPU, 6),))
    assert plan_workers(held).drain == (), "a program asked for as much as there is"
    pair = gang(GangStrategy.STRICT_SPREAD, Bundle(CPU, (), 5))
    waits = replace(request, demands=(), gangs=(pair,), consolidation=True)
    assert plan_workers(waits).drain == (), "they are kept for a placement group that waits for the rest"
    young = replace(request, nodes=(node("a", idle=6), node("b", idle=5)), consolidation=True)
    assert plan_workers(young).drain == ()


def test_a_million_shapes_are_planned_in_part_and_told_in_one_line() -> None:
    demands = tuple(Demand(ResourceSet({"CPU": 10_000 + index}), 1) for index in range(3_000))
    plan = plan_workers(ScalingRequest(demands, (replace(SMALL, max_nodes=10_000),), (node("a", idle=99),)))
    assert added(plan)["small"] >= 999
    assert plan.unmet[-1].count == 2_000
    assert "2000 other shapes wait their turn" in plan.unmet[-1].message
    assert plan.drain == ()


def test_what_a_head_has_summed_up_is_told_and_is_no_work_of_no_size() -> None:
    summed_up = Demand(ResourceSet(), 4_000, kind="other", examples=("shapes beyond the first 1000",))
    plan = plan_workers(ScalingRequest((Demand(CPU, 1), summed_up), (SMALL,), (node("a", idle=99), node("b", idle=99))))
    assert (plan.add, plan.drain) == ((), ())
    assert [(unmet.count, "4000 more units of other shapes" in unmet.message) for unmet in plan.unmet] == [
        (4_000, True)
    ]


@pytest.mark.parametrize("consolidation", [False, True])
def test_placement_groups_that_a_head_does_not_list_keep_idle_workers_and_are_told_in_one_line(
    consolidation: bool,
) -> None:
    nodes, coming = (node("a", idle=99), node("b", idle=99)), (ComingNode("c", "small", 99),)
    request = ScalingRequest(groups=(SMALL,), nodes=nodes, coming=coming, consolidation=consolidation)
    settled = plan_workers(request)
    assert [removal.pod_name for removal in (*settled.drain, *settled.cancel)] == ["a", "b", "c"]
    plan = plan_workers(replace(request, gangs_left_out=7))
    assert (plan.add, plan.drain, plan.cancel) == ((), (), ())
    assert [(unmet.count, unmet.verdict, unmet.sums_up) for unmet in plan.unmet] == [(7, Verdict.LIMIT_REACHED, True)]
    assert plan.unmet[0].message.startswith("more placement groups wait than the head lists")
    over = plan_workers(replace(request, groups=(replace(SMALL, max_nodes=1),), gangs_left_out=7))
    assert len(over.drain) + len(over.cancel) == 2, "a limit that was lowered holds all the same"
    assert plan_workers(replace(request, gangs_left_out=-1)) == settled


def test_the_head_counts_for_no_limit_and_replicas_count_whole() -> None:
    head = Node("h", "head", "", of({"CPU": 4}), ResourceSet(), removable=False)
    limits = Limits(max_resources=of({"CPU": 4}))
    request = ScalingRequest((Demand(CPU, 9),), (SMALL,), (head,), limits=limits)
    assert added(plan_workers(request)) == {"small": 2}
    pairs = Group("pair", of({"CPU": 3}), max_nodes=8, hosts=2)
    assert added(plan_workers(ScalingRequest((Demand(CPU, 9),), (pairs,), limits=limits))) == {}


def test_a_nodes_own_labels_win_over_its_groups() -> None:
    group = replace(SMALL, labels=(("zone", "a"),))
    own = replace(node("n", group), labels=(("zone", "b"),))
    request = ScalingRequest((Demand(CPU, 1, (("zone", "a"),)),), (group,), (own,))
    assert added(plan_workers(request)) == {"small": 1}


def test_an_addition_names_five_shapes() -> None:
    demands = tuple(Demand(of({"CPU": index / 10}), 1) for index in range(1, 8))
    [addition] = plan_workers(ScalingRequest(demands, (Group("big", of({"CPU": 9})),))).add
    assert len(addition.origins) == 5


def test_minimums_are_met_by_priority_and_lowered_limits_take_stuck_pods_first() -> None:
    first, last = Group("z", CPU, 2, 2, priority=1), Group("a", CPU, 2, 2)
    assert added(plan_workers(ScalingRequest((), (first, last), limits=Limits(max_nodes=2)))) == {"z": 2}
    coming = (ComingNode("a-fine", "small", 1.0), ComingNode("b-stuck", "small", 99.0, "CrashLoop"))
    lower = replace(SMALL, max_nodes=1)
    plan = plan_workers(ScalingRequest((Demand(CPU, 2),), (lower,), (), coming))
    assert [(item.pod_name, item.reason) for item in plan.cancel] == [("b-stuck", "OverLimit")]
