"""The head's jobs: takes submissions, runs their drivers, tells their state.

Invariant: a submission id is run at most once by one head process; every job that was taken ends in a
terminal state, at the latest when the head closes; what a job left on the disk goes when the table forgets it.
"""

from __future__ import annotations

import functools
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from shoal.core.jobs import Job, JobSpec, JobTable
from shoal.jobs.directories import JobDirectories
from shoal.jobs.driver_log import DriverLog
from shoal.jobs.environment import driver_environment
from shoal.jobs.journal import HEAD_LOST_WORDS, JobJournal, NoJournal, fate
from shoal.jobs.package_store import PackageStore
from shoal.jobs.submission import SubmitError, as_seen_here, check, driver_need, specification
from shoal.jobs.supervisor import STOP_GRACE_SECONDS, DriverEvents, DriverLaunch, DriverSupervisor
from shoal.jobs.transfers import Transfers
from shoal.protocol import reasons

if TYPE_CHECKING:
    from shoal.protocol import head_pb2

OUTPUT_LOST_WORDS: Final = "the output was on the disk of a head that was lost"
CLOSE_SECONDS: Final = 3.0
WRITE_SECONDS: Final = 30.0
"""How long a submission waits until it is on disk."""
TAIL_WRITE_SECONDS: Final = 1.0
"""How often the end of a running job's output is written down, for the case that the head is lost."""
TAILS_KEPT: Final = 100
"""Older jobs that have ended are listed without their output's end, so that a snapshot stays small."""


@dataclass(frozen=True)
class JobHooks:
    """What the head wants to hear; both are called on any thread, without the runner's lock.

    Args:
        changed: something that a snapshot shows has changed; True: people wait for this (a job has ended).
        ended: the job with that runtime job id has ended: its workers and actors go.
        journal: where jobs are written down.
    """

    changed: Callable[[bool], None]
    ended: Callable[[str], None]
    journal: JobJournal = field(default_factory=NoJournal)


class DriverPlacer(Protocol):
    """Finds a node for a driver that needs resources, and starts it there; the runner's ``remote_*`` say how it went.

    Called without the runner's lock.
    """

    def place(self, spec: JobSpec) -> None:
        """A driver wants a node."""
        ...

    def restore(self, spec: JobSpec, node_id: str) -> None:
        """An earlier head process placed it on that node, or (with an empty text) it may be anywhere or nowhere."""
        ...

    def withdraw(self, submission_id: str, grace_seconds: float) -> bool:
        """End it; True when it had no node yet, so that nothing else will be heard of it."""
        ...


