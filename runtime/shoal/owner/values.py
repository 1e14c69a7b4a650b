"""Values of references: made by ``put``, waited for and read by ``get`` and ``wait``.

Invariants: nothing waits while it holds the owner's lock; whoever gave up waiting is told of nothing any more; a value
that was lost while it was fetched is waited for again, a bounded number of times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from shoal.core import objects
from shoal.core.ids import object_id
from shoal.core.objects import FAILED, INLINE, PENDING, STORED, ObjectEntry
from shoal.exceptions import GetTimeoutError, ObjectLostError, SystemFailureError
from shoal.serialization import Serialized, deserialize, serialize
from shoal.store.client import StoreFailure
from shoal.wire import messages

if TYPE_CHECKING:
    from shoal.owner.process import OwnerProcess
    from shoal.owner.refs import ObjectRef

FETCH_ATTEMPTS: Final = 20


class Values:
    """Part of an ``OwnerProcess``. Thread-safe."""

    def __init__(self, process: OwnerProcess) -> None:
        self._process = process
        self._lock, self._table = process.lock, process.table
        self._reactor, self._store = process.reactor, process.store

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store a value that this process owns."""
        self._process.settle_dropped()
        serialized = serialize(value)
        oid = object_id(self._process.ids.task(), 0)
        with self._lock:
            entry = self._table.own(oid)
            entry.contained = tuple(serialized.contained)
            ref = self._process.reference(entry)
        if serialized.total_bytes <= messages.INLINE_BYTES_MAX:
            with self._lock:
                self._process.run_waiters(self._table.resolve_inline(entry, serialized.to_bytes()))
        else:
            self.write_to_store(oid, serialized, self._process.process_id)
            with self._lock:
                self._process.run_waiters(
                    self._table.resolve_stored(entry, serialized.total_bytes, (self._process.node,))
                )
        return ref

    def write_to_store(self, oid: bytes, serialized: Serialized, owner: str) -> None:
        """Copy a serialized value into this node's shared memory.

        Raises:
            ObjectStoreFullError: there is no room for it.
        """
        view = self._store.write(oid, serialized.total_bytes)
        try:
            serialized.write_into(view)
        except BaseException:
            self._store.abort(oid)
            raise
        finally:
            view.release()
        self._store.seal(oid, owner)

    def get(self, refs: Sequence[ObjectRef[Any]], timeout_seconds: float | None) -> list[Any]:
        """The values of ``refs``, in order; the first error found is raised at once.

        Raises:
            GetTimeoutError: not all were there in time.
            TaskError, ...: what a task raised.
        """
        self._process.settle_dropped()
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        entries = self._entries(refs)
        for _attempt in range(FETCH_ATTEMPTS):
            self._wait_resolved(entries, deadline)
            stored = [entry for entry in dict.fromkeys(entries) if entry.state == STORED]
            views = self._fetch(stored, deadline) if stored else {}
            if all(entry.state == INLINE or entry in views for entry in entries):
                return [self._read(entry, views) for entry in entries]
        raise ObjectLostError(f"the values were lost {FETCH_ATTEMPTS} times while they were fetched")

    def _entries(self, refs: Sequence[ObjectRef[Any]]) -> list[ObjectEntry]:
        entries = []
        with self._lock:
            for ref in refs:
                entry = self._table.entries.get(ref.binary())
                if entry is None:
                    raise ObjectLostError(f"{ref!r} belongs to a session that has ended", object_ref_hex=ref.hex())
                entries.append(entry)
        return entries

    def _read(self, entry: ObjectEntry, views: dict[ObjectEntry, memoryview]) -> Any:
        return deserialize(entry.data if entry.state == INLINE else views[entry])

    def _wait_resolved(self, entries: list[ObjectEntry], deadline: float | None) -> None:
        missing = [0]
        failed: list[ObjectEntry] = []

        def resolved(entry: ObjectEntry) -> None:
            missing[0] -= 1
            if entry.state == FAILED:
                failed.append(entry)

        with self._lock:
            waiting = []
            for entry in entries:
                if entry.state == FAILED:
                    failed.append(entry)
                    break
                if entry.state not in (INLINE, STORED):
                    missing[0] += 1
                    waiting.append((entry, self._process.watch(entry, partial(resolved, entry))))
        if not failed and missing[0]:
            with self._process.blocking():
                self._reactor.run_until(
                    lambda: not missing[0] or bool(failed) or bool(self._process.agent_lost) or self._process.closed,
                    deadline,
                )
        if missing[0]:
            self._unwatch(waiting)
        if failed:
            raise self._process.error_of(failed[0])
        if missing[0]:
            self._raise_unready(entries, deadline)

    def _raise_unready(self, entries: list[ObjectEntry], deadline: float | None) -> None:
        if self._process.agent_lost or self._process.closed:
            raise SystemFailureError(f"the session has ended: {self._process.agent_lost or 'shutdown() was called'}")
        unready = sum(1 for entry in entries if entry.state not in (INLINE, STORED))
        raise GetTimeoutError(f"{unready} of {len(entries)} objects were not ready in time")

    def wait(
        self, refs: Sequence[ObjectRef[Any]], count: int, timeout_seconds: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Wait until ``count`` of ``refs`` are resolved (errors count), or the time is over."""
        self._process.settle_dropped()
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        entries = self._entries(refs)
        ready = [0]

        def resolved() -> None:
            ready[0] += 1

        watched = []
        with self._lock:
            for entry in entries:
                if entry.state in (INLINE, STORED, FAILED):
                    ready[0] += 1
            if ready[0] < count:
                pending = [entry for entry in entries if entry.state not in (INLINE, STORED, FAILED)]
                watched = [(entry, self._process.watch(entry, resolved)) for entry in pending]
        if ready[0] < count and timeout_seconds != 0:
            with self._process.blocking():
                self._reactor.run_until(
                    lambda: ready[0] >= count or bool(self._process.agent_lost) or self._process.closed, deadline
                )
        elif ready[0] < count:
            self._reactor.run_until(lambda: True, deadline)
        self._unwatch(watched)
        done: list[ObjectRef[Any]] = []
        rest: list[ObjectRef[Any]] = []
        for ref, entry in zip(refs, entries, strict=True):
            is_ready = len(done) < count and entry.state in (INLINE, STORED, FAILED)
            (done if is_ready else rest).append(ref)
        return done, rest

    def when_ready(self, ref: ObjectRef[Any], callback: Callable[[], None]) -> None:
        """Call ``callback`` (in the leading thread, or at once) when the object is resolved."""
        entry = self._entries([ref])[0]
        with self._lock:
            if entry.state in (PENDING, objects.RELEASED):
                self._process.watch(entry, callback)
                return
        callback()

    def _unwatch(self, watched: list[tuple[ObjectEntry, Callable[[], None]]]) -> None:
        with self._lock:
            for entry, waiter in watched:
                if entry.waiters and waiter in entry.waiters:
                    entry.waiters.remove(waiter)

    def _fetch(self, entries: list[ObjectEntry], deadline: float | None) -> dict[ObjectEntry, memoryview]:
        """Map stored values; what a node has lost is reported, so that the next attempt waits for it again."""
        done: dict[ObjectEntry, memoryview | StoreFailure] = {}
        asked = {entry: tuple(entry.nodes.values()) for entry in entries}
        for entry, nodes in asked.items():
            self._store.fetch(entry.object_id, nodes, partial(done.__setitem__, entry))
        if len(done) < len(entries):
            with self._process.blocking():
                self._reactor.run_until(lambda: len(done) == len(entries) or bool(self._process.agent_lost), deadline)
        if len(done) < len(entries):
            self._raise_unready(entries, deadline)
        views: dict[ObjectEntry, memoryview] = {}
        for entry, result in done.items():
            if isinstance(result, StoreFailure):
                # Only the nodes that were asked: meanwhile there may be a new copy elsewhere.
                self._process.copies_lost(entry.object_id, tuple(node[0] for node in asked[entry]))
            else:
                views[entry] = result
        return views
