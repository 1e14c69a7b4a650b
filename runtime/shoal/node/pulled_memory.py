"""The shared memory of an agent itself: the copies of objects that it pulls from other nodes.

Invariant: a place that was allocated is either completed or dropped, and what is written stays inside it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass

from shoal.core.slabs import SlabAllocator
from shoal.core.store_index import AGENT, Effect, StoreIndex
from shoal.store.memfd import OWN_SEGMENT_BYTES, SLAB_BYTES, create_segment

OnSegment = Callable[[int | None, str], None]


@dataclass(slots=True)
class _Place:
    """Where a pulled object is being written."""

    segment_id: int
    offset: int
    size: int


class PulledMemory:
    """The destination of ``store.transfer``.

    Args:
        index: of the node's store.
        fds: the descriptors of its segments; new ones are added.
        reserve: asks for a segment: (client, bytes, on_done).
        carry_out: carries out effects of the index.
        sealed: called with the id of each completed object.
    """

    def __init__(
        self,
        index: StoreIndex,
        fds: dict[int, int],
        reserve: Callable[[str, int, OnSegment], None],
        carry_out: Callable[[list[Effect]], None],
        sealed: Callable[[bytes], None],
    ) -> None:
        self._index = index
        self._fds = fds
        self._reserve = reserve
        self._carry_out = carry_out
        self._sealed = sealed
        self._slabs = SlabAllocator()
        self._places: dict[int, _Place] = {}
        self._numbers = itertools.count(1)

    def allocate(self, size: int, on_done: OnSegment) -> None:
        """Make room for a pulled object."""
        if size >= OWN_SEGMENT_BYTES:
            self._reserve(AGENT, size, lambda segment, words: self._made_segment(segment, words, size, on_done))
            return
        found = self._slabs.allocate(size)
        if found is not None:
            on_done(self._add_place(_Place(*found, size)), "")
            return

        def made(place: int | None, words: str) -> None:
            if place is None:
                on_done(None, words)
                return
            segment_id = self._places.pop(place).segment_id
            self._slabs.add(segment_id, SLAB_BYTES)
            fresh = self._slabs.allocate(size)
            assert fresh is not None
            on_done(self._add_place(_Place(*fresh, size)), "")

        self._reserve(AGENT, SLAB_BYTES, lambda segment, words: self._made_segment(segment, words, SLAB_BYTES, made))

    def _made_segment(self, segment_id: int | None, words: str, size: int, on_done: OnSegment) -> None:
        if segment_id is None:
            on_done(None, words)
            return
        try:
            self._fds[segment_id] = create_segment(size)
        except OSError as error:
            self._carry_out(self._index.give_up(AGENT, segment_id))
            on_done(None, f"no shared memory: {error}")
            return
        on_done(self._add_place(_Place(segment_id, 0, size)), "")

    def _add_place(self, place: _Place) -> int:
        number = next(self._numbers)
        self._places[number] = place
        return number

    def write(self, place: int, offset: int, data: bytes) -> None:
        """Write a chunk of a pulled object."""
        where = self._places[place]
        if offset + len(data) > where.size:
            raise ValueError(f"a chunk ends at byte {offset + len(data)} of a place of {where.size}")
        view = memoryview(data)
        at = where.offset + offset
        while view.nbytes:
            written = os.pwrite(self._fds[where.segment_id], view, at)
            view, at = view[written:], at + written

    def complete(self, place: int, object_id: bytes, job_id: str) -> None:
        """A pulled object is whole."""
        where = self._places.pop(place)
        position = (where.segment_id, where.offset, where.size)
        self._carry_out(self._index.seal(AGENT, object_id, position, "", job_id, primary=False))
        self._sealed(object_id)

    def drop(self, place: int) -> None:
        """A pulled object will not be completed."""
        where = self._places.pop(place)
        self.reclaim(where.segment_id, where.offset, where.size)

    def reclaim(self, segment_id: int, offset: int, size: int) -> None:
        """A place is free again."""
        if segment_id in self._slabs:
            if not self._slabs.release(segment_id, offset, size):
                return
            self._slabs.remove(segment_id)
        self._carry_out(self._index.give_up(AGENT, segment_id))
