"""The template process: has imported what every worker needs, and forks workers on request in about 10 ms.

Started by the node agent as ``python -P -m shoal.worker.template --control-fd N --parent PID --entry
module:function``. The agent's end of the control socket is the lifeline: when it closes, every worker,
everything they started and the template end.

Invariants: one thread, so that a fork copies a sane process; every worker leads a process group of its own,
which is killed before the worker is reaped, so that the number cannot have been reused; a worker dies with
its template.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from shoal.core.ids import is_lasting
from shoal.wire.fork_protocol import (
    ENDED,
    FORK,
    FORKED,
    KILL,
    READY,
    REFUSED,
    receive_packet,
    send_packet,
)
from shoal.worker.hygiene import become_subreaper, die_with_parent, end_all_children, kill_group, name_process

DEFAULT_ENTRY: Final = "shoal.worker.main:run_worker"
Entry = Callable[[dict[str, Any]], Any]


class Newborn(NamedTuple):
    """What a forked child is told."""

    setup: dict[str, Any]
    fds: list[int]


class Template:
    """The loop of the template.

    Args:
        control: the end of the pair that the agent gave.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[str, int] = {}
        self._pid = os.getpid()
        self._ending = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> Newborn | None:
        """Serve until the agent is gone (None), or, in a forked child, until it is born."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._tell((READY, self._pid))
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not self._ending:
            for fd, _events in poll.poll():
                if fd == self._wake_read:
                    self._reap()
                    continue
                newborn = self._take_message()
                if newborn is not None:
                    return newborn
        self._end()
        return None

    def _on_terminate(self, *_: Any) -> None:
        self._ending = True

    def _take_message(self) -> Newborn | None:
        received = receive_packet(self._control)
        if received is None:
            self._ending = True
            return None
        message, fds = received
        if message[0] == FORK:
            return self._fork(message[1], message[2], fds)
        if message[0] == KILL and message[1] in self._workers:
            kill_group(self._workers[message[1]], message[2])
        return None

    def _fork(self, worker_id: str, setup: dict[str, Any], fds: list[int]) -> Newborn | None:
        try:
            pid = os.fork()
        except OSError as error:
            self._tell((REFUSED, worker_id, f"no worker process could be started: {error}"))
            pid = -1
        if pid == 0:
            self._become_worker()
            return Newborn(setup, fds)
        for fd in fds:
            os.close(fd)
        if pid > 0:
            with contextlib.suppress(OSError):  # the child does it too: whoever is first
                os.setpgid(pid, pid)
            self._workers[worker_id] = pid
            self._tell((FORKED, worker_id, pid))
        return None

    def _become_worker(self) -> None:
        os.setpgid(0, 0)
        die_with_parent(self._pid)
        name_process("shoal-worker")
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._control.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the signals were read with earlier ones
            os.read(self._wake_read, 4096)
        by_pid = {pid: worker_id for worker_id, pid in self._workers.items()}
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            worker_id = by_pid.get(ended.si_pid)
            if worker_id is not None:
                kill_group(ended.si_pid)
            pid, status = os.waitpid(ended.si_pid, 0)
            if worker_id is not None:
                del self._workers[worker_id]
                self._tell((ENDED, worker_id, pid, status))

    def _tell(self, message: tuple[Any, ...]) -> None:
        try:
            send_packet(self._control, message)
        except OSError:
            self._ending = True

    def _end(self) -> None:
        for pid in self._workers.values():
            kill_group(pid)
        end_all_children()


def live_as_worker(newborn: Newborn, entry: Entry) -> int:
    """Run the worker in the forked child; returns its exit code."""
    for target, fd in enumerate(newborn.fds[:2], start=1):
        os.dup2(fd, target)
    for fd in newborn.fds:
        os.close(fd)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    gc.unfreeze()
    gc.enable()
    try:
        _apply_job(newborn.setup)
        result = entry(newborn.setup)
        code = result if isinstance(result, int) else 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the last frame of the process: say it and end
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    return code


def _apply_job(setup: dict[str, Any]) -> None:
    """Give the process the environment, directory and import path of its job."""
    job = setup.get("job", {})
    os.environ.update(job.get("env", {}))
    os.environ["SHOAL_NODE_SOCKET"] = setup["node_socket"]
    os.environ["SHOAL_SESSION_DIR"] = setup["session_dir"]
    job_id = job.get("id", "")
    os.environ["SHOAL_JOB_ID"] = "" if is_lasting(job_id) else job_id  # a program of its own has a job of its own
    os.environ["SHOAL_JOB_PACKAGE"] = job.get("package", "")
    paths = list(job.get("paths", ()))
    directory = job.get("cwd", "")
    if job.get("package"):
        directory = os.path.join(setup["session_dir"], "packages", job["package"])
        paths.insert(0, directory)
    sys.path[:0] = [path for path in paths if path not in sys.path]
    if directory and os.path.isdir(directory):
        os.chdir(directory)


def load_entry(name: str) -> Entry:
    """The function ``module:function``.

    Raises:
        ValueError: the name has another form or names no function.
        ImportError: there is no such module.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ValueError(f"the entry of workers must be module:function, got {name!r}")
    function = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(function):
        raise ValueError(f"module {module_name} has no function {function_name}")
    entry: Entry = function
    return entry


def main(arguments: list[str] | None = None) -> int:
    """The process's main function."""
    parser = argparse.ArgumentParser(prog="shoal.worker.template")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True, help="pid of the agent that started this process")
    parser.add_argument("--entry", default=DEFAULT_ENTRY, help="module:function that a worker runs")
    options = parser.parse_args(arguments)
    # SIGTERM and not SIGKILL: the template ends its workers' groups first.
    die_with_parent(options.parent, signal.SIGTERM)
    become_subreaper()
    name_process("shoal-template")
    entry = load_entry(options.entry)
    gc.collect()
    gc.disable()
    gc.freeze()  # the children share these pages as long as nobody counts their objects
    newborn = Template(socket.socket(fileno=options.control_fd)).serve()
    return 0 if newborn is None else live_as_worker(newborn, entry)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
