"""Ending what a killed node left running: for the next start, when agent, template and workers were killed at once.

Invariant: only processes that carry the dead session's directory in their environment are touched; every process of a
session inherits it from the template or from its job's driver.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

MARK: Final = "SHOAL_SESSION_DIR"


def orphans_of(session_dir: str) -> list[int]:
    """Processes of this user that belong to a session."""
    wanted = os.fsencode(f"{MARK}={session_dir}")
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def end_orphans(session_dir: str) -> int:
    """Kill them; returns how many there were. The session's node must be known to be dead."""
    orphans = orphans_of(session_dir)
    for pid in orphans:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(orphans)
