"""Waiting in tests: one way, always with a deadline and words for what did not happen.

Invariant: nothing here waits longer than it was told; a wait that fails says what was waited for and what was
there instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

Found = TypeVar("Found")

LOOK_SECONDS: Final = 0.05


class NotInTimeError(AssertionError):
    """What was waited for did not happen."""


def eventually(
    probe: Callable[[], Found | None],
    what: str,
    seconds: float,
    *,
    instead: Callable[[], str] = lambda: "",
    look_seconds: float = LOOK_SECONDS,
) -> Found:
    """Call ``probe`` until it returns something true; returns that.

    Args:
        what: what is waited for, for the error: "the job is Complete".
        seconds: the deadline.
        instead: asked once when the time is over: what is the case instead.
        look_seconds: pause between two looks.

    Raises:
        NotInTimeError: it stayed false. What ``probe`` raises itself ends the wait at once.

    Example:
        >>> eventually(lambda: 6 * 7, "the answer is there", 1.0)
        42
    """
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise NotInTimeError(f"not within {seconds:g} s: {what}\n{instead()}".rstrip())
        time.sleep(look_seconds)
