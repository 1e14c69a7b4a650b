"""An event loop that never sleeps: when nothing can run, its clock jumps to the next timer.

Invariant: the order of everything depends on timers and on nothing outside; a world that waits for nothing at all
raises ``NothingPlannedError`` instead of hanging.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

EPOCH = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


class NothingPlannedError(RuntimeError):
    """Every task waits, and no timer will ever wake one."""


class VirtualLoop(asyncio.base_events.BaseEventLoop):
    """Runs callbacks and timers; knows no sockets, threads or signals."""

    def __init__(self) -> None:
        super().__init__()
        self._elapsed = 0.0
        self._selector = self  # BaseEventLoop asks its selector to wait: here waiting is moving the clock
        self.steps = 0

    def time(self) -> float:
        return self._elapsed

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise NothingPlannedError("every task waits, and no timer is set")
        self.steps += 1
        if timeout > 0:
            self._elapsed += timeout
        return []

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class SimulatedClock:
    """The two kinds of time of one process; the wall clock can be moved."""

    def __init__(self, monotonic: Callable[[], float], wall_offset_seconds: float = 0.0) -> None:
        self._monotonic = monotonic
        self.wall_offset_seconds = wall_offset_seconds

    def monotonic(self) -> float:
        return self._monotonic()

    def now(self) -> datetime:
        return datetime.fromtimestamp(EPOCH + self._monotonic() + self.wall_offset_seconds, UTC)
