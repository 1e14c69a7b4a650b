"""The directory of one node process: its socket, logs, packages and jobs.

Invariant: a directory in use is locked by its process; one that nobody locks any more belonged to a process that was
killed, and the next start of this user removes it. Everything is 0700, and paths stay short enough for Unix sockets.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from shoal.node.orphans import end_orphans

LOCK_NAME: Final = "node.lock"
MAX_PATH_LENGTH: Final = 80
"""The socket's own name comes on top, and the kernel takes 107 bytes."""


class SessionDirectoryError(OSError):
    """The directory cannot be used; the text says why and what to do."""


class SessionDirectory:
    """A locked session directory.

    Args:
        path: an existing or new directory; empty: a new one under ``$SHOAL_HOME`` or ``/tmp/shoal-<uid>``.

    Raises:
        SessionDirectoryError: it belongs to another user, is open to others, is too long or in use.
    """

    def __init__(self, path: str = "") -> None:
        self.path = Path(path) if path else _root() / os.urandom(4).hex()
        if not self.path.is_absolute() or len(str(self.path)) > MAX_PATH_LENGTH:
            raise SessionDirectoryError(
                f"session directory {self.path} must be absolute and at most {MAX_PATH_LENGTH} characters long"
            )
        _make_private(self.path)
        self._lock_fd = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(self._lock_fd):
            os.close(self._lock_fd)
            raise SessionDirectoryError(f"session directory {self.path} is in use by another node process")
        (self.path / "node.sock").unlink(missing_ok=True)  # of a killed process: nobody holds the lock

    def remove(self) -> None:
        """Delete the directory and let go of the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock_fd)


def sweep() -> None:
    """Remove what killed node processes of this user left behind: directories, and processes that outlived them."""
    for lock in _root().glob(f"*/{LOCK_NAME}"):
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # just removed, or not ours to open
        try:
            if _lock(fd):
                end_orphans(str(lock.parent))
                shutil.rmtree(lock.parent, ignore_errors=True)
        finally:
            os.close(fd)


def _root() -> Path:
    root = Path(os.environ.get("SHOAL_HOME") or Path(tempfile.gettempdir()) / f"shoal-{os.getuid()}")
    _make_private(root)
    return root


def _make_private(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SessionDirectoryError(f"{path} must belong to you and be closed to others (chmod 700), or set SHOAL_HOME")


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
