"""Work for a certain node: it goes there and nowhere else, and hears of it when that can never be."""

from __future__ import annotations

import pytest

from shoal.core.actor_placement import Candidate
from shoal.core.actors import ActorSpec, ActorTable, Publish, Start
from shoal.core.labels import NODE_ID, Selector, pinned, unpinned
from shoal.core.scheduler import UNKNOWN_NODE_SECONDS, Grant, LeaseRequest, LeaseScheduler, NodeView, Refuse, Spill
from shoal.resources import ResourceSet


def cpus(count: float) -> ResourceSet:
    return ResourceSet.from_units({"CPU": count})


def view(name: str, total: float = 4, free: float = 4, *, alive: bool = True) -> NodeView:
    return NodeView((name, "ip", 1), cpus(total), cpus(free), {NODE_ID: name}, alive=alive)


def request(name: str, node_id: str, size: float = 1, *, spill: bool = True) -> LeaseRequest:
    return LeaseRequest(name, cpus(size), "job", spill=spill, selector=((NODE_ID, node_id),))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ((), ""),
        (((NODE_ID, "a"),), "a"),
        (((NODE_ID, "a"), ("zone", "x")), "a"),
        (((NODE_ID, "!a"),), ""),
        (((NODE_ID, "in(a,b)"),), ""),
        ((("zone", "x"),), ""),
    ],
)
def test_a_selector_names_a_node_or_none(selector: Selector, expected: str) -> None:
    assert pinned(selector) == expected
    assert pinned(unpinned(selector)) == ""


def test_leases_are_granted_on_their_node_only_and_wait_for_it() -> None:
    s = LeaseScheduler("a", cpus(4))
    s.update_view([view("b", free=0), view("c")], 0.0)
    assert s.submit(request("mine", "a"), 0.0) == [Grant("mine")]
    assert s.submit(request("other", "c"), 0.0) == [Spill("other", ("c", "ip", 1))]
    assert s.submit(request("busy", "b"), 0.0) == []
    assert s.demand() == [], "no new node would help"
    assert s.update_view([view("b")], 1.0) == [Spill("busy", ("b", "ip", 1))]
    guest = LeaseScheduler("b", cpus(4))
    assert guest.submit(request("busy", "b", spill=False), 1.0) == [Grant("busy")]


def test_a_node_that_is_gone_or_too_small_or_never_was_is_told() -> None:
    s = LeaseScheduler("a", cpus(4))
    s.update_view([view("b", free=0), view("dead", alive=False)], 0.0)
    assert s.submit(request("r1", "dead"), 0.0) == [Refuse("r1", "unschedulable", "node dead is gone")]
    assert s.submit(request("r2", "a", 5), 0.0) == [Refuse("r2", "unschedulable", "node a does not have 5 CPU")]
    assert s.submit(request("r3", "b", 5), 0.0) == [Refuse("r3", "unschedulable", "node b does not have 5 CPU")]
    assert s.submit(request("r4", "new"), 0.0) == [], "it may have joined just now"
    assert s.next_deadline() == UNKNOWN_NODE_SECONDS
    assert s.schedule(UNKNOWN_NODE_SECONDS) == [Refuse("r4", "unschedulable", "there is no node new")]
    assert s.submit(request("r5", "b"), 2.0) == []
    assert s.update_view([view("b", alive=False)], 3.0) == [Refuse("r5", "unschedulable", "node b is gone")]
    assert s.next_deadline() is None
    assert s.waiting == 0


def test_actors_wait_for_their_node_and_die_or_move_without_it() -> None:
    table = ActorTable()
    nodes = [Candidate(name, cpus(4), cpus(free), 0, {NODE_ID: name}) for name, free in (("a", 4.0), ("b", 0.0))]
    totals = {"a": cpus(4), "b": cpus(4)}
    for name, node_id, size, soft in (
        ("mine", "a", 1, False),
        ("waits", "b", 1, False),
        ("lost", "gone", 1, False),
        ("large", "b", 5, False),
        ("soft", "gone", 1, True),
    ):
        selector = ((NODE_ID, node_id),)
        need = cpus(size)
        table.create(ActorSpec(name, "job", placement=need, resources=need, label_selector=selector, soft_node=soft))
    orders = table.place(nodes, 0.0, totals.get)
    started = {order.spec.actor_id: order.node_id for order in orders if isinstance(order, Start)}
    assert started == {"mine": "a", "soft": "a"}
    assert [order.actor_id for order in orders if isinstance(order, Publish)] == ["lost", "large"]
    assert [table.get(name).reason for name in ("lost", "large")] == ["Unschedulable"] * 2  # type: ignore[union-attr]
    assert [actor.spec.actor_id for actor in table.waiting()] == ["waits"]
    assert table.demands() == []
