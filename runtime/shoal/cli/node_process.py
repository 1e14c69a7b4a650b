"""A node process from start to end: the one place where the head, the agent and their link are put together.

Invariant: whatever ends the process in an orderly way (a signal, its owner's end, a refusal, a lost head) goes
through ``stop``, and after it nothing of the process is left: no child, no socket, no session directory. A second
signal skips the graces.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shoal.cli.session_directory import SessionDirectory, sweep
from shoal.cli.start import STATE_PASSWORD, StartOptions
from shoal.cli.token_file import read_token
from shoal.core.membership import GRACE_SECONDS, Membership
from shoal.head.journal import Journal
from shoal.head.local_link import LocalLink
from shoal.head.service import HeadService
from shoal.jobs.package_store import PackageStore
from shoal.node.agent import NodeAgent
from shoal.node.config import NodeConfig
from shoal.protocol.link import HeadLink, LinkEvents
from shoal.wire.reactor import Reactor

if TYPE_CHECKING:
    from shoal.head.control import ControlPlane
    from shoal.protocol.tls import CertificateDirectory

STOP_GRACE_SECONDS: Final = 5.0
LAST_SNAPSHOT_SECONDS: Final = 0.3
EXIT_REFUSED: Final = 3
EXIT_HEAD_LOST: Final = 4


class NodeProcess:
    """See the module. ``run`` once, in the main thread."""

    def __init__(self, options: StartOptions) -> None:
        self._options = options
        self._token = read_token(options.token_file) if options.token_file else None
        self._reactor = Reactor()
        self._session = SessionDirectory(options.session_dir)
        self._head: HeadService | None = None
        self._control: ControlPlane | None = None
        self._agent: NodeAgent | None = None
        self._exit_code = 0
        self._stopping = self._asked = False
        self._head_lost_at: float | None = None

    def run(self) -> int:
        """Start, run until stopped, clean up; returns the exit code.

        Raises:
            OSError: a port or the session directory cannot be used.
        """
        try:
            self._listen_to_signals()
            self._watch_owner()
            self._start()
            self._reactor.run_forever()
        finally:
            self._close()
        return self._exit_code

    # Start

    def _start(self) -> None:
        options = self._options
        config = NodeConfig(
            node_id=os.urandom(16).hex(),
            ip=options.node_ip,
            frames_port=None if options.local else options.frames_port,
            token=None if options.local else self._token,
            tls_directory="" if options.local else options.tls_dir,
            session_dir=str(self._session.path),
            total=options.total,
            labels=options.labels,
            group=options.group,
            pod_name=options.pod_name,
            is_head=options.head,
            object_store_bytes=options.object_store_bytes,
        )
        if options.head:
            self._packages = PackageStore(self._state_directory() / "head")
            silence = options.silence_seconds
            members = Membership(min(GRACE_SECONDS, silence), silence_seconds=silence)
            self._head = HeadService(self._packages, members, self._open_journal())
        self._agent = NodeAgent(self._reactor, config, self._make_link, self._agent_stopped)
        self._agent.start()
        if self._head is not None and not options.local:
            self._serve(self._head, self._agent)
        self._say_ready(config)
        threading.Thread(target=sweep, name="shoal-sweep", daemon=True).start()

    def _state_directory(self) -> Path:
        return Path(self._options.state_dir) if self._options.state_dir else self._session.path

    def _open_journal(self) -> Journal | None:
        options = self._options
        if not options.state_dir and not options.state_url:
            return None
        from shoal.head.state import HeadState, end_this_head

        if options.state_dir:
            from shoal.head.state_file import StateFile

            return Journal(HeadState(StateFile(Path(options.state_dir))))
        from shoal.head.state_redis import StateRedis

        store = StateRedis(
            options.state_url,
            options.state_name,
            password=os.environ.pop(STATE_PASSWORD, ""),
            retention_seconds=options.state_retention_seconds,
            on_lost=end_this_head,
        )
        return Journal(HeadState(store))

    def _make_link(self, events: LinkEvents) -> HeadLink:
        if self._head is not None:
            return LocalLink(self._head, events, self._reactor.call_soon)
        from shoal.node.head_session import HeadSession

        assert self._token is not None
        watched = LinkEvents(
            events.registration,
            events.on_message,
            lambda connected: self._connection_changed(events, connected=connected),
            events.on_refused,
        )
        return HeadSession(
            self._options.address, self._token, watched, self._reactor.call_soon, self._certificate_directory()
        )

    def _certificate_directory(self) -> CertificateDirectory | None:
        if not self._options.tls_dir:
            return None
        from shoal.protocol.tls import CertificateDirectory

        return CertificateDirectory(self._options.tls_dir)

    def _serve(self, head: HeadService, agent: NodeAgent) -> None:
        from shoal.head.control import ControlPlane
        from shoal.jobs.runner import JobRunner

        packages, hooks = self._packages, head.job_hooks()
        head.attach_jobs(JobRunner(self._session.path, agent.socket_path, packages, hooks, _echo, head.drivers))
        assert self._token is not None
        ip, port = self._options.node_ip, self._options.control_port
        self._control = ControlPlane(head, ip, port, self._token, self._certificate_directory())
        self._control.start()

    def _say_ready(self, config: NodeConfig) -> None:
        assert self._agent is not None
        address = f"{config.ip}:{self._control.port}" if self._control is not None else self._options.address
        if self._options.ready_fd >= 0:
            ready = {
                "node_id": config.node_id,
                "socket": self._agent.socket_path,
                "session_dir": config.session_dir,
                "resources": config.total.to_units(),
                "address": address,
            }
            with os.fdopen(self._options.ready_fd, "w") as file:
                file.write(json.dumps(ready) + "\n")
        elif self._control is not None:
            print(f"shoal head: listening on {address}, frames on {config.ip}:{self._agent.port}", flush=True)
        else:
            print(f"shoal node: joining {address}, frames on {config.ip}:{self._agent.port}", flush=True)

    # What can end it

    def _listen_to_signals(self) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self._signals = (ours, theirs)
        signal.set_wakeup_fd(theirs.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)  # the byte in the wake-up socket is what counts
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # held back since the first line of the command
        self._reactor.add_reader(ours.fileno(), self._signalled)

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._signals[0].recv(64):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._asked_to_end(signal.Signals(number))

    def _asked_to_end(self, number: signal.Signals) -> None:
        """The first SIGTERM of a worker is a pod's eviction: what runs may finish. Anything after that is "now"."""
        first, self._asked = not self._asked, True
        reason = f"{number.name} received"
        if first and number == signal.SIGTERM and self._agent is not None and self._head is None:
            self._agent.retire(reason, self._options.drain_seconds)
        else:
            self.stop(reason)

    def _watch_owner(self) -> None:
        """End with the program that started this node. Not by a parent-death signal: that follows its *thread*."""
        self._owner_fds = []
        if self._options.lifeline_fd >= 0:
            os.set_inheritable(self._options.lifeline_fd, False)
            self._owner_fds.append(self._options.lifeline_fd)
        if self._options.owner_pid:
            try:
                self._owner_fds.append(os.pidfd_open(self._options.owner_pid))
            except ProcessLookupError:
                raise OSError("the program that started this node has ended") from None
        for fd in self._owner_fds:
            self._reactor.add_reader(fd, self._owner_ended)

    def _owner_ended(self) -> None:
        for fd in self._owner_fds:
            self._reactor.remove_reader(fd)
        self._owner_fds.clear()
        self.stop("the program that started this node has ended")

    def _connection_changed(self, events: LinkEvents, *, connected: bool) -> None:
        self._head_lost_at = None if connected else time.monotonic()
        if not connected and not self._stopping:
            print(f"shoal node: lost the head at {self._options.address}, trying again", file=sys.stderr, flush=True)
            self._reactor.call_later(self._options.head_timeout_seconds, self._check_head)
        events.on_connected(connected)

    def _check_head(self) -> None:
        lost_at = self._head_lost_at
        if lost_at is not None and time.monotonic() - lost_at >= self._options.head_timeout_seconds:
            self._exit_code = EXIT_HEAD_LOST
            self.stop(f"the head was away for {self._options.head_timeout_seconds:g} s")

    # End

    def stop(self, reason: str) -> None:
        """Begin the orderly end; called in the reactor. A second call hurries it."""
        again, self._stopping = self._stopping or self._retires, True
        if self._agent is None:
            self._reactor.stop()
        elif self._control is not None and not again:
            # Drivers need a live agent while they end, so the reactor has to go on meanwhile.
            threading.Thread(target=self._stop_jobs, args=(reason,), name="shoal-stop-jobs", daemon=True).start()
        else:
            self._agent.stop(reason, 0.0 if again else STOP_GRACE_SECONDS)

    @property
    def _retires(self) -> bool:
        return self._agent is not None and self._agent.retires

    def _stop_jobs(self, reason: str) -> None:
        assert self._head is not None
        assert self._agent is not None
        self._head.jobs.close()
        time.sleep(LAST_SNAPSHOT_SECONDS)  # so that watchers hear the jobs' last state
        self._agent.stop(reason, STOP_GRACE_SECONDS)

    def _agent_stopped(self, reason: str) -> None:
        if reason.startswith("refused: "):
            self._exit_code = EXIT_REFUSED
            print(f"error: {reason.removeprefix('refused: ')}", file=sys.stderr, flush=True)
        elif not self._options.local:
            print(f"shoal node: stopped: {reason}", file=sys.stderr, flush=True)
        self._reactor.stop()

    def _close(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._head is not None:
            self._head.close()
        self._reactor.close()
        self._session.remove()


def _ignore(_number: int, _frame: object) -> None:
    """A handler of Python's own, so that the signal's byte reaches the wake-up socket."""


def _echo(lines: bytes) -> None:
    try:
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
    except OSError:
        return  # nobody reads the head's output any more; the log file has it all
