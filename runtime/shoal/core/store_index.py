"""The shared-memory store of one node, as its agent knows it: segments, objects in them, and who uses what.

A segment is a piece of shared memory that one client made and writes; objects of 1 MiB and more have one of
their own, smaller ones share. Space is reserved before a segment is made, so the sum of the segments never
exceeds the capacity. Clients keep some freed segments for their next objects (their pages are there already)
until the agent asks for the space.

Pure: every method is an event, and returns the effects that the shell has to carry out.

Invariants: the place of an object is given back exactly once, only after its owner freed it and every reader
let go; a segment is closed only when its creator gave it up (or is gone) and no object lives in it; a
reservation is answered exactly once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from shoal.wire.address import RawNode

RESERVE_WAIT_SECONDS: Final = 10.0
"""How long a writer waits for space before it is told that the store is full."""
FREED_IDS_KEPT: Final = 65_536
AGENT: Final = "agent"
"""The client name of the agent itself, which makes the segments of pulled copies."""


@dataclass(slots=True)
class Segment:
    """A piece of shared memory. ``creator`` is None once that client is gone."""

    segment_id: int
    size: int
    creator: str | None
    live: int = 0  # objects whose place was not given back yet
    readers: set[str] = field(default_factory=set)  # clients that have it mapped


@dataclass(slots=True)
class StoredObject:
    """A sealed object. ``pins``: how many views each client holds."""

    object_id: bytes
    segment_id: int
    offset: int
    size: int
    owner: str
    job_id: str
    primary: bool
    freed: bool = False
    pins: dict[str, int] = field(default_factory=dict)
    copies: dict[str, RawNode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reserved:
    """The client may make the segment with this id."""

    token: int
    segment_id: int


@dataclass(frozen=True, slots=True)
class Full:
    """There was no space in time."""

    token: int
    message: str


@dataclass(frozen=True, slots=True)
class Trim:
    """Ask a client to give up segments that it keeps for later."""

    client: str


@dataclass(frozen=True, slots=True)
class Reclaim:
    """A place may be written again by the client that made the segment."""

    client: str
    object_id: bytes
    segment_id: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close a segment; these clients have to unmap it."""

    segment_id: int
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FreeCopy:
    """Another node holds a copy of a freed object."""

    node: RawNode
    object_id: bytes


Effect = Reserved | Full | Trim | Reclaim | Close | FreeCopy


@dataclass(slots=True)
class _Reservation:
    token: int
    client: str
    size: int
    deadline: float


