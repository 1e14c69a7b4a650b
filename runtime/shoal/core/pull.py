"""One pull of an object from other nodes in chunks, without I/O.

Invariants: at most ``window`` chunks are asked for at a time, of one location; a chunk that arrived is never
asked for again, even when its location is lost (objects are immutable, so chunks of different holders fit
together); the pull ends exactly once, with ``Done`` or with ``Failed``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from shoal.wire.address import RawNode

CHUNK_BYTES: Final = 4 << 20
WINDOW: Final = 4
STALL_SECONDS: Final = 30.0
"""A location that sends nothing for so long is given up."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a location for a chunk."""

    node: RawNode
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Allocate:
    """The size is known: make room, then call ``allocated``."""

    total: int


@dataclass(frozen=True, slots=True)
class Done:
    """Every byte is here."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No location has the object. ``kind``: ObjectMissing, Timeout."""

    kind: str
    message: str


Effect = Ask | Allocate | Done | Failed


class Pull:
    """See the module.

    Args:
        locations: where copies are said to be; tried in this order.
        now: monotonic seconds.
    """

    def __init__(
        self, locations: tuple[RawNode, ...], now: float, *, chunk_bytes: int = CHUNK_BYTES, window: int = WINDOW
    ) -> None:
        self.total: int | None = None
        self.ended = False
        self._chunk_bytes = chunk_bytes
        self._window = window
        self._locations = deque(dict.fromkeys(locations))
        self._todo: deque[tuple[int, int]] = deque([(0, chunk_bytes)])
        self._asked: dict[int, int] = {}
        self._allocated = False
        self._arrived_at = now
        self._reasons: list[str] = []
        self._timed_out = False

    @property
    def location(self) -> RawNode | None:
        """Where it is being pulled from."""
        return self._locations[0] if self._locations else None

    @property
    def deadline(self) -> float:
        """When ``expire`` should be called."""
        return self._arrived_at + STALL_SECONDS

    def restart_clock(self, now: float) -> None:
        """Waiting until now was not the location's fault."""
        self._arrived_at = now

    def wants(self, node: RawNode, offset: int) -> bool:
        """Whether a chunk of that location is still being waited for."""
        return not self.ended and node == self.location and offset in self._asked

    def add_locations(self, locations: tuple[RawNode, ...]) -> None:
        """Another reader of the same object knows more places."""
        known = set(self._locations)
        self._locations.extend(node for node in locations if node not in known)

    def next(self) -> list[Effect]:
        """What to ask for now."""
        if self.ended:
            return []
        node = self.location
        if node is None:
            return self._fail()
        asks: list[Effect] = []
        window = self._window if self._allocated else 1
        while self._todo and len(self._asked) < window:
            offset, length = self._todo.popleft()
            self._asked[offset] = length
            asks.append(Ask(node, offset, length))
        return asks

    def arrived(self, node: RawNode, offset: int, length: int, total: int, now: float) -> list[Effect]:
        """A chunk came: ``length`` bytes at ``offset`` of an object of ``total`` bytes."""
        if self.ended or node != self.location or offset not in self._asked:
            return []
        self._arrived_at = now
        asked = self._asked.pop(offset)
        if self.total is None:
            self.total = total
            for start in range(self._chunk_bytes, total, self._chunk_bytes):
                self._todo.append((start, min(self._chunk_bytes, total - start)))
        if total != self.total or length != min(asked, total - offset):
            self._todo.appendleft((offset, asked))
            return self.lost(node, "its copy has another size", now)
        if not self._allocated:
            return [Allocate(total)]
        if not self._todo and not self._asked:
            self.ended = True
            return [Done()]
        return self.next()

    def allocated(self, now: float) -> list[Effect]:
        """There is room (the first chunk has been written)."""
        self._allocated = True
        self._arrived_at = now
        if not self._todo and not self._asked and not self.ended:
            self.ended = True
            return [Done()]
        return self.next()

    def lost(self, node: RawNode, reason: str, now: float) -> list[Effect]:
        """A location cannot serve; go on with the next one."""
        if self.ended or node != self.location:
            return []
        self._reasons.append(f"node {node[0][:8]} at {node[1]}: {reason}")
        self._locations.popleft()
        self._todo.extendleft(sorted(self._asked.items(), reverse=True))
        self._asked.clear()
        self._arrived_at = now
        if self.total is not None and not self._allocated:
            return [] if self._locations else self._fail()
        return self.next()

    def expire(self, now: float) -> list[Effect]:
        """Give up a location that stalls."""
        node = self.location
        if self.ended or node is None or now < self.deadline:
            return []
        self._timed_out = True
        return self.lost(node, f"sent nothing for {STALL_SECONDS:g} s", now)

    def _fail(self) -> list[Effect]:
        self.ended = True
        tried = "; ".join(self._reasons) or "no location was given"
        return [Failed("Timeout" if self._timed_out else "ObjectMissing", f"no node has a copy ({tried})")]
