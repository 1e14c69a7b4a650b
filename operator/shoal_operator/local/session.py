"""Sessions of local mode on disk: one directory each, locked by the supervisor that lives.

Layout of a session: ``lock`` (held by the supervisor), ``session.json``, ``kubeconfig`` (0600), ``pods/``,
``logs/``.

Invariant: a directory whose lock can be taken belongs to a dead session; its processes are found by their mark
and ended before its files go. Nothing here is readable by another user.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shoal_operator.local.errors import LocalError
from shoal_operator.local.kubelet.materialise import remove_tree
from shoal_operator.local.sweep import SESSION_MARK, kill_marked

_ROOT_LOCK_SECONDS: Final = 10.0


def session_root(environment: Mapping[str, str], uid: int) -> Path:
    """Where sessions live: ``$SHOAL_HOME``, else ``shoal-UID`` in ``$XDG_RUNTIME_DIR`` or ``/tmp``.

    Example:
        >>> session_root({}, 1000)
        PosixPath('/tmp/shoal-1000')
    """
    if environment.get("SHOAL_HOME"):
        return Path(environment["SHOAL_HOME"])
    base = environment.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108 (owner and mode are checked before use)
    return Path(base) / f"shoal-{uid}"


def prepare_root(root: Path) -> None:
    """Make the root, or check that it is ours alone.

    Raises:
        LocalError: somebody else owns it, it is a link, or it cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = root.lstat()
    except OSError as error:
        raise LocalError(
            f"cannot make the session directory {root}: {error.strerror}",
            "set SHOAL_HOME to a directory that you can write",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LocalError(f"{root} is not a directory of yours", "set SHOAL_HOME to another directory")
    if found.st_mode & 0o077:
        root.chmod(0o700)


@contextmanager
def _root_lock(root: Path) -> Iterator[None]:
    """Held while sessions are made or swept, so that a session that is just being made is not taken for dead."""
    fd = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _ROOT_LOCK_SECONDS
        while not _try_lock(fd):
            if time.monotonic() > deadline:
                raise LocalError(
                    f"another shoal process holds {root / '.lock'} for more than {_ROOT_LOCK_SECONDS:g} s",
                    "see `shoal local ps`, or set SHOAL_HOME to another directory",
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass
class Session:
    """A session that this process owns for as long as it holds ``lock_fd``."""

    session_id: str
    directory: Path
    lock_fd: int

    @property
    def kubeconfig(self) -> Path:
        """Where the node process writes the kubeconfig."""
        return self.directory / "kubeconfig"

    def describe(self, **facts: Any) -> None:
        """Write ``session.json``: what ``shoal local ps`` and ``down`` need to know."""
        record = {"id": self.session_id, "pid": os.getpid(), "started": time.time(), **facts}
        beside = self.directory / ".session.json.new"
        beside.write_text(json.dumps(record))
        beside.replace(self.directory / "session.json")

    def close(self) -> None:
        """Remove the directory and let the lock go."""
        remove_session_directory(self.directory)
        os.close(self.lock_fd)


@dataclass(frozen=True)
class RunningSession:
    """A session of some living supervisor."""

    session_id: str
    directory: Path
    pid: int
    facts: Mapping[str, Any]


def create_session(root: Path) -> Session:
    """Make a new session, after whatever dead sessions left has been cleared away.

    Raises:
        LocalError: the root cannot be used.
    """
    prepare_root(root)
    with _root_lock(root):
        _clear(root)
        session_id = f"s{secrets.token_hex(4)}"
        directory = root / session_id
        directory.mkdir(mode=0o700)
        lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _try_lock(lock_fd):
            raise LocalError(f"the new session directory {directory} is locked already")
    return Session(session_id, directory, lock_fd)


def clear_dead_sessions(root: Path) -> list[str]:
    """End the processes and remove the files of every session without a supervisor; their ids."""
    with _root_lock(root):
        return _clear(root)


def _clear(root: Path) -> list[str]:
    cleared: list[str] = []
    for directory in _session_directories(root):
        try:
            fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        try:
            if _try_lock(fd):
                kill_marked(SESSION_MARK, directory.name)
                remove_session_directory(directory)
                cleared.append(directory.name)
        finally:
            os.close(fd)
    return cleared


def running_sessions(root: Path) -> list[RunningSession]:
    """The sessions whose supervisor lives."""
    found: list[RunningSession] = []
    for directory in _session_directories(root):
        try:
            fd = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if _try_lock(fd):
                continue
            facts = json.loads((directory / "session.json").read_text())
        except (OSError, ValueError):
            continue
        finally:
            os.close(fd)
        found.append(RunningSession(directory.name, directory, int(facts["pid"]), facts))
    return sorted(found, key=lambda one: one.facts.get("started", 0.0))


def remove_session_directory(directory: Path) -> None:
    """Remove a session's files, in-memory volumes of its pods included."""
    pods = directory / "pods"
    if pods.is_dir():
        for pod in pods.iterdir():
            remove_tree(pod)
    remove_tree(directory)


def _session_directories(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name.startswith("s"))
