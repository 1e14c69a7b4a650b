"""The object store as drivers and workers use it: write, seal, fetch, free.

Writing needs no round trip when a freed segment of this process can be written again; reading an object of
this process, or one that it is reading already, needs none either. Everything else is asked of the node's
agent over its Unix socket:

    call ``store_reserve`` (bytes) -> segment id
    cast ``store_seal`` (object id, segment id, offset, size, owner), the segment's descriptor with its first
        object
    call ``store_fetch`` (object id, locations) -> (segment id, segment size, offset, size), a descriptor the
        first time
    cast ``store_released`` ([(object id, segment id, offset, count), ...]); ``store_free`` ([object id, ...],
        nodes)
    cast ``store_give_up`` (segment id): will not write it any more; ``store_forget`` (segment id): has
        unmapped it
    from the agent: cast ``store_reclaim`` ([(object id, segment id, offset, size), ...]), ``store_trim`` (),
    ``store_unmap`` (segment id)

Invariants: a place is written again only after the agent gave it back and every buffer of this process on it
is gone; a callback of the garbage collector takes no lock and sends nothing, it only notes what died.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from shoal.exceptions import SystemFailureError
from shoal.store.own_memory import OwnMemory, Placed
from shoal.store.segments import Mapping, view_of
from shoal.wire.address import RawNode
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import Caller, Error

READ_CACHE_BYTES_MAX: Final = 256 << 20
"""How much mapped memory without readers a process keeps: mapping it again would fault every page in again."""


@dataclass(frozen=True)
class StoreFailure:
    """Why an object could not be fetched. ``kind``: ObjectMissing, Timeout, ObjectStoreFull, Disconnected."""

    kind: str
    message: str


OnFetched = Callable[[memoryview | StoreFailure], None]


@dataclass(slots=True)
class _Read:
    """An object of somebody else that this process has views of. ``pins``: how often the agent pinned it."""

    segment_id: int
    offset: int
    size: int
    mapping: Mapping
    pins: int
    views: int = 0
    newest: weakref.ref[Any] | None = None


@dataclass(slots=True)
class _Fetching:
    locations: tuple[RawNode, ...]
    waiters: list[OnFetched] = field(default_factory=list)


class StoreClient:
    """The store, seen from one process. Thread-safe.

    Args:
        caller: of the Unix connection to the node's agent, after its hello. Route the agent's casts whose
            method starts with ``store_`` to ``handle_cast``.
        reactor: that reads that connection.
    """

    def __init__(self, caller: Caller, reactor: Reactor) -> None:
        self._caller = caller
        self._reactor = reactor
        self._lock = threading.RLock()
        self.memory = OwnMemory(caller, reactor, self._lock)
        self._writing: dict[bytes, Placed] = {}
        self._own: dict[bytes, Placed] = {}
        self._reads: dict[bytes, _Read] = {}
        self._mapped: OrderedDict[int, Mapping] = OrderedDict()  # segments of others, least recently used first
        self._readers: dict[int, int] = {}  # segment id -> reads in it
        self._fetching: dict[bytes, _Fetching] = {}
        self._keys = itertools.count()
        self._watched: dict[int, tuple[weakref.ref[Any], bytes, Placed | _Read]] = {}
        self._dead: deque[int] = deque()
        self._sweep_due = False

    # Writing

    def write(self, object_id: bytes, size: int) -> memoryview:
        """A writable view of exactly ``size`` bytes of shared memory, aligned to 64 bytes.

        It ends with ``seal`` or ``abort``. May wait for the agent when new memory is needed, so it must not be
        called in a handler of the reactor.

        Raises:
            ObjectStoreFullError: the store of the node is full of objects that are in use.
            SystemFailureError: the agent is gone.
        """
        self._sweep()
        if object_id in self._writing:
            raise ValueError(f"object {object_id.hex()} is being written already")
        placed = self.memory.place(size)
        with self._lock:
            self._writing[object_id] = placed
            return self._view(object_id, placed, writable=True)

    def seal(self, object_id: bytes, owner: str) -> None:
        """Hand a written object to the agent; it must not be written any more. Never blocks.

        Args:
            object_id: as given to ``write``.
            owner: id of the process that owns the object: it is freed when that process ends.

        Raises:
            SystemFailureError: the agent is gone.
        """
        with self._lock:
            placed = self._writing.pop(object_id)
            segment = placed.segment
            self._own.setdefault(object_id, placed)  # sealed twice: the first one counts
            # Sent under the lock: the frame with the descriptor has to be the first that names the segment.
            fds = [segment.fd] if segment.fd >= 0 else []
            args = (object_id, segment.segment_id, placed.offset, placed.size, owner)
            sent = self._caller.cast("store_seal", *args, fds=fds)
            segment.close()
        if not sent:
            raise SystemFailureError("the connection to the node's agent is closed: the object was not stored")

    def abort(self, object_id: bytes) -> None:
        """Give up an object that was not sealed."""
        with self._lock:
            placed = self._writing.pop(object_id, None)
            if placed is not None:
                placed.reclaimed = True
                self.memory.give_back_if_unused(placed)

    # Reading

    def fetch(self, object_id: bytes, locations: tuple[RawNode, ...], on_done: OnFetched) -> None:
        """Get a read-only view of an object.

        ``on_done`` is called at once when this process has it mapped already, otherwise in the leading thread.

        Args:
            object_id: a sealed object.
            locations: nodes that have a copy, as (node id, ip, port of the agent); may include this node.
            on_done: gets the view, or why there is none.
        """
        view = self._view_at_hand(object_id)
        if view is not None:
            on_done(view)
            return
        with self._lock:
            fetching = self._fetching.get(object_id)
            if fetching is not None:
                fetching.waiters.append(on_done)
                fetching.locations = locations  # the newest word on where it is
                return
            self._fetching[object_id] = _Fetching(locations, [on_done])
        self._ask(object_id, locations)

    def _ask(self, object_id: bytes, locations: tuple[RawNode, ...]) -> None:
        self._caller.call(
            "store_fetch",
            object_id,
            locations,
            on_reply=lambda error, value, _payload, fds: self._on_fetched(object_id, locations, error, value, fds),
        )

    def _on_fetched(
        self, object_id: bytes, asked: tuple[RawNode, ...], error: Error | None, value: Any, fds: list[int]
    ) -> None:
        result: memoryview | StoreFailure | None
        if error is not None:
            # Whoever asked later may know of a copy that was made since: his question has not been asked yet.
            stale = error[0] != "Disconnected" and self._fetching[object_id].locations != asked
            result = None if stale else StoreFailure(error[0], error[1])
        else:
            result = self._take_read(object_id, value, fds)
        for fd in fds:
            os.close(fd)
        if result is None:
            self._ask(object_id, self._fetching[object_id].locations)
            return
        with self._lock:
            waiters = self._fetching.pop(object_id).waiters
        for waiter in waiters:
            waiter(result)

    def _take_read(self, object_id: bytes, value: Any, fds: list[int]) -> memoryview | StoreFailure | None:
        """Map what the agent gave. None: it believed the segment mapped here, but that has just been undone."""
        segment_id, segment_bytes, offset, size = value
        with self._lock:
            own = self.memory.segments.get(segment_id)
            mapping = own.mapping if own is not None else self._mapped.get(segment_id)
            if mapping is None:
                if not fds:
                    self._caller.cast("store_released", [(object_id, segment_id, offset, 1)])
                    return None
                try:
                    mapping = Mapping(fds[0], segment_bytes, writable=False)
                except OSError as error:
                    self._caller.cast("store_released", [(object_id, segment_id, offset, 1)])
                    self._caller.cast("store_forget", segment_id)
                    return StoreFailure("OutOfMemory", str(error))
            if own is None:
                self._mapped[segment_id] = mapping
                self._mapped.move_to_end(segment_id)
            read = self._reads.get(object_id)
            if read is not None and (read.segment_id, read.offset) == (segment_id, offset):
                read.pins += 1
            else:
                read = _Read(segment_id, offset, size, mapping, 1)
                self._reads[object_id] = read
                self._readers[segment_id] = self._readers.get(segment_id, 0) + 1
        return self._view(object_id, read, writable=False)

    def _view_at_hand(self, object_id: bytes) -> memoryview | None:
        with self._lock:
            placed = self._own.get(object_id)
            if placed is not None and not placed.reclaimed:
                return self._view(object_id, placed, writable=False)
            read = self._reads.get(object_id)
            export = read.newest() if read is not None and read.newest is not None else None
            if read is None or export is None:
                return None
            return view_of(export, read.size, writable=False)

    def _view(self, object_id: bytes, what: Placed | _Read, *, writable: bool) -> memoryview:
        mapping = what.segment.mapping if isinstance(what, Placed) else what.mapping
        export = mapping.export(what.offset, what.size)
        key = next(self._keys)
        watch: weakref.ref[Any] = weakref.ref(export, lambda _ref: self._note_death(key))
        with self._lock:
            what.views += 1
            if isinstance(what, _Read):
                what.newest = watch
            self._watched[key] = (watch, object_id, what)
        return view_of(export, what.size, writable=writable)

    # Letting go

    def free(self, object_ids: Iterable[bytes], nodes: tuple[RawNode, ...] = ()) -> None:
        """The owner needs these objects no more: the agent deletes its copies and tells the other nodes."""
        self._caller.cast("store_free", list(object_ids), nodes)

    def handle_cast(self, method: str, args: tuple[Any, ...]) -> bool:
        """Take a cast of the agent; False when it is not the store's."""
        if method == "store_reclaim":
            self._reclaim(args[0])
        elif method == "store_trim":
            with self._lock:
                self.memory.trim()
        elif method == "store_unmap":
            with self._lock:
                self._mapped.pop(args[0], None)
        else:
            return False
        return True

    def close(self) -> None:
        """Let go of all that nobody uses: for the end of a session. Views that live stay valid."""
        with self._lock:
            self.memory.close()
            for table in (self._mapped, self._own, self._writing, self._reads):
                table.clear()
            self._watched.clear()  # no callbacks any more: a weak reference that is gone calls nobody
            self._dead.clear()

    def _note_death(self, key: int) -> None:
        # The garbage collector may call this anywhere, also while this very thread holds a lock.
        self._dead.append(key)
        if not self._sweep_due:
            self._sweep_due = True
            self._reactor.call_soon(self._sweep)

    def _sweep(self) -> None:
        """Account for the views that died since the last time."""
        self._sweep_due = False
        released: list[tuple[bytes, int, int, int]] = []
        with self._lock:
            while self._dead:
                watched = self._watched.pop(self._dead.popleft(), None)
                if watched is None:
                    continue  # the session has been closed
                _ref, object_id, what = watched
                what.views -= 1
                if isinstance(what, Placed):
                    self.memory.give_back_if_unused(what)
                elif not what.views:
                    released.append((object_id, what.segment_id, what.offset, what.pins))
                    self._drop_read(object_id, what)
            if released:
                self._caller.cast("store_released", released)
                self._shrink_read_cache()

    def _drop_read(self, object_id: bytes, read: _Read) -> None:
        if self._reads.get(object_id) is read:
            del self._reads[object_id]
        self._readers[read.segment_id] -= 1
        if not self._readers[read.segment_id]:
            del self._readers[read.segment_id]

    def _shrink_read_cache(self) -> None:
        unread = [(s, m.size) for s, m in self._mapped.items() if s not in self._readers]
        excess = sum(size for _segment_id, size in unread) - READ_CACHE_BYTES_MAX
        for segment_id, size in unread:
            if excess <= 0:
                return
            excess -= size
            del self._mapped[segment_id]
            self._caller.cast("store_forget", segment_id)

    def _reclaim(self, places: list[tuple[bytes, int, int, int]]) -> None:
        self._sweep()
        with self._lock:
            for object_id, segment_id, offset, _size in places:
                placed = self._own.get(object_id)
                if placed is not None and placed.key == (segment_id, offset):
                    del self._own[object_id]
                self.memory.reclaim(segment_id, offset)
