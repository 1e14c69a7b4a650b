"""Starts drivers, reads what they write and hears how they end: one permanent thread for all jobs of a head.

Every driver runs under its own ``launcher`` process. The launchers are spawned by this one thread because
the kernel ties a parent-death signal to the thread that created the child.

Invariant: every started driver is reported exactly once as started or failed and, once started, exactly
once as exited, after all it wrote was handed on; one whose program may have run is never reported as failed;
closing leaves no driver, no pipe and no thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.jobs.driver_log import DriverLog

STOP_GRACE_SECONDS: Final = 3.0
_LAUNCHER: Final = str(Path(__file__).with_name("launcher.py"))
_READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class DriverLaunch:
    """What to run:

    ``directory`` is where, ``environment`` the whole environment, ``log_path`` gets its output.
    """

    submission_id: str
    entrypoint: str
    directory: str
    environment: Mapping[str, str]
    log_path: Path


@dataclass(frozen=True)
class DriverEvents:
    """Called on the supervisor's thread; must return soon.

    Args:
        started: submission id and pid.
        wrote: submission id and bytes.
        exited: submission id and exit code as a shell has it.
        could_not_start: submission id and words.
    """

    started: Callable[[str, int], None]
    wrote: Callable[[str, bytes], None]
    exited: Callable[[str, int], None]
    could_not_start: Callable[[str, str], None]


@dataclass
class _Driver:
    launch: DriverLaunch
    launcher: subprocess.Popen[bytes]
    control: socket.socket
    output_fd: int
    log: DriverLog
    heard: bytes = b""
    pid: int = 0  # of the process that is or becomes the program, and leads its group
    has_started: bool = False
    exit_code: int | None = None
    failure: str = ""


class DriverSupervisor:
    """The drivers of one head.

    Args:
        events: where news goes.
        echo: takes whole lines for the head's own output; None for silence.
    """

    def __init__(self, events: DriverEvents, echo: Callable[[bytes], None] | None = None) -> None:
        self._events, self._echo = events, echo
        self._drivers: dict[str, _Driver] = {}
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._on_wake)
        self._thread = threading.Thread(target=self._run, name="shoal-drivers", daemon=True)
        self._thread.start()

    def start(self, launch: DriverLaunch) -> None:
        """Start a driver soon; the events say how it went."""
        self._request(lambda: self._spawn(launch))

    def stop(self, submission_id: str, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """End a driver: SIGTERM to its group, SIGKILL after the grace. Unknown ids are ignored."""
        self._request(lambda: self._stop(submission_id, grace_seconds))

    def close(self, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """Stop every driver, wait for all of them and end the thread. Idempotent."""
        if not self._thread.is_alive():
            return
        self._request(lambda: self._begin_close(grace_seconds))
        self._thread.join(grace_seconds + 10)

    def _request(self, action: Callable[[], None]) -> None:
        self._requests.put(action)
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            return  # it is awake already

    def _on_wake(self) -> None:
        os.read(self._wake_read, 4096)
        while not self._requests.empty():
            self._guarded(self._requests.get())

    def _run(self) -> None:
        while not (self._closing and not self._drivers):
            for key, _ in self._selector.select():
                self._guarded(key.data)
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _guarded(self, handler: Callable[[], object]) -> None:
        try:
            handler()
        except Exception:  # noqa: BLE001 - a fault with one driver must not end the others; it must be seen, though
            traceback.print_exc()

    def _begin_close(self, grace_seconds: float) -> None:
        self._closing = True
        for submission_id in list(self._drivers):
            self._stop(submission_id, grace_seconds)

    def _spawn(self, launch: DriverLaunch) -> None:
        if self._closing:
            self._events.could_not_start(launch.submission_id, "the head is shutting down")
            return
        ours, theirs = socket.socketpair()
        output_read, output_write = os.pipe2(os.O_CLOEXEC)
        log: DriverLog | None = None
        try:
            log = DriverLog(launch.log_path, self._echo)
            launcher = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", _LAUNCHER, str(theirs.fileno()), str(os.getpid())),
                    *(launch.directory, launch.entrypoint),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=output_write,
                env=dict(launch.environment),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            os.close(output_read)
            if log is not None:
                log.close()
            ours.close()
            self._events.could_not_start(launch.submission_id, f"could not start the driver: {error}")
            return
        finally:
            theirs.close()
            os.close(output_write)
        self._adopt(_Driver(launch, launcher, ours, output_read, log))

    def _adopt(self, driver: _Driver) -> None:
        os.set_blocking(driver.output_fd, False)
        driver.control.setblocking(False)
        self._drivers[driver.launch.submission_id] = driver
        self._selector.register(driver.output_fd, selectors.EVENT_READ, lambda: self._read_output(driver))
        self._selector.register(driver.control, selectors.EVENT_READ, lambda: self._read_control(driver))

    def _stop(self, submission_id: str, grace_seconds: float) -> None:
        driver = self._drivers.get(submission_id)
        if driver is None:
            return
        try:
            driver.control.send(f"stop {grace_seconds:.3f}\n".encode())
        except OSError:
            return  # its launcher is ending; the control socket's end of file follows

    def _read_control(self, driver: _Driver) -> None:
        try:
            data = driver.control.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        driver.heard += data
        *lines, driver.heard = driver.heard.split(b"\n")
        for line in lines:
            self._heard(driver, line.decode())
        if not data:
            self._finish(driver)

    def _heard(self, driver: _Driver, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "begins":
            driver.pid = int(rest)
        elif word == "started":
            self._tell_started(driver)
        elif word == "exited":
            driver.exit_code = int(rest)
        else:
            driver.failure = rest

    def _tell_started(self, driver: _Driver) -> None:
        if not driver.has_started:
            driver.has_started = True
            self._events.started(driver.launch.submission_id, driver.pid)

    def _read_output(self, driver: _Driver) -> bool:
        """Read once; False when there is nothing more for now or for ever."""
        if driver.output_fd < 0:
            return False  # its end was seen in this same turn
        try:
            data = os.read(driver.output_fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._selector.unregister(driver.output_fd)
            os.close(driver.output_fd)
            driver.output_fd = -1
            return False
        driver.log.write(data)
        self._events.wrote(driver.launch.submission_id, data)
        return True

    def _finish(self, driver: _Driver) -> None:
        """The launcher's end is closed, and so is that of the process that was about to become the program."""
        submission_id = driver.launch.submission_id
        self._selector.unregister(driver.control)
        driver.control.close()
        code = driver.launcher.wait()
        if code != 0 and driver.pid and not driver.failure:
            self._tell_started(driver)  # as far as can be known
            if driver.exit_code is None:
                driver.exit_code = 128 + signal.SIGKILL  # the launcher was killed, and the entrypoint with it ...
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)  # ... but not what the entrypoint had started
        while driver.output_fd >= 0 and self._read_output(driver):
            pass
        if driver.output_fd >= 0:
            self._selector.unregister(driver.output_fd)
            os.close(driver.output_fd)
        driver.log.close()
        del self._drivers[submission_id]
        if driver.exit_code is not None:
            self._events.exited(submission_id, driver.exit_code)
        else:
            words = driver.failure or f"the driver's launcher ended with code {code}"
            self._events.could_not_start(submission_id, words)