class StoreIndex:
    """See the module.

    Args:
        capacity_bytes: the most that all segments together may have.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.primaries = 0  # objects whose first copy is here: what a drain has to wait for
        self.objects: OrderedDict[bytes, StoredObject] = OrderedDict()  # least recently used first
        self.segments: dict[int, Segment] = {}
        self._lingering: dict[tuple[int, int], StoredObject] = {}  # freed, but somebody reads
        self._next_segment = 1
        self._reservations: deque[_Reservation] = deque()
        self._freed: OrderedDict[bytes, None] = OrderedDict()

    # Space

    def reserve(self, token: int, client: str, size: int, now: float) -> list[Effect]:
        """A client wants to make a segment."""
        if size > self.capacity_bytes:
            return [Full(token, self._full_words(size, "more than the whole store"))]
        self._reservations.append(_Reservation(token, client, size, now + RESERVE_WAIT_SECONDS))
        effects = self._grant()
        if any(waiting.token == token for waiting in self._reservations):
            effects += self._make_room()
        return effects

    def next_deadline(self) -> float | None:
        """When ``expire`` should be called; None: nobody waits."""
        return min((waiting.deadline for waiting in self._reservations), default=None)

    def expire(self, now: float) -> list[Effect]:
        """Answer those who waited too long."""
        late = [waiting for waiting in self._reservations if waiting.deadline <= now]
        for waiting in late:
            self._reservations.remove(waiting)
        words = f"waited {RESERVE_WAIT_SECONDS:g} s for space"
        effects: list[Effect] = [Full(w.token, self._full_words(w.size, words)) for w in late]
        return effects + self._grant()

    def _grant(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._reservations:
            first = self._reservations[0]
            if self.used_bytes + first.size > self.capacity_bytes:
                break
            self._reservations.popleft()
            segment_id, self._next_segment = self._next_segment, self._next_segment + 1
            self.segments[segment_id] = Segment(segment_id, first.size, first.client)
            self.used_bytes += first.size
            effects.append(Reserved(first.token, segment_id))
        return effects

    def _make_room(self) -> list[Effect]:
        """Drop copies that are elsewhere too, and ask clients for what they keep."""
        needed = sum(waiting.size for waiting in self._reservations)
        effects: list[Effect] = []
        for stored in list(self.objects.values()):
            if self.used_bytes + needed <= self.capacity_bytes:
                break
            if not stored.primary and not stored.pins:
                effects += self._remove(stored)
        keepers = {s.creator for s in self.segments.values() if s.creator is not None and s.live == 0}
        return effects + [Trim(client) for client in sorted(keepers)] + self._grant()

    def _full_words(self, size: int, why: str) -> str:
        held = sum(stored.size for stored in self.objects.values())
        return (
            f"the node's object store is full: {size} bytes asked for ({why}), {self.used_bytes} of "
            f"{self.capacity_bytes} bytes in use by {len(self.objects)} objects of {held} bytes. "
            "Drop references to objects that are not needed, or give the node more object store memory"
        )

    # Objects

    def seal(
        self,
        client: str,
        object_id: bytes,
        place: tuple[int, int, int],
        owner: str,
        job_id: str,
        *,
        primary: bool = True,
    ) -> list[Effect]:
        """A client wrote an object at ``place`` (segment id, offset, size) of its own segment.

        Raises:
            ValueError: the segment is not the client's, or the place is not inside it.
        """
        segment_id, offset, size = place
        segment = self.segments.get(segment_id)
        if segment is None or segment.creator != client:
            raise ValueError(f"segment {segment_id} was not reserved by {client}")
        if offset < 0 or size < 0 or offset + size > segment.size:
            raise ValueError(f"bytes {offset} to {offset + size} are not in segment {segment_id} of {segment.size}")
        if object_id in self.objects or object_id in self._freed:
            return [Reclaim(client, object_id, segment_id, offset, size)]
        segment.live += 1
        self.primaries += primary
        self.objects[object_id] = StoredObject(object_id, segment_id, offset, size, owner, job_id, primary)
        return []

    def pin(self, client: str, object_id: bytes) -> tuple[StoredObject, bool] | None:
        """A client reads an object: (object, whether its segment is mapped there); None when it is not here."""
        stored = self.objects.get(object_id)
        if stored is None:
            return None
        self.objects.move_to_end(object_id)
        stored.pins[client] = stored.pins.get(client, 0) + 1
        readers = self.segments[stored.segment_id].readers
        mapped = client in readers
        readers.add(client)
        return stored, mapped

    def release(self, client: str, object_id: bytes, place: tuple[int, int], count: int) -> list[Effect]:
        """A client let go of ``count`` views of the object at ``place`` (segment id, offset)."""
        stored = self._lingering.get(place)
        if stored is None or stored.object_id != object_id:
            stored = self.objects.get(object_id)
        if stored is None or client not in stored.pins:
            return []
        stored.pins[client] -= count
        if stored.pins[client] <= 0:
            del stored.pins[client]
        return self._give_back_if_unused(stored)

    def forget_mapping(self, client: str, segment_id: int) -> None:
        """A client unmapped a segment by itself."""
        segment = self.segments.get(segment_id)
        if segment is not None:
            segment.readers.discard(client)

    def add_copy(self, object_id: bytes, node: RawNode) -> None:
        """Another node has pulled the object from here."""
        stored = self.objects.get(object_id)
        if stored is not None:
            stored.copies[node[0]] = node

    def free(self, object_ids: Iterable[bytes]) -> list[Effect]:
        """Nobody needs these any more; ids that are not here (yet) are remembered for a while."""
        effects: list[Effect] = []
        for object_id in object_ids:
            self._freed[object_id] = None
            stored = self.objects.get(object_id)
            if stored is not None:
                effects += self._free_one(stored)
        while len(self._freed) > FREED_IDS_KEPT:
            self._freed.popitem(last=False)
        return effects + self._grant()

    def is_freed(self, object_id: bytes) -> bool:
        """Whether the object was freed a short while ago."""
        return object_id in self._freed

    def _free_one(self, stored: StoredObject) -> list[Effect]:
        effects: list[Effect] = [FreeCopy(node, stored.object_id) for node in stored.copies.values()]
        return effects + self._remove(stored)

    def _remove(self, stored: StoredObject) -> list[Effect]:
        del self.objects[stored.object_id]
        self.primaries -= stored.primary
        stored.freed = True
        self._lingering[stored.segment_id, stored.offset] = stored
        return self._give_back_if_unused(stored)

    def _give_back_if_unused(self, stored: StoredObject) -> list[Effect]:
        if not stored.freed or stored.pins:
            return []
        self._lingering.pop((stored.segment_id, stored.offset), None)
        segment = self.segments[stored.segment_id]
        segment.live -= 1
        if segment.creator is None:
            return self._close_if_unused(segment)
        place = (stored.segment_id, stored.offset, stored.size)
        return [Reclaim(segment.creator, stored.object_id, *place)]

    # Segments and clients

    def give_up(self, client: str, segment_id: int) -> list[Effect]:
        """A client will not write a segment of its own any more."""
        segment = self.segments.get(segment_id)
        if segment is None or segment.creator != client:
            return []
        segment.creator = None
        return self._close_if_unused(segment)

    def _close_if_unused(self, segment: Segment) -> list[Effect]:
        if segment.creator is not None or segment.live > 0:
            return []
        del self.segments[segment.segment_id]
        self.used_bytes -= segment.size
        return [Close(segment.segment_id, tuple(sorted(segment.readers))), *self._grant()]

    def client_gone(self, client: str) -> list[Effect]:
        """A process ended: what it owned is freed, what it read is let go, what it kept is closed."""
        self._reservations = deque(waiting for waiting in self._reservations if waiting.client != client)
        effects = self._free_where(lambda stored: stored.owner == client)
        for stored in [*self.objects.values(), *self._lingering.values()]:
            if stored.pins.pop(client, 0):
                effects += self._give_back_if_unused(stored)
        for segment in list(self.segments.values()):
            segment.readers.discard(client)
            if segment.creator == client:
                effects += self.give_up(client, segment.segment_id)
        return [e for e in effects if not (isinstance(e, Reclaim) and e.client == client)] + self._grant()

    def job_ended(self, job_id: str, living: frozenset[str]) -> list[Effect]:
        """A job ended: its objects are freed, except those of owners that live on (detached actors)."""
        return self._free_where(lambda stored: stored.job_id == job_id and stored.owner not in living)

    def _free_where(self, condition: Callable[[StoredObject], bool]) -> list[Effect]:
        return self.free([stored.object_id for stored in self.objects.values() if condition(stored)])
