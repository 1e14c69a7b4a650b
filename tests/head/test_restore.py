"""A new head on the state of an old one: what it believes before anybody spoke, and what it makes of their words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.core.actors import Actor, ActorSpec, ActorTable, Start
from shoal.core.jobs import Job, JobSpec, JobTable
from shoal.core.membership import GRACE_SECONDS, RESTORE_GRACE_SECONDS, Member, Membership, NodeInfo, NodeStatus
from shoal.core.placement import PlacementTable
from shoal.head.journal import Journal, KnownNode, Restored
from shoal.head.kv import KvStore
from shoal.head.restore import Parts, restore
from shoal.head.sessions import Session, SessionBook
from shoal.head.state import HeadState
from shoal.head.state_file import StateFile
from shoal.jobs.journal import fate
from shoal.resources import ResourceSet

CPU = ResourceSet.from_units({"CPU": 1})
NOTHING = ResourceSet()
WriteDown = Callable[[Callable[[Journal, Parts], object]], Restored]


def known(node_id: str, *, is_head: bool = False, alive: bool = True, draining: bool = False) -> KnownNode:
    info = NodeInfo(node_id, "10.0.0.1", 1, CPU, is_head=is_head)
    return KnownNode(info, alive, "" if alive else "it was stopped", draining)


def actor(actor_id: str, node_id: str, state: str = "ALIVE", **spec: object) -> Actor:
    made = ActorSpec(actor_id, "job", **spec)  # type: ignore[arg-type]
    return Actor(made, state, node_id, b"worker" if state == "ALIVE" else b"")  # type: ignore[arg-type]


@pytest.fixture
def parts() -> Parts:
    return Parts(Membership(), ActorTable(), KvStore(), SessionBook(), PlacementTable())


def member(parts: Parts, node_id: str) -> Member:
    found = parts.members.get(node_id)
    assert found is not None
    return found


def test_a_worker_is_awaited_neither_idle_nor_given_work(parts: Parts) -> None:
    restore(Restored(nodes=(known("w"),)), parts, 100.0)
    worker = member(parts, "w")
    assert worker.alive
    assert parts.members.awaiting()
    assert (worker.takes_work, worker.idle_seconds(130.0), worker.status.available) == (False, 0.0, CPU)
    parts.members.register(worker.info, 130.0)
    assert (worker.takes_work, worker.idle_seconds(130.0)) == (False, 0.0)
    parts.members.report("w", worker.session, NodeStatus(CPU, idle_seconds=7.0), 131.0)
    assert (worker.takes_work, worker.idle_seconds(131.0)) == (True, 7.0)
    assert not parts.members.awaiting()


def test_a_worker_that_does_not_come_back_is_dead_after_a_longer_grace(parts: Parts) -> None:
    restore(Restored(nodes=(known("w"),)), parts, 100.0)
    assert parts.members.next_deadline() == 100.0 + RESTORE_GRACE_SECONDS
    assert parts.members.expire(100.0 + GRACE_SECONDS) == []
    assert parts.members.expire(100.0 + RESTORE_GRACE_SECONDS) == ["w"]


def test_a_dead_node_stays_dead(parts: Parts) -> None:
    restore(Restored(nodes=(known("w", alive=False),)), parts, 100.0)
    assert (member(parts, "w").alive, member(parts, "w").reason) == (False, "it was stopped")


@pytest.mark.parametrize("state", ["active", "draining"])
def test_a_drain_that_was_ordered_keeps_work_away_until_the_node_speaks(parts: Parts, state: str) -> None:
    restore(Restored(nodes=(known("w", draining=True),)), parts, 100.0)
    worker = parts.members.register(member(parts, "w").info, 101.0)
    assert worker.drain_requested
    parts.members.report("w", worker.session, NodeStatus(CPU, drain_state=state), 101.0)  # type: ignore[arg-type]
    assert worker.takes_work == (state == "active")


def test_the_old_heads_node_is_gone_with_what_it_owned(parts: Parts) -> None:
    restored = Restored(
        nodes=(known("h", is_head=True), known("w")),
        actors=(
            actor("owned", "w", owner_node_id="h"),
            actor("detached", "w", owner_node_id="h", detached=True, name="keeper", namespace="ns"),
            actor("there", "h", owner_node_id="h", detached=True),
            actor("again", "h", owner_node_id="w", max_restarts=1),
            actor("others", "w", owner_node_id="w"),
        ),
        drivers=(("lost-job", "h"), ("kept-job", "h"), ("kept-job", "w")),
    )
    _instructions, _of_groups, gone = restore(restored, parts, 100.0)
    assert gone == ["h"]
    states = {a: parts.actors.get(a).state for a in ("owned", "detached", "there", "again", "others")}  # type: ignore[union-attr]
    assert states == {
        "owned": "DEAD",
        "detached": "ALIVE",
        "there": "DEAD",
        "again": "RESTARTING",
        "others": "ALIVE",
    }
    assert parts.actors.find("keeper", "ns") is parts.actors.get("detached")
    heard: list[str] = []
    parts.sessions.open("w", Session(1, lambda m: heard.append(m.job_ended.job_id), lambda _: None))
    assert heard == ["lost-job"]


def test_a_node_tells_its_drivers_again_and_they_count_once(parts: Parts) -> None:
    restore(Restored(nodes=(known("w"),), drivers=(("job", "w"),)), parts, 100.0)
    parts.sessions.open("w", Session(1, lambda _: None, lambda _: None))
    parts.sessions.driver_started("job", "w")
    assert parts.sessions.driver_exited("job", "w")


def test_a_node_says_which_drivers_it_has_as_it_comes_back(parts: Parts) -> None:
    rows = (("gone", "w"), ("gone here", "w"), ("gone here", "v"), ("stays", "w"))
    restore(Restored(nodes=(known("w"), known("v")), drivers=rows), parts, 100.0)
    session = Session(1, lambda _: None, lambda _: None)
    assert parts.sessions.open("w", session, {"stays": 2, "new": 1}) == ["gone"]
    assert sorted(parts.sessions.drivers()) == [("gone here", 1), ("new", 1), ("stays", 2)]
    assert not parts.sessions.driver_exited("stays", "w")
    assert parts.sessions.driver_exited("stays", "w")
    assert parts.sessions.open("v", session, {}) == ["gone here"]
    assert parts.sessions.node_died("w") == ["new"]
    assert parts.sessions.drivers() == []


def test_a_driver_whose_node_does_not_come_back_was_the_last(parts: Parts) -> None:
    restore(Restored(nodes=(known("w"),), drivers=(("job", "w"),)), parts, 100.0)
    assert parts.sessions.node_died("w") == ["job"]


@pytest.fixture
def write_down(tmp_path: Path) -> WriteDown:
    """Plays one head process on the state file, and gives what the next one finds in it."""

    def play(process: Callable[[Journal, Parts], object]) -> Restored:
        journal = Journal(HeadState(StateFile(tmp_path)))
        sessions = SessionBook(journal)
        process(journal, Parts(Membership(), ActorTable(), KvStore(), sessions, PlacementTable()))
        journal.close()
        journal = Journal(HeadState(StateFile(tmp_path)))
        journal.close()
        return journal.restored

    return play


def test_drivers_that_are_gone_for_certain_are_not_found_by_the_next_head(write_down: WriteDown) -> None:
    def first(journal: Journal, parts: Parts) -> None:
        for node_id, is_head in (("h", True), ("w", False), ("v", False)):
            info = NodeInfo(node_id, "10.0.0.1", 1, CPU, is_head=is_head)
            journal.node(parts.members.register(info, 1.0))
            parts.sessions.driver_started("job", node_id)
        for node_id in ("h", "w", "w", "v"):
            parts.sessions.driver_started("twice", node_id)
        assert not parts.sessions.driver_exited("twice", "w")
        assert parts.sessions.node_died("v") == []

    def second(journal: Journal, parts: Parts) -> None:
        restore(journal.restored, parts, 100.0)
        assert parts.sessions.drivers() == [("job", 1), ("twice", 1)]
        parts.sessions.open("w", Session(1, lambda _: None, lambda _: None))
        parts.sessions.driver_started("job", "w")
        assert parts.sessions.drivers() == [("job", 1), ("twice", 0)]

    def third(journal: Journal, parts: Parts) -> None:
        parts.members.restore(NodeInfo("w", "10.0.0.1", 1, CPU), 200.0)
        for row in journal.restored.drivers:
            parts.sessions.expect_driver(*row)
        assert parts.sessions.node_died("w") == ["job"]

    assert sorted(write_down(first).drivers) == [("job", "h"), ("job", "w"), ("twice", "h"), ("twice", "w")]
    assert write_down(second).drivers == (("job", "w"),)
    assert write_down(third).drivers == ()


@pytest.mark.parametrize("nodes", [(), (known("n", alive=False),)], ids=["unknown", "dead"])
def test_a_driver_of_a_node_that_cannot_come_back_is_not_expected(
    parts: Parts, nodes: tuple[KnownNode, ...], write_down: WriteDown
) -> None:
    """State files of heads that did not drop such rows have them."""
    owned = actor("owned", "w", owner_node_id="n")
    left = Restored(nodes=(*nodes, known("w")), drivers=(("job", "n"), ("job", "w"), ("lost", "n")), actors=(owned,))
    restore(left, parts, 100.0)
    assert parts.sessions.drivers() == [("job", 1)]
    heard: list[str] = []
    parts.sessions.open("w", Session(1, lambda m: heard.append(m.job_ended.job_id), lambda _: None))
    assert heard == ["lost"]

    def first(journal: Journal, _parts: Parts) -> None:
        journal.driver("job", "n", there=True)

    assert write_down(first).drivers == (("job", "n"),)
    assert write_down(lambda journal, parts: restore(journal.restored, parts, 1.0)).drivers == ()


def test_a_start_that_never_arrived_is_made_up_for(parts: Parts) -> None:
    restore(Restored(nodes=(known("w"),), actors=(actor("a", "w", "PENDING"),)), parts, 100.0)
    assert parts.actors.node_registered("w", [], 101.0) == []
    assert [a.spec.actor_id for a in parts.actors.waiting()] == ["a"]


def test_an_actor_of_a_node_that_nobody_knows_is_not_kept_alive(parts: Parts) -> None:
    restore(Restored(actors=(actor("a", "unknown"), actor("waits", "", "PENDING"))), parts, 100.0)
    assert parts.actors.get("a").state == "DEAD"  # type: ignore[union-attr]
    assert [a.spec.actor_id for a in parts.actors.waiting()] == ["waits"]
    assert not any(isinstance(i, Start) for i in parts.actors.place([], 100.0))


def test_keys_come_back(parts: Parts) -> None:
    restore(Restored(kv=(("n", "k", b"v"),)), parts, 100.0)
    assert parts.kv.get("n", "k") == b"v"


def job(state: str, *, resources: ResourceSet = NOTHING, **fields: object) -> Job:
    return Job(JobSpec("s", "j", "true", resources=resources), state, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param(lambda: job("SUCCEEDED", launched=True), "ended", id="ended"),
        pytest.param(lambda: job("PENDING"), "start", id="never started"),
        pytest.param(lambda: job("PENDING", launched=True), "lost", id="perhaps started"),
        pytest.param(lambda: job("RUNNING", launched=True), "lost", id="it ran on the head"),
        pytest.param(lambda: job("RUNNING", launched=True, stop_reason="Why"), "stopped", id="its stop was asked for"),
        pytest.param(lambda: job("RUNNING", resources=CPU, node_id="w"), "placed", id="it runs on a worker"),
        pytest.param(lambda: job("PENDING", resources=CPU), "placed", id="it waits for a worker"),
    ],
)
def test_what_becomes_of_a_job(left: Callable[[], Job], expected: str) -> None:
    assert fate(left(), places=True) == expected


def test_a_job_table_takes_its_jobs_back() -> None:
    table, ended = JobTable(max_terminal=1), job("SUCCEEDED")
    table.restore(ended)
    assert table.submit(ended.spec) == (ended, False)
    assert table.by_job_id("j") is ended
    other = Job(JobSpec("s2", "j2", "true"))
    table.restore(other)
    assert table.lost("s2", "HeadLost", "words", 1.0)
    assert table.take_forgotten() == ["s"]
    assert table.take_forgotten() == []
