"""Starting and reaping processes that cannot outlive this one.

Invariant: every child is started through ``_launch.py`` by the main thread of its owner (the kernel sends the
death signal when the *thread* that created a child ends), leads its own session and process group, and is
reaped exactly once.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_LAUNCHER: Final = str(Path(__file__).with_name("_launch.py"))
_FIRST_SAFE_FD: Final = 64
_ERROR_FD: Final = 3
_PR_SET_CHILD_SUBREAPER: Final = 36


_children: dict[int, Child] = {}
"""Children that were started here and not reaped yet, by pid."""


class StartError(Exception):
    """The command could not be run; ``str()`` has the words of a container runtime."""


@dataclass(frozen=True)
class Launch:
    """What to start.

    ``environment`` is the whole environment. ``death_signal`` is what the kernel sends to the child when this
    process dies. ``inherit`` maps descriptor numbers in the child to descriptors here.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: str = ""
    death_signal: int = signal.SIGKILL
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    oom_score_adj: int | None = None
    inherit: Mapping[int, int] = field(default_factory=dict)


class Child:
    """A running child: leader of its own process group."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pidfd = pidfd
        _children[pid] = self
        asyncio.get_running_loop().add_reader(pidfd, self.collect)

    def collect(self) -> None:
        """Reap the process if it has ended."""
        if self.exited.done():
            return
        try:
            info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            info = None
            status = 255
        else:
            if info is None:
                return
            status = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        _children.pop(self.pid, None)
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        if not self.exited.cancelled():
            self.exited.set_result(status)

    @property
    def running(self) -> bool:
        """Whether the process has not been reaped yet."""
        return not self.exited.done()

    def signal_group(self, number: int) -> None:
        """Send ``number`` to the whole process group; nothing happens once the leader has been reaped."""
        if not self.running:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # The launcher has not made its session yet: reach the process itself.
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def signal(self, number: int) -> None:
        """Send ``number`` to the process itself."""
        if self.running:
            os.kill(self.pid, number)

    async def wait(self, timeout_seconds: float | None = None) -> int | None:
        """The exit status (negative: the signal that ended it); None when the time is over first."""
        done, _ = await asyncio.wait({self.exited}, timeout=timeout_seconds)
        return self.exited.result() if done else None


def describe_start_failure(command: str, number: int, step: str, directory: str = "") -> str:
    """The words of a container runtime for a command that could not be run.

    Example:
        >>> describe_start_failure("nosuch", 2, "exec")
        'unable to start container process: exec: "nosuch": executable file not found in $PATH'
    """
    prefix = "unable to start container process: "
    if step == "directory":
        return f'{prefix}chdir to cwd ("{directory}") set in config.json failed: {os.strerror(number).lower()}'
    if step != "exec":
        return f"{prefix}{step}: {os.strerror(number).lower()}"
    if number == errno.ENOENT and "/" not in command:
        return f'{prefix}exec: "{command}": executable file not found in $PATH'
    if number == errno.ENOENT:
        return f'{prefix}exec: "{command}": stat {command}: no such file or directory'
    return f'{prefix}exec: "{command}": {os.strerror(number).lower()}'


async def spawn(launch: Launch) -> Child:
    """Start a process and wait until it runs its command.

    Raises:
        StartError: the command does not exist or may not be run.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("processes are started by the main thread only: their death signal is tied to it")
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        pid = _posix_spawn(launch, write_end)
        child = Child(pid, os.pidfd_open(pid))
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    try:
        report = await _read_to_end(read_end)
    except BaseException:
        child.signal_group(signal.SIGKILL)
        raise
    finally:
        os.close(read_end)
    if report:
        await child.wait()
        failure: dict[str, Any] = json.loads(report)
        raise StartError(describe_start_failure(launch.command[0], failure["errno"], failure["step"], launch.directory))
    return child


def _posix_spawn(launch: Launch, error_fd: int) -> int:
    order = {
        "parent": os.getpid(),
        "death_signal": int(launch.death_signal),
        "error_fd": _ERROR_FD,
        "directory": launch.directory,
        "limits": {name: list(pair) for name, pair in launch.limits.items()},
        "oom_score_adj": launch.oom_score_adj,
        "keep": sorted(launch.inherit),
    }
    wanted = {**launch.inherit, _ERROR_FD: error_fd}
    # Sources are moved up first, so that no dup2 overwrites a descriptor that a later one needs.
    sources = {target: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_SAFE_FD) for target, fd in wanted.items()}
    actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in sources.items()]
    if 0 not in wanted:
        actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", _LAUNCHER, json.dumps(order), *launch.command],
            dict(launch.environment),
            file_actions=actions,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
        )
    finally:
        for source in sources.values():
            os.close(source)


async def _read_to_end(fd: int) -> bytes:
    """Read a pipe until every writer has closed it."""
    loop = asyncio.get_running_loop()
    chunks: list[bytes] = []
    ended: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        data = os.read(fd, 4096)
        if data:
            chunks.append(data)
        elif not ended.done():
            ended.set_result(None)

    loop.add_reader(fd, readable)
    try:
        await ended
    finally:
        loop.remove_reader(fd)
    return b"".join(chunks)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parents end, and reap them.

    For processes that own all their children: other code must not wait for children of its own.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, _reap)


def _reap() -> None:
    while True:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if info is None:
            return
        child = _children.get(info.si_pid)
        if child is not None:
            child.collect()
        else:
            os.waitpid(info.si_pid, os.WNOHANG)
