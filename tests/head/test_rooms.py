"""What nodes see of each other: remembered messages never differ from ones made anew."""

from __future__ import annotations

import random

import pytest

from shoal.core.actors import ActorTable
from shoal.core.membership import Membership, NodeInfo, NodeStatus
from shoal.core.placement import PlacementTable
from shoal.head.rooms import Rooms
from shoal.resources import ResourceSet


def cpus(count: float) -> ResourceSet:
    return ResourceSet.from_units({"CPU": count})


@pytest.mark.parametrize("seed", range(5))
def test_a_view_is_as_if_made_anew(seed: int) -> None:
    rng = random.Random(seed)
    members = Membership()
    remembering = Rooms(members, ActorTable(), PlacementTable())
    known: list[str] = []
    for step in range(200):
        now = float(step)
        change = rng.choice(["join", "report", "report", "drain", "break", "die", "come back"])
        name = rng.choice(known) if known else ""
        member = members.get(name)
        if change == "join" or member is None:
            known.append(f"n{step}")
            members.register(NodeInfo(known[-1], "10.0.0.1", step, cpus(8), {"zone": rng.choice("ab")}), now)
        elif change == "report":
            state = rng.choice(["active", "active", "draining"])
            members.report(name, member.session, NodeStatus(cpus(rng.randrange(9)), drain_state=state), now)  # type: ignore[arg-type]
        elif change == "drain":
            member.drain_requested = True
        elif change == "break":
            members.session_broke(name, member.session, now)
        elif change == "come back" and member.alive:
            members.register(NodeInfo(name, "10.0.0.2", step, cpus(4)), now)
        elif change == "die":
            members.declare_dead(name, "it was stopped", now)
        fresh = Rooms(members, ActorTable(), PlacementTable())
        assert remembering.view() == fresh.view(), f"seed {seed}, step {step}: {change}"


def test_nodes_that_are_as_they_were_are_not_written_again() -> None:
    members = Membership()
    rooms = Rooms(members, ActorTable(), PlacementTable())
    sessions = {f"n{n}": members.register(NodeInfo(f"n{n}", "ip", n, cpus(8)), 0.0).session for n in range(3)}
    rooms.view()
    before = {name: message for name, (_facts, message) in rooms._shown.items()}
    members.report("n1", sessions["n1"], NodeStatus(cpus(2)), 1.0)
    rooms.view()
    assert [rooms._shown[name][1] is before[name] for name in sessions] == [True, False, True]
