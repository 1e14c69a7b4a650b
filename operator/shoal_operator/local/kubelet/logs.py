"""Container logs: written with a time stamp per line, bounded, and read back as ``kubectl logs`` wants them.

The format is CRI's: ``TIME STREAM TAG TEXT``; tag ``P`` marks a piece of a line that goes on.

Invariant: one run of a container never holds more than ``max_bytes * max_files`` on disk, and what is read
back is what the container wrote, byte by byte, except for pieces that rotation dropped.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

_MAX_LINE_BYTES: Final = 16 * 1024


@dataclass(frozen=True)
class LogLimits:
    """How large the log of one run of a container may become."""

    max_bytes: int = 10 * 1024 * 1024
    max_files: int = 5


@dataclass(frozen=True)
class LogOptions:
    """What ``kubectl logs`` asks for."""

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    limit_bytes: int | None = None
    previous: bool = False


class ContainerLog:
    """The log of one run. ``changed`` wakes its followers."""

    def __init__(self, path: Path, limits: LogLimits) -> None:
        self.path = path
        self.closed = False
        self.rotations = 0
        self._limits = limits
        self._pending: dict[str, bytes] = {}
        self._waiters: set[asyncio.Event] = set()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, stream: str, data: bytes, now: datetime) -> None:
        """Take what the container wrote to ``stdout`` or ``stderr``; whole lines reach the file."""
        if self.closed:
            return
        *lines, rest = (self._pending.get(stream, b"") + data).split(b"\n")
        stamp = _stamp(now)
        entries: list[bytes] = []
        for line in lines:
            *head, last = _pieces(line)
            entries.extend(_entry(stamp, stream, b"P", piece) for piece in head)
            entries.append(_entry(stamp, stream, b"F", last))
        while len(rest) > _MAX_LINE_BYTES:
            entries.append(_entry(stamp, stream, b"P", rest[:_MAX_LINE_BYTES]))
            rest = rest[_MAX_LINE_BYTES:]
        self._pending[stream] = rest
        self._append(entries)

    def flush(self, stream: str, now: datetime) -> None:
        """Write an unfinished last line; the stream has ended."""
        rest = self._pending.pop(stream, b"")
        if rest and not self.closed:
            self._append([_entry(_stamp(now), stream, b"P", rest)])

    def close(self) -> None:
        """No more will come."""
        if not self.closed:
            self.closed = True
            self._file.close()
            self._wake()

    def subscribe(self) -> asyncio.Event:
        """An event that is set after each write; hand it back with ``unsubscribe``."""
        event = asyncio.Event()
        self._waiters.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """Forget a follower."""
        self._waiters.discard(event)

    def _wake(self) -> None:
        for event in self._waiters:
            event.set()

    def _append(self, entries: list[bytes]) -> None:
        batch: list[bytes] = []
        batch_bytes = 0
        for entry in entries:
            if self._size + batch_bytes + len(entry) > self._limits.max_bytes and self._size + batch_bytes:
                self._put(batch, batch_bytes)
                self._rotate()
                batch, batch_bytes = [], 0
            batch.append(entry)
            batch_bytes += len(entry)
        self._put(batch, batch_bytes)
        self._wake()

    def _put(self, batch: list[bytes], batch_bytes: int) -> None:
        if batch:
            self._file.write(b"".join(batch))
            self._size += batch_bytes

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._limits.max_files - 1, 0, -1):
            older = self.path if number == 1 else _rotated(self.path, number - 1)
            if older.exists():
                os.replace(older, _rotated(self.path, number))
        self._file = self.path.open("wb", buffering=0)
        self._size = 0
        self.rotations += 1


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _stamp(now: datetime) -> bytes:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


def _entry(stamp: bytes, stream: str, tag: bytes, text: bytes) -> bytes:
    return b"%s %s %s %s\n" % (stamp, stream.encode(), tag, text)


def _pieces(line: bytes) -> list[bytes]:
    return [line[at : at + _MAX_LINE_BYTES] for at in range(0, len(line), _MAX_LINE_BYTES)] or [b""]


def files_of(path: Path, limits: LogLimits) -> list[Path]:
    """The files of one run, oldest first."""
    numbered = [_rotated(path, number) for number in range(limits.max_files, 0, -1)]
    return [one for one in [*numbered, path] if one.exists()]


@dataclass
class _Formatter:
    """Turns entries into what a reader gets; knows whether it stands at the start of a line."""

    options: LogOptions
    at_start: dict[bytes, bool] = field(default_factory=dict)

    def format(self, entry: bytes) -> bytes:
        """The text of one entry; empty when the options leave it out."""
        stamp, _, rest = entry.rstrip(b"\n").partition(b" ")
        stream, _, tagged = rest.partition(b" ")
        tag, _, text = tagged.partition(b" ")
        since = self.options.since
        if since is not None and datetime.fromisoformat(stamp.decode()) < since:
            return b""
        lead = b"%s " % stamp if self.options.timestamps and self.at_start.get(stream, True) else b""
        self.at_start[stream] = tag == b"F"
        return lead + text + (b"\n" if tag == b"F" else b"")


def read_log(path: Path, limits: LogLimits, options: LogOptions) -> Iterator[bytes]:
    """What is there now, formatted; ``follow`` is not looked at here."""
    formatter = _Formatter(options)
    budget = options.limit_bytes
    for entry in _entries(path, limits, options):
        text = formatter.format(entry)
        if budget is not None:
            text = text[:budget]
            budget -= len(text)
        if text:
            yield text
        if budget == 0:
            return


def _entries(path: Path, limits: LogLimits, options: LogOptions) -> Iterator[bytes]:
    every = (line for one in files_of(path, limits) for line in _lines(one))
    if options.tail_lines is None:
        yield from every
        return
    kept: deque[list[bytes]] = deque(maxlen=options.tail_lines)
    current: list[bytes] = []
    for entry in every:
        current.append(entry)
        if entry.split(b" ", 3)[2] == b"F":
            kept.append(current)
            current = []
    if current:
        kept.append(current)
    for group in kept:
        yield from group


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return


async def follow_log(log: ContainerLog, limits: LogLimits, options: LogOptions) -> AsyncIterator[bytes]:
    """What is there, then what comes, until the run is over.

    A reader that falls behind by a whole rotation misses what was rotated away in between.
    """
    event = log.subscribe()
    reader = log.path.open("rb")
    try:
        # Nothing may be written between taking the position and reading up to it: no await in here.
        rotations = log.rotations
        backlog = list(read_log(log.path, limits, options))
        reader.seek(0, os.SEEK_END)
        for text in backlog:
            yield text
        formatter = _Formatter(options)
        while True:
            event.clear()
            finished = log.closed
            if log.rotations != rotations:
                for text in _format_all(formatter, reader.read()):
                    yield text
                rotations = log.rotations
                reader.close()
                reader = log.path.open("rb")
            for text in _format_all(formatter, reader.read()):
                yield text
            if finished:
                return
            await event.wait()
    finally:
        reader.close()
        log.unsubscribe(event)


def _format_all(formatter: _Formatter, data: bytes) -> Iterator[bytes]:
    for entry in data.split(b"\n"):
        if entry:
            text = formatter.format(entry)
            if text:
                yield text
