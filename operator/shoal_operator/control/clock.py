"""Time as an argument.

Invariant: nothing else in the operator reads a clock. Two kinds of time are kept apart on purpose:
``monotonic`` for durations and deadlines inside one process, ``now`` for the time stamps that people and
other processes read.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the shell asks for the time."""

    def monotonic(self) -> float:
        """Seconds that only grow; meaningful only as a difference."""
        ...

    def now(self) -> datetime:
        """The wall clock, aware and in UTC."""
        ...


class SystemClock:
    """The clock of the machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved: for tests and simulations.

    Example:
        >>> clock = ManualClock()
        >>> clock.advance(2.5)
        >>> clock.monotonic()
        2.5
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start.timestamp()
        self._elapsed = 0.0

    def advance(self, seconds: float) -> None:
        """Move both kinds of time forward by ``seconds``."""
        self._elapsed += seconds

    def monotonic(self) -> float:
        return self._elapsed

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._start + self._elapsed, UTC)
