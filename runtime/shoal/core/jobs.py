"""The life of every submitted job: events in, the job's state out.

PENDING -> RUNNING -> SUCCEEDED | FAILED | STOPPED; a job can also fail or be stopped before it runs.

Invariant: a terminal state is final; a submission id names one job for as long as the head remembers it;
what the job said last is kept in at most ``TAIL_BYTES`` of valid UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shoal.protocol import reasons
from shoal.resources import ResourceSet

JobState = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})

MAX_TERMINAL: Final = 1000
MAX_LIVE: Final = 1000
TAIL_BYTES: Final = 4096
NOT_FOUND: Final = 127
"""The shell's exit code for a command that does not exist."""


@dataclass(frozen=True)
class JobSpec:
    """What was submitted.

    ``entrypoint`` is a shell command line; ``package`` the hash of the working directory, or empty;
    ``resources`` what the driver itself needs (empty: it runs on the head).
    """

    submission_id: str
    job_id: str
    entrypoint: str
    working_directory: str = ""
    run_in_place: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    package: str = ""
    resources: ResourceSet = field(default_factory=ResourceSet)
    output_url: str = ""
    output_secret_directory: str = ""


@dataclass
class Job:
    """One job. Times are seconds since the epoch, 0 until they happened.

    ``launched``: its driver may have been started by the head itself.
    """

    spec: JobSpec
    state: JobState = "PENDING"
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    start_time: float = 0.0
    end_time: float = 0.0
    stop_reason: str = ""
    launched: bool = False
    grace_seconds: float = 0.0
    node_id: str = ""
    output_state: str = ""
    output_message: str = ""
    tail: bytes = b""
    counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether the state is final."""
        return self.state in TERMINAL

    def output_tail(self) -> str:
        """The last whole lines of its output that fit in ``TAIL_BYTES`` of UTF-8."""
        return last_lines(self.tail)

    def totals(self) -> tuple[int, int, int]:
        """Tasks submitted, finished and failed, over all nodes with a driver of this job."""
        sums = [sum(column) for column in zip(*self.counts.values(), strict=True)] or [0, 0, 0]
        return sums[0], sums[1], sums[2]


class JobTable:
    """All jobs, oldest first."""

    def __init__(self, max_terminal: int = MAX_TERMINAL, max_live: int = MAX_LIVE) -> None:
        self._jobs: dict[str, Job] = {}
        self._by_job_id: dict[str, Job] = {}
        self._max_terminal, self._max_live = max_terminal, max_live
        self._forgotten: list[str] = []

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def get(self, submission_id: str) -> Job | None:
        """The job with that submission id."""
        return self._jobs.get(submission_id)

    def by_job_id(self, job_id: str) -> Job | None:
        """The job whose driver has that runtime job id."""
        return self._by_job_id.get(job_id)

    def live(self) -> int:
        """How many jobs have not ended."""
        return sum(1 for job in self._jobs.values() if not job.done)

    def full(self) -> bool:
        """Whether no further job is taken until one ends."""
        return self.live() >= self._max_live

    def submit(self, spec: JobSpec) -> tuple[Job, bool]:
        """Take a job; when its submission id is known, the known job stays and False says so."""
        known = self._jobs.get(spec.submission_id)
        if known is not None:
            return known, False
        job = Job(spec)
        self._jobs[spec.submission_id] = job
        self._by_job_id[spec.job_id] = job
        return job, True

    def restore(self, job: Job) -> None:
        """Take a job as an earlier head process left it."""
        self._jobs[job.spec.submission_id] = job
        self._by_job_id[job.spec.job_id] = job

    def take_forgotten(self) -> list[str]:
        """Submission ids of jobs that were forgotten since the last call."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def started(self, submission_id: str, now: float) -> bool:
        """The driver runs."""
        job = self._jobs.get(submission_id)
        if job is None or job.state != "PENDING":
            return False
        job.state, job.start_time, job.message = "RUNNING", now, ""
        return True

    def could_not_start(self, submission_id: str, message: str, now: float) -> bool:
        """The driver's process could not be made."""
        return self._finish(submission_id, "FAILED", reasons.DRIVER_NOT_STARTED, message, None, now)

    def stop_requested(self, submission_id: str, reason: str) -> bool:
        """Remember that the coming end was asked for. False when there is nothing to stop."""
        job = self._jobs.get(submission_id)
        if job is None or job.done:
            return False
        job.stop_reason = job.stop_reason or reason or reasons.STOPPED_BY_REQUEST
        return True

    def exited(self, submission_id: str, exit_code: int, now: float) -> bool:
        """The driver ended. ``exit_code`` as a shell has it: 128 + n for signal n."""
        job = self._jobs.get(submission_id)
        if job is None:
            return False
        if job.stop_reason:
            code = exit_code if job.start_time else None  # what never ran has no exit code
            how = "it had not started" if code is None else f"the entrypoint ended with code {code}"
            words = f"stopped on request ({job.stop_reason}); {how}"
            return self._finish(submission_id, "STOPPED", _condition(job.stop_reason), words, code, now)
        if exit_code == 0:
            return self._finish(submission_id, "SUCCEEDED", reasons.ENTRYPOINT_SUCCEEDED, "", 0, now)
        reason = reasons.ENTRYPOINT_NOT_FOUND if exit_code == NOT_FOUND else reasons.ENTRYPOINT_FAILED
        return self._finish(
            submission_id, "FAILED", reason, _exit_words(job.spec.entrypoint, exit_code), exit_code, now
        )

    def lost(self, submission_id: str, reason: str, message: str, now: float) -> bool:
        """What ran the driver is gone: nobody will ever say how it ended."""
        return self._finish(submission_id, "FAILED", reason, message, None, now)

    def out_of_touch(self, submission_id: str, words: str) -> bool:
        """Whether the driver still runs cannot be said now; without words, it can again."""
        job = self._jobs.get(submission_id)
        if job is None or job.state != "RUNNING" or job.message == words:
            return False
        job.reason, job.message = reasons.NODE_OUT_OF_TOUCH if words else "", words
        return True

    def waits(self, submission_id: str, message: str) -> bool:
        """The driver has no place yet; ``message`` says what it waits for."""
        job = self._jobs.get(submission_id)
        if job is None or job.state != "PENDING" or job.message == message:
            return False
        job.message = message
        return True

    def wrote(self, submission_id: str, data: bytes) -> bool:
        """The driver wrote output; only its end is kept here."""
        job = self._jobs.get(submission_id)
        if job is None:
            return False
        job.tail = (job.tail + data)[-2 * TAIL_BYTES :]
        return True

    def counted(self, job_id: str, node_id: str, counts: tuple[int, int, int]) -> bool:
        """The totals of tasks submitted, finished and failed by the drivers of a job on one node."""
        job = self._by_job_id.get(job_id)
        if job is None or job.counts.get(node_id) == counts:
            return False
        job.counts[node_id] = counts
        return True

    def _finish(
        self,
        submission_id: str,
        state: JobState,
        reason: str,
        message: str,
        exit_code: int | None,
        now: float,
    ) -> bool:
        job = self._jobs.get(submission_id)
        if job is None or job.done:
            return False
        job.state, job.reason, job.message = state, reason, message
        job.exit_code, job.end_time = exit_code, now
        terminal = [job.spec for job in self._jobs.values() if job.done]
        for spec in terminal[: max(0, len(terminal) - self._max_terminal)]:
            del self._jobs[spec.submission_id], self._by_job_id[spec.job_id]
            self._forgotten.append(spec.submission_id)
        return True


