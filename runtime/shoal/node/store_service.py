"""The object store of a node: the shell around ``core.store_index``, with descriptors and transfer.

Serves (see ``shoal.store.client`` for the messages): store_reserve, store_seal, store_fetch, store_released,
store_free, store_give_up, store_forget to local processes; pull and store_free to other agents.

Invariants: the agent holds exactly one descriptor a segment, closed when the index says so; an object is
served only after it was sealed; a request for an object that should be here but is not yet known waits a
moment, because its seal may still be in the socket of the process that wrote it.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from typing import Any, Final

from shoal.core.store_index import (
    AGENT,
    Close,
    Effect,
    FreeCopy,
    Full,
    Reclaim,
    Reserved,
    StoreIndex,
    Trim,
)
from shoal.node.clients import Client
from shoal.node.config import NodeConfig
from shoal.node.peers import Peers
from shoal.node.pulled_memory import PulledMemory
from shoal.store.transfer import PullManager
from shoal.wire.address import RawNode
from shoal.wire.reactor import Reactor, Timer
from shoal.wire.rpc import Error, reply

SEAL_WAIT_SECONDS: Final = 2.0
SHORT_SEAL_WAIT_SECONDS: Final = 0.25
"""The same when another node is said to have the object too."""
PULL_BYTES_MAX: Final = 16 << 20


class StoreService:
    """See the module.

    Args:
        reactor: the agent's.
        config: of the node.
        peers: connections to other agents.
        clients: the local clients by process id.
        changed: called when the count of objects may have changed.
    """

    def __init__(
        self,
        reactor: Reactor,
        config: NodeConfig,
        peers: Peers,
        clients: dict[str, Client],
        changed: Callable[[], None],
    ) -> None:
        self.index = StoreIndex(config.object_store_bytes)
        self._reactor = reactor
        self._config = config
        self._peers = peers
        self._clients = clients
        self._changed = changed
        self._fds: dict[int, int] = {}
        self._tokens = itertools.count(1)
        self._reserving: dict[int, Callable[[int | None, str], None]] = {}
        self._sealed_waiters: dict[bytes, list[Callable[[], None]]] = {}
        self._pulled = PulledMemory(self.index, self._fds, self.reserve_for, self._carry_out, self._sealed_here)
        self._pulls = PullManager(reactor, self._pulled, peers.caller)
        self._timer: Timer | None = None

    # Calls and casts of local processes

    def reserve(self, client: Client, call_id: int, size: int) -> None:
        """``store_reserve``."""

        def answer(segment_id: int | None, words: str) -> None:
            error: Error | None = None if segment_id is not None else ("ObjectStoreFull", words, {})
            reply(client.connection, call_id, segment_id, error=error)

        self.reserve_for(client.process_id, size, answer)

    def reserve_for(self, client: str, size: int, on_done: Callable[[int | None, str], None]) -> None:
        """Reserve a segment for a client: its id, or None and words."""
        token = next(self._tokens)
        self._reserving[token] = on_done
        self._carry_out(self.index.reserve(token, client, size, time.monotonic()))
        self._plan()

    def seal(self, client: Client, args: tuple[Any, ...], fds: list[int]) -> None:
        """``store_seal``. A place outside of the client's segments closes the connection of that broken client."""
        object_id, segment_id, offset, size, owner = args
        for fd in fds:
            segment = self.index.segments.get(segment_id)
            known = segment_id in self._fds
            if segment is None or segment.creator != client.process_id or known or _bytes_of(fd) < segment.size:
                os.close(fd)
            else:
                self._fds[segment_id] = fd
        if segment_id not in self._fds:
            client.connection.close(f"sealed an object in segment {segment_id}, whose descriptor never came")
            return
        try:
            place = (segment_id, offset, size)
            effects = self.index.seal(client.process_id, object_id, place, owner, client.job_id)
        except ValueError as error:
            client.connection.close(f"sealed an object in a wrong place: {error}")
            return
        self._carry_out(effects)
        self._sealed_here(object_id)

    def fetch(self, client: Client, call_id: int, object_id: bytes, locations: tuple[RawNode, ...]) -> None:
        """``store_fetch``."""
        if self._answer_fetch(client, call_id, object_id):
            return
        others = tuple((node[0], node[1], node[2]) for node in locations if node[0] != self._config.node_id)
        if len(others) < len(locations) or not others:
            seconds = SHORT_SEAL_WAIT_SECONDS if others else SEAL_WAIT_SECONDS
            self._when_sealed(object_id, lambda: self._fetch_late(client, call_id, object_id, others), seconds)
        else:
            self._fetch_remote(client, call_id, object_id, others)

    def _answer_fetch(self, client: Client, call_id: int, object_id: bytes) -> bool:
        if client.closed:
            return True
        found = self.index.pin(client.process_id, object_id)
        if found is None:
            return False
        stored, mapped = found
        segment_bytes = self.index.segments[stored.segment_id].size
        value = (stored.segment_id, segment_bytes, stored.offset, stored.size)
        reply(client.connection, call_id, value, fds=() if mapped else (self._fds[stored.segment_id],))
        return True

    def _fetch_late(self, client: Client, call_id: int, object_id: bytes, others: tuple[Any, ...]) -> None:
        if self._answer_fetch(client, call_id, object_id):
            return
        if others:
            self._fetch_remote(client, call_id, object_id, others)
        else:
            self._refuse(client, call_id, "ObjectMissing", self._missing_words(object_id))

    def _fetch_remote(self, client: Client, call_id: int, object_id: bytes, others: tuple[Any, ...]) -> None:
        def pulled(failure: tuple[str, str] | None) -> None:
            if failure is not None:
                self._refuse(client, call_id, *failure)
            elif not self._answer_fetch(client, call_id, object_id):
                self._refuse(client, call_id, "ObjectMissing", self._missing_words(object_id))

        self._pulls.pull(object_id, others, client.job_id, pulled)

    def _refuse(self, client: Client, call_id: int, kind: str, words: str) -> None:
        reply(client.connection, call_id, error=(kind, words, {}))

    def _missing_words(self, object_id: bytes) -> str:
        why = "it was freed" if self.index.is_freed(object_id) else "it was never sealed here"
        return f"node {self._config.node_id[:8]} has no object {object_id.hex()}: {why}"

    def released(self, client: Client, views: list[tuple[bytes, int, int, int]]) -> None:
        """``store_released``."""
        for object_id, segment_id, offset, count in views:
            place = (segment_id, offset)
            self._carry_out(self.index.release(client.process_id, object_id, place, count))

    def free(self, object_ids: list[bytes], nodes: tuple[RawNode, ...]) -> None:
        """``store_free``: deletes the copies here, those that were made from here, and those on ``nodes``."""
        self._carry_out(self.index.free(object_ids))
        for node in nodes:
            if node[0] != self._config.node_id:
                self._free_elsewhere(node, object_ids)
        self._changed()

    def _free_elsewhere(self, node: RawNode, object_ids: list[bytes]) -> None:
        try:
            self._peers.caller(node).cast("store_free", object_ids, ())
        except OSError:
            return  # a node that cannot be reached frees everything of the job when the job ends

    def give_up(self, client: Client, segment_id: int) -> None:
        """``store_give_up``."""
        self._carry_out(self.index.give_up(client.process_id, segment_id))

    def forget(self, client: Client, segment_id: int) -> None:
        """``store_forget``."""
        self.index.forget_mapping(client.process_id, segment_id)

    # Calls of other agents

    def serve_pull(self, client: Client, call_id: int, object_id: bytes, offset: int, length: int) -> None:
        """``pull``: the reply's value is the size of the object, its payload the chunk."""
        if not 0 < length <= PULL_BYTES_MAX or offset < 0:
            reply(client.connection, call_id, error=("BadRequest", f"chunks have at most {PULL_BYTES_MAX} bytes", {}))
            return
        if object_id in self.index.objects:
            self._serve_chunk(client, call_id, object_id, offset, length)
        else:
            self._when_sealed(object_id, lambda: self._serve_chunk(client, call_id, object_id, offset, length))

    def _serve_chunk(self, client: Client, call_id: int, object_id: bytes, offset: int, length: int) -> None:
        stored = self.index.objects.get(object_id)
        if stored is None:
            self._refuse(client, call_id, "ObjectMissing", self._missing_words(object_id))
            return
        count = max(0, min(length, stored.size - offset))
        data = os.pread(self._fds[stored.segment_id], count, stored.offset + offset) if count else b""
        if client.node is not None and offset + count >= stored.size:
            self.index.add_copy(object_id, client.node)
        reply(client.connection, call_id, stored.size, payload=data)

    def _when_sealed(self, object_id: bytes, then: Callable[[], None], seconds: float = SEAL_WAIT_SECONDS) -> None:
        """Call ``then`` when the object is sealed, or when it should have been."""
        if self.index.is_freed(object_id):
            then()
            return
        done = [False]

        def once() -> None:
            if not done[0]:
                done[0] = True
                timer.cancel()
                waiters = self._sealed_waiters.get(object_id, [])
                if once in waiters:
                    waiters.remove(once)
                if not waiters:
                    self._sealed_waiters.pop(object_id, None)
                then()

        timer = self._reactor.call_later(seconds, once)
        self._sealed_waiters.setdefault(object_id, []).append(once)

    def _sealed_here(self, object_id: bytes) -> None:
        self._changed()
        for waiter in list(self._sealed_waiters.get(object_id, ())):
            waiter()

    # Ends of others

    def client_gone(self, client: Client) -> None:
        """A local process has ended."""
        self._carry_out(self.index.client_gone(client.process_id))
        self._changed()

    def job_ended(self, job_id: str) -> None:
        """A job has ended; objects of its processes that live on stay."""
        living = frozenset(process_id for process_id, c in self._clients.items() if not c.closed)
        self._carry_out(self.index.job_ended(job_id, living))
        self._changed()

    def close(self) -> None:
        """Close every descriptor."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    # Carrying out

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Reserved(token=token, segment_id=segment_id):
                    self._reserving.pop(token)(segment_id, "")
                case Full(token=token, message=message):
                    self._reserving.pop(token)(None, message)
                case Trim(client=client):
                    self._cast(client, "store_trim")
                case Reclaim(client=client, object_id=object_id, segment_id=segment_id, offset=offset, size=size):
                    if client == AGENT:
                        self._pulled.reclaim(segment_id, offset, size)
                    else:
                        self._cast(client, "store_reclaim", [(object_id, segment_id, offset, size)])
                case Close(segment_id=segment_id, readers=readers):
                    fd = self._fds.pop(segment_id, -1)
                    if fd >= 0:
                        os.close(fd)
                    for reader in readers:
                        self._cast(reader, "store_unmap", segment_id)
                case FreeCopy(node=node, object_id=object_id):
                    self._free_elsewhere(node, [object_id])

    def _cast(self, process_id: str, method: str, *args: Any) -> None:
        client = self._clients.get(process_id)
        if client is not None:
            client.caller.cast(method, *args)

    def _plan(self) -> None:
        deadline = self.index.next_deadline()
        if deadline is not None and self._timer is None:
            self._timer = self._reactor.call_later(max(0.0, deadline - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._carry_out(self.index.expire(time.monotonic()))
        self._plan()


def _bytes_of(fd: int) -> int:
    """A reader of a segment that is shorter than it should be would die of SIGBUS."""
    return os.fstat(fd).st_size
