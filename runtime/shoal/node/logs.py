"""What workers print: read from their pipes, kept in files, handed on in batches.

Invariants: a worker that prints faster than anybody reads is never waited for and never fills the disk or a
queue: lines beyond the limits are dropped, and the number dropped is said; a line longer than the limit is
cut into several; a line bears the name of what printed it. That name stands in the stream itself: what comes in
another way, the worker's other stream included, is sooner or later than the lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

from shoal.wire.reactor import Reactor, Timer

BATCH_SECONDS: Final = 0.05
LINES_MAX: Final = 2000
"""Lines handed on per batch and stream."""
LINE_BYTES_MAX: Final = 16 << 10
FILE_BYTES_MAX: Final = 32 << 20
READ_BYTES: Final = 64 << 10
READS_AT_END: Final = 64
TITLE: Final = re.compile(rb"\x1e([^\x1e\x1f\n]{0,512})\x1f")
"""What a worker writes into both of its streams when something else begins to print (``worker.output``)."""
TITLE_BEGUN: Final = re.compile(rb"\x1e[^\x1e\x1f\n]{0,512}\Z")

OnLines = Callable[[list[str], bool, str], None]


class LogStream:
    """One stream of one worker.

    Args:
        reactor: the agent's.
        fd: the read end of the pipe; owned by this object.
        path: the file that gets every line; made with mode 0600.
        on_lines: called with (lines, is_err, the name of what printed them; empty: it has not said that yet).
        is_err: whether it is the worker's stderr.
    """

    def __init__(self, reactor: Reactor, fd: int, path: str, on_lines: OnLines, *, is_err: bool) -> None:
        self.path = path
        self._title = ""
        self._title_begun = b""
        self._reactor = reactor
        self._fd = fd
        self._on_lines = on_lines
        self._is_err = is_err
        self._rest = b""
        self._lines: list[str] = []
        self.last_line = ""
        self._dropped = 0
        self._timer: Timer | None = None
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._file_bytes = 0
        os.set_blocking(fd, False)
        reactor.add_reader(fd, self._on_readable)

    def _on_readable(self) -> None:
        if self._read_once() is None:
            self._stop_reading()

    def _read_once(self) -> int | None:
        """Take what is there; returns how many bytes, None at the end of the stream."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        if not data:
            return None
        self._take_bytes(data)
        return len(data)

    def _take_bytes(self, data: bytes) -> None:
        data, self._title_begun = self._title_begun + data, b""
        begun = TITLE_BEGUN.search(data)
        if begun is not None:
            data, self._title_begun = data[: begun.start()], data[begun.start() :]
        text, *more = TITLE.split(data)
        self._take_text(text)
        for title, text in zip(more[::2], more[1::2], strict=True):
            self._end_line()
            self.flush()
            self._title = title.decode("utf-8", "replace")
            self._take_text(text)

    def _take_text(self, data: bytes) -> None:
        self._keep(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._take(line)
        while len(self._rest) > LINE_BYTES_MAX:
            self._take(self._rest[:LINE_BYTES_MAX])
            self._rest = self._rest[LINE_BYTES_MAX:]

    def _end_line(self) -> None:
        """What stands there without an end of line is one: it is the last of what printed it."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _keep(self, data: bytes) -> None:
        room = FILE_BYTES_MAX - self._file_bytes
        if room <= 0:
            return
        written = data[:room]
        try:
            os.write(self._file, written)
        except OSError:
            self._file_bytes = FILE_BYTES_MAX  # a full disk: the lines still go to the driver
            return
        self._file_bytes += len(written)
        if self._file_bytes >= FILE_BYTES_MAX:
            os.write(self._file, b"\n[shoal] this file is full; later lines are not kept\n")

    def _take(self, line: bytes) -> None:
        if line.strip():
            self.last_line = line[:200].decode("utf-8", "replace").strip()
        if len(self._lines) >= LINES_MAX:
            self._dropped += 1
            return
        for start in range(0, max(len(line), 1), LINE_BYTES_MAX):
            self._lines.append(line[start : start + LINE_BYTES_MAX].decode("utf-8", "replace").rstrip("\r"))
        if self._timer is None:
            self._timer = self._reactor.call_later(BATCH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand on what has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if self._dropped:
            lines.append(f"[shoal] {self._dropped} lines were dropped: they came faster than they can be shown")
            self._dropped = 0
        if lines:
            self._on_lines(lines, self._is_err, self._title)

    def drain(self) -> None:
        """Take what is in the pipe and hand on its whole lines."""
        self._read_all()
        self.flush()

    def _read_all(self) -> None:
        for _ in range(READS_AT_END):
            if self._fd < 0 or not self._read_once():
                break

    def finish(self) -> None:
        """The worker has ended: take what is left in the pipe, hand it on, close."""
        self._read_all()
        begun, self._title_begun = self._title_begun, b""
        self._take_text(begun)  # it was none, or will never be one
        self._end_line()
        self.flush()
        self._stop_reading()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if not self._file_bytes:
                os.unlink(self.path)

    def rename(self, path: str) -> None:
        """Give the file its final name, unless that is taken."""
        if self._file >= 0 and not os.path.exists(path):
            os.rename(self.path, path)
            self.path = path

    def _stop_reading(self) -> None:
        if self._fd >= 0:
            self._reactor.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
