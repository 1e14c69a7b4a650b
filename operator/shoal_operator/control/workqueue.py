"""The work queue of a controller: which keys need a look, each at most once at a time, none ever lost.

``QueueState`` is the sans-IO state machine (time is an argument); ``WorkQueue`` lets asyncio tasks wait on
it.

Invariants:
- a key is handed out to one worker at a time; an ``add`` meanwhile is remembered and handed out after
  ``done``;
- adding a key that waits already changes nothing, so the queue never holds more entries than there are keys;
- of several ``add_after`` for one key the earliest counts, and it fires even when the key was handled before
  then (a look too many is harmless, a look too few is not).
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class QueueState(Generic[KeyT]):
    """The queue without waiting: every method returns at once and takes the time as an argument."""

    def __init__(self) -> None:
        self._ready: deque[KeyT] = deque()
        #: Keys that need a look: those in ``_ready`` and those added while a worker has them.
        self._dirty: dict[KeyT, float] = {}
        #: Keys that a worker has, and since when.
        self._processing: dict[KeyT, float] = {}
        self._timers: list[tuple[float, int, KeyT]] = []
        self._timer_of: dict[KeyT, float] = {}
        self._sequence = 0

    def add(self, key: KeyT, now: float) -> bool:
        """Ask for a look at ``key``. Returns whether that is news."""
        if key in self._dirty:
            return False
        self._dirty[key] = now
        if key not in self._processing:
            self._ready.append(key)
        return True

    def add_at(self, key: KeyT, when: float) -> None:
        """Ask for a look at ``key`` at the time ``when``; an earlier one that was asked for stands."""
        planned = self._timer_of.get(key)
        if planned is not None and planned <= when:
            return
        self._timer_of[key] = when
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, key))

    def advance(self, now: float) -> int:
        """Add every key whose time has come. Returns how many of them were news."""
        added = 0
        while self._timers and self._timers[0][0] <= now:
            when, _, key = heapq.heappop(self._timers)
            if self._timer_of.get(key) == when:  # else: an earlier time replaced this one
                del self._timer_of[key]
                added += self.add(key, now)
        return added

    def next_timer(self) -> float | None:
        """When ``advance`` has something to do next, or None."""
        while self._timers and self._timer_of.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def take(self, now: float) -> tuple[KeyT, float] | None:
        """The next key for a worker and the seconds it waited, or None. Whoever takes must call ``done``."""
        if not self._ready:
            return None
        key = self._ready.popleft()
        waited = now - self._dirty.pop(key)
        self._processing[key] = now
        return key, waited

    def done(self, key: KeyT) -> None:
        """The worker is finished with ``key``; it comes again when it was added meanwhile.

        Raises:
            KeyError: nobody has ``key``.
        """
        del self._processing[key]
        if key in self._dirty:
            self._ready.append(key)

    def discard_timer(self, key: KeyT) -> None:
        """Drop the planned look at ``key``: the object is gone."""
        self._timer_of.pop(key, None)

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return len(self._ready)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nobody works (timers may be planned)."""
        return not self._dirty and not self._processing

    def longest_running(self, now: float) -> float:
        """Seconds for which the slowest worker has had its key; 0 when none works."""
        return max((now - since for since in self._processing.values()), default=0.0)

    def unfinished(self, now: float) -> float:
        """Seconds that workers have had their keys, added up."""
        return sum(now - since for since in self._processing.values())


class QueueClosedError(Exception):
    """The queue was closed: the worker should end."""


class WorkQueue(Generic[KeyT]):
    """A ``QueueState`` that workers can wait on. Belongs to one event loop and its thread."""

    def __init__(self, *, on_add: Callable[[], None] = lambda: None) -> None:
        self._state: QueueState[KeyT] = QueueState()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._on_add = on_add

    def add(self, key: KeyT) -> None:
        """Ask for a look at ``key`` now. Never blocks; after ``close`` it does nothing."""
        if not self._closed and self._state.add(key, self._now()):
            self._on_add()
            self._wake_one()

    def add_after(self, key: KeyT, delay_seconds: float) -> None:
        """Ask for a look at ``key`` after a while."""
        if delay_seconds <= 0:
            self.add(key)
        elif not self._closed:
            self._state.add_at(key, self._now() + delay_seconds)
            self._arm()

    async def get(self) -> tuple[KeyT, float]:
        """Wait for a key; returns it and the seconds for which it waited.

        Raises:
            QueueClosedError: the queue was closed.
        """
        while True:
            if self._closed:
                raise QueueClosedError
            taken = self._state.take(self._now())
            if taken is not None:
                return taken
            await self._wait()

    def done(self, key: KeyT) -> None:
        """The worker is finished with ``key``. Must follow every ``get``."""
        self._state.done(key)
        self._wake_one()

    def forget(self, key: KeyT) -> None:
        """Drop the planned look at ``key``: the object is gone."""
        self._state.discard_timer(key)

    def close(self) -> None:
        """Wake every waiter with ``QueueClosedError``; keys that wait are dropped."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._waiters:
            self._wake_one()

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return self._state.depth

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nobody works (timers may be planned)."""
        return self._state.is_idle

    def longest_running_seconds(self) -> float:
        """For how long the slowest worker has had its key."""
        return self._state.longest_running(self._now())

    def unfinished_seconds(self) -> float:
        """Seconds that workers have had their keys, added up."""
        return self._state.unfinished(self._now())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake_one()  # the wake-up was meant for somebody who goes away: pass it on
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake_one(self) -> None:
        while self._waiters and (self._closed or self._state.depth):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        when = self._state.next_timer()
        if self._timer is not None:
            if when is not None and not self._timer.cancelled() and self._timer.when() <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        # The loop fires up to its clock's resolution early; without this allowance a timer could be rearmed
        # for the very same instant again and again.
        resolution = 1e-3
        for _ in range(self._state.advance(self._now() + resolution)):
            self._on_add()
            self._wake_one()
        self._arm()
