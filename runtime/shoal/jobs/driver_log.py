"""Where a driver's output goes: its log file, and in whole lines the output of the process that runs it.

Invariant: the file is bounded; a disk that is full costs the log and never the job; no line is torn by another
driver's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

MAX_LOG_BYTES: Final = 256 * 1024 * 1024
MAX_LINE_BYTES: Final = 64 * 1024
_LIMIT_WORDS: Final = b"\n[shoal] the log reached its limit; later output is only in the head's own output\n"


class DriverLog:
    """One driver's output. Not thread-safe.

    Args:
        path: the log file; it is made, readable by its owner alone.
        echo: takes whole lines; None for silence.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, echo: Callable[[bytes], None] | None = None) -> None:
        self._echo = echo
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._logged = 0
        self._line = b""

    def write(self, data: bytes) -> None:
        """Take some output."""
        self._log(data)
        if self._echo is None:
            return
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > MAX_LINE_BYTES:
            lines.append(self._line)
            self._line = b""
        if lines:
            self._echo(b"".join(line + b"\n" for line in lines))

    def close(self) -> None:
        """No more output comes; a last line without its end is echoed with one. Idempotent."""
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        if self._line and self._echo is not None:
            self._echo(self._line + b"\n")

    def _log(self, data: bytes) -> None:
        if self._logged >= MAX_LOG_BYTES or self._fd < 0:
            return
        self._logged += len(data)
        try:
            os.write(self._fd, data if self._logged < MAX_LOG_BYTES else data + _LIMIT_WORDS)
        except OSError:
            self._logged = MAX_LOG_BYTES  # a full disk costs the log, never the job
