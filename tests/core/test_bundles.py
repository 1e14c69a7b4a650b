"""Room inside of bundles: the lease scheduler of a node that holds some, and where requests for them go."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.bundle_routes import Elsewhere, Here, Later, Never, Route, Seen, route
from shoal.core.bundles import ANY, ANY_WAIT_SECONDS
from shoal.core.scheduler import Decision, Grant, LeaseRequest, LeaseScheduler, Reject
from shoal.resources import ResourceSet


def cpus(count: float) -> ResourceSet:
    return ResourceSet.from_units({"CPU": count})


def scheduler(total: float = 8, **bundles: float) -> LeaseScheduler:
    """A node that holds bundles 0, 1, ... of group ``g``."""
    made = LeaseScheduler("a", cpus(total))
    for index, size in enumerate(bundles.values()):
        assert made.hold_bundle("g", index, cpus(size), 4) == {}
    return made


def ask(s: LeaseScheduler, name: str, size: float = 1, index: int = ANY, now: float = 0.0, **more: bool) -> list[str]:
    return words(s.submit(LeaseRequest(name, cpus(size), "job", bundle=("g", index), **more), now))  # type: ignore[arg-type]


def words(decisions: list[Decision]) -> list[str]:
    return [("+" if isinstance(decision, Grant) else "-") + decision.request_id for decision in decisions]


def test_leases_take_the_room_of_bundles_and_nothing_else() -> None:
    s = scheduler(4, x=2, y=1)
    assert s.available == cpus(1)
    assert ask(s, "a", 1, 1) == ["+a"]
    assert ask(s, "b", 1, 1) == [], "bundle 1 is full"
    assert ask(s, "c", 2) == ["+c"]
    assert ask(s, "d", 1) == []
    assert s.available == cpus(1)
    assert (s.waiting, s.waiting_here, s.demand()) == (2, 0, []), "who waits for a bundle is no demand"
    assert words(s.release("a", 1.0)) == ["+b"]
    assert words(s.release("c", 1.0)) == ["+d"]
    assert words(s.submit(LeaseRequest("e", cpus(1), "job"), 1.0)) == ["+e"]
    assert s.available == cpus(0)


def test_who_waits_longest_comes_first_whatever_he_asks_for() -> None:
    s = scheduler(4, x=1)
    assert ask(s, "holder") == ["+holder"]
    assert ask(s, "first", now=1.0) == []
    assert ask(s, "second", index=0, now=2.0) == []
    assert ask(s, "third", now=3.0) == []
    order = []
    for holder in ("holder", "first", "second"):
        order += words(s.release(holder, 4.0))
    assert order == ["+first", "+second", "+third"]


def test_a_request_that_no_bundle_here_could_hold_is_sent_home() -> None:
    s = scheduler(4, x=2)
    assert ask(s, "a", 3) == ["-a"]
    assert ask(s, "b", 1, 1) == ["-b"]
    assert words(s.submit(LeaseRequest("c", cpus(1), "job", bundle=("other", 0)), 0.0)) == ["-c"]
    assert s.waiting == 0


def test_a_bundle_that_does_not_fit_is_not_held() -> None:
    s = scheduler(2, x=1)
    assert s.hold_bundle("g", 1, cpus(1.5), 4) == {"CPU": 5000}
    assert s.available == cpus(1)
    s.set_draining(0.0)
    assert s.hold_bundle("g", 1, cpus(1), 4) == {"the node": 1}


def test_a_dropped_bundle_leaves_its_holders_their_part_of_the_node() -> None:
    s = scheduler(4, x=2, y=2)
    ask(s, "a", 1, 0)
    ask(s, "waits", 2, 0)
    ask(s, "any", 2, ANY)
    ask(s, "any2", 0.5, ANY)
    outside = LeaseRequest("outside", cpus(0.5), "job")
    assert s.submit(outside, 0.0) == []
    decisions, holders = s.drop_bundle("g", 0, 1.0)
    # What waited for that bundle is sent home, what waits for any keeps waiting for the other one.
    assert (words(decisions), sorted(holders)) == (["-waits", "+outside"], ["a", "any2"])
    assert s.available == cpus(0)
    s.release("a", 2.0)
    s.release("any2", 2.0)
    assert s.available == cpus(1.5)
    assert s.drop_bundle("g", 0, 2.0) == ([], [])


def test_who_waits_for_others_lets_go_of_cpus_also_in_a_bundle() -> None:
    s = scheduler(1, x=1)
    ask(s, "parent", 1, 0)
    assert ask(s, "child", 1, 0) == []
    assert words(s.set_blocked("parent", True, 1.0)) == ["+child"]
    assert s.set_blocked("parent", False, 2.0) == []
    assert ask(s, "other", 1, 0) == []
    assert s.release("child", 3.0) == []
    assert words(s.release("parent", 3.0)) == ["+other"]
    s.release("other", 4.0)
    s.drop_bundle("g", 0, 4.0)
    assert s.available == cpus(1)


def test_requests_for_any_bundle_look_elsewhere_after_a_while() -> None:
    s = scheduler(2, x=1)
    ask(s, "holder")
    ask(s, "any", 1, ANY)
    ask(s, "this", 1, 0)
    assert s.next_deadline() == pytest.approx(ANY_WAIT_SECONDS)
    assert words(s.expire(ANY_WAIT_SECONDS)) == ["-any"]
    assert s.next_deadline() is None
    assert words(s.release("holder", 1.0)) == ["+this"]
    whole = LeaseScheduler("a", cpus(2))
    whole.hold_bundle("g", 0, cpus(1), 1)
    ask(whole, "holder")
    ask(whole, "any")
    assert whole.next_deadline() is None, "the group has no other bundle"


def test_a_draining_node_grants_nothing_in_its_bundles() -> None:
    s = scheduler(2, x=1)
    ask(s, "holder", 1, 0)
    ask(s, "mine", 1, 0)
    ask(s, "guest", 1, 0, spill=False)
    assert words(s.set_draining(1.0)) == ["-guest"]
    assert s.release("holder", 1.0) == []
    assert ask(s, "late", 1, 0, spill=False) == ["-late"]
    assert words(s.drop_bundle("g", 0, 1.0)[0]) == ["-mine"]


def test_leases_that_hold_nothing_are_limited_in_a_bundle_too() -> None:
    s = scheduler(8, x=1)
    assert sum(ask(s, f"r{n}", 0, 0) == [f"+r{n}"] for n in range(10)) == 4
    assert len(s.release("r0", 1.0)) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("srbud"), st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_nothing_is_lost_or_made_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    s = scheduler(8, x=2, y=3)
    count = 0
    for what, which, size in steps:
        match what:
            case "s":
                count += 1
                ask(s, f"r{count}", size, which % 4 - 1)
            case "r":
                s.release(f"r{which}", 0.0)
            case "b" | "u":
                s.set_blocked(f"r{which}", what == "b", 0.0)
            case "d":
                s.drop_bundle("g", which, 0.0)
    for number in range(count + 1):
        s.release(f"r{number}", 1.0)
        s.withdraw(f"r{number}")
        s.release(f"r{number}", 1.0)
    for index in range(2):
        s.drop_bundle("g", index, 2.0)
    assert s.available == s.total
    assert s.waiting == 0


A, B = ("a", "ip", 1), ("b", "ip", 1)


def seen(*bundles: tuple[float, tuple[str, str, int] | None], state: str = "CREATED") -> Seen:
    return Seen(state, "why", tuple((cpus(size), node) for size, node in bundles))


@pytest.mark.parametrize(
    ("group", "index", "has_room", "turn", "expected"),
    [
        (seen((1, A)), 0, False, 0, Here()),
        (seen((1, B)), 0, False, 0, Elsewhere(B)),
        (seen((1, A), (1, B)), ANY, True, 5, Here()),
        (seen((1, A), (1, B)), ANY, False, 1, Elsewhere(B)),
        (seen((1, A), (1, B)), ANY, False, 2, Here()),
        (seen((1, A), (0.5, B)), ANY, False, 1, Here()),
        (seen((1, None), (1, B)), 0, False, 0, Later()),
        (seen((1, None), (1, B)), ANY, False, 0, Elsewhere(B)),
        (
            seen((0.5, A)),
            ANY,
            False,
            0,
            Never("unschedulable", "no bundle of the placement group could ever hold 1 CPU"),
        ),
        (seen((0.5, A)), 0, False, 0, Never("unschedulable", "bundle 0 of the placement group cannot hold 1 CPU")),
        (seen((1, A)), 1, False, 0, Never("unschedulable", "the placement group has no bundle 1, only 0 to 0")),
        (seen((1, A), state="REMOVED"), 0, True, 0, Never("removed", "why")),
    ],
)
def test_routes(group: Seen, index: int, has_room: bool, turn: int, expected: Route) -> None:
    assert route(group, index, cpus(1), "a", has_room=has_room, turn=turn) == expected


def test_rejects_are_told_in_words() -> None:
    (decision,) = scheduler(1).submit(LeaseRequest("r", cpus(1), "job", bundle=("g", 0)), 0.0)
    assert isinstance(decision, Reject)
    assert "no such bundle" in decision.reason
