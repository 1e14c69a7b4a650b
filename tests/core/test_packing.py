"""Where bundles go: each strategy by example, and on random clusters against a search that tries everything."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.actor_placement import Candidate
from shoal.core.labels import matches
from shoal.core.pack_search import STEPS_MAX, Equal, PackSearch
from shoal.core.packing import STRATEGIES, Bundle, Strategy, explain, pack
from shoal.resources import ResourceSet


def bundle(labels: dict[str, str] | None = None, **units: float) -> Bundle:
    return Bundle(ResourceSet.from_units(units), tuple(sorted((labels or {}).items())))


def node(name: str, free: dict[str, float], total: dict[str, float] | None = None, **labels: str) -> Candidate:
    return Candidate(name, ResourceSet.from_units(total or free), ResourceSet.from_units(free), 0, labels)


def placed(
    strategy: Strategy, bundles: list[Bundle], nodes: list[Candidate], occupied: dict[str, int] | None = None
) -> list[str] | None:
    found = pack(dict(enumerate(bundles)), strategy, nodes, occupied or {})
    return None if found is None else [found[index] for index in range(len(bundles))]


ONE, TWO = bundle(CPU=1), bundle(CPU=2)
FOURS = [node(name, {"CPU": 4}) for name in "abc"]


@pytest.mark.parametrize(
    ("strategy", "bundles", "nodes", "expected"),
    [
        ("PACK", [ONE] * 4, FOURS, ["a"] * 4),
        ("PACK", [ONE] * 4, [node("a", {"CPU": 8}), node("b", {"CPU": 4})], ["b"] * 4),
        ("PACK", [ONE] * 6, FOURS, ["a"] * 4 + ["b"] * 2),
        ("PACK", [ONE] * 13, FOURS, None),
        ("PACK", [ONE, bundle(GPU=1)], [node("a", {"CPU": 9}), node("g", {"CPU": 1, "GPU": 1})], ["g", "g"]),
        ("PACK", [ONE] * 2, [node("a", {"CPU": 2, "GPU": 1}), node("z", {"CPU": 9})], ["z", "z"]),
        ("SPREAD", [ONE] * 3, FOURS, ["a", "b", "c"]),
        ("SPREAD", [ONE] * 4, FOURS[:2], ["a", "b", "a", "b"]),
        ("SPREAD", [ONE] * 2, [node("a", {"CPU": 1}, {"CPU": 4}), node("b", {"CPU": 4})], ["b", "a"]),
        ("SPREAD", [TWO, bundle(CPU=3)], FOURS[:1], None),
        ("STRICT_PACK", [ONE] * 4, FOURS, ["a"] * 4),
        ("STRICT_PACK", [ONE] * 5, FOURS, None),
        ("STRICT_SPREAD", [ONE] * 3, FOURS, ["a", "b", "c"]),
        ("STRICT_SPREAD", [ONE] * 4, FOURS, None),
        # The large bundle has to have the large node, although the small one would fit there too.
        ("STRICT_SPREAD", [ONE, TWO], [node("a", {"CPU": 2}), node("b", {"CPU": 1})], ["b", "a"]),
        ("PACK", [bundle({"zone": "x"}, CPU=1)], [node("a", {"CPU": 1}), node("b", {"CPU": 1}, zone="x")], ["b"]),
        ("STRICT_PACK", [ONE, bundle({"zone": "x"}, CPU=1)], FOURS, None),
    ],
)
def test_strategies(
    strategy: Strategy, bundles: list[Bundle], nodes: list[Candidate], expected: list[str] | None
) -> None:
    assert placed(strategy, bundles, nodes) == expected


def test_what_is_placed_already_counts() -> None:
    assert placed("STRICT_SPREAD", [ONE], FOURS, {"a": 1, "b": 1}) == ["c"]
    assert placed("SPREAD", [ONE] * 2, FOURS, {"a": 2, "b": 1}) == ["c", "b"]
    assert placed("PACK", [ONE], FOURS, {"b": 1}) == ["b"], "not on one node more"
    assert placed("STRICT_PACK", [ONE], [node("a", {"CPU": 0.5}), *FOURS[1:]], {"a": 1}) is None


@pytest.mark.parametrize(
    ("strategy", "bundles", "words"),
    [
        ("PACK", [bundle(GPU=1)], "no node could hold a bundle of 1 GPU, even when it is empty"),
        ("PACK", [bundle({"zone": "x"}, CPU=1)], "no node could hold a bundle of 1 CPU with labels {'zone': 'x'}"),
        ("STRICT_PACK", [ONE] * 5, r"no node could hold all bundles \(5 CPU\)"),
        ("STRICT_SPREAD", [ONE] * 4, "4 bundles need a node each, and 3 nodes could take one"),
        ("PACK", [ONE] * 13, "what nodes have free is not enough now"),
    ],
)
def test_why_there_is_no_room(strategy: Strategy, bundles: list[Bundle], words: str) -> None:
    import re

    assert re.match(words, explain(dict(enumerate(bundles)), strategy, FOURS, {}))
    assert explain(dict(enumerate(bundles)), strategy, [], {}) == "no node takes work yet"


@pytest.mark.parametrize(("nodes", "words"), [(1, "no node could take one"), (2, "1 node could take one")])
def test_why_a_last_bundle_has_no_node_of_its_own(nodes: int, words: str) -> None:
    bundles = dict.fromkeys(range(nodes), ONE)
    told = explain(bundles, "STRICT_SPREAD", FOURS, dict.fromkeys(["a", "b", "c"][nodes - 1 :], 1))
    assert told.endswith(f", and {words}")
    assert told.startswith("1 bundle needs a node of its own" if nodes == 1 else "2 bundles need a node each")


shapes = st.sampled_from([ONE, TWO, bundle(GPU=1), bundle(CPU=1, GPU=1), bundle({"zone": "x"}, CPU=1)])
clusters = st.lists(
    st.builds(
        lambda cpus, gpus, zone: ({"CPU": cpus, "GPU": gpus}, zone),
        st.integers(0, 4),
        st.integers(0, 2),
        st.sampled_from(["x", "y"]),
    ),
    min_size=1,
    max_size=4,
).map(lambda nodes: [node(f"n{i}", free, {"CPU": 4, "GPU": 2}, zone=zone) for i, (free, zone) in enumerate(nodes)])


def fits(bundles: list[Bundle], nodes: list[Candidate], choice: tuple[str, ...]) -> bool:
    by_id = {candidate.node_id: candidate for candidate in nodes}
    taken: dict[str, ResourceSet] = {}
    for each, node_id in zip(bundles, choice, strict=True):
        taken[node_id] = taken.get(node_id, ResourceSet()) + each.shape
    labels = all(matches(each.selector, by_id[n].labels) for each, n in zip(bundles, choice, strict=True))
    return labels and all(need.fits(by_id[node_id].available) for node_id, need in taken.items())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STRATEGIES), st.lists(shapes, min_size=1, max_size=4), clusters)
def test_a_placement_is_whole_within_the_room_and_found_where_strict_ones_exist(
    strategy: Strategy, bundles: list[Bundle], nodes: list[Candidate]
) -> None:
    found = placed(strategy, bundles, nodes)
    names = [candidate.node_id for candidate in nodes]
    if found is not None:
        assert fits(bundles, nodes, tuple(found))
        most = max(Counter(found).values())
        assert strategy != "STRICT_SPREAD" or most == 1
        assert strategy != "STRICT_PACK" or most == len(bundles)
    elif strategy == "STRICT_PACK":
        assert not any(fits(bundles, nodes, (name,) * len(bundles)) for name in names)
    elif strategy == "STRICT_SPREAD":
        ways = (way for way in product(names, repeat=len(bundles)) if len(set(way)) == len(way))
        assert not any(fits(bundles, nodes, way) for way in ways)
    elif len(set(bundles)) == 1:  # greed finds room for equal bundles
        assert not any(fits(bundles, nodes, way) for way in product(names, repeat=len(bundles)))
    assert placed(strategy, bundles, nodes) == found, "the same world, another answer"


BIG, MIDDLE, SMALL = bundle(CPU=3), bundle(CPU=2), bundle(CPU=1, memory=1)
mixed = st.sampled_from([BIG, MIDDLE, SMALL, ONE, bundle(memory=2), bundle(CPU=1, GPU=1), bundle({"zone": "x"}, CPU=1)])
uneven = st.lists(
    st.builds(
        lambda cpus, memory, gpus, zone: ({"CPU": cpus, "memory": memory, "GPU": gpus}, zone),
        st.integers(0, 6),
        st.integers(0, 4),
        st.integers(0, 1),
        st.sampled_from(["x", "y"]),
    ),
    min_size=1,
    max_size=4,
).map(lambda nodes: [node(f"n{i}", free, zone=zone) for i, (free, zone) in enumerate(nodes)])


@settings(max_examples=300, deadline=None)
@given(st.lists(mixed, min_size=1, max_size=5), uneven, st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_pack_adds_as_few_nodes_as_a_search_that_tries_everything(
    bundles: list[Bundle], nodes: list[Candidate], held: list[int]
) -> None:
    occupied = {candidate.node_id: count for candidate, count in zip(nodes, held, strict=False) if count}
    ways = product([candidate.node_id for candidate in nodes], repeat=len(bundles))
    costs = [len(set(way) - occupied.keys()) for way in ways if fits(bundles, nodes, way)]
    found = placed("PACK", bundles, nodes, occupied)
    assert (found is None) == (not costs)
    if found is not None:
        assert fits(bundles, nodes, tuple(found))
        assert len(set(found) - occupied.keys()) == min(costs)


def test_what_a_node_takes_may_grow_when_harder_bundles_have_gone_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Node a takes the large bundle at first and nothing else; when c has that one, a takes both small ones."""
    nodes = [node("a", {"CPU": 2, "memory": 1}), node("b", {"CPU": 1}), node("c", {"CPU": 2, "memory": 4})]
    bundles = [ONE, bundle(CPU=2, memory=1), ONE]
    assert sorted(placed("PACK", bundles, nodes) or []) in (["a", "a", "c"], ["a", "c", "c"])
    monkeypatch.setattr("shoal.core.packing.SEARCHED_MAX", 0)
    assert placed("PACK", bundles, nodes) in (["a", "c", "a"], ["c", "a", "c"]), "greed alone looks again"