class JobRunner:
    """Thread-safe.

    Args:
        session_directory: the node's session directory (0700); jobs live in its ``jobs`` folder.
        node_socket: path of the Unix socket of the agent that the drivers use.
        package_store: where working directories are kept for the workers.
        hooks: who hears of changes.
        echo: takes the drivers' output, in whole lines.
        placer: for drivers that need resources; None refuses them.
    """

    def __init__(
        self,
        session_directory: Path,
        node_socket: str,
        package_store: PackageStore,
        hooks: JobHooks,
        echo: Callable[[bytes], None] | None = None,
        placer: DriverPlacer | None = None,
    ) -> None:
        self._session_directory, self._node_socket = session_directory, node_socket
        self._hooks = hooks
        self._lock = threading.Lock()
        self._table = JobTable()
        self._unsettled: dict[str, head_pb2.JobSnapshot] = {}  # ended, but that is not on disk yet: shown as before
        self._tails_written: dict[str, float] = {}
        self._closed = False
        self._placer, self._echo = placer, echo
        self._remote_logs: dict[str, DriverLog] = {}
        self._transfers = Transfers()
        self._directories = JobDirectories(session_directory, package_store, self._transfers.fetch)
        self._supervisor = DriverSupervisor(
            DriverEvents(self._started, self._wrote, self._exited, self._could_not_start), echo
        )

    def submit(self, request: head_pb2.SubmitJobRequest) -> tuple[head_pb2.JobSnapshot, bool]:
        """Run a job, or return the known one with False. May take seconds: it packs the working directory.

        Raises:
            SubmitError: nothing was started.
        """
        submission_id = request.submission_id or f"job-{secrets.token_hex(6)}"
        check(submission_id, request.entrypoint)
        known = self.snapshot(submission_id)
        if known is not None:
            return known, False
        if driver_need(request) and self._placer is None:
            raise SubmitError("Invalid", "this head runs drivers itself only: submit without resources")
        directory = self._directories.fetched(submission_id, as_seen_here(request.working_directory))
        package, archive = self._directories.pack(directory)
        spec = specification(request, submission_id, secrets.token_hex(4), directory, package)
        with self._lock:
            if self._closed:
                raise SubmitError("Closing", "the head is shutting down: submit again to the next one")
            if self._table.full() and self._table.get(submission_id) is None:
                raise SubmitError("Full", f"{self._table.live()} jobs run already, the most a head takes")
            job, created = self._table.submit(spec)
            snapshot = _snapshot(job)
            if created:
                self._hooks.journal.job(job)
        if not self._is_written():
            words = f"the head could not write the job to its disk within {WRITE_SECONDS:g} s: look at its volume"
            raise SubmitError("Unwritten", words)
        if created:
            self._hooks.changed(False)
            self._launch(spec, archive)
        return snapshot, created

    def _is_written(self) -> bool:
        """Wait for the disk; False when that takes too long."""
        written = threading.Event()
        self._hooks.journal.when_durable(written.set)
        return written.wait(WRITE_SECONDS)

    def restore(self, jobs: Iterable[Job]) -> None:
        """Take the jobs of an earlier head process; those whose driver went with it end. Call once, first."""
        for job in jobs:
            with self._lock:
                self._table.restore(job)
        for job in jobs:
            self._resume(job)
        self._is_written()  # so that the first snapshot says how they ended

    def _resume(self, job: Job) -> None:
        spec = job.spec
        if job.output_state == "Saving":
            self._saved(job, OUTPUT_LOST_WORDS)
        match fate(job, places=self._placer is not None):
            case "placed":
                assert self._placer is not None
                self._open_remote_log(spec)
                self._placer.restore(spec, job.node_id)
            case "start":
                archive = self._directories.archive_of(spec.package)
                if archive is None:
                    self._could_not_start(spec.submission_id, "its program was lost with the head that took it")
                else:
                    self._launch(spec, archive)
            case "stopped":
                self._exited(spec.submission_id, 128 + signal.SIGKILL)
            case "lost":
                self._lost(spec.submission_id, reasons.HEAD_LOST, HEAD_LOST_WORDS)

    def stop(self, submission_id: str, reason: str, grace_seconds: float = 0.0) -> bool:
        """End a job; True when the id is known, also when it has ended already.

        Args:
            submission_id: which.
            reason: one CamelCase word, for its state.
            grace_seconds: from SIGTERM to SIGKILL; 0 means ``STOP_GRACE_SECONDS``.
        """
        with self._lock:
            job = self._table.get(submission_id)
            wanted = self._table.stop_requested(submission_id, reason)
            if job is not None and wanted:
                job.grace_seconds = grace_seconds or STOP_GRACE_SECONDS
                self._hooks.journal.job(job)
        if job is not None and wanted:
            self._stop_driver(job)
        return job is not None

    def _stop_driver(self, job: Job) -> None:
        if not job.spec.resources or self._placer is None:
            self._supervisor.stop(job.spec.submission_id, job.grace_seconds)
        elif self._placer.withdraw(job.spec.submission_id, job.grace_seconds):
            self._exited(job.spec.submission_id, 128 + signal.SIGTERM)

    def snapshot(self, submission_id: str) -> head_pb2.JobSnapshot | None:
        """One job's state."""
        with self._lock:
            job = self._table.get(submission_id)
            return None if job is None else self._shown(job)

    def snapshots(self) -> list[head_pb2.JobSnapshot]:
        """All jobs' states, oldest first."""
        with self._lock:
            jobs = list(self._table)
            recent = max(0, len(jobs) - TAILS_KEPT)
            return [self._shown(job, tail=not job.done or index >= recent) for index, job in enumerate(jobs)]

    def _shown(self, job: Job, *, tail: bool = True) -> head_pb2.JobSnapshot:
        return self._unsettled.get(job.spec.submission_id) or _snapshot(job, tail=tail)

    def counted(self, job_id: str, node_id: str, counts: tuple[int, int, int]) -> bool:
        """Task totals of a job's drivers on one node; False when nothing changed."""
        with self._lock:
            return self._table.counted(job_id, node_id, counts)

    def owns(self, job_id: str) -> bool:
        """Whether a submitted job that has not ended has this runtime job id."""
        with self._lock:
            job = self._table.by_job_id(job_id)
            return job is not None and not job.done

    def live(self) -> int:
        """How many jobs have not ended, as ``snapshots`` shows it."""
        with self._lock:
            return self._table.live() + len(self._unsettled)

    def log_path(self, submission_id: str) -> Path:
        """Where a job's output is."""
        return self._directories.log_path(submission_id)

    def close(self) -> None:
        """Stop all jobs and wait for them. Idempotent."""
        with self._lock:
            self._closed = True
            placed = [job.spec.submission_id for job in self._table if job.spec.resources and not job.done]
            if self._hooks.journal.outlives_the_head and self._placer is not None:
                kept, placed = set(placed), []  # they go on without a head; the next one hears of them
            else:
                kept = set()
            for job in self._table:
                if job.spec.submission_id not in kept:
                    self._table.stop_requested(job.spec.submission_id, reasons.HEAD_STOPPED)
        for submission_id in placed if self._placer is not None else ():
            assert self._placer is not None
            self._placer.withdraw(submission_id, CLOSE_SECONDS)
            self._exited(submission_id, 128 + signal.SIGTERM)
        self._supervisor.close(CLOSE_SECONDS)
        self._transfers.close()
        for log in list(self._remote_logs.values()):
            log.close()

    # Drivers on other nodes

    def remote_waits(self, submission_id: str, message: str) -> None:
        """It has no node yet; the message says what it waits for."""
        with self._lock:
            changed = self._table.waits(submission_id, message)
        if changed:
            self._hooks.changed(False)

    def remote_started(self, submission_id: str, node_id: str) -> None:
        """It runs on that node."""
        with self._lock:
            job = self._table.get(submission_id)
            if job is not None:
                job.node_id = node_id
        self._started(submission_id, 0)

    def remote_out_of_touch(self, submission_id: str, words: str) -> None:
        """Its node cannot be heard; no words: it can again."""
        with self._lock:
            changed = self._table.out_of_touch(submission_id, words)
        if changed:
            self._hooks.changed(False)

    def remote_wrote(self, submission_id: str, data: bytes) -> None:
        """It wrote output."""
        log = self._remote_logs.get(submission_id)
        if log is None:
            return
        log.write(data)
        self._wrote(submission_id, data)

    def remote_exited(self, submission_id: str, exit_code: int) -> None:
        """It ended; the exit code is a shell's."""
        self._close_remote_log(submission_id)
        self._exited(submission_id, exit_code)

    def remote_failed(self, submission_id: str, words: str) -> None:
        """It could not be started."""
        self._close_remote_log(submission_id)
        self._could_not_start(submission_id, words)

    def remote_lost(self, submission_id: str, reason: str, words: str) -> None:
        """Its node is gone."""
        self._close_remote_log(submission_id)
        self._lost(submission_id, reason, words)

    def _lost(self, submission_id: str, reason: str, words: str) -> None:
        self._ended(submission_id, lambda now: self._table.lost(submission_id, reason, words, now))

    def _open_remote_log(self, spec: JobSpec) -> None:
        self._directories.make(spec.submission_id)
        self._remote_logs[spec.submission_id] = DriverLog(self.log_path(spec.submission_id), self._echo)

    def _close_remote_log(self, submission_id: str) -> None:
        log = self._remote_logs.pop(submission_id, None)
        if log is not None:
            log.close()

    def _launch(self, spec: JobSpec, archive: bytes) -> None:
        if spec.resources and self._placer is not None:
            self._open_remote_log(spec)
            self._placer.place(spec)
            return
        try:
            directory = self._directories.prepare(spec, archive)
        except (OSError, ValueError) as error:
            self._could_not_start(spec.submission_id, f"could not prepare the job's directory: {error}")
            return
        log_path = self.log_path(spec.submission_id)
        environment = self._environment(spec)
        launch = DriverLaunch(spec.submission_id, spec.entrypoint, directory, environment, log_path)
        with self._lock:
            job = self._table.get(spec.submission_id)
            if job is not None:
                job.launched = True
                self._hooks.journal.job(job)
        # On disk first: a job that a later head finds not launched has certainly never run.
        self._hooks.journal.when_durable(lambda: self._supervisor.start(launch))

    def _environment(self, spec: JobSpec) -> dict[str, str]:
        return driver_environment(
            spec.environment,
            node_socket=self._node_socket,
            session_directory=str(self._session_directory),
            job_id=spec.job_id,
            package=spec.package,
        )

    def _started(self, submission_id: str, pid: int) -> None:
        with self._lock:
            self._table.started(submission_id, time.time())
            job = self._table.get(submission_id)
            stop = job is not None and bool(job.stop_reason)
            if job is not None:
                self._hooks.journal.job(job)
        if stop and job is not None:  # asked for before there was a process
            self._stop_driver(job)
        self._hooks.changed(False)

    def _wrote(self, submission_id: str, data: bytes) -> None:
        with self._lock:
            self._table.wrote(submission_id, data)
            self._write_tail(submission_id, time.monotonic())
        self._hooks.changed(False)

    def _write_tail(self, submission_id: str, now: float) -> None:
        job = self._table.get(submission_id)
        if job is not None and now >= self._tails_written.get(submission_id, 0.0) + TAIL_WRITE_SECONDS:
            self._tails_written[submission_id] = now
            self._hooks.journal.job(job)

    def _exited(self, submission_id: str, exit_code: int) -> None:
        self._ended(submission_id, lambda now: self._table.exited(submission_id, exit_code, now))

    def _could_not_start(self, submission_id: str, words: str) -> None:
        self._ended(submission_id, lambda now: self._table.could_not_start(submission_id, words, now))

    def _ended(self, submission_id: str, record: Callable[[float], bool]) -> None:
        with self._lock:
            job = self._table.get(submission_id)
            before = None if job is None else _snapshot(job)
            if job is None or before is None or not record(time.time()):
                return
            saves = bool(job.spec.output_url) and not self._closed
            if saves:
                job.output_state = "Saving"
            self._unsettled[submission_id] = before
            self._tails_written.pop(submission_id, None)
            self._hooks.journal.job(job)
            forgotten = self._table.take_forgotten()
            self._hooks.journal.jobs_forgotten(forgotten)
            aside = [self._directories.set_aside(each) for each in forgotten]
        for directory in aside:
            shutil.rmtree(directory, ignore_errors=True)
        self._hooks.journal.when_durable(lambda: self._settled(job, saves=saves))

    def _settled(self, job: Job, *, saves: bool) -> None:
        """The end of a job is on disk: now it may be seen."""
        spec = job.spec
        with self._lock:
            self._unsettled.pop(spec.submission_id, None)
        self._hooks.ended(spec.job_id)
        self._hooks.changed(True)
        if saves:
            path = self.log_path(spec.submission_id)
            if job.start_time and not path.exists():
                self._saved(job, OUTPUT_LOST_WORDS)
                return
            path.touch(mode=0o600)
            done = functools.partial(self._saved, job)
            self._transfers.save(spec.output_url, path, spec.output_secret_directory, done)

    def _saved(self, job: Job, words: str) -> None:
        with self._lock:
            job.output_state = "Failed" if words else "Saved"
            job.output_message = words or job.spec.output_url
            self._hooks.journal.job(job)
        self._hooks.changed(True)


def _snapshot(job: Job, *, tail: bool = True) -> head_pb2.JobSnapshot:
    from shoal.protocol import head_pb2

    submitted, finished, failed = job.totals()
    return head_pb2.JobSnapshot(
        submission_id=job.spec.submission_id,
        state=f"JOB_STATE_{job.state}",
        reason=job.reason,
        message=job.message,
        exit_code=job.exit_code or 0,
        has_exit_code=job.exit_code is not None,
        start_time_seconds=job.start_time,
        end_time_seconds=job.end_time,
        output_tail=job.output_tail() if tail else "",
        tasks_submitted=submitted,
        tasks_finished=finished,
        tasks_failed=failed,
        output_state=job.output_state,
        output_message=job.output_message,
        node_id=job.node_id,
    )
