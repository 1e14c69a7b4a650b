"""What holds for every question: feasible, within limits, deterministic, and quiet once carried out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.autoscaler.worlds import can_hold, carried_out, groups, of, placed_units, places_after, requests, shapes

from shoal.core.labels import matches
from shoal.resources import ResourceSet
from shoal_operator.autoscaler.bins import units_per_node
from shoal_operator.autoscaler.model import (
    Bundle,
    ComingNode,
    Cooldown,
    Demand,
    Gang,
    GangStrategy,
    Group,
    Limits,
    Node,
    ScalingRequest,
    Verdict,
)
from shoal_operator.autoscaler.plan import plan_workers
from shoal_operator.autoscaler.problem import Space


@settings(max_examples=150, deadline=None)
@given(requests())
def test_stays_within_limits(request: ScalingRequest) -> None:
    plan = plan_workers(request)
    before = Counter(node.group for node in (*request.nodes, *request.coming))
    gone = {removal.pod_name for removal in (*plan.drain, *plan.cancel)}
    after = Counter(node.group for node in request.nodes)  # those that are drained are there for a while
    after.update(pod.group for pod in request.coming if pod.pod_name not in gone)
    staying = Counter(n.group for n in request.nodes if not n.draining and n.pod_name not in gone)
    staying.update(pod.group for pod in request.coming if pod.pod_name not in gone)
    for addition in plan.add:
        assert addition.count > 0
        after[addition.group] += addition.count
        staying[addition.group] += addition.count
    named = {group.name: group for group in request.groups}
    if request.limits.max_nodes is not None:
        assert not plan.add or after.total() <= request.limits.max_nodes
    for name, most in (request.limits.max_resources or {}).items():
        used = sum(named[group].resources[name] * count for group, count in after.items())
        assert used <= most or not any(named[item.group].resources[name] for item in plan.add)
    for group in request.groups:
        assert after[group.name] <= max(group.max_nodes, before[group.name])
        assert staying[group.name] % group.hosts == 0
        if any(name.startswith(f"{group.name}-") for name in gone):
            assert staying[group.name] >= group.min_nodes


@settings(max_examples=100, deadline=None)
@given(requests(), st.randoms(use_true_random=False))
def test_is_the_same_for_every_order(request: ScalingRequest, random: Any) -> None:
    def shuffled(items: tuple[Any, ...]) -> tuple[Any, ...]:
        copy = list(items)
        random.shuffle(copy)
        return tuple(copy)

    names = ("demands", "groups", "nodes", "coming", "gangs", "floors")
    other = replace(request, **{name: shuffled(getattr(request, name)) for name in names})
    assert plan_workers(other) == plan_workers(request)


@settings(max_examples=200, deadline=None)
@given(requests())
def test_carried_out_it_adds_nothing_more(request: ScalingRequest) -> None:
    plan = plan_workers(request)
    is_limited = request.limits != Limits()
    assume(not (is_limited and (plan.drain or plan.cancel)))  # what goes makes room for what had none
    again = plan_workers(carried_out(request, plan))
    assert again.add == ()


@settings(max_examples=150, deadline=None)
@given(requests())
def test_all_that_is_not_left_over_has_a_place(request: ScalingRequest) -> None:
    """Gangs whole, each on nodes as its strategy says: tried by a checker that knows nothing of how we pack."""
    plan = plan_workers(request)
    units = placed_units(request, plan.unmet)
    assert can_hold(units, places_after(request, plan)) in {True, None}


@settings(max_examples=150, deadline=None)
@given(requests(gangs=False))
def test_infeasible_is_said_exactly_when_no_empty_node_fits(request: ScalingRequest) -> None:
    plan = plan_workers(request)
    for unmet in plan.unmet:
        assert unmet.message
        assert [refusal.group for refusal in unmet.tried] or not request.groups
        labels = {group.name: dict(group.labels) for group in request.groups}
        offers = [(group.resources, labels[group.name]) for group in request.groups]
        offers += [(node.total, labels.get(node.group, {})) for node in request.nodes]
        fits = [
            offer
            for offer, has in offers
            if unmet.demand.shape.fits(offer) and matches(unmet.demand.label_selector, has)
        ]
        assert (unmet.verdict is Verdict.INFEASIBLE) == (not fits)


@settings(max_examples=100, deadline=None)
@given(groups(), shapes, st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
def test_more_of_one_shape_never_takes_less(
    known: tuple[Group, ...], shape: ResourceSet, count: int, more: int, bundles: int
) -> None:
    def after(units: int) -> tuple[int, int]:
        plan = plan_workers(ScalingRequest((Demand(shape, units),), known))
        nodes = sum(item.count for item in plan.add)
        return (nodes if len(known) == 1 else 0), sum(unmet.count for unmet in plan.unmet)

    assert all(one <= other for one, other in zip(after(count), after(count + more), strict=True))


def gang_of(strategy: GangStrategy, shape: ResourceSet, count: int) -> Gang:
    return Gang("gang", "", strategy, (Bundle(shape, (), count),))


@settings(max_examples=100, deadline=None)
@given(requests(gangs=False, limits=False), st.sampled_from(GangStrategy), shapes, st.integers(1, 4))
def test_a_gang_is_all_or_nothing(
    request: ScalingRequest, strategy: GangStrategy, shape: ResourceSet, count: int
) -> None:
    """One that finds no place adds nothing: the plan is as if it were not there, but for what it keeps from going."""
    alone = plan_workers(request)
    plan = plan_workers(replace(request, gangs=(gang_of(strategy, shape, count),)))
    failed = [unmet for unmet in plan.unmet if unmet.gang]
    assert [unmet.count for unmet in failed] in ([], [1 if strategy is GangStrategy.STRICT_PACK else count])
    if failed:
        assert [(item.group, item.count) for item in plan.add] == [(item.group, item.count) for item in alone.add]
    assert not any(item.reason == "PlacementGroup" for item in alone.add)


amounts = st.sampled_from([0, 1, -1, 10**12, -(10**12)])
seconds = st.sampled_from([0.0, -5.0, 1e18, -math.inf, math.inf, math.nan])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nonsense_gets_a_verdict_and_never_an_exception(data: st.DataObject) -> None:
    selector = data.draw(st.sampled_from([(), (("", ""),), (("zone", "in("),), (("zone", "!in()"),)]))
    shape = data.draw(st.sampled_from([of({}), of({"CPU": 1}), of({"magic": 1}), ResourceSet({"CPU": 10**24})]))
    group = Group("a", data.draw(shapes), data.draw(amounts), data.draw(amounts), hosts=data.draw(st.integers(-1, 2)))
    node = Node("n", "p", "a", of({"CPU": 2}), of({"CPU": 5}), data.draw(seconds), age_seconds=data.draw(seconds))
    pod = ComingNode(
        "q", data.draw(st.sampled_from(["a", "gone"])), data.draw(seconds), data.draw(st.sampled_from(["", "Odd"]))
    )
    strategy = data.draw(st.sampled_from(GangStrategy))
    odd = Cooldown("a", "Odd", data.draw(seconds), data.draw(amounts))
    request = ScalingRequest(
        demands=(Demand(shape, data.draw(amounts), selector, recent_count=data.draw(amounts)),),
        groups=(group, group),
        nodes=(node, node),
        coming=(pod, pod),
        limits=Limits(data.draw(st.sampled_from([None, -1, 0])), data.draw(st.sampled_from([None, of({"CPU": 1})]))),
        gangs=(
            Gang("g", "", strategy, (Bundle(shape, selector, data.draw(amounts)),), ("n", "unknown")),
            Gang("", "", strategy, ()),
        ),
        floors=(Demand(shape, data.draw(amounts)),),
        cooldowns=data.draw(st.sampled_from([(), (Cooldown("gone", "", math.nan), odd)])),
    )
    plan = plan_workers(request)
    assert all(item.count > 0 for item in plan.add)
    assert all(unmet.message for unmet in plan.unmet)
    assert plan.next_check_seconds is None or plan.next_check_seconds > 0


@given(shapes, shapes, st.integers(1, 20))
def test_numbers_say_what_the_schedulers_fits_says(shape: ResourceSet, offer: ResourceSet, count: int) -> None:
    space = Space(ScalingRequest(groups=(Group("a", offer),)), [shape])
    item = space.item(0, Demand(shape, count), count)
    assert bool(item.groups) == shape.fits(offer)
    fitting = units_per_node(item.needs, space.amounts(offer), count) if item.is_possible else 0
    assert all(shape.times(units).fits(offer) for units in range(fitting + 1))
    assert fitting == count or not shape.times(fitting + 1).fits(offer)
