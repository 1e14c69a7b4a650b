"""Places for small objects inside shared segments (slabs): a first-fit allocator with holes that join again.

Invariant: two places that are in use never overlap, and the holes and places of a slab add up to its size.
"""

from __future__ import annotations

import bisect
from typing import Final

ALIGNMENT: Final = 64
"""Every object starts on a cache line, so that arrays in it are aligned for any vector unit."""


def rounded(size: int) -> int:
    """The space that an object of ``size`` bytes takes; an empty one takes a line too."""
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)


class _Slab:
    __slots__ = ("free", "holes", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self.holes: list[tuple[int, int]] = [(0, size)]  # (offset, size), by offset


class SlabAllocator:
    """The slabs of one process."""

    def __init__(self) -> None:
        self._slabs: dict[int, _Slab] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._slabs)

    def __contains__(self, segment_id: int) -> bool:
        return segment_id in self._slabs

    def add(self, segment_id: int, size: int) -> None:
        """A new, empty slab."""
        self._slabs[segment_id] = _Slab(size)
        self._last = segment_id

    def remove(self, segment_id: int) -> None:
        """Forget a slab, empty or not."""
        self._slabs.pop(segment_id, None)

    def empty(self) -> list[int]:
        """The slabs that hold nothing."""
        return [segment_id for segment_id, slab in self._slabs.items() if slab.free == slab.size]

    def allocate(self, size: int) -> tuple[int, int] | None:
        """A place (segment id, offset) for ``size`` bytes, or None when no slab has room."""
        need = rounded(size)
        last = self._slabs.get(self._last)
        offset = None if last is None else _carve(last, need)
        if offset is not None:
            return self._last, offset
        for segment_id, slab in self._slabs.items():
            offset = _carve(slab, need)
            if offset is not None:
                self._last = segment_id
                return segment_id, offset
        return None

    def release(self, segment_id: int, offset: int, size: int) -> bool:
        """Give a place back; True when its slab is empty now. Unknown slabs are ignored."""
        slab = self._slabs.get(segment_id)
        if slab is None:
            return False
        need = rounded(size)
        at = bisect.bisect_left(slab.holes, (offset, 0))
        start, length = offset, need
        if at < len(slab.holes) and offset + need == slab.holes[at][0]:
            length += slab.holes.pop(at)[1]
        if at > 0 and sum(slab.holes[at - 1]) == offset:
            at -= 1
            before = slab.holes.pop(at)
            start, length = before[0], before[1] + length
        slab.holes.insert(at, (start, length))
        slab.free += need
        return slab.free == slab.size


def _carve(slab: _Slab, need: int) -> int | None:
    if slab.free < need:
        return None
    for at, (offset, length) in enumerate(slab.holes):
        if length >= need:
            if length == need:
                del slab.holes[at]
            else:
                slab.holes[at] = (offset + need, length - need)
            slab.free -= need
            return offset
    return None
