"""The calls of one process to one actor: their order, and what becomes of them when the actor moves or dies.

Pure: events in, decisions out. Times are not needed; the shell says when it has waited long enough.

Invariants: calls are sent in the order of submission, none overtakes one whose arguments are not ready; a call that
was sent and not answered is sent again only if it has retries.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

UNKNOWN: Final = "UNKNOWN"
PENDING: Final = "PENDING"
ALIVE: Final = "ALIVE"
RESTARTING: Final = "RESTARTING"
DEAD: Final = "DEAD"


@dataclass(slots=True)
class QueuedCall:
    """What the order needs to know of a call."""

    task_id: bytes
    ready: bool = False
    retries_left: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """What became of the calls in flight: these fail, the others wait to be sent again."""

    failed: tuple[bytes, ...]


class CallQueue:
    """Calls to one actor."""

    def __init__(self) -> None:
        self.state = UNKNOWN
        self.waiting: deque[QueuedCall] = deque()
        self.in_flight: dict[bytes, QueuedCall] = {}

    def add(self, call: QueuedCall) -> None:
        self.waiting.append(call)

    def sendable(self) -> list[QueuedCall]:
        """Take the calls that can be sent now, in order."""
        out: list[QueuedCall] = []
        if self.state != ALIVE:
            return out
        while self.waiting and self.waiting[0].ready:
            call = self.waiting.popleft()
            self.in_flight[call.task_id] = call
            out.append(call)
        return out

    def drop(self, task_id: bytes) -> None:
        """A call ended without being sent, or was answered."""
        if self.in_flight.pop(task_id, None) is None:
            self.waiting = deque(call for call in self.waiting if call.task_id != task_id)

    def connection_lost(self) -> Lost:
        """What was sent and not answered is lost; calls with retries go back to the front, in their order."""
        failed = []
        again = []
        for call in self.in_flight.values():
            if call.retries_left:
                call.retries_left -= 1 if call.retries_left > 0 else 0
                again.append(call)
            else:
                failed.append(call.task_id)
        self.in_flight.clear()
        self.waiting.extendleft(reversed(again))
        return Lost(tuple(failed))

    def died(self) -> Lost:
        """The actor is dead for good: everything fails."""
        failed = [*self.in_flight, *(call.task_id for call in self.waiting)]
        self.in_flight.clear()
        self.waiting.clear()
        self.state = DEAD
        return Lost(tuple(failed))
