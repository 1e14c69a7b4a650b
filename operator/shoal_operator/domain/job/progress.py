"""Where a job stands: one decision, from which both the plan and the status are made.

Invariants: a final outcome in ``status`` is never reconsidered; an outcome comes from the head's job table,
a deadline or a lost head, never from pods or from silence; the submission id names the job's UID and attempt,
so that submitting twice is submitting once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from shoal_operator.api.job import ComputeJob
from shoal_operator.api.meta import MANAGED_BY_SHOAL
from shoal_operator.api.problems import Problem
from shoal_operator.domain import conditions
from shoal_operator.domain.head import HeadView, JobState, JobView
from shoal_operator.domain.job.observed import JobObservation, cluster_name_of
from shoal_operator.domain.reasons import ConditionType, Reason
from shoal_operator.domain.validation import validate_job


class Stage(StrEnum):
    """The stages of a job; also the words of ``status.summary``."""

    IGNORED = "Ignored"
    INVALID = "Invalid"
    WAITING = "Waiting"
    SUBMITTING = "Submitting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in {Stage.COMPLETE, Stage.FAILED}


@dataclass(frozen=True, slots=True)
class Progress:
    """The decision."""

    stage: Stage
    attempt: int
    failed_attempts: int
    reason: str = ""
    message: str = ""
    row: JobView | None = None
    """The head's row of the current attempt (for a retry: of the attempt before)."""
    head_incarnation: str | None = None
    start_time: datetime | None = None
    is_recorded: bool = False
    """Whether the final outcome stands in the job's status already."""
    wake_seconds: float | None = None
    """When a deadline passes."""
    problems: tuple[Problem, ...] = ()


def submission_id(job: ComputeJob, attempt: int) -> str:
    """Id of an attempt in the head's job table."""
    return f"{job.metadata.uid}-{attempt}"


def owns_cluster(observed: JobObservation) -> bool:
    """Whether the observed cluster was made by this job."""
    if observed.cluster is None:
        return False
    uid = observed.job.metadata.uid
    return any(owner.controller and owner.uid == uid for owner in observed.cluster.metadata.owner_references)


def judge(observed: JobObservation, now: datetime) -> Progress:
    """Decide where the job stands.

    Args:
        observed: the world.
        now: the current time, timezone-aware.
    """
    job, status = observed.job, observed.job.status
    start = Progress(
        Stage.WAITING,
        attempt=max(1, status.attempt),
        failed_attempts=status.failed_attempts,
        head_incarnation=status.head_incarnation,
        start_time=status.start_time,
    )
    if job.metadata.deletion_timestamp is not None or job.spec.managed_by != MANAGED_BY_SHOAL:
        return replace(start, stage=Stage.IGNORED)
    recorded = _recorded(start, job)
    if recorded is not None:
        return replace(recorded, row=_row(observed, recorded.attempt))
    problems = tuple(validate_job(job.spec))
    if problems:
        text = "; ".join(str(problem) for problem in problems)
        return replace(start, stage=Stage.INVALID, reason=Reason.INVALID_SPEC, message=text, problems=problems)
    if job.spec.suspend:
        return _suspended(start, observed)
    return _with_deadlines(_current(start, observed, now), job, now)


def _recorded(start: Progress, job: ComputeJob) -> Progress | None:
    for kind, stage in ((ConditionType.COMPLETE, Stage.COMPLETE), (ConditionType.FAILED, Stage.FAILED)):
        condition = conditions.find(job.status.conditions, kind)
        if condition is not None and condition.status == conditions.TRUE:
            return replace(start, stage=stage, reason=condition.reason, message=condition.message, is_recorded=True)
    return None


