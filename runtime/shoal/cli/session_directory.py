"""The directory of one node process: its socket, logs, packages and jobs.

Invariant: a directory in use is locked by its process, from the moment in which its lock can be seen; one that nobody
locks any more belonged to a process that was killed, and the next start of this user removes it. Everything is 0700,
and paths stay short enough for Unix sockets.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from shoal.node.orphans import end_orphans

LOCK_NAME: Final = "node.lock"
CLAIMS_MAX: Final = 20
"""How often a directory is claimed again that was removed meanwhile."""
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
        self._lock_fd = _claimed(self.path)
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
            if _lock(fd) and _is_at(lock, fd):  # else another sweep was first, and a new process may be there by now
                end_orphans(str(lock.parent))
                shutil.rmtree(lock.parent, ignore_errors=True)
        finally:
            os.close(fd)


def _claimed(path: Path) -> int:
    """The descriptor of the directory's lock, which is held.

    Others that start at the same time sweep: a lock that can be seen and is not held yet would be taken for that of a
    killed process, and what a killed one left behind may go while it is looked at.

    Raises:
        SessionDirectoryError: another process has it.
    """
    lock = path / LOCK_NAME
    for _ in range(CLAIMS_MAX):
        _make_private(path)
        with contextlib.suppress(FileNotFoundError):  # swept in between
            fd = _new_lock(lock)
            fd = _old_lock(lock) if fd is None else fd
            if fd is None:
                break
            if _is_at(lock, fd):
                return fd
            os.close(fd)
    raise SessionDirectoryError(f"session directory {path} is in use by another node process")


def _new_lock(lock: Path) -> int | None:
    """Make the lock so that it is held when others see it; None when there is one already."""
    hidden = lock.with_name(f".{lock.name}.{os.urandom(4).hex()}")
    fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd)
        os.link(hidden, lock)
    except FileExistsError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    finally:
        hidden.unlink(missing_ok=True)
    return fd


def _old_lock(lock: Path) -> int | None:
    """Take over what a killed process left; None when its process lives."""
    fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    if _lock(fd):
        return fd
    os.close(fd)
    return None


def _is_at(lock: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), lock.stat())
    except FileNotFoundError:
        return False


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
