"""Ctrl-C: the first time in order, the second time at once.

Invariant: after the second signal no process and no file of the session is left, and this process is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from shoal_operator.local.session import Session
from shoal_operator.local.sweep import SESSION_MARK, kill_marked


class Interrupts:
    """Ctrl-C and SIGTERM: the first asks, the second ends everything at once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked = asyncio.Event()
        self.number = 0
        self._say = say
        self._session: Session | None = None

    def install(self) -> None:
        """Take over SIGINT, SIGTERM and SIGHUP."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._received, number)

    def guard(self, session: Session) -> None:
        """The session that a second signal ends at once."""
        self._session = session

    def _received(self, number: int) -> None:
        if self.asked.is_set():
            if self._session is not None:
                kill_marked(SESSION_MARK, self._session.session_id)
                self._session.close()
            os._exit(128 + number)
        self.number = number
        self._say("stopping (once more to stop at once)")
        self.asked.set()

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that was interrupted."""
        return 128 + self.number
