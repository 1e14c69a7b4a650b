"""A stop from its wish to its end: suspend and deadlines.

Invariants: the wish is durable (condition Stopping) before a head hears of it; the outcome is given when the head's
table shows the end, or when nothing can run any more because the cluster has gone or is suspended; a head that cannot
be seen holds the outcome up for a bounded time only, and then the job's own cluster goes first.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shoal_operator.api.job import ComputeJob
from shoal_operator.domain import conditions
from shoal_operator.domain.head import JobState
from shoal_operator.domain.job.failure import demand_verdict
from shoal_operator.domain.job.observed import JobObservation
from shoal_operator.domain.job.progress import (
    Progress,
    Stage,
    head_answers,
    live_rows,
    nothing_can_run,
    owns_cluster,
    row_of,
)
from shoal_operator.domain.reasons import ConditionType, Reason

STOP_MARGIN_SECONDS: Final = 60.0
"""Beyond the grace period: how long a stop may take to show in the head's table."""
SUSPEND_TEXT: Final = "spec.suspend is true; set it to false to run the program from its beginning"


def stopping_reason(job: ComputeJob) -> str:
    """Why the program is being stopped, as the status says; empty when it is not."""
    condition = conditions.find(job.status.conditions, ConditionType.STOPPING)
    return condition.reason if condition is not None and condition.status == conditions.TRUE else ""


def begin_stop(progress: Progress, observed: JobObservation, reason: str) -> Progress:
    """The program shall stop; nothing is sent before this stands in the status."""
    text = f"{_why(observed.job, reason)}; the program is being stopped"
    return replace(progress, stage=Stage.STOPPING, reason=reason, message=text, failed_because="")


def continue_stop(start: Progress, observed: JobObservation, now: datetime) -> Progress:
    """Look for the end of a program that is being stopped."""
    job, reason = observed.job, stopping_reason(observed.job)
    row = row_of(observed, start.attempt)
    seen = replace(start, row=row)
    if row is not None and row.state is JobState.SUCCEEDED:
        return replace(seen, stage=Stage.COMPLETE, reason=Reason.SUCCEEDED, message="the program ended with success")
    if nothing_can_run(observed) or (head_answers(observed) and not live_rows(observed)):
        return _stopped(seen, observed, reason, "")
    left = _deadline(job, now) - now
    if left > timedelta(0):
        return replace(
            seen,
            stage=Stage.STOPPING,
            reason=reason,
            message=f"{_why(job, reason)}; {_waiting_text(observed)}",
            wake_seconds=left / timedelta(seconds=1),
        )
    if owns_cluster(observed):
        text = f"{_why(job, reason)}; the stop could not be confirmed, so the cluster is being deleted"
        return replace(seen, stage=Stage.STOPPING, reason=reason, message=text, takes_cluster=True)
    why = "the stop is not confirmed: its head does not answer"
    if head_answers(observed):
        why = "the stop is not confirmed: its head says that it still runs"
    return _stopped(seen, observed, reason, f"; {why}")


def suspended(progress: Progress, observed: JobObservation) -> Progress:
    """A suspended attempt is over without counting as failed: the program begins again under a new id."""
    begun = progress.head_incarnation is not None or row_of(observed, progress.attempt) is not None
    return replace(
        progress,
        stage=Stage.SUSPENDED,
        reason=Reason.SUSPENDED,
        message=SUSPEND_TEXT,
        attempt=progress.attempt + 1 if begun else progress.attempt,
        head_incarnation=None,
        start_time=None,
        discarded_cluster_uid=None,
    )


def _stopped(seen: Progress, observed: JobObservation, reason: str, doubt: str) -> Progress:
    if reason == Reason.SUSPENDED:
        return suspended(seen, observed)
    verdict = demand_verdict(observed) if reason == Reason.START_DEADLINE_EXCEEDED else None
    waited = f"; it waited because: {verdict}" if verdict else ""
    text = f"{_why(observed.job, reason)} and was stopped{doubt}{waited}"
    return replace(seen, stage=Stage.FAILED, reason=reason, message=text)


def _deadline(job: ComputeJob, now: datetime) -> datetime:
    condition = conditions.find(job.status.conditions, ConditionType.STOPPING)
    since = condition.last_transition_time if condition is not None else now
    return since + timedelta(seconds=job.spec.grace_period_seconds + STOP_MARGIN_SECONDS)


def _why(job: ComputeJob, reason: str) -> str:
    spec = job.spec
    if reason == Reason.SUSPENDED:
        return "spec.suspend is true"
    if reason == Reason.DEADLINE_EXCEEDED:
        return f"the program ran longer than spec.activeDeadlineSeconds ({spec.active_deadline_seconds} s)"
    return f"the program did not start within spec.startDeadlineSeconds ({spec.start_deadline_seconds} s)"


def _waiting_text(observed: JobObservation) -> str:
    grace = observed.job.spec.grace_period_seconds
    if head_answers(observed):
        return f"the program is being stopped and has {grace} s to end by itself"
    return "the head does not answer, so the stop is not confirmed"