def _condition(reason: str) -> str:
    """A CamelCase reason as it is; free text of a person becomes ``StoppedByRequest``."""
    return reason if reason.isalnum() and reason[:1].isupper() else reasons.STOPPED_BY_REQUEST


def _exit_words(entrypoint: str, exit_code: int) -> str:
    command = entrypoint if len(entrypoint) <= 200 else entrypoint[:197] + "..."
    if exit_code == NOT_FOUND:
        return f"the entrypoint `{command}` was not found in the head (exit code 127): check its spelling and the image"
    if exit_code > 128:
        return f"the entrypoint `{command}` was ended by signal {exit_code - 128} (exit code {exit_code})"
    return f"the entrypoint `{command}` ended with exit code {exit_code}"


def last_lines(data: bytes, limit: int = TAIL_BYTES) -> str:
    r"""The end of ``data`` as text of at most ``limit`` bytes in UTF-8, from a line's start if possible.

    Example:
        >>> last_lines(b"one\ntwo\n", 6)
        'two\n'
    """
    text = data.decode("utf-8", "replace").replace("\x00", "\ufffd")
    encoded = text.encode("utf-8")
    if len(encoded) <= limit:
        return text
    start = len(encoded) - limit
    newline = encoded.find(b"\n", start - 1)
    if start - 1 <= newline < len(encoded) - 1:
        start = newline + 1
    return encoded[start:].decode("utf-8", "ignore")
