"""Requests to drain a node that wait for the node's own answer.

Invariant: every request is answered exactly once: by the node, by its death, or by the deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ANSWER_SECONDS: Final = 3.0

DrainDone = Callable[[bool, str], None]


@dataclass(frozen=True)
class _Waiting:
    node_id: str
    done: DrainDone
    deadline: float


class PendingDrains:
    """Not thread-safe: the head's lock guards it. ``done`` callbacks must only queue."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}

    def add(self, drain_id: str, node_id: str, done: DrainDone, now: float) -> None:
        """A request was sent to the node."""
        self._waiting[drain_id] = _Waiting(node_id, done, now + ANSWER_SECONDS)

    def answered(self, drain_id: str, accepted: bool, message: str) -> None:
        """The node answered; an unknown id (too late) is ignored."""
        waiting = self._waiting.pop(drain_id, None)
        if waiting is not None:
            waiting.done(accepted, message)

    def node_drains(self, node_id: str) -> None:
        """A report shows that the node drains: that is an answer too."""
        for drain_id in self._of(node_id):
            self.answered(drain_id, True, "")

    def node_gone(self, node_id: str) -> None:
        """The node died before it answered."""
        for drain_id in self._of(node_id):
            self.answered(drain_id, False, "the node died")

    def expire(self, now: float) -> list[str]:
        """Answer requests whose deadline is over; returns their nodes."""
        late = [(drain_id, w) for drain_id, w in self._waiting.items() if w.deadline <= now]
        for drain_id, _ in late:
            self.answered(drain_id, False, f"the node did not answer within {ANSWER_SECONDS:g} s")
        return [waiting.node_id for _, waiting in late]

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do next."""
        return min((w.deadline for w in self._waiting.values()), default=None)

    def _of(self, node_id: str) -> list[str]:
        return [drain_id for drain_id, w in self._waiting.items() if w.node_id == node_id]
