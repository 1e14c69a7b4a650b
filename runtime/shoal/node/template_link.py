"""The agent's side of the template process: start it, ask it for workers, hear of their ends, start it again.

Invariants: the template is started from the reactor's thread, which lives as long as the agent (PDEATHSIG
fires when the creating thread ends); closing the control socket ends the template with everything below it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

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
from shoal.wire.reactor import Reactor

CONTROL_BUFFER_BYTES: Final = 4 << 20
RESPAWN_SECONDS: Final = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
END_SECONDS: Final = 7.0
"""The template gives its workers' groups up to 5 s to be reaped."""


@dataclass(frozen=True)
class TemplateEvents:
    """What the pool hears.

    ``ready``; ``forked`` (worker id, pid); ``refused`` (worker id, words); ``ended`` (worker id, pid, wait
    status); ``lost`` (words): the template is gone, and every worker with it.
    """

    ready: Callable[[], None]
    forked: Callable[[str, int], None]
    refused: Callable[[str, str], None]
    ended: Callable[[str, int, int], None]
    lost: Callable[[str], None]


class TemplateLink:
    """One template at a time.

    Args:
        reactor: the agent's.
        session_dir: gets ``logs/template.err``; marks the processes (environment), so that a later start can
            find orphans.
        entry: what workers run.
        events: see ``TemplateEvents``; called in the reactor's thread.
    """

    def __init__(self, reactor: Reactor, session_dir: str, entry: str, events: TemplateEvents) -> None:
        self.ready = False
        self.pid = 0
        self._reactor = reactor
        self._session_dir = session_dir
        self._entry = entry
        self._events = events
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._closed = False
        self._unsent: list[tuple[tuple[Any, ...], tuple[int, ...]]] = []

    def start(self) -> None:
        """Start the process; ``events.ready`` follows."""
        if self._closed:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        for side in (ours, theirs):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CONTROL_BUFFER_BYTES)
        try:
            self._process = self._spawn(theirs)
        except OSError as error:
            ours.close()
            self._retry(f"it could not be started: {error}")
            return
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._control = ours
        self._reactor.add_reader(ours.fileno(), self._on_readable)

    def _spawn(self, control: socket.socket) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-P", "-m", "shoal.worker.template", "--control-fd", str(control.fileno()),
            "--parent", str(os.getpid()), "--entry", self._entry,
        ]  # fmt: skip
        log_path = os.path.join(self._session_dir, "logs", "template.err")
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._session_dir,
                env={**os.environ, "SHOAL_SESSION_DIR": self._session_dir},
                pass_fds=(control.fileno(),),
                start_new_session=True,
            )
        finally:
            os.close(log)

    def fork(self, worker_id: str, setup: dict[str, Any], stdout: int, stderr: int) -> None:
        """Ask for a worker; the descriptors are the caller's to close afterwards.

        Raises:
            ValueError: the setup is too large to be sent.
        """
        self._send((FORK, worker_id, setup), (stdout, stderr))

    def kill(self, worker_id: str, signal_number: int) -> None:
        """Signal a worker's process group."""
        self._send((KILL, worker_id, int(signal_number)))

    def _send(self, message: tuple[Any, ...], fds: tuple[int, ...] = ()) -> None:
        if self._control is None:
            return  # lost: its workers are ended, and new ones are asked for when the next one is ready
        try:
            if not self._unsent:
                send_packet(self._control, message, fds)
                return
        except BlockingIOError:
            pass  # it is busy forking; the rest follows when it has read
        except OSError:
            return  # its end is about to be read
        self._unsent.append((message, tuple(os.dup(fd) for fd in fds)))
        if len(self._unsent) == 1:
            self._reactor.call_later(0.01, self._send_rest)

    def _send_rest(self) -> None:
        while self._unsent and self._control is not None:
            message, fds = self._unsent[0]
            try:
                send_packet(self._control, message, fds)
            except BlockingIOError:
                self._reactor.call_later(0.01, self._send_rest)
                return
            except OSError:
                break  # its end is about to be read
            self._unsent.pop(0)
            _close_all(fds)
        self._drop_unsent()

    def _drop_unsent(self) -> None:
        for _message, fds in self._unsent:
            _close_all(fds)
        self._unsent.clear()

    def _on_readable(self) -> None:
        while self._control is not None:
            try:
                received = receive_packet(self._control)
            except BlockingIOError:
                return
            if received is None:
                self._on_lost()
                return
            message, fds = received
            _close_all(tuple(fds))
            self._on_message(message)

    def _on_message(self, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == READY:
            self.ready = True
            self._failures = 0
            self._events.ready()
        elif kind == FORKED:
            self._events.forked(message[1], message[2])
        elif kind == REFUSED:
            self._events.refused(message[1], message[2])
        elif kind == ENDED:
            self._events.ended(message[1], message[2], message[3])

    def _on_lost(self) -> None:
        process = self._process
        self._disconnect()
        self.ready = False
        self._process = None
        words = "it was lost"
        if process is not None:
            process.kill()
            code = process.wait()
            words = f"it ended with signal {-code}" if code < 0 else f"it ended with code {code}"
        self._retry(words)

    def _retry(self, words: str) -> None:
        self._events.lost(words)
        if self._closed:
            return
        delay = RESPAWN_SECONDS[min(self._failures, len(RESPAWN_SECONDS) - 1)]
        self._failures += 1
        self._reactor.call_later(delay, self.start)

    @property
    def failures(self) -> int:
        """How often in a row it ended before it was ready."""
        return self._failures

    def _disconnect(self) -> None:
        self._drop_unsent()
        if self._control is not None:
            self._reactor.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    def close(self) -> None:
        """End the template and all below it; waits until it is reaped (bounded)."""
        self._closed = True
        self._disconnect()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _close_all(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
