"""The process as an owner: its tables, its connections, and who hears of what.

Invariants: ``lock`` guards the tables and is never held while waiting; handlers run in the reactor's leading thread and
never wait; every reference that was dropped is accounted for at the next opportunity, at the latest when the tick runs.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from shoal.core import objects
from shoal.core.ids import IdFactory
from shoal.core.objects import FAILED, INLINE, ObjectEntry, ObjectTable
from shoal.exceptions import ObjectLostError, ShoalError, SystemFailureError, TaskError
from shoal.owner.actors import Actors
from shoal.owner.borrowing import Borrowing
from shoal.owner.peers import Peers
from shoal.owner.placement_groups import PlacementGroups
from shoal.owner.refs import ObjectRef
from shoal.owner.tasks import Tasks
from shoal.owner.values import Values
from shoal.serialization import deserialize, serialize
from shoal.store.client import StoreClient
from shoal.wire import messages
from shoal.wire.address import RawAddress, RawNode
from shoal.wire.connection import Connection
from shoal.wire.frames import Message
from shoal.wire.network import Network
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import CAST, REPLY, Caller
from shoal.wire.sockets import connect_unix

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

TICK_SECONDS: Final = 0.01
HELLO_SECONDS: Final = 30.0


class OwnerProcess:
    """A driver or a worker, connected to the agent of its node.

    Args:
        node_socket: path of the agent's Unix socket.
        kind: "driver" or "worker".
        process_id: 16 random bytes.
        job: see the agent's ``hello``.
        on_cast: called with (method, args, payload) for casts of the agent that this class does not handle itself.

    Raises:
        SystemFailureError: the agent cannot be reached or does not answer.
    """

    def __init__(
        self,
        node_socket: str,
        kind: str,
        process_id: bytes,
        job: dict[str, Any],
        on_cast: Callable[[str, tuple[Any, ...], bytes], None],
        on_agent_lost: Callable[[str], None],
    ) -> None:
        self.kind = kind
        self.process_id = process_id.hex()
        self.ids = IdFactory(process_id)
        self.reactor = Reactor()
        self.lock = threading.RLock()
        self.table = ObjectTable()
        self.dropped: deque[bytes] = deque()
        self.closed = False
        self.agent_lost = ""
        self.lost_nodes: set[str] = set()
        self._on_cast = on_cast
        self._on_agent_lost = on_agent_lost
        self._aside: ThreadPoolExecutor | None = None
        self._blocked = 0
        self._told_owned = 0
        try:
            sock = connect_unix(node_socket)
        except OSError as error:
            raise SystemFailureError(f"no node agent at {node_socket}: {error}") from None
        self._agent_connection = Connection(self.reactor, sock, self._from_agent, self._agent_closed)
        self.agent = Caller(self._agent_connection)
        self.store = StoreClient(self.agent, self.reactor)
        self.job = job
        self.info: dict[str, Any] = self._hello(None)
        if not job.get("id"):
            job["id"] = self.info["job_id"]
        self.node_id: str = self.info["node_id"]
        self.node: RawNode = (self.node_id, self.info["ip"], self.info["frames_port"] or 0)
        self.values = Values(self)
        self.tasks = Tasks(self)
        self.actors = Actors(self)
        self.borrowing = Borrowing(self)
        self.placement_groups = PlacementGroups(self)
        self.peers, self.address = self._listen(self.info)
        self.peers.on_lease_retired = self.tasks.lease_retired
        self.peers.on_lease_removed = self.tasks.lease_removed

    def open(self) -> None:
        """Tell the agent where this process listens: from now on it can be found, so its shell must be complete.

        Raises:
            SystemFailureError: the agent does not answer.
        """
        self.info = self._hello(self.address)
        self.reactor.call_later(TICK_SECONDS, self._tick)
        self.reactor.start_io_thread()

    def _hello(self, address: RawAddress | None) -> dict[str, Any]:
        # Twice: the listener has to exist before the agent learns its address, but the network's ip and token come
        # with the first answer.
        told = {"process_id": self.process_id, "pid": os.getpid(), "job": self.job, "address": address}
        answer: dict[str, Any] = self.ask("hello", self.kind, told, timeout_seconds=HELLO_SECONDS)
        return answer

    def _listen(self, info: dict[str, Any]) -> tuple[Peers, RawAddress]:
        path = os.path.join(info["session_dir"], f"p-{self.process_id[:12]}")
        peers = Peers(
            self.reactor,
            self.process_id,
            info["node_id"],
            Network(info["token"] or b"", info["tls_directory"]),
            self._from_peer,
            self._peer_lost,
        )
        peers.hello["job"] = self.job
        return peers, peers.listen(path, info["ip"], info["multi_node"])

    # Asking the agent

    def ask(self, method: str, *args: Any, timeout_seconds: float = 60.0, payload: bytes = b"") -> Any:
        """Call the agent and wait for its answer.

        Raises:
            SystemFailureError: it refused, went away, or did not answer in time.
        """
        box: list[tuple[Any, Any]] = []
        self.agent.call(method, *args, on_reply=lambda e, v, _p, _f: box.append((e, v)), payload=payload)
        if not self.reactor.run_until(lambda: bool(box), time.monotonic() + timeout_seconds):
            raise SystemFailureError(f"the node agent did not answer '{method}' within {timeout_seconds:g} s")
        error, value = box[0]
        if error is not None:
            raise SystemFailureError(f"{method}: {error[1]}", kind=error[0])
        return value

    # References

    def reference(self, entry: ObjectEntry) -> ObjectRef[Any]:
        """A new Python reference to an entry; called with the lock held."""
        entry.local += 1
        return ObjectRef(entry.object_id, entry.owner or self.address, self)

    def adopt(self, oid: bytes, owner: RawAddress) -> ObjectRef[Any]:
        """A reference that arrived inside a value."""
        with self.lock:
            entry = self.table.entries.get(oid)
            if entry is None:
                if owner[0] == self.process_id:
                    entry = self.table.own(oid)
                    self._fail(
                        entry,
                        ObjectLostError(f"object {oid.hex()} was freed before", object_ref_hex=oid.hex()),
                    )
                else:
                    entry, _new = self.table.borrow(oid, owner)
                    self.borrowing.begin(entry)
            return self.reference(entry)

    def pin_for_ever(self, oid: bytes) -> None:
        """A copy of a reference left Shoal's sight: the object is kept until this process ends."""
        with self.lock:
            entry = self.table.entries.get(oid)
            if entry is not None:
                entry.pins += 1

    def settle_dropped(self) -> None:
        """Account for the references that Python has dropped."""
        while self.dropped:
            with self.lock:
                if self.dropped:  # another thread may have taken the last one meanwhile
                    self.carry_out(self.table.drop_local(self.dropped.popleft()))

    def carry_out(self, effect: objects.Effect | None) -> None:
        """Do what the end of a reference asks for; called with the lock held."""
        if effect is None or self.closed:
            return
        if isinstance(effect, objects.StopBorrowing):
            self.borrowing.end(effect)
            return
        if effect.nodes:
            self.store.free([effect.object_id], effect.nodes)
        if effect.task is not None:
            self.tasks.forget_result(effect.task)
        self.actors.scope_ended(effect.object_id)

    # Who waits for objects

    def watch(self, entry: ObjectEntry, waiter: Callable[[], None]) -> Callable[[], None]:
        """Call ``waiter`` once when an unresolved entry is resolved; called with the lock held. Returns the waiter."""
        if entry.waiters is None:
            entry.waiters = []
        entry.waiters.append(waiter)
        if entry.state == objects.RELEASED:
            self.tasks.make_again(entry)
        elif entry.owner is not None and not entry.watching:
            self.borrowing.ask(entry)
        return waiter

    def copies_lost(self, oid: bytes, node_ids: tuple[str, ...]) -> None:
        """These nodes have no copy of an object; when none is left, it is made again or asked for again."""
        with self.lock:
            entry = self.table.entries.get(oid)
            if entry is not None and entry.owner is not None:
                self.borrowing.report_lost(entry, node_ids)
                return
            for node_id in node_ids:
                lost = self.table.lose_copy(oid, node_id)
                if lost is not None:
                    self.tasks.make_again(lost)

    def run_aside(self, function: Callable[[], None]) -> None:
        """Run something that may wait, in a thread of its own."""
        from concurrent.futures import ThreadPoolExecutor

        with self.lock:
            if self._aside is None:
                self._aside = ThreadPoolExecutor(4, thread_name_prefix="shoal-aside")
        self._aside.submit(function)

    # Outcomes

    def run_waiters(self, waiters: list[Callable[[], None]]) -> None:
        for waiter in waiters:
            waiter()

    def _fail(self, entry: ObjectEntry, error: BaseException) -> None:
        self.run_waiters(self.table.resolve_failed(entry, serialize(error).to_bytes()))

    def fail(self, oid: bytes, error: BaseException) -> None:
        """Resolve an object with an error, if it still exists; called with the lock held."""
        entry = self.table.entries.get(oid)
        if entry is not None and entry.state not in (INLINE, FAILED):
            self._fail(entry, error)

    def error_of(self, entry: ObjectEntry) -> BaseException:
        """The exception to raise for a failed entry."""
        try:
            error = deserialize(entry.data)
        except Exception as problem:  # noqa: BLE001  # an exception class may exist only where it was raised
            return ShoalError(f"the task failed, and its error cannot be read here: {problem!r}")
        if isinstance(error, TaskError):
            return error.as_instance_of_cause()
        return error if isinstance(error, BaseException) else ShoalError(str(error))

    # Blocking

    def blocking(self) -> _Blocking:
        """A block during which a worker gives its CPU back."""
        return _Blocking(self)

    def enter_blocking(self) -> None:
        if self.kind == "worker":
            with self.lock:
                self._blocked += 1
                if self._blocked == 1:
                    self.agent.cast("blocked", True)

    def leave_blocking(self) -> None:
        if self.kind == "worker":
            with self.lock:
                self._blocked -= 1
                if self._blocked == 0:
                    self.agent.cast("blocked", False)

    # Events

    def _from_agent(self, _connection: Connection, message: Message, payload: bytes, fds: list[int]) -> None:
        if message[0] == REPLY:
            self.agent.handle_reply(message, payload, fds)
        elif message[0] == CAST:
            method, args = message[1], message[2]
            if method == "actor_update":
                self.actors.updated(*args)
            elif method == "lease_retire":
                self.tasks.lease_retired(args[0])
            elif method == "lease_removed":
                self.tasks.lease_removed(*args)
            elif method == "node_lost":
                self._node_lost(args[0])
            elif method.startswith("store_"):
                self.store.handle_cast(method, args)
            else:
                self._on_cast(method, args, payload)

    def _node_lost(self, node_id: str) -> None:
        self.lost_nodes.add(node_id)
        self.peers.drop_node(node_id, f"its node {node_id[:8]} is gone")
        with self.lock:
            for entry in self.table.lose_node(node_id):
                if entry.owner is None:
                    self.tasks.make_again(entry)
                else:
                    self.table.make_pending(entry)
                    if entry.waiters:
                        self.borrowing.ask(entry)

    def _agent_closed(self, _connection: Connection, reason: str) -> None:
        self.agent_lost = f"the node agent is gone ({reason})"
        self.agent.fail_all(self.agent_lost)
        if not self.closed:
            self._on_agent_lost(self.agent_lost)

    def _from_peer(self, connection: Connection, message: Message, payload: bytes) -> None:
        kind = message[0]
        if kind == messages.RESULTS:
            self.tasks.results(connection, message[1], message[2])
        elif kind == messages.GIVEN_BACK:
            self.tasks.given_back(message[1], message[2])
        elif kind >= messages.WATCH and kind <= messages.COPY_LOST:
            self.borrowing.receive(connection, message, payload)
        else:
            self._on_cast("peer", (connection, message), payload)

    def _peer_lost(self, process_id: str, reason: str) -> None:
        with self.lock:
            for effect in self.table.process_gone(process_id):
                self.carry_out(effect)
            self.borrowing.owner_lost(process_id, reason)
        self.tasks.worker_lost(process_id, reason)
        self.actors.process_lost(process_id, reason)
        self._on_cast("peer_lost", (process_id,), b"")

    def _tick(self) -> None:
        if self.closed:
            return
        if self.dropped:
            self.settle_dropped()
        busy = self.tasks.tick()
        owned = self.table.needed_elsewhere() if self.kind == "worker" else 0
        if owned != self._told_owned:
            self._told_owned = owned
            self.agent.cast("owned", owned)
        self.reactor.call_later(TICK_SECONDS if busy else TICK_SECONDS * 10, self._tick)

    def all_told(self) -> bool:
        """Whether everything that this process had to say has left it: what is not said now dies with it."""
        return not (self.borrowing.unsettled or self.peers.unsent or self._agent_connection.unsent)

    def close(self) -> None:
        """End the session: sockets closed, threads joined, references worthless."""
        if self.closed:
            return
        self.tasks.tell_counts()
        self.closed = True
        self.reactor.stop()
        if self._aside is not None:
            self._aside.shutdown(wait=False, cancel_futures=True)
        self.peers.close()
        self._agent_connection.abandon()
        self.reactor.close()
        self.store.close()


class _Blocking:
    """See ``OwnerProcess.blocking``."""

    __slots__ = ("_process",)

    def __init__(self, process: OwnerProcess) -> None:
        self._process = process

    def __enter__(self) -> None:
        self._process.enter_blocking()

    def __exit__(self, *_exc: object) -> None:
        self._process.leave_blocking()
