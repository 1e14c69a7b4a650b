"""More placement groups than one plan can look at: the work is bounded, nothing goes unseen, and all get their turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.autoscaler.worlds import carried_out, of, requests, selectors, shapes

from shoal.resources import ResourceSet
from shoal_operator.autoscaler import gangs as placing
from shoal_operator.autoscaler import intake
from shoal_operator.autoscaler.gangs import Band, compile_gangs
from shoal_operator.autoscaler.model import (
    Bundle,
    Gang,
    GangStrategy,
    Group,
    Node,
    ScalingRequest,
    Unmet,
)
from shoal_operator.autoscaler.packing import Packing
from shoal_operator.autoscaler.plan import plan_workers
from shoal_operator.autoscaler.problem import Space
from shoal_operator.autoscaler.search import STRATEGIES, Question, pack
from shoal_operator.autoscaler.standing import find_room, stand
from shoal_operator.autoscaler.turns import TURN_SECONDS, in_turn, turn_at

WORKER = Group("worker", of({"CPU": 8, "memory": 64}), max_nodes=2_000, idle_timeout_seconds=10)


def nodes_that_differ(count: int) -> tuple[Node, ...]:
    free = (ResourceSet({"CPU": 20_000 + 7 * index, "memory": 300_000 - index}) for index in range(count))
    return tuple(Node(f"n{i}", f"p{i}", "worker", WORKER.resources, each) for i, each in enumerate(free))


def gangs(count: int, bundles: int, strategy: GangStrategy, cpus: int = 1) -> tuple[Gang, ...]:
    def bundle(index: int) -> Bundle:
        return Bundle(ResourceSet({"CPU": cpus * 10_000 + index % 9_973, "memory": 10_000 + index}))

    return tuple(
        Gang(f"id-{i}", f"g{i}", strategy, tuple(bundle(i * bundles + place) for place in range(bundles)))
        for i in range(count)
    )


def summed_up(unmet: tuple[Unmet, ...]) -> int:
    return sum(item.count for item in unmet if item.sums_up)


def packed(request: ScalingRequest) -> tuple[Packing, tuple[Band, ...]]:
    """One pass, as a plan makes it."""
    taken = intake.take_in_gangs(request)
    space = Space(request, (bundle.shape for gang in taken for bundle in gang.bundles))
    bands = tuple(compile_gangs(space, taken, 0))
    room = find_room(request, space, frozenset(), frozenset())
    question = Question(space, (), bands, stand(request, space), room, {}, turn=request.turn)
    return pack(question, STRATEGIES[0]), bands


@contextmanager
def small_budget(looked: int = 6, bundles: int = 4) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placing, "LOOKED_MAX", looked)
        patch.setattr(intake, "BUNDLES_MAX", bundles)
        yield


@pytest.mark.parametrize("strategy", GangStrategy)
def test_a_pass_looks_no_further_than_its_budget(strategy: GangStrategy) -> None:
    request = ScalingRequest((), (WORKER,), nodes_that_differ(1_000), gangs=gangs(1_000, 5, strategy))
    packing, bands = packed(request)
    last_ones = 2 * 4 * 6 * 1_200
    assert packing.looked <= 2 * placing.LOOKED_MAX + last_ones
    assert placing.keep_places(packing, bands) or packing.looked <= 3 * placing.LOOKED_MAX + 2 * last_ones


def test_gangs_that_a_plan_does_not_get_to_are_told_in_one_line_and_keep_idle_workers() -> None:
    idle = Node("n", "idle", "worker", WORKER.resources, WORKER.resources, 99.0)
    alone = ScalingRequest((), (WORKER,), (idle,))
    assert len(plan_workers(alone).drain) == 1
    many = replace(alone, gangs=gangs(2, 3, GangStrategy.PACK, cpus=100))
    assert len(plan_workers(many).drain) == 1
    with small_budget():
        plan = plan_workers(many)
    assert (plan.drain, summed_up(plan.unmet), plan.next_check_seconds) == ((), 1, TURN_SECONDS)
    assert plan.unmet[-1].message == (
        "more placement groups wait than one plan looks at: they are looked at in turn, "
        "and no idle worker goes meanwhile"
    )
    assert summed_up(plan_workers(replace(many, gangs_left_out=3)).unmet) == 3


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("strategy", GangStrategy)
def test_a_thousand_that_fit_nowhere_keep_no_other_waiting(strategy: GangStrategy, turn: int) -> None:
    last = Gang("z", "z", strategy, (Bundle(of({"CPU": 8})),))
    infeasible = gangs(1_000, 20, strategy, cpus=100)
    request = ScalingRequest((), (WORKER,), nodes_that_differ(100), gangs=(*infeasible, last), turn=turn)
    plan = plan_workers(request)
    assert [(item.group, item.count) for item in plan.add] == [("worker", 1)]
    assert [waiting.gang for waiting in plan.waiting] == [last]


def test_each_gets_its_turn_among_those_that_are_long_to_look_at() -> None:
    full = replace(WORKER, max_nodes=40)
    request = ScalingRequest((), (full,), nodes_that_differ(40), gangs=gangs(40, 10, GangStrategy.STRICT_SPREAD))
    seen: set[str] = set()
    with small_budget(looked=300, bundles=150):
        for turn in range(120):
            packing, bands = packed(replace(request, turn=turn))
            late = set(packing.late_gangs)
            assert packing.is_cut
            assert len(late) > 5
            assert len(bands) == 15
            seen |= {band.gang.gang_id for band in bands if band.index not in late}
    assert len(seen) == 40


def test_turns_that_follow_one_another_begin_far_apart() -> None:
    assert (turn_at(59.9), turn_at(60.0)) == (2, 3)
    for count in (1, 2, 7, 1_000):
        order = [in_turn(range(count), turn)[0] for turn in range(3 * count)]
        assert set(order) == set(range(count))
    assert in_turn([], 5) == []


many_gangs = st.lists(
    st.tuples(
        st.sampled_from(GangStrategy), st.lists(st.builds(Bundle, shapes, selectors, st.integers(1, 3)), max_size=3)
    ),
    max_size=8,
)


def with_gangs(request: ScalingRequest, drawn: list[tuple[GangStrategy, list[Bundle]]], turn: int) -> ScalingRequest:
    found = tuple(Gang(f"g{i}", "", strategy, tuple(bundles)) for i, (strategy, bundles) in enumerate(drawn))
    return replace(request, gangs=found, turn=turn)


@settings(max_examples=60, deadline=None)
@given(requests(gangs=False), many_gangs, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_question_does_not_matter(request: ScalingRequest, drawn: Any, turn: int, rng: Any) -> None:
    asked = with_gangs(request, drawn, turn)
    shuffled: dict[str, Any] = {
        name: tuple(rng.sample(getattr(asked, name), len(getattr(asked, name))))
        for name in ("gangs", "nodes", "groups", "demands", "coming")
    }
    with small_budget():
        plan = plan_workers(asked)
        assert plan_workers(replace(asked, **shuffled)) == plan
    if summed_up(plan.unmet):
        assert all(removal.reason == "OverLimit" for removal in plan.drain)
    named = {group.name: group.max_nodes for group in request.groups}
    before = [node.group for node in request.nodes] + [pod.group for pod in request.coming]
    assert all(before.count(item.group) + item.count <= named[item.group] for item in plan.add if len(plan.add) == 1)


@settings(max_examples=25, deadline=None)
@given(requests(gangs=False, blocked=False), many_gangs)
def test_carried_out_turn_after_turn_it_comes_to_rest(request: ScalingRequest, drawn: Any) -> None:
    asked = with_gangs(request, drawn, 0)
    added = []
    with small_budget():
        for turn in range(40):
            plan = plan_workers(replace(asked, turn=turn))
            added.append(len(plan.add))
            after = carried_out(replace(asked, turn=turn), plan)
            known = {pod.pod_name for pod in asked.coming}
            coming = (
                pod if pod.pod_name in known else replace(pod, pod_name=f"{turn}-{pod.pod_name}")
                for pod in after.coming
            )
            asked = replace(after, coming=tuple(coming))
    assert not any(added[25:])
