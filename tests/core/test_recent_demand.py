"""The most that waited lately: told beside what waits now, for a second, and bounded."""

from __future__ import annotations

import random

import pytest

from shoal.core.demand import NodeDemand, aggregate
from shoal.core.recent_demand import MAX_REMEMBERED, RecentDemand
from shoal.resources import ResourceSet

ONE = ResourceSet.from_units({"CPU": 1})


def waits(count: int, **more: object) -> list[NodeDemand]:
    return [NodeDemand(ONE, count, **more)]  # type: ignore[arg-type]


def shown(demand: RecentDemand, now: float) -> list[tuple[int, int]]:
    return [(one.count, one.recent_count) for one in demand.listed(now)]


@pytest.mark.parametrize(
    ("told", "at", "expected"),
    [
        pytest.param([(0.0, "a", 5)], 0.0, [(5, 5)], id="what waits"),
        pytest.param([(0.0, "a", 5), (1.0, "a", 2)], 1.5, [(2, 5)], id="fell a moment ago"),
        pytest.param([(0.0, "a", 5), (1.0, "a", 2)], 2.0, [(2, 2)], id="fell for good"),
        pytest.param([(0.0, "a", 5), (1.0, "a", 0)], 1.99, [(0, 5)], id="gone a moment ago"),
        pytest.param([(0.0, "a", 5), (1.0, "a", 0)], 2.0, [], id="gone"),
        pytest.param([(0.0, "a", 5), (1.0, "a", 3), (1.5, "a", 1)], 2.2, [(1, 3)], id="step by step"),
        pytest.param([(0.0, "a", 1), (1.0, "a", 0), (1.1, "a", 4), (1.2, "a", 0)], 2.1, [(0, 4)], id="the largest"),
        pytest.param([(0.0, "a", 2), (0.0, "b", 3), (1.0, "a", 0)], 1.1, [(3, 5)], id="sums of sources"),
        pytest.param([(0.0, "a", 2), (1.0, "a", 0), (1.1, "b", 2)], 1.2, [(2, 2)], id="moved"),
    ],
)
def test_what_is_shown(told: list[tuple[float, str, int]], at: float, expected: list[tuple[int, int]]) -> None:
    demand = RecentDemand(remember_seconds=1.0)
    for when, source, count in told:
        demand.told(source, waits(count), when)
    assert shown(demand, at) == expected


def test_its_end_is_news_once_and_only_if_something_shown_changes() -> None:
    demand = RecentDemand(remember_seconds=1.0)
    assert demand.next_deadline() is None
    assert not demand.told("a", waits(3), 0.0)
    assert demand.next_deadline() is None
    assert demand.told("a", waits(1), 0.5)
    assert demand.next_deadline() == 1.5
    assert not demand.expire(1.4)
    assert demand.expire(1.5)
    assert demand.next_deadline() is None
    assert demand.told("a", (), 2.0)
    assert not demand.told("a", waits(7), 2.5)
    assert not demand.expire(3.0), "more waits now: the end of what waited is no news"
    assert shown(demand, 3.0) == [(7, 7)]


def test_what_is_gone_keeps_its_selector_and_names() -> None:
    demand = RecentDemand()
    demand.told("a", waits(2, kind="actor", label_selector=(("zone", "a"),), examples=("Trainer",)), 0.0)
    demand.told("a", (), 0.1)
    [one] = demand.listed(0.2)
    assert (one.count, one.kind, one.label_selector, one.examples) == (0, "actor", (("zone", "a"),), ("Trainer",))


def test_a_million_shapes_are_bounded_and_summed_up() -> None:
    demand = RecentDemand()
    shapes = [NodeDemand(ResourceSet({"CPU": n + 1}), 1) for n in range(30_000)]
    for source in range(30):
        demand.told(f"n{source}", shapes[source * 1000 : (source + 1) * 1000], 0.0)
    listed = demand.listed(0.0)
    assert (len(listed), sum(one.count for one in listed)) == (1001, 30_000)
    assert (listed[-1].kind, listed[-1].count, listed[-1].recent_count) == ("other", 29_000, 29_000)
    for source in range(30):
        demand.told(f"n{source}", (), 0.5)
    assert len(demand._past) == MAX_REMEMBERED
    listed = demand.listed(0.6)
    assert (len(listed), sum(one.count for one in listed)) == (1001, 0)
    assert demand.expire(2.0)
    assert (demand.listed(2.0), demand.next_deadline(), demand._examples) == ([], None, {})


def test_what_nodes_have_summed_up_is_added_up() -> None:
    demand = RecentDemand()
    for source in "ab":
        shapes = [NodeDemand(ResourceSet({"CPU": n + 1}), 1) for n in range(5000)]
        demand.told(source, aggregate(shapes), 0.0)
    listed = demand.listed(0.0)
    assert (len(listed), listed[-1].kind, listed[-1].count) == (1001, "other", 8000)
    assert sum(one.count for one in listed) == 10_000
    demand.told("a", (), 1.0)
    assert [(one.count, one.recent_count) for one in demand.listed(1.5)[-1:]] == [(4000, 8000)]


@pytest.mark.parametrize("seed", range(20))
def test_it_agrees_with_a_plain_record_of_the_past(seed: int) -> None:
    rng = random.Random(seed)
    demand = RecentDemand(remember_seconds=1.0)
    counts: dict[str, int] = {}
    history = [(-10.0, 0)]
    now = 0.0
    for _ in range(200):
        now += rng.choice([0.0, 0.05, 0.3, 1.1])
        if rng.random() < 0.3:
            demand.expire(now)
        source = rng.choice("abc")
        counts[source] = rng.randrange(4)
        demand.told(source, waits(counts[source]), now)
        history.append((now, sum(counts.values())))
        # The count that held until a moment within the last second, or since.
        ends = [when for when, _count in history[1:]] + [now]
        lately = [count for (_when, count), end in zip(history, ends, strict=True) if end > now - 1.0]
        total, most = history[-1][1], max(*lately, history[-1][1])
        assert shown(demand, now) == ([(total, most)] if most else []), f"seed {seed}"
