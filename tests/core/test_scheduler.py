"""The lease scheduler of a node, in virtual time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.labels import matches
from shoal.core.scheduler import Decision, Grant, LeaseRequest, LeaseScheduler, NodeView, Reject, Spill
from shoal.resources import ResourceSet


def units(**amounts: float) -> ResourceSet:
    return ResourceSet.from_units(amounts)


def request(request_id: str, cpus: float = 1, **options: object) -> LeaseRequest:
    return LeaseRequest(request_id, units(CPU=cpus), "job", **options)  # type: ignore[arg-type]


def view(name: str, total: float = 4, free: float = 4, **options: object) -> NodeView:
    node = (name, f"ip-{name}", 1)
    return NodeView(node, units(CPU=total), units(CPU=free), **options)  # type: ignore[arg-type]


def targets(decisions: list[Decision]) -> list[str]:
    found = []
    for decision in decisions:
        match decision:
            case Grant():
                found.append("here")
            case Spill(node=node):
                found.append(node[0])
            case Reject():
                found.append("rejected")
    return found


def submit_all(scheduler: LeaseScheduler, count: int, now: float = 0.0, cpus: float = 1) -> list[str]:
    return [where for n in range(count) for where in targets(scheduler.submit(request(f"r{now}-{n}", cpus), now))]


def test_the_own_node_is_packed_until_half_then_the_least_used_other() -> None:
    scheduler = LeaseScheduler("a", units(CPU=4))
    scheduler.update_view([view("b", free=4), view("c", free=1)], 0)
    # 1/4 here, then 2/4 would count: b has room below half, and so on; both full at the end.
    assert Counter(submit_all(scheduler, 12)) == {"here": 4, "b": 4, "c": 1}
    assert scheduler.waiting == 3


def test_first_requests_stay_here() -> None:
    scheduler = LeaseScheduler("a", units(CPU=8))
    scheduler.update_view([view("b", total=64, free=64)], 0)
    assert submit_all(scheduler, 4) == ["here", "here", "here", "b"]


def test_a_thousand_requests_do_not_all_go_to_one_node_with_a_stale_view() -> None:
    scheduler = LeaseScheduler("head", ResourceSet())
    scheduler.update_view([view(name) for name in "bcd"], 0)
    assert Counter(submit_all(scheduler, 1000)) == {"b": 4, "c": 4, "d": 4}
    # The same stale view again changes nothing; once the spills are old, the view is believed again.
    assert scheduler.update_view([view(name) for name in "bcd"], 0.1) == []
    assert Counter(targets(scheduler.schedule(0.3))) == {"b": 4, "c": 4, "d": 4}
    assert scheduler.waiting == 1000 - 24


def test_nobody_is_sent_to_a_draining_or_dead_node() -> None:
    scheduler = LeaseScheduler("head", ResourceSet())
    scheduler.update_view([view("b", draining=True), view("c", alive=False)], 0)
    assert submit_all(scheduler, 1) == []
    assert targets(scheduler.update_view([view("b")], 1)) == ["b"]


def test_a_guest_is_granted_or_sent_home() -> None:
    scheduler = LeaseScheduler("a", units(CPU=1))
    scheduler.update_view([view("b")], 0)
    assert targets(scheduler.submit(request("g1", spill=False), 0)) == ["here"]
    assert scheduler.submit(request("g2", spill=False), 0.5) == []
    assert scheduler.expire(1.0) == []
    assert scheduler.next_deadline() == 1.5
    assert targets(scheduler.expire(1.5)) == ["rejected"]
    assert scheduler.waiting == 0


def test_demand_is_the_sum_of_backlogs_by_shape() -> None:
    scheduler = LeaseScheduler("a", ResourceSet())
    for n in range(3):
        scheduler.submit(request(f"r{n}", backlog=100, name=f"f{n}"), n)
    scheduler.submit(request("big", 8, backlog=2), 3)
    scheduler.set_backlog("r0", 50)
    scheduler.withdraw("r2")
    demand = scheduler.demand()
    assert [(d.shape.to_units(), d.count, d.examples) for d in demand] == [
        ({"CPU": 1.0}, 150, ("f0", "f1")),
        ({"CPU": 8.0}, 2, ()),
    ]


def test_a_large_request_does_not_hold_up_small_ones() -> None:
    scheduler = LeaseScheduler("a", units(CPU=2))
    scheduler.submit(request("big", 8), 0)
    assert submit_all(scheduler, 2, now=1) == ["here", "here"]


def test_a_blocked_holder_lends_only_its_cpus() -> None:
    scheduler = LeaseScheduler("a", units(CPU=1, GPU=1))
    shape = units(CPU=1, GPU=1)
    scheduler.submit(LeaseRequest("x", shape, "job"), 0)
    scheduler.submit(request("y"), 0)
    scheduler.submit(LeaseRequest("z", shape, "job"), 0)
    assert [d.request_id for d in scheduler.set_blocked("x", True, 1)] == ["y"]
    assert scheduler.set_blocked("x", False, 2) == []
    assert scheduler.available == ResourceSet()
    assert scheduler.release("x", 3) == []  # y still has the CPU that x had lent
    assert [d.request_id for d in scheduler.release("y", 4)] == ["z"]


def test_a_blocked_holder_that_ends_gives_its_cpus_back_once() -> None:
    scheduler = LeaseScheduler("a", units(CPU=1))
    scheduler.submit(request("x"), 0)
    scheduler.set_blocked("x", True, 1)
    scheduler.release("x", 2)
    assert scheduler.available == units(CPU=1)


def test_leases_that_hold_nothing_are_bounded() -> None:
    scheduler = LeaseScheduler("a", units(CPU=2))
    assert submit_all(scheduler, 10, cpus=0) == ["here"] * 4
    assert targets(scheduler.set_blocked("r0.0-0", True, 1) + scheduler.schedule(1)) == ["here"]


def test_a_drain_sends_guests_home_and_spills_the_rest() -> None:
    scheduler = LeaseScheduler("a", units(CPU=1))
    scheduler.submit(request("held"), 0)
    scheduler.submit(request("own"), 0)
    scheduler.submit(request("guest", spill=False), 0)
    assert targets(scheduler.set_draining(1)) == ["rejected"]
    assert scheduler.release("held", 2) == []
    assert targets(scheduler.update_view([view("b")], 3)) == ["b"]


def test_labels() -> None:
    scheduler = LeaseScheduler("a", units(CPU=4), {"zone": "x"})
    scheduler.update_view([view("b", labels={"zone": "y"})], 0)
    assert targets(scheduler.submit(request("1", selector=(("zone", "y"),)), 0)) == ["b"]
    assert targets(scheduler.submit(request("2", selector=(("zone", "!y"),)), 0)) == ["here"]
    assert scheduler.submit(request("3", selector=(("zone", "z"),)), 0) == []


@pytest.mark.parametrize(
    ("expression", "value", "holds"),
    [
        ("a", "a", True),
        ("a", None, False),
        ("!a", "b", True),
        ("!a", None, True),
        ("in(a, b)", "b", True),
        ("in(a,b)", "c", False),
        ("!in(a,b)", "c", True),
        ("!in(a,b)", "a", False),
    ],
)
def test_label_expressions(expression: str, value: str | None, holds: bool) -> None:
    assert matches((("k", expression),), {} if value is None else {"k": value}) is holds


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("release"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("block"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("view"), st.integers(0, 4), st.booleans()),
        st.tuples(st.just("expire"), st.just(0), st.booleans()),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_happens_resources_balance(steps: list[tuple[str, int, bool]]) -> None:
    """Every request is decided at most once, the total is not exceeded without blocking, all is free at the end."""
    scheduler = LeaseScheduler("a", units(CPU=3))
    decided: Counter[str] = Counter()
    held: dict[str, int] = {}
    blocked_ever = False

    def note(decisions: list[Decision]) -> None:
        for decision in decisions:
            decided[decision.request_id] += 1
            if isinstance(decision, Grant):
                held[decision.request_id] = int(decision.request_id.split("-")[1])

    for now, (what, number, flag) in enumerate(steps):
        if what == "submit":
            note(scheduler.submit(request(f"{now}-{number}", number, spill=flag), now * 0.1))
        elif what == "release" and held:
            name = sorted(held)[number % len(held)]
            del held[name]
            note(scheduler.release(name, now * 0.1))
        elif what == "block" and held:
            blocked_ever = True
            note(scheduler.set_blocked(sorted(held)[number % len(held)], flag, now * 0.1))
        elif what == "view":
            note(scheduler.update_view([view("b", free=number)] if flag else [], now * 0.1))
        elif what == "expire":
            note(scheduler.expire(now * 0.1))
        assert blocked_ever or sum(held.values()) <= 3
    assert all(count == 1 for count in decided.values())
    while held:
        name = next(iter(held))
        del held[name]
        note(scheduler.release(name, 1000))
    assert scheduler.available == units(CPU=3)
    assert scheduler.holders == 0