def _suspended(start: Progress, observed: JobObservation) -> Progress:
    """A suspended attempt is over without counting as failed: the program begins again under a new id."""
    begun = start.head_incarnation is not None or _row(observed, start.attempt) is not None
    return replace(
        start,
        stage=Stage.SUSPENDED,
        reason=Reason.SUSPENDED,
        message="spec.suspend is true; set it to false to run the program from its beginning",
        attempt=start.attempt + 1 if begun else start.attempt,
        head_incarnation=None,
        start_time=None,
    )


def _current(start: Progress, observed: JobObservation, now: datetime) -> Progress:
    row = _row(observed, start.attempt)
    head = observed.head
    if row is not None and head is not None:
        seen = replace(start, row=row, head_incarnation=head.incarnation, start_time=_start_time(start, row, now))
        return _by_row(seen, row, head, observed)
    if start.head_incarnation is not None and (head is None or not head.reachable):
        return _out_of_sight(start, observed)
    if start.head_incarnation is not None:
        text = (
            "the head was lost while the program ran, and the new head does not know the program; "
            "raise spec.backoffLimit to have it started again"
        )
        return _failed_attempt(start, observed, Reason.HEAD_LOST, text)
    return _before_submission(start, observed)


def _out_of_sight(start: Progress, observed: JobObservation) -> Progress:
    """A submitted program whose head says nothing now: silence is no verdict, what was said stands."""
    waits = _before_submission(start, observed)
    if observed.cluster is None or not conditions.is_true(observed.job.status.conditions, ConditionType.RUNNING):
        return waits
    return replace(waits, stage=Stage.RUNNING)


def _by_row(seen: Progress, row: JobView, head: HeadView, observed: JobObservation) -> Progress:
    if row.state is JobState.SUCCEEDED:
        return replace(seen, stage=Stage.COMPLETE, reason=Reason.SUCCEEDED, message="the program ended with success")
    if row.state is JobState.STOPPED and row.reason == Reason.HEAD_STOPPED:
        # Nobody asked for the program's end: its head's pod was deleted, evicted or drained away.
        text = "the head was stopped while the program ran; raise spec.backoffLimit to have it started again"
        return _failed_attempt(seen, observed, Reason.HEAD_LOST, text)
    if row.state is JobState.STOPPED:
        text = row.message or "the program was stopped on request"
        return replace(seen, stage=Stage.FAILED, reason=row.reason or Reason.STOPPED, message=text)
    if row.state is JobState.FAILED:
        return _failed_attempt(seen, observed, row.reason or Reason.ENTRYPOINT_FAILED, _failure_text(row))
    if not head.reachable:
        text = f"the head does not answer: {head.unreachable_message or 'connection lost'}"
        return replace(seen, stage=Stage.RUNNING, reason=Reason.HEAD_UNREACHABLE, message=text)
    reason, text = _cluster_block(observed)
    return replace(seen, stage=Stage.RUNNING, reason=reason, message=text)


def _failed_attempt(progress: Progress, observed: JobObservation, reason: str, message: str) -> Progress:
    failed = progress.failed_attempts + 1
    limit = observed.job.spec.backoff_limit
    if failed > limit:
        text = f"{message} (attempt {failed} of {limit + 1})" if limit else message
        return replace(progress, stage=Stage.FAILED, failed_attempts=failed, reason=reason, message=text)
    retry = replace(
        progress,
        attempt=progress.attempt + 1,
        failed_attempts=failed,
        head_incarnation=None,
        reason=Reason.RETRYING,
        message=f"attempt {failed} of {limit + 1} failed ({reason}): {message}",
    )
    waits = _before_submission(retry, observed)
    return replace(waits, reason=retry.reason, message=retry.message)


def _before_submission(start: Progress, observed: JobObservation) -> Progress:
    reason, message = _missing_cluster(observed)
    if reason:
        return replace(start, stage=Stage.WAITING, reason=reason, message=message)
    refusal = observed.refusal
    if refusal is not None and refusal.submission_id == submission_id(observed.job, start.attempt):
        stage = Stage.FAILED if refusal.is_final else Stage.SUBMITTING
        text = f"the head did not take the program: {refusal.message}"
        return replace(start, stage=stage, reason=Reason.SUBMISSION_REFUSED, message=text)
    text = "the program is being handed to the head"
    return replace(start, stage=Stage.SUBMITTING, reason=Reason.SUBMITTING, message=text)


