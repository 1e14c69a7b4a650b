"""Where a job stands: one decision, from which both the plan and the status are made.

Invariants: a final outcome in ``status`` is never reconsidered; an outcome comes from the head's job table,
a deadline or a lost head, never from pods, logs or silence; a stop that has begun goes to its end whatever the
spec says meanwhile; a spec that has become invalid ends nothing that runs.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shoal_operator.api.job import ComputeJob
from shoal_operator.api.meta import MANAGED_BY_SHOAL
from shoal_operator.domain import conditions
from shoal_operator.domain.job.attempts import judge_attempt
from shoal_operator.domain.job.observed import JobObservation
from shoal_operator.domain.job.progress import Progress, Stage, head_answers, live_rows, row_of
from shoal_operator.domain.job.stopping import begin_stop, continue_stop, stopping_reason, suspended
from shoal_operator.domain.reasons import ConditionType, Reason
from shoal_operator.domain.validation import validate_job


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
        last_failure_time=status.last_failure_time,
        discarded_cluster_uid=status.discarded_cluster_uid,
    )
    if job.metadata.deletion_timestamp is not None or job.spec.managed_by != MANAGED_BY_SHOAL:
        return replace(start, stage=Stage.IGNORED)
    recorded = _recorded(start, job)
    if recorded is not None:
        return replace(recorded, row=row_of(observed, recorded.attempt))
    if stopping_reason(job):
        return continue_stop(start, observed, now)
    return _ongoing(start, observed, now)


def _ongoing(start: Progress, observed: JobObservation, now: datetime) -> Progress:
    job = observed.job
    problems = tuple(validate_job(job.spec))
    if problems and not _has_begun(start, observed):
        text = "; ".join(str(problem) for problem in problems)
        return replace(start, stage=Stage.INVALID, reason=Reason.INVALID_SPEC, message=text, problems=problems)
    if job.spec.suspend:
        return _suspend(start, observed, now)
    progress = replace(judge_attempt(start, observed, now), problems=problems)
    if problems and progress.stage is Stage.SUBMITTING:
        text = "the next attempt waits for a valid spec: " + "; ".join(str(problem) for problem in problems)
        progress = replace(progress, stage=Stage.WAITING, reason=Reason.INVALID_SPEC, message=text)
    return _with_deadlines(progress, observed, now)


def _has_begun(start: Progress, observed: JobObservation) -> bool:
    return start.head_incarnation is not None or row_of(observed, start.attempt) is not None or start.attempt > 1


def _recorded(start: Progress, job: ComputeJob) -> Progress | None:
    for kind, stage in ((ConditionType.COMPLETE, Stage.COMPLETE), (ConditionType.FAILED, Stage.FAILED)):
        condition = conditions.find(job.status.conditions, kind)
        if condition is not None and condition.status == conditions.TRUE:
            return replace(start, stage=stage, reason=condition.reason, message=condition.message, is_recorded=True)
    return None


def _suspend(start: Progress, observed: JobObservation, now: datetime) -> Progress:
    # What a head that does not answer said last is no reason to stop again what has been given up already.
    runs = head_answers(observed) and live_rows(observed)
    if conditions.is_true(observed.job.status.conditions, ConditionType.SUSPENDED) and not runs:
        return suspended(start, observed)
    current = judge_attempt(start, observed, now)
    if current.stage.is_final:
        return current  # it ended before anybody stopped it
    if current.stage is Stage.RUNNING or live_rows(observed):
        return begin_stop(current, observed, Reason.SUSPENDED)
    return suspended(current, observed)


def _with_deadlines(progress: Progress, observed: JobObservation, now: datetime) -> Progress:
    job = observed.job
    if progress.stage.is_final:
        return progress
    has_started = progress.start_time is not None
    limit = job.spec.active_deadline_seconds if has_started else job.spec.start_deadline_seconds
    if limit is None:
        return progress
    since = progress.start_time or _waiting_since(job, now)
    left = limit - (now - since) / timedelta(seconds=1)
    if left > 0:
        wake = left if progress.wake_seconds is None else min(left, progress.wake_seconds)
        return replace(progress, wake_seconds=wake)
    if progress.stage is Stage.RUNNING or live_rows(observed):
        reason = Reason.DEADLINE_EXCEEDED if has_started else Reason.START_DEADLINE_EXCEEDED
        return begin_stop(progress, observed, reason)
    return _not_in_time(progress, job, limit, has_started=has_started)


def _not_in_time(progress: Progress, job: ComputeJob, limit: int, *, has_started: bool) -> Progress:
    """Nothing runs: a retry waits, or the program has never started."""
    why = f"; last it waited because: {progress.message}" if progress.message else ""
    if has_started:
        reason: str = Reason.DEADLINE_EXCEEDED
        text = f"all attempts together took longer than spec.activeDeadlineSeconds ({limit} s){why}"
    else:
        reason = Reason.START_DEADLINE_EXCEEDED
        text = f"the program did not start within spec.startDeadlineSeconds ({limit} s){why}"
    # A retry that has not been submitted yet is not made: the attempt that failed stays the last one.
    attempt = max(1, job.status.attempt)
    return replace(progress, stage=Stage.FAILED, attempt=attempt, reason=reason, message=text)


def _waiting_since(job: ComputeJob, now: datetime) -> datetime:
    resumed = conditions.find(job.status.conditions, ConditionType.SUSPENDED)
    created = job.metadata.creation_timestamp or now
    return max(created, resumed.last_transition_time) if resumed and resumed.status == "False" else created
