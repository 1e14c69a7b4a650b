"""The worker processes of a node: forked when work needs one, kept for the next work of their job, ended.

Invariants: a worker serves one job for its whole life; whoever asked for a worker gets exactly one answer (a
worker or words), unless he withdrew; a worker that ended, by whatever cause, is reported exactly once and
with a reason for people.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from shoal.core.ids import known_job
from shoal.node.clients import Client
from shoal.node.config import NodeConfig
from shoal.node.logs import LogStream
from shoal.node.packages import PackageCache
from shoal.node.template_link import TemplateEvents, TemplateLink
from shoal.wire.reactor import Reactor

IDLE_SECONDS: Final = 1.0
REGISTER_SECONDS: Final = 60.0
EXIT_GRACE_SECONDS: Final = 5.0
START_FAILURES_MAX: Final = 3
"""After so many workers of a job in a row ended before they were ready, whoever waits is told."""
SCAN_SECONDS: Final = 0.25
OLD_LOGS_KEPT: Final = 500
"""Files of ended workers."""

NEW_TITLE: Final = "worker"
State = Literal["starting", "idle", "busy", "ending", "ended"]


@dataclass(eq=False)
class Worker:
    """One worker process. ``client`` is its connection, once it said hello with its address."""

    worker_id: str
    job_id: str
    started_at: float
    state: State = "starting"
    pid: int = 0
    client: Client | None = None
    holder: str = ""  # the lease or actor that it serves
    title: str = NEW_TITLE  # what prints until the worker itself says so
    idle_since: float = 0.0
    owned: int = 0
    end_reason: str = ""  # why it was ended, and how
    end_words: str = ""  # how it ended: "exit code 7"
    streams: list[LogStream] = field(default_factory=list)


@dataclass
class _Wish:
    """Somebody waits for a worker."""

    key: str
    on_worker: Callable[[Worker], None]
    on_failed: Callable[[str], None]


@dataclass
class _Job:
    job: dict[str, Any]
    wishes: deque[_Wish] = field(default_factory=deque)
    failures: int = 0
    last_failure: str = ""
    fetching: bool = False


OnEnded = Callable[[Worker], None]
OnLines = Callable[[Worker, list[str], bool, str], None]


class WorkerPool:
    """See the module.

    Args:
        reactor: the agent's; everything here runs in its thread.
        config: of the node.
        packages: for jobs that have one.
        on_ended: called with each worker that ended after it was ready; its ``holder`` says what it served.
        on_lines: called with what workers print, whether it is stderr, and the name of what printed it, if known.
    """

    def __init__(
        self, reactor: Reactor, config: NodeConfig, packages: PackageCache, on_ended: OnEnded, on_lines: OnLines
    ) -> None:
        self.workers: dict[str, Worker] = {}
        self._reactor = reactor
        self._config = config
        self._packages = packages
        self._on_ended = on_ended
        self._on_lines = on_lines
        self._jobs: dict[str, _Job] = {}
        self._closed = False
        self._scanning = False
        self._old_logs: deque[str] = deque()
        events = TemplateEvents(self._ready, self._forked, self._refused, self._reaped, self._template_lost)
        self.template = TemplateLink(reactor, config.session_dir, config.worker_entry, events)

    def start(self) -> None:
        """Start the template process."""
        self.template.start()

    # Asking for workers

    def request(
        self, key: str, job: dict[str, Any], on_worker: Callable[[Worker], None], on_failed: Callable[[str], None]
    ) -> None:
        """Find or start a worker of a job for ``key`` (a lease or an actor); the answer may come at once."""
        entry = self._jobs.setdefault(job["id"], _Job(job))
        entry.wishes.append(_Wish(key, on_worker, on_failed))
        self._serve(entry)

    def withdraw(self, key: str) -> bool:
        """Nobody waits for ``key`` any more; a worker that is being started for it becomes an idle one."""
        for entry in self._jobs.values():
            for wish in entry.wishes:
                if wish.key == key:
                    entry.wishes.remove(wish)
                    return True
        return False

    def give_back(self, worker: Worker) -> None:
        """What the worker served is over; it can serve again."""
        if worker.state != "busy":
            return
        worker.state = "idle"
        worker.holder = ""
        worker.idle_since = time.monotonic()
        entry = self._jobs.get(worker.job_id)
        if entry is None:
            self.stop(worker, "its job has ended", force=True)
            return
        self._serve(entry)
        self._plan_scan()

    def _serve(self, entry: _Job) -> None:
        job_id = entry.job["id"]
        idle = [w for w in self.workers.values() if w.state == "idle" and w.job_id == job_id]
        idle.sort(key=lambda worker: worker.idle_since)
        while entry.wishes and idle:
            # The one that was idle last: its memory is the likeliest to be in the processor's caches.
            worker = idle.pop()
            wish = entry.wishes.popleft()
            worker.state = "busy"
            worker.holder = wish.key
            wish.on_worker(worker)
        starting = sum(1 for w in self.workers.values() if w.state == "starting" and w.job_id == job_id)
        missing = len(entry.wishes) - starting
        if missing > 0 and not entry.fetching:
            entry.fetching = True
            self._packages.ensure(entry.job.get("package", ""), lambda words: self._start_missing(entry, words))

    def _start_missing(self, entry: _Job, words: str | None) -> None:
        entry.fetching = False
        if words is not None:
            self._fail_wishes(entry, words)
            return
        job_id = entry.job["id"]
        if self._jobs.get(job_id) is not entry or not self.template.ready:
            return  # the job has ended, or the template's being ready starts them
        starting = sum(1 for w in self.workers.values() if w.state == "starting" and w.job_id == job_id)
        for _ in range(len(entry.wishes) - starting):
            if len(self.workers) >= self._config.live_workers_max:
                self._fail_wishes(entry, f"the node has {len(self.workers)} worker processes, its limit")
                return
            self._fork(entry)

    def _fork(self, entry: _Job) -> None:
        worker = Worker(os.urandom(16).hex(), entry.job["id"], time.monotonic())
        setup = {
            "node_socket": os.path.join(self._config.session_dir, "node.sock"),
            "worker_id": worker.worker_id,
            "job": entry.job,
            "session_dir": self._config.session_dir,
            "node_id": self._config.node_id,
            "ip": self._config.ip,
        }
        ends: list[int] = []
        try:
            for is_err in (False, True):
                read, write = os.pipe2(os.O_CLOEXEC)
                ends.append(write)
                worker.streams.append(self._stream(worker, read, is_err=is_err))
            self.template.fork(worker.worker_id, setup, *ends)
        except (OSError, ValueError) as error:
            self._finish_streams(worker)
            self._fail_wishes(entry, f"no worker could be started: {error}")
            return
        finally:
            for end in ends:
                os.close(end)
        self.workers[worker.worker_id] = worker
        self._reactor.call_later(REGISTER_SECONDS, lambda: self._check_registered(worker))

    def _stream(self, worker: Worker, fd: int, *, is_err: bool) -> LogStream:
        name = f"worker-{worker.worker_id[:12]}.{'err' if is_err else 'out'}"
        path = os.path.join(self._config.session_dir, "logs", name)
        return LogStream(
            self._reactor,
            fd,
            path,
            lambda lines, err, title: self._on_lines(worker, lines, err, title),
            is_err=is_err,
        )

    def _check_registered(self, worker: Worker) -> None:
        if worker.state == "starting":
            self.stop(worker, f"it was not ready within {REGISTER_SECONDS:g} s", force=True)

    def _fail_wishes(self, entry: _Job, words: str) -> None:
        entry.failures = 0
        wishes, entry.wishes = entry.wishes, deque()
        for wish in wishes:
            wish.on_failed(words)

    # Events

    def introduce(self, client: Client) -> bool:
        """A worker said hello with its address; False when it is none of ours."""
        worker = self.workers.get(client.process_id)
        if worker is None or worker.state != "starting":
            return worker is not None and worker.client is client
        worker.client = client
        worker.pid = client.pid
        worker.state = "idle"
        worker.idle_since = time.monotonic()
        entry = self._jobs.get(worker.job_id)
        if entry is None:
            self.stop(worker, "its job has ended", force=True)
            return True
        entry.failures = 0
        self._serve(entry)
        self._plan_scan()
        return True

    def disconnected(self, worker: Worker) -> None:
        """Its connection closed: it has ended or is about to; whatever it is, it is of no use any more."""
        if worker.state not in ("ending", "ended"):
            worker.state = "ending"
        self.template.kill(worker.worker_id, signal.SIGKILL)

    def _ready(self) -> None:
        for entry in list(self._jobs.values()):
            self._serve(entry)

    def _forked(self, worker_id: str, pid: int) -> None:
        worker = self.workers.get(worker_id)
        if worker is not None:
            worker.pid = pid
            for stream, kind in zip(worker.streams, ("out", "err"), strict=True):
                stream.rename(os.path.join(self._config.session_dir, "logs", f"worker-{pid}.{kind}"))

    def _refused(self, worker_id: str, words: str) -> None:
        worker = self.workers.get(worker_id)
        if worker is not None:
            self._ended(worker, words)

    def _reaped(self, worker_id: str, _pid: int, status: int) -> None:
        worker = self.workers.get(worker_id)
        if worker is not None:
            self._ended(worker, _describe(status))

    def _template_lost(self, words: str) -> None:
        for worker in list(self.workers.values()):
            # They die with the template; what they started in their groups has to be ended from here.
            if worker.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(worker.pid, signal.SIGKILL)
            self._ended(worker, f"the template process of the node is gone ({words})")
        if self.template.failures + 1 >= START_FAILURES_MAX:
            for entry in list(self._jobs.values()):
                log = os.path.join(self._config.session_dir, "logs", "template.err")
                self._fail_wishes(entry, f"workers cannot be started: the template process fails, {words}; see {log}")

    def _ended(self, worker: Worker, words: str) -> None:
        del self.workers[worker.worker_id]
        was_ready = worker.client is not None
        worker.state = "ended"
        worker.end_words = words
        worker.end_reason = f"{worker.end_reason} ({words})" if worker.end_reason else words
        tail = self._finish_streams(worker)
        if worker.client is not None:
            worker.client.connection.close(f"the worker has ended: {words}")
        entry = self._jobs.get(worker.job_id)
        if entry is not None and not was_ready and not self._closed:
            entry.failures += 1
            if entry.failures >= START_FAILURES_MAX:
                why = f"{START_FAILURES_MAX} workers in a row ended before they were ready, the last one: {words}"
                self._fail_wishes(entry, f"{why}. {tail}".rstrip(". ") + ".")
        if was_ready:
            self._on_ended(worker)
        if entry is not None and not self._closed:
            self._serve(entry)

    def drain_output(self, job_id: str) -> None:
        """Hand on what a job's workers have printed, now."""
        for worker in self.workers.values():
            if known_job(worker.job_id) == job_id:
                for stream in worker.streams:
                    stream.drain()

    def _finish_streams(self, worker: Worker) -> str:
        for stream in worker.streams:
            stream.finish()
        last = [stream.last_line for stream in worker.streams if stream.last_line]
        self._old_logs.extend(stream.path for stream in worker.streams)
        while len(self._old_logs) > OLD_LOGS_KEPT:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._old_logs.popleft())
        worker.streams.clear()
        return f"It said: {last[-1]}" if last else ""

    # Ending

    def stop(self, worker: Worker, reason: str, *, force: bool, grace_seconds: float = EXIT_GRACE_SECONDS) -> None:
        """End a worker: at once, or after it was asked to and had its grace."""
        if worker.state == "ended":
            return
        worker.state = "ending"
        worker.end_reason = worker.end_reason or reason
        if not force and worker.client is not None and worker.client.caller.cast("exit", reason, False):
            self._reactor.call_later(grace_seconds, lambda: self._kill_if_alive(worker))
            return
        self.template.kill(worker.worker_id, signal.SIGKILL)

    def _kill_if_alive(self, worker: Worker) -> None:
        if worker.state != "ended":
            self.template.kill(worker.worker_id, signal.SIGKILL)

    def end_job(self, job_id: str, reason: str, keep: Callable[[Worker], bool]) -> None:
        """End the workers of a job at once, except those that ``keep`` names."""
        entry = self._jobs.get(job_id)
        kept = False
        for worker in list(self.workers.values()):
            if worker.job_id == job_id:
                if keep(worker):
                    kept = True
                else:
                    self.stop(worker, reason, force=True)
        if entry is not None and not kept:
            self._fail_wishes(entry, reason)
            del self._jobs[job_id]

    def _plan_scan(self) -> None:
        if not self._scanning and not self._closed:
            self._scanning = True
            self._reactor.call_later(SCAN_SECONDS, self._scan)

    def _scan(self) -> None:
        """Stop idle workers beyond the CPU count, the longest idle first."""
        self._scanning = False
        now = time.monotonic()
        alive = [w for w in self.workers.values() if w.state in ("starting", "idle", "busy")]
        idle = sorted((w for w in alive if w.state == "idle"), key=lambda worker: worker.idle_since)
        excess = len(alive) - self._config.total["CPU"] // 10_000
        late = [w for w in idle if now - w.idle_since >= IDLE_SECONDS and w.owned == 0]
        for worker in late[: max(0, excess)]:
            self.stop(worker, "it was idle", force=False)
        if excess > 0 and len(idle) > len(late[:excess]):
            self._plan_scan()

    def close(self) -> None:
        """End every worker and the template now; waits until they are reaped."""
        self._closed = True
        self.template.close()
        for worker in list(self.workers.values()):
            self._ended(worker, "the node has stopped")


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"the process was killed by {name}"
    return f"the process ended with code {os.WEXITSTATUS(status)}"