def test_a_search_stops_at_its_bound_and_keeps_what_greed_found() -> None:
    """Bundles of 6, 5 and 4 of 16: sums say that five nodes could do, and there are too many ways to try."""
    sizes = [6.0, 5.0, 4.0, 7.0, 3.0] * 40
    nodes = [node(f"n{i:03}", {"CPU": 15 + i % 7}) for i in range(120)]
    wanted = [Equal(bundle(CPU=size).shape, (), 40) for size in sorted(set(sizes), reverse=True)]
    search = PackSearch(wanted, nodes, {})
    least = search.least()
    assert least is not None
    assert search.find(least - 1) is None
    assert 0 <= search.steps <= STEPS_MAX
    assert placed("PACK", [bundle(CPU=size) for size in sizes], nodes) is not None


def test_a_thousand_bundles_on_a_thousand_nodes_are_placed_within_a_second() -> None:
    import time

    nodes = [node(f"n{i:04}", {"CPU": 4, "memory": 8}) for i in range(1000)]
    for strategy in ("PACK", "SPREAD", "STRICT_SPREAD"):
        began = time.process_time()
        found = placed(strategy, [bundle(CPU=1, memory=2)] * 999 + [bundle(CPU=3)], nodes)
        assert found is not None
        assert len(set(found)) == (251 if strategy == "PACK" else 1000)
        assert time.process_time() - began < 2.0, strategy
