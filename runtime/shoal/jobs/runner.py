"""The head's jobs: takes submissions, prepares their directories, runs their drivers, tells their state.

Invariant: a submission id is run at most once by one head process; every job that was taken ends in a
terminal state, at the latest when the head closes.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shoal.core.jobs import Job, JobSpec, JobTable
from shoal.jobs import packages
from shoal.jobs.package_store import PackageError, PackageStore
from shoal.jobs.supervisor import DriverEvents, DriverLaunch, DriverSupervisor

if TYPE_CHECKING:
    from shoal.protocol import head_pb2

SUBMISSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_ENTRYPOINT_LENGTH: Final = 100_000
CLOSE_SECONDS: Final = 3.0
TAILS_KEPT: Final = 100
"""Older jobs that have ended are listed without their output's end, so that a snapshot stays small."""
MOUNTED_SOURCE: Final = "/var/run/shoal/source"
"""Where the operator mounts a job's ConfigMap in the head pod, and what it says in a submission."""


class SubmitError(ValueError):
    """A submission was refused. ``kind``: Invalid, Unreadable, TooLarge, Full, Closing."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class JobHooks:
    """What the head wants to hear; both are called on any thread, without the runner's lock.

    Args:
        changed: something that a snapshot shows has changed; True: people wait for this (a job has ended).
        ended: the job with that runtime job id has ended: its workers and actors go.
    """

    changed: Callable[[bool], None]
    ended: Callable[[str], None]


class JobRunner:
    """Thread-safe.

    Args:
        session_directory: the node's session directory (0700); jobs live in its ``jobs`` folder.
        node_socket: path of the Unix socket of the agent that the drivers use.
        package_store: where working directories are kept for the workers.
        hooks: who hears of changes.
        echo: takes the drivers' output lines, prefixed.
    """

    def __init__(
        self,
        session_directory: Path,
        node_socket: str,
        package_store: PackageStore,
        hooks: JobHooks,
        echo: Callable[[bytes], None] | None = None,
    ) -> None:
        self._session_directory, self._node_socket = session_directory, node_socket
        self._packages, self._hooks = package_store, hooks
        self._lock = threading.Lock()
        self._table = JobTable()
        self._closed = False
        self._supervisor = DriverSupervisor(
            DriverEvents(self._started, self._wrote, self._exited, self._could_not_start), echo
        )

    def submit(self, request: head_pb2.SubmitJobRequest) -> tuple[head_pb2.JobSnapshot, bool]:
        """Run a job, or return the known one with False. May take seconds: it packs the working directory.

        Raises:
            SubmitError: nothing was started.
        """
        submission_id = request.submission_id or f"job-{secrets.token_hex(6)}"
        _check(submission_id, request.entrypoint)
        known = self.snapshot(submission_id)
        if known is not None:
            return known, False
        directory = _as_seen_here(request.working_directory)
        package, archive = self._pack(directory)
        spec = JobSpec(
            submission_id=submission_id,
            job_id=secrets.token_hex(4),
            entrypoint=request.entrypoint,
            working_directory=directory,
            run_in_place=request.run_in_place,
            environment=dict(request.environment),
            metadata=dict(request.metadata),
            package=package,
        )
        with self._lock:
            if self._closed:
                raise SubmitError("Closing", "the head is shutting down: submit again to the next one")
            if self._table.full() and self._table.get(submission_id) is None:
                raise SubmitError("Full", f"{self._table.live()} jobs run already, the most a head takes")
            job, created = self._table.submit(spec)
            snapshot = _snapshot(job)
        if created:
            self._hooks.changed(False)
            self._launch(spec, archive)
        return snapshot, created

    def stop(self, submission_id: str, reason: str) -> bool:
        """End a job; True when the id is known, also when it has ended already."""
        with self._lock:
            known = self._table.get(submission_id) is not None
            wanted = self._table.stop_requested(submission_id, reason)
        if wanted:
            self._supervisor.stop(submission_id)
        return known

    def snapshot(self, submission_id: str) -> head_pb2.JobSnapshot | None:
        """One job's state."""
        with self._lock:
            job = self._table.get(submission_id)
            return None if job is None else _snapshot(job)

    def snapshots(self) -> list[head_pb2.JobSnapshot]:
        """All jobs' states, oldest first."""
        with self._lock:
            jobs = list(self._table)
            recent = max(0, len(jobs) - TAILS_KEPT)
            return [_snapshot(job, tail=not job.done or index >= recent) for index, job in enumerate(jobs)]

    def counted(self, job_id: str, node_id: str, counts: tuple[int, int, int]) -> bool:
        """Task totals of a job's drivers on one node; False when nothing changed."""
        with self._lock:
            return self._table.counted(job_id, node_id, counts)

    def owns(self, job_id: str) -> bool:
        """Whether a submitted job that has not ended has this runtime job id."""
        with self._lock:
            job = self._table.by_job_id(job_id)
            return job is not None and not job.done

    def log_path(self, submission_id: str) -> Path:
        """Where a job's output is."""
        return self._directory(submission_id) / "driver.log"

    def close(self) -> None:
        """Stop all jobs and wait for them. Idempotent."""
        with self._lock:
            self._closed = True
            for job in self._table:
                self._table.stop_requested(job.spec.submission_id, "HeadStopped")
        self._supervisor.close(CLOSE_SECONDS)

    def _directory(self, submission_id: str) -> Path:
        return self._session_directory / "jobs" / submission_id

    def _pack(self, directory: str) -> tuple[str, bytes]:
        if not directory:
            return "", b""
        try:
            package, archive = packages.pack(directory)
            self._packages.put(package, archive)
        except PackageError as error:
            raise SubmitError(error.kind, str(error)) from error
        return package, archive

    def _launch(self, spec: JobSpec, archive: bytes) -> None:
        try:
            directory = self._prepare(spec, archive)
        except (OSError, ValueError) as error:
            self._could_not_start(spec.submission_id, f"could not prepare the job's directory: {error}")
            return
        log_path = self.log_path(spec.submission_id)
        environment = self._environment(spec)
        self._supervisor.start(DriverLaunch(spec.submission_id, spec.entrypoint, directory, environment, log_path))

    def _prepare(self, spec: JobSpec, archive: bytes) -> str:
        own = self._directory(spec.submission_id)
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        if spec.working_directory and spec.run_in_place:
            return spec.working_directory
        work = own / "work"
        work.mkdir(mode=0o700, exist_ok=True)
        if archive:
            packages.unpack(archive, work)
        return str(work)

    def _environment(self, spec: JobSpec) -> dict[str, str]:
        # A job starts afresh, but keeps the marks by which local mode finds the processes of a pod.
        kept = ("SHOAL_SESSION", "SHOAL_CONTAINER")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_") or k in kept}
        own_programs = os.path.dirname(sys.executable)
        path = environment.get("PATH", os.defpath)
        if own_programs not in path.split(os.pathsep):
            path = own_programs + os.pathsep + path
        environment.update(PATH=path, PYTHONUNBUFFERED="1")
        environment.update(spec.environment)
        environment.update(
            SHOAL_NODE_SOCKET=self._node_socket,
            SHOAL_JOB_ID=spec.job_id,
            SHOAL_JOB_PACKAGE=spec.package,
            SHOAL_SESSION_DIR=str(self._session_directory),
        )
        return environment

    def _started(self, submission_id: str, pid: int) -> None:
        with self._lock:
            self._table.started(submission_id, time.time())
            job = self._table.get(submission_id)
            stop = job is not None and bool(job.stop_reason)
        if stop:  # asked for before there was a process
            self._supervisor.stop(submission_id)
        self._hooks.changed(False)

    def _wrote(self, submission_id: str, data: bytes) -> None:
        with self._lock:
            self._table.wrote(submission_id, data)
        self._hooks.changed(False)

    def _exited(self, submission_id: str, exit_code: int) -> None:
        self._ended(submission_id, lambda now: self._table.exited(submission_id, exit_code, now))

    def _could_not_start(self, submission_id: str, words: str) -> None:
        self._ended(submission_id, lambda now: self._table.could_not_start(submission_id, words, now))

    def _ended(self, submission_id: str, record: Callable[[float], bool]) -> None:
        with self._lock:
            job = self._table.get(submission_id)
            changed = record(time.time())
        if job is not None and changed:
            self._hooks.ended(job.spec.job_id)
            self._hooks.changed(True)


def _as_seen_here(directory: str) -> str:
    """Processes without a mount namespace (``shoal local``) learn by environment where the mount really is."""
    return os.environ.get("SHOAL_SOURCE_DIRECTORY", directory) if directory == MOUNTED_SOURCE else directory


def _check(submission_id: str, entrypoint: str) -> None:
    if not SUBMISSION_ID.fullmatch(submission_id):
        raise SubmitError(
            "Invalid",
            f"submission id {submission_id[:200]!r} must be 1 to 128 letters, digits, '.', '_' or '-', "
            "and begin with a letter or digit",
        )
    if not entrypoint.strip():
        raise SubmitError("Invalid", "the job has no entrypoint: give a shell command, such as `python main.py`")
    if len(entrypoint) > MAX_ENTRYPOINT_LENGTH or "\0" in entrypoint:
        raise SubmitError("Invalid", f"the entrypoint must be at most {MAX_ENTRYPOINT_LENGTH} characters, without NUL")


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
    )
