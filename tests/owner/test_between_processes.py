"""What one owner process and another know of each other, over the sockets that they really use."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal._api import session
from shoal.core.actor_calls import ALIVE, DEAD
from shoal.owner.actors import ActorLink
from shoal.owner.calls import Function
from shoal.owner.process import OwnerProcess
from shoal.serialization import serialize
from shoal.testing import LocalCluster
from shoal.wire import messages
from shoal.wire.address import RawAddress
from shoal.wire.connection import Connection
from shoal.wire.handshake import ClientHandshake
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import CAST
from shoal.wire.sockets import connect_tcp
from shoal.worker.actor import exit_actor

pytestmark = pytest.mark.leaks("sockets", reason="files of a killed node go with the cluster's directory")

MakeProcess = Callable[[], OwnerProcess]


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def make_process(cluster: LocalCluster) -> Iterator[MakeProcess]:
    made: list[OwnerProcess] = []

    def make() -> OwnerProcess:
        """A driver without an I/O thread: it hears what it is told to hear."""
        job = {"id": "", "package": "", "paths": [], "cwd": "", "env": {}}
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        made.append(OwnerProcess(cluster.head.facts["socket"], "driver", os.urandom(16), job, nothing, nothing))
        return made[-1]

    yield make
    for process in made:
        process.close()


def listen(process: OwnerProcess, condition: Callable[[], Any], seconds: float = 5.0) -> bool:
    return process.reactor.run_until(lambda: bool(condition()), time.monotonic() + seconds)


@shoal.remote(num_cpus=1)
def own_address() -> RawAddress:
    return session.started_process().address


def test_drivers_and_workers_refuse_a_peer_without_the_token(cluster: LocalCluster) -> None:
    cluster.add_node(num_cpus=1)
    cluster.connect()
    for address in (session.process().address, shoal.get(own_address.remote(), timeout=30)):
        _process_id, _node_id, ip, port, path = address
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
        assert port
        assert "does not know the cluster's token" in words_for(ip, port, b"not the token of this cluster")
        with socket.create_connection((ip, port), timeout=10) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))
            assert stranger.recv(100) == b""


def words_for(ip: str, port: int, token: bytes) -> str:
    reactor = Reactor()
    closed: list[str] = []
    challenge = ClientHandshake(token, os.urandom(32))
    Connection(reactor, connect_tcp(ip, port), lambda *_: None, lambda _c, why: closed.append(why), challenge)
    reactor.run_until(lambda: bool(closed), time.monotonic() + 10)
    reactor.close()
    return closed[0] if closed else "nothing"


def test_the_end_of_one_of_two_connections_is_the_end_of_both(make_process: MakeProcess) -> None:
    """Whoever pushed a task over the one must not wait for ever because the worker's side saw the other break."""
    first, second = make_process(), make_process()
    lost: dict[str, list[str]] = {"first": [], "second": []}
    first.peers._on_lost = lambda process_id, _why: lost["first"].append(process_id)
    second.peers._on_lost = lambda process_id, _why: lost["second"].append(process_id)
    ours, theirs = first.peers.connect(second.address), second.peers.connect(first.address)
    assert listen(first, lambda: len(first.peers._all) == 2)
    assert listen(second, lambda: len(second.peers._all) == 2)
    theirs.close("a broken wire")
    assert listen(second, lambda: lost["second"])
    assert listen(first, lambda: lost["first"])
    assert ours.closed
    assert lost == {"first": [second.process_id], "second": [first.process_id]}


def test_an_owner_that_ends_keeps_no_answer_back(make_process: MakeProcess) -> None:
    """Answers wait until owners know the borrower; one that is gone, with an object nobody needs, never answers."""
    owner, borrower = make_process(), make_process()
    reference = borrower.adopt(os.urandom(28), owner.address)
    del reference
    borrower.settle_dropped()
    sent: list[bool] = []
    with borrower.lock:
        borrower.borrowing.settled(lambda: sent.append(True))
    assert not sent
    owner.close()
    assert listen(borrower, lambda: sent)


