"""What was written but not seen yet: the guard against acting twice on a stale cache.

After a pod was created or deleted, the informer shows it a moment later. Until then the observed world is
older than our own deeds, and a plan made from it would repeat them. A controller therefore plans a key only
when its expectations are met: every created object was seen (by name: names are deterministic), every deleted
one is gone (by uid: a new object may have the name already).

Invariant: an expectation ends when the informer confirms it, when the write is known to have failed, or after
``timeout_seconds``; a lost event can delay a key, but never block it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


@dataclass
class _Pending:
    created: dict[str, float] = field(default_factory=dict)  # object name -> when it was expected
    deleted: dict[str, float] = field(default_factory=dict)  # object uid -> when it was expected

    def is_empty(self) -> bool:
        return not self.created and not self.deleted


class Expectations(Generic[KeyT]):
    """Open expectations by controller key. ``now`` is a monotonic time in seconds throughout.

    Example:
        >>> expectations = Expectations(timeout_seconds=30)
        >>> expectations.expect_created("ml/demo", "demo-small-0", now=0)
        >>> expectations.remaining_seconds("ml/demo", now=10)
        20
        >>> expectations.saw("ml/demo", "demo-small-0")
        True
        >>> expectations.remaining_seconds("ml/demo", now=10)
        0
    """

    def __init__(self, timeout_seconds: float = 30.0) -> None:
        self._timeout_seconds = timeout_seconds
        self._pending: dict[KeyT, _Pending] = {}

    def expect_created(self, key: KeyT, name: str, now: float) -> None:
        """Call before the create is sent: its event may come before the reply."""
        self._pending.setdefault(key, _Pending()).created[name] = now

    def expect_deleted(self, key: KeyT, uid: str, now: float) -> None:
        """Call before the delete is sent."""
        self._pending.setdefault(key, _Pending()).deleted[uid] = now

    def saw(self, key: KeyT, name: str) -> bool:
        """The informer shows the object, or its create failed. Returns whether that was expected."""
        pending = self._pending.get(key)
        met = pending is not None and pending.created.pop(name, None) is not None
        self._prune(key)
        return met

    def saw_gone(self, key: KeyT, uid: str) -> bool:
        """The informer says the object is gone, or its delete failed. Returns whether that was expected."""
        pending = self._pending.get(key)
        met = pending is not None and pending.deleted.pop(uid, None) is not None
        self._prune(key)
        return met

    def remaining_seconds(self, key: KeyT, now: float) -> float:
        """0 when the key may be planned, else the seconds until the last open expectation times out."""
        pending = self._pending.get(key)
        if pending is None:
            return 0
        latest = max((*pending.created.values(), *pending.deleted.values()))
        remaining = latest + self._timeout_seconds - now
        if remaining > 0:
            return remaining
        del self._pending[key]
        return 0

    def open(self, key: KeyT) -> tuple[str, ...]:
        """What ``key`` still waits for, for logs: object names and uids, sorted."""
        pending = self._pending.get(key)
        return () if pending is None else tuple(sorted((*pending.created, *pending.deleted)))

    def forget(self, key: KeyT) -> None:
        """The root object is gone."""
        self._pending.pop(key, None)

    def _prune(self, key: KeyT) -> None:
        pending = self._pending.get(key)
        if pending is not None and pending.is_empty():
            del self._pending[key]
