"""What happened, for people who look at a failing seed: bounded, with virtual times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

LINES_MAX = 400


class History:
    """The last lines."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self.count = 0

    def note(self, who: str, what: str) -> None:
        self.count += 1
        self._lines.append(f"{self._now():8.3f} {who:<10} {what}")

    def text(self) -> str:
        return "\n".join(self._lines)