def _missing_cluster(observed: JobObservation) -> tuple[str, str]:
    """What keeps the job from being submitted; empty when nothing does."""
    cluster, name = observed.cluster, cluster_name_of(observed.job)
    if cluster is None:
        if observed.job.spec.cluster_ref is not None:
            return (
                Reason.CLUSTER_NOT_FOUND,
                f"there is no ComputeCluster `{name}` in this namespace; create it",
            )
        return Reason.WAITING_FOR_CLUSTER, f"ComputeCluster `{name}` is being created"
    if observed.job.spec.cluster_ref is None and not owns_cluster(observed):
        text = f"a ComputeCluster `{name}` is not this job's; delete it, or run on it with clusterRef"
        return Reason.CLUSTER_NAME_TAKEN, text
    if cluster.metadata.deletion_timestamp is not None:
        return Reason.WAITING_FOR_CLUSTER, f"an earlier ComputeCluster `{name}` is being deleted"
    head_ready = conditions.is_true(cluster.status.conditions, ConditionType.HEAD_READY)
    if not head_ready or observed.head is None or not observed.head.reachable:
        reason, message = _cluster_block(observed)
        return (
            reason or Reason.WAITING_FOR_HEAD,
            message or f"the head of ComputeCluster `{name}` is starting",
        )
    return "", ""


def _cluster_block(observed: JobObservation) -> tuple[str, str]:
    """The first thing that holds the cluster up, in its own words."""
    status = observed.cluster.status if observed.cluster else None
    return (status.reason or "", status.message or "") if status else ("", "")


def _with_deadlines(progress: Progress, job: ComputeJob, now: datetime) -> Progress:
    if progress.stage.is_final:
        return progress
    if progress.start_time is not None:
        limit, since = job.spec.active_deadline_seconds, progress.start_time
        text = f"the program ran longer than spec.activeDeadlineSeconds ({limit} s) and was stopped"
        failure: str = Reason.DEADLINE_EXCEEDED
    else:
        limit, since = job.spec.start_deadline_seconds, _waiting_since(job, now)
        why = f"; last it waited because: {progress.message}" if progress.message else ""
        text = f"the program did not start within spec.startDeadlineSeconds ({limit} s){why}"
        failure = Reason.START_DEADLINE_EXCEEDED
    if limit is None:
        return progress
    left = limit - (now - since) / timedelta(seconds=1)
    if left > 0:
        return replace(progress, wake_seconds=left)
    # A retry that has not been submitted yet is not made: the attempt that failed stays the last one.
    attempt = max(1, job.status.attempt)
    return replace(progress, stage=Stage.FAILED, attempt=attempt, reason=failure, message=text)


def _waiting_since(job: ComputeJob, now: datetime) -> datetime:
    resumed = conditions.find(job.status.conditions, ConditionType.SUSPENDED)
    created = job.metadata.creation_timestamp or now
    return max(created, resumed.last_transition_time) if resumed and resumed.status == "False" else created


def _row(observed: JobObservation, attempt: int) -> JobView | None:
    return observed.head.job(submission_id(observed.job, attempt)) if observed.head else None


def _start_time(start: Progress, row: JobView, now: datetime) -> datetime | None:
    if start.start_time is not None or row.state is JobState.PENDING:
        return start.start_time
    return conditions.whole_second(row.start_time or now)


def _failure_text(row: JobView) -> str:
    code = "" if row.exit_code is None else f"the program ended with exit code {row.exit_code}"
    if row.message and code and str(row.exit_code) not in row.message:
        return f"{code}: {row.message}"
    return row.message or code or "the program failed"
