"""The shared memory that one process writes: whole segments for large objects, slabs for small ones.

Invariants: a place is handed out again only after the agent gave it back *and* no view of this process is
left on it; what is kept for later is bounded and given up at once when the agent asks for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from shoal.core.slabs import SlabAllocator
from shoal.exceptions import ObjectStoreFullError, SystemFailureError
from shoal.store.memfd import OWN_SEGMENT_BYTES, SLAB_BYTES, create_segment, segment_size
from shoal.store.segments import Mapping
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import Caller, Error

POOL_BYTES_MAX: Final = 256 << 20
"""How much freed memory a process keeps for its next large objects: its pages need not be faulted in again."""
SPARE_SLABS: Final = 2
RESERVE_TIMEOUT_SECONDS: Final = 30.0


@dataclass(slots=True)
class OwnSegment:
    """A segment that this process made."""

    segment_id: int
    mapping: Mapping
    fd: int  # -1 once the agent has it

    def close(self) -> None:
        """Close the descriptor, if it was not handed over."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True, eq=False)
class Placed:
    """Where an object of this process lies. ``views``: how many exports of it live here."""

    segment: OwnSegment
    offset: int
    size: int
    views: int = 0
    reclaimed: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """(segment id, offset)."""
        return self.segment.segment_id, self.offset


class OwnMemory:
    """See the module. Methods are called with ``lock`` held, except ``place``, which may wait.

    Args:
        caller: of the connection to the agent.
        reactor: that reads it.
        lock: the client's.
    """

    def __init__(self, caller: Caller, reactor: Reactor, lock: threading.RLock) -> None:
        self.segments: dict[int, OwnSegment] = {}
        self.pool: OrderedDict[int, OwnSegment] = OrderedDict()  # whole free segments, oldest first
        self._slabs = SlabAllocator()
        self._placed: dict[tuple[int, int], Placed] = {}
        self._caller = caller
        self._reactor = reactor
        self._lock = lock

    def place(self, size: int) -> Placed:
        """Find or make room for an object; may wait for the agent.

        Raises:
            ObjectStoreFullError, SystemFailureError: see ``StoreClient.write``.
        """
        own = size >= OWN_SEGMENT_BYTES
        with self._lock:
            found = self._from_pool(size) if own else self._from_slab(size)
        if found is None:
            segment = self._new_segment(segment_size(size) if own else SLAB_BYTES)
            with self._lock:
                if own:
                    found = Placed(segment, 0, size)
                else:
                    self._slabs.add(segment.segment_id, segment.mapping.size)
                    found = self._from_slab(size)
        assert found is not None
        with self._lock:
            self._placed[found.key] = found
        return found

    def _from_pool(self, size: int) -> Placed | None:
        fitting = [s for s in self.pool.values() if size <= s.mapping.size <= size + size // 2]
        if not fitting:
            return None
        # Of equally good ones the last: its pages are the likeliest to be in the processor's cache.
        best = min(reversed(fitting), key=lambda s: s.mapping.size)
        del self.pool[best.segment_id]
        return Placed(best, 0, size)

    def _from_slab(self, size: int) -> Placed | None:
        found = self._slabs.allocate(size)
        return None if found is None else Placed(self.segments[found[0]], found[1], size)

    def _new_segment(self, size: int) -> OwnSegment:
        segment_id = self._reserve(size)
        fd = create_segment(size)
        try:
            mapping = Mapping(fd, size, writable=True)
        except OSError:
            os.close(fd)
            self._caller.cast("store_give_up", segment_id)
            raise
        segment = OwnSegment(segment_id, mapping, fd)
        with self._lock:
            self.segments[segment_id] = segment
        return segment

    def _reserve(self, size: int) -> int:
        answer: list[tuple[Error | None, Any]] = []

        def on_reply(error: Error | None, value: Any, _payload: bytes, _fds: list[int]) -> None:
            answer.append((error, value))

        self._caller.call("store_reserve", size, on_reply=on_reply)
        if not answer:
            self._reactor.run_until(lambda: bool(answer), time.monotonic() + RESERVE_TIMEOUT_SECONDS)
        if not answer:
            raise SystemFailureError(f"the node's agent did not answer within {RESERVE_TIMEOUT_SECONDS:g} s")
        error, value = answer[0]
        if error is None:
            return int(value)
        if error[0] == "ObjectStoreFull":
            raise ObjectStoreFullError(error[1])
        raise SystemFailureError(f"no shared memory: {error[1]}")

    def reclaim(self, segment_id: int, offset: int) -> None:
        """The agent gave a place back."""
        placed = self._placed.get((segment_id, offset))
        if placed is not None:
            placed.reclaimed = True
            self.give_back_if_unused(placed)

    def give_back_if_unused(self, placed: Placed) -> None:
        """Make a place free, when neither the agent nor a view needs it."""
        if not placed.reclaimed or placed.views > 0 or self._placed.pop(placed.key, None) is None:
            return
        segment = placed.segment
        if segment.segment_id not in self._slabs:
            self.pool[segment.segment_id] = segment
            self._shrink_pool(POOL_BYTES_MAX)
        elif self._slabs.release(segment.segment_id, placed.offset, placed.size):
            self._shrink_slabs(SPARE_SLABS)

    def trim(self) -> None:
        """Give up all that is kept: the agent needs it."""
        self._shrink_pool(0)
        self._shrink_slabs(0)

    def _shrink_pool(self, keep_bytes: int) -> None:
        kept = sum(segment.mapping.size for segment in self.pool.values())
        while self.pool and kept > keep_bytes:
            _segment_id, segment = self.pool.popitem(last=False)
            kept -= segment.mapping.size
            self._give_up(segment)

    def _shrink_slabs(self, keep: int) -> None:
        empty = self._slabs.empty()
        for segment_id in empty[: max(0, len(empty) - keep)]:
            self._slabs.remove(segment_id)
            self._give_up(self.segments[segment_id])

    def _give_up(self, segment: OwnSegment) -> None:
        self.segments.pop(segment.segment_id, None)
        segment.close()
        self._caller.cast("store_give_up", segment.segment_id)

    def close(self) -> None:
        """Forget everything; mappings with views stay as long as these do."""
        for segment in self.segments.values():
            segment.close()
        self.segments.clear()
        self.pool.clear()
        self._placed.clear()
        self._slabs = SlabAllocator()
