"""Finding and ending processes that carry Shoal's marks, whoever their parent is by now.

Every process of a session carries ``SHOAL_SESSION`` in its first environment, every process of a container
``SHOAL_CONTAINER`` as well. A fork and ``setsid`` keep that mark, so it finds what process groups lose.

Invariant: only processes of the same user are signalled, and only after the mark was read again through a
descriptor that pins the process (a pid may have been reused in between).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Final

SESSION_MARK: Final = "SHOAL_SESSION"
CONTAINER_MARK: Final = "SHOAL_CONTAINER"


def processes() -> Iterator[int]:
    """The pids of this user's processes, this one left out."""
    own, user = os.getpid(), os.getuid()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == own:
            continue
        try:
            if os.stat(f"/proc/{entry}").st_uid == user:
                yield int(entry)
        except OSError:
            continue


def carries(pid: int, name: str, value: str) -> bool:
    """Whether the process was started with ``name=value`` in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            return f"{name}={value}".encode() in environ.read().split(b"\0")
    except OSError:
        return False


def marked(name: str, value: str) -> list[int]:
    """The pids of this user's processes that carry the mark (zombies carry nothing any more)."""
    return [pid for pid in processes() if carries(pid, name, value)]


def parent_of(pid: int) -> int:
    """The parent's pid; 0 when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def descendants(root: int) -> list[int]:
    """The pids of all living descendants of ``root``."""
    children: dict[int, list[int]] = {}
    for pid in processes():
        children.setdefault(parent_of(pid), []).append(pid)
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found.extend(below)
        pending.extend(below)
    return found


def kill_pids(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Signal processes whose pids were read a moment ago."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def kill_marked(name: str, value: str, *, timeout_seconds: float = 2.0) -> list[int]:
    """End every process that carries the mark; returns those that were still there when the time was over.

    Processes may fork while this looks, so it looks again until nothing is found.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        found = marked(name, value)
        for pid in found:
            _kill_pinned(pid, name, value)
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.005)


def _kill_pinned(pid: int, name: str, value: str) -> None:
    try:
        pinned = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if carries(pid, name, value):
            signal.pidfd_send_signal(pinned, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(pinned)
