"""One line that says how far a long command is, while it runs.

Invariant: it is written at most once a second, not within the first one, and is gone when the command goes on to its
result; where nobody watches nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TextIO

EVERY_SECONDS: Final = 1.0
WIDTH_MAX: Final = 79
"""A line that wraps could not be taken back."""
_CLEAR: Final = "\r\x1b[K"


class ProgressLine:
    """See the module; a context manager.

    Args:
        stream: a terminal.
        is_shown: False writes nothing.
        clock: seconds that only go forward.
    """

    def __init__(self, stream: TextIO, *, is_shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._is_shown, self._clock = stream, is_shown, clock
        self._due = clock() + EVERY_SECONDS
        self._is_there = False

    def show(self, text: Callable[[], str]) -> None:
        """Put a text there, if it is time; it is made only then."""
        if not self._is_shown or (now := self._clock()) < self._due:
            return
        self._due, self._is_there = now + EVERY_SECONDS, True
        self._stream.write(_CLEAR + text()[:WIDTH_MAX])
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_there:
            self._stream.write(_CLEAR)
            self._stream.flush()
