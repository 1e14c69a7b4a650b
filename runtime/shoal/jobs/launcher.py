"""Runs one driver and outlives nothing: the process between the head and a job's entrypoint.

Executed by path (``python -I -S launcher.py``), so it imports only the standard library. It starts the
entrypoint in its own session and process group and then watches three things: the entrypoint, the control
socket to the head, and the death of its own parent.

Invariants: when this process ends in any way but SIGKILL, no process that the entrypoint started is left,
also none that made a session of its own (this process is their subreaper); after SIGKILL the entrypoint
itself dies with it. The head knows the entrypoint's process group before the entrypoint can do anything, and
hears how it ended before anything is tidied up, so whenever this process is killed, what was said is true.

When it is told to stop, the whole process group gets SIGTERM and the grace, not only the shell that leads it.

Control socket, head to launcher: ``stop <grace seconds>``; end of file means kill. To the head:
``begins <pid>`` from the entrypoint's process, leader of its group, immediately before it becomes the entrypoint;
``failed <words>`` from whichever process could not go on; from the launcher ``started <pid>`` and
``exited <code as a shell has it>``. The end of file comes when both processes have let go of it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from typing import Final, NoReturn

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
SHELL: Final = "/bin/sh"
GROUP_POLL_SECONDS: Final = 0.02


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def _start(control_fd: int, directory: str, entrypoint: str) -> int | None:
    """Fork and exec the entrypoint; returns its pid, or None when it has told itself that it could not begin.

    Raises:
        OSError: the directory cannot be used, or there is no room for a process.
    """
    os.chdir(directory)
    own_pid = os.getpid()
    failed_read, failed_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become_driver(own_pid, control_fd, entrypoint, failed_write)
    os.close(failed_write)
    with os.fdopen(failed_read, "rb") as pipe:
        has_failed = bool(pipe.read())
    if has_failed:
        os.waitpid(pid, 0)
        return None
    return pid


def _become_driver(parent_pid: int, control_fd: int, entrypoint: str, failed_write: int) -> NoReturn:
    try:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(1)
        os.setsid()
        os.write(control_fd, f"begins {os.getpid()}\n".encode())
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execv(SHELL, [SHELL, "-c", entrypoint])
    except OSError as error:
        _tell(control_fd, f"failed {error}\n")  # not by the launcher, which may be killed before it gets to it
        os.write(failed_write, b"x")
    finally:
        os._exit(126)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _own_children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _exit_code(pid: int) -> int:
    """How it ended, as a shell has it, once it has; until it is reaped, its group's number cannot be another's."""
    ending = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ending is not None  # only WNOHANG has that answer
    return ending.si_status if ending.si_code == os.CLD_EXITED else 128 + ending.si_status


def _sweep(pid: int) -> None:
    """Kill whatever is left and reap everything, the ended entrypoint too."""
    _signal_group(pid, signal.SIGKILL)
    is_reaped = False
    while True:
        others = [child for child in _own_children() if child != pid]
        for child in others:
            os.kill(child, signal.SIGKILL)
        if is_reaped and not others:
            return
        is_reaped |= os.waitpid(-1, 0)[0] == pid


def _let_group_end(pid: int, kill_at: float) -> None:
    """After a stop: the shell may go at once, while what it started still uses its grace."""
    while time.monotonic() < kill_at:
        if not any(_is_running_in(child, pid) for child in _own_children() if child != pid):
            return
        time.sleep(GROUP_POLL_SECONDS)


def _is_running_in(child: int, group: int) -> bool:
    try:
        with open(f"/proc/{child}/stat") as file:
            state, _, child_group = file.read().rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return state != "Z" and int(child_group) == group


def _ignore(_number: int, _frame: object) -> None:
    """A handler of Python's own, so that the signal reaches the wake-up pipe."""


class _Watch:
    """Waits for the driver's end, the head's words and the parent's death."""

    def __init__(self, control_fd: int, wakeup_fd: int, pid: int) -> None:
        self._control_fd, self._wakeup_fd, self._pid = control_fd, wakeup_fd, pid
        self._pid_fd = os.pidfd_open(pid)
        self._kill_at: float | None = None
        self._poll = select.poll()
        for fd in (control_fd, wakeup_fd, self._pid_fd):
            self._poll.register(fd, select.POLLIN)

    def until_over(self) -> float:
        """Wait until the entrypoint has ended or everything has to be killed.

        Returns:
            Until when (monotonic) the rest of its group may go on; 0 when there is no such time.
        """
        while True:
            left = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
            ready = {fd for fd, _ in self._poll.poll(None if left is None else left * 1000 + 1)}
            if self._pid_fd in ready:
                return self._kill_at or 0.0
            if self._wakeup_fd in ready or (not ready and left is not None):
                return 0.0
            if self._control_fd in ready and not self._heard(os.read(self._control_fd, 4096)):
                return 0.0

    def _heard(self, data: bytes) -> bool:
        if not data:
            return False
        words = data.decode().split()
        if words[:1] == ["stop"] and self._kill_at is None:
            self._kill_at = time.monotonic() + float(words[1])
            _signal_group(self._pid, signal.SIGTERM)
        return True


def main(control_fd: int, parent_pid: int, directory: str, entrypoint: str) -> int:
    """Run the entrypoint to its end."""
    os.set_inheritable(control_fd, False)
    wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup_write)
    signal.signal(signal.SIGTERM, _ignore)  # its byte in the pipe is what counts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent_pid:
        return 1
    try:
        pid = _start(control_fd, directory, entrypoint)
    except OSError as error:
        _tell(control_fd, f"failed {error}\n")
        return 1
    if pid is None:
        return 1
    _tell(control_fd, f"started {pid}\n")
    group_may_run_until = _Watch(control_fd, wakeup_read, pid).until_over()
    if not group_may_run_until:
        _signal_group(pid, signal.SIGKILL)
    _tell(control_fd, f"exited {_exit_code(pid)}\n")
    _let_group_end(pid, group_may_run_until)
    _sweep(pid)
    return 0


def _tell(control_fd: int, words: str) -> None:
    try:
        os.write(control_fd, words.encode())
    except OSError:
        return  # the head is gone; the sweep still has to happen


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
