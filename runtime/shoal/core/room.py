"""What was free on nodes a moment ago.

The reports of nodes arrive apart: that of a node that just took a task may come before that of the node where the task
waited, and for a moment the task would seem to wait while nothing is free. So room that went is told a little longer,
beside the room that there is: who adds nodes counts with it, and who removes nodes must not.

Invariant: what is told for a node is more than what it reported last, and nothing once ``REMEMBER_SECONDS`` have gone
by without change.
"""

from __future__ import annotations

from typing import Final

from shoal.resources import ResourceSet

REMEMBER_SECONDS: Final = 0.3
"""Longer than reports are coalesced, also on a busy machine; a pod more is decided on later by this at most."""


def largest(sets: list[ResourceSet]) -> ResourceSet:
    """The most of each resource that any of the sets has."""
    names = {name for amounts in sets for name in amounts}
    return ResourceSet({name: max(amounts[name] for amounts in sets) for name in names})


class RecentRoom:
    """What nodes had free lately. Times are seconds of any clock that only goes forward."""

    def __init__(self, remember_seconds: float = REMEMBER_SECONDS) -> None:
        self._remember = remember_seconds
        self._past: dict[str, list[tuple[float, ResourceSet]]] = {}

    def changed(self, node_id: str, before: ResourceSet, after: ResourceSet, now: float) -> bool:
        """A node reported; True when it has less of something, so that ``next_deadline`` may be sooner."""
        if all(amount <= after[name] for name, amount in before.items()):
            return False
        self._past.setdefault(node_id, []).append((now + self._remember, before))
        return True

    def recent(self, node_id: str, available: ResourceSet, now: float) -> ResourceSet | None:
        """The most that a node with ``available`` had free lately; None where that is no more than it has now."""
        past = [room for until, room in self._past.get(node_id, ()) if until > now]
        most = largest([available, *past]) if past else available
        return None if most == available else most

    def expire(self, now: float) -> bool:
        """Forget what is too old; True when anything shown may differ now."""
        forgot = False
        for node_id, past in list(self._past.items()):
            kept = [(until, room) for until, room in past if until > now]
            forgot = forgot or len(kept) < len(past)
            if kept:
                self._past[node_id] = kept
            else:
                del self._past[node_id]
        return forgot

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do next."""
        return min((past[0][0] for past in self._past.values()), default=None)
