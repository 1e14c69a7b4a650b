"""One thread that does the head's timed work: grace periods, coalesced views, retries.

Invariant: it sleeps until the earliest time that the head named or until it is woken; an idle head uses
no CPU.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

RETRY_SECONDS: Final = 1.0


class Ticker:
    """Calls ``work()`` again and again on a thread of its own.

    Args:
        work: does what is due; returns the monotonic time of its next turn, or None for "when woken".
    """

    def __init__(self, work: Callable[[], float | None]) -> None:
        self._work = work
        self._condition = threading.Condition()
        self._woken = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="shoal-head-ticker", daemon=True)

    def start(self) -> None:
        """Begin; the first turn comes at once."""
        self._thread.start()

    def wake(self) -> None:
        """Ask for a turn soon. Thread-safe, never blocks on the work."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def close(self) -> None:
        """End the thread and wait for its last turn. Idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(10)

    def _guarded_work(self) -> float | None:
        try:
            return self._work()
        except Exception:  # noqa: BLE001 - one failing turn must not be the last one; it must be seen, though
            traceback.print_exc()
            return time.monotonic() + RETRY_SECONDS

    def _run(self) -> None:
        while True:
            due = self._guarded_work()
            with self._condition:
                while not self._woken and not self._closed:
                    left = None if due is None else due - time.monotonic()
                    if left is not None and left <= 0:
                        break
                    self._condition.wait(left)
                self._woken = False
                if self._closed:
                    return
