"""Waiting in tests that have no loop of asyncio: a condition with a deadline, looked at often, and never a fixed time.

Invariant: the one loop is that of ``e2e.eventually``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from e2e.eventually import eventually

T = TypeVar("T")
LOOK_SECONDS: Final = 0.01


def until(
    condition: Callable[[], T | None], seconds: float = 30.0, what: str = "it", look_seconds: float = LOOK_SECONDS
) -> T:
    """Wait for the condition and return what it says then; an AssertionError says that ``what`` was not in time."""
    return eventually(condition, what, seconds, look_seconds=look_seconds)
