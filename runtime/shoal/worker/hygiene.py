"""How a process makes sure that it does not outlive its parent, and that what it started does not outlive it.

Invariant: PDEATHSIG is set by the process itself, after its fork or exec, and the parent is checked
afterwards, so that a parent that died in between is noticed. (It fires when the *thread* that created the
process ends, and a fork clears it.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Get a signal when the parent's creating thread ends; ends at once when the parent is gone already."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def name_process(name: str) -> None:
    """The name that ``top`` and ``ps -o comm`` show; at most 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def become_subreaper() -> None:
    """Become the parent of every orphan among the descendants, so that they can be found and ended."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """The children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return _children_by_scan(pid)
    return [int(word) for word in text.split()]


def _children_by_scan(pid: int) -> list[int]:
    """For kernels without CONFIG_PROC_CHILDREN."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                after_name = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
                if int(after_name.split()[1]) == pid:
                    found.append(int(entry.name))
    return found


def kill_group(pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Signal the process group that ``pid`` leads; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)


def end_all_children(deadline_seconds: float = 5.0) -> None:
    """Kill and reap every child, and the orphans that become children meanwhile. For a subreaper that ends."""
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        for pid in children_of(os.getpid()):
            kill_group(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)