def test_each_borrowing_is_answered_for_itself(make_process: MakeProcess) -> None:
    owner, borrower = make_process(), make_process()
    object_id = os.urandom(28)
    reference = borrower.adopt(object_id, owner.address)
    del reference
    borrower.settle_dropped()
    again = borrower.adopt(object_id, owner.address)
    sent: list[bool] = []
    with borrower.lock:
        borrower.borrowing.settled(lambda: sent.append(True))
    connection = borrower.peers.known(owner.process_id)
    assert connection is not None
    borrower.borrowing.receive(connection, (messages.BORROWED, object_id, True), b"")
    assert not sent, "that answer was to the first borrowing, which has ended"
    borrower.borrowing.receive(connection, (messages.BORROWED, object_id, True), b"")
    assert sent
    assert again.binary() == object_id


def test_a_node_that_goes_without_a_word_gives_its_tasks_back(cluster: LocalCluster, tmp_path: Path) -> None:
    """A machine that loses its power closes no socket: the head's word has to do."""
    first = cluster.add_node(num_cpus=1)
    cluster.connect()

    @shoal.remote(num_cpus=1)
    def slow_at_first(marks: str) -> int:
        count = len(os.listdir(marks))
        Path(marks, str(count)).touch()
        if not count:
            time.sleep(600)
        return count

    ref = slow_at_first.remote(str(tmp_path))
    deadline = time.monotonic() + 20
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        shoal.wait([ref], timeout=0.05)
    process = session.process()
    process._from_agent(process._agent_connection, (CAST, "node_lost", (first.node_id,)), b"", [])
    assert shoal.get(ref, timeout=20) == 1


@shoal.remote(num_cpus=0)
class Teller:
    def tell(self) -> bytes:
        return bytes(90_000)

    def leave(self, mark: str) -> None:
        Path(mark).write_text(str(os.getpid()))
        exit_actor()


def test_an_actor_that_leaves_tells_all_that_it_has_to_tell(tmp_path: Path) -> None:
    """Its owner is busy and reads late: 27 MB of answers are more than the sockets hold."""
    with shoal.init(num_cpus=1):
        teller = Teller.remote()
        shoal.get(teller.tell.remote())
        mark = tmp_path / "pid"
        with session.process().lock:  # the owner takes no answer meanwhile
            refs = [teller.tell.remote() for _ in range(300)]
            teller.leave.remote(str(mark))
            deadline = time.monotonic() + 20
            while not mark.exists() and time.monotonic() < deadline:
                threading.Event().wait(0.01)
            patience = time.monotonic() + 0.7
            while is_alive(mark) and time.monotonic() < patience:
                threading.Event().wait(0.01)
        assert [len(value) for value in shoal.get(refs, timeout=20)] == [90_000] * 300


def is_alive(mark: Path) -> bool:
    return Path("/proc", mark.read_text() or "0").exists()


def test_an_answer_that_has_arrived_outranks_the_heads_word(make_process: MakeProcess) -> None:
    owner, actor = make_process(), make_process()
    link = ActorLink(os.urandom(16), "Teller")
    link.address, link.queue.state = actor.address, ALIVE
    owner.actors._links[link.actor_id] = link
    method = Function(b"tell", b"", "tell")
    [ref] = owner.actors.submit(link.actor_id, "Teller", method, (), {}, 1, 0, {})
    assert listen(actor, lambda: actor.peers.known(owner.process_id))
    to_owner = actor.peers.connect(owner.address)
    outcome = (ref.task_id(), messages.OK, [(messages.INLINE_VALUE, serialize(42).to_bytes())], 0.0, [()])
    done: list[bool] = []

    def answer_and_end() -> None:
        to_owner.send((messages.RESULTS, "", [outcome]))
        owner.actors.updated(link.actor_id.hex(), DEAD, None, "Exited", "exit_actor() was called", b"")
        done.append(True)

    owner.reactor.call_soon(answer_and_end)
    assert listen(owner, lambda: done)
    assert owner.values.get([ref], 5) == [42]
