"""One attempt by what the head's table says: it runs, it ended, it failed and is repeated, or its head was lost.

Invariants: silence is no verdict; an attempt is counted as failed exactly once, because its number and the count
change in the same status; a head process that knows the submission is followed, one that does not has lost it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.idleness import rests
from shoal_operator.domain.head import HeadView, JobState, JobView
from shoal_operator.domain.job.observed import JobObservation
from shoal_operator.domain.job.progress import Progress, Stage, owns_cluster, row_of
from shoal_operator.domain.job.waiting import FETCH_TRIES_MAX, before_submission, cluster_block
from shoal_operator.domain.reasons import ConditionType, Reason

RETRY_BASE_SECONDS: Final = 10.0
RETRY_CAP_SECONDS: Final = 360.0
_RAISE_LIMIT: Final = "; raise spec.backoffLimit to have it started again"


def retry_delay_seconds(failed_attempts: int) -> float:
    """Seconds between the end of a failed attempt and the next: 10, 20, 40, ... at most 6 minutes.

    Args:
        failed_attempts: how many have failed so far, at least 1.
    """
    return float(min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2 ** min(failed_attempts - 1, 10)))


def judge_attempt(start: Progress, observed: JobObservation, now: datetime) -> Progress:
    """Where the current attempt stands, deadlines and suspension left aside."""
    row, head = row_of(observed, start.attempt), observed.head
    if row is not None and head is not None:
        seen = replace(start, row=row, head_incarnation=head.incarnation, start_time=_start_time(start, row, now))
        return _by_row(seen, row, head, observed, now)
    if start.head_incarnation is not None and (head is None or not head.reachable):
        return _out_of_sight(start, observed)
    if start.head_incarnation is not None:
        text = f"the head was lost while the program ran, and the new head does not know the program{_RAISE_LIMIT}"
        return _failed_attempt(start, observed, now, Reason.HEAD_LOST, text)
    return _next_attempt(start, observed, now)


def _next_attempt(start: Progress, observed: JobObservation, now: datetime) -> Progress:
    """Nothing has been submitted for this attempt yet: wait for what it needs."""
    if start.discarded_cluster_uid is not None:
        cluster = observed.cluster
        if cluster is not None and cluster.metadata.uid == start.discarded_cluster_uid:
            text = f"{_retry_text(start, observed)}; the cluster of the attempt before is being deleted"
            return replace(start, stage=Stage.WAITING, reason=Reason.REPLACING_CLUSTER, message=text)
        start = replace(start, discarded_cluster_uid=None)
    if start.failed_attempts and start.last_failure_time is not None:
        left = _next_time(start, start.last_failure_time) - now
        if left > timedelta(0):
            return replace(
                start,
                stage=Stage.WAITING,
                reason=Reason.RETRYING,
                message=_retry_text(start, observed),
                wake_seconds=left / timedelta(seconds=1),
            )
    waits = before_submission(start, observed)
    refusal = observed.refusal
    refused = waits.stage is Stage.SUBMITTING and waits.reason == Reason.SUBMISSION_REFUSED
    if refused and refusal is not None and refusal.fetches_failed >= FETCH_TRIES_MAX:
        return _failed_attempt(start, observed, now, Reason.SUBMISSION_REFUSED, f"{waits.message}{_RAISE_LIMIT}")
    return waits


def _out_of_sight(start: Progress, observed: JobObservation) -> Progress:
    """A submitted program whose head says nothing now: silence is no verdict, what was said stands."""
    waits = before_submission(start, observed)
    if observed.cluster is None or rests(observed.cluster):
        return waits  # its head is being given up: whatever ran there has ended, or is about to
    if not conditions.is_true(observed.job.status.conditions, ConditionType.RUNNING):
        return waits
    return replace(waits, stage=Stage.RUNNING)


def _by_row(seen: Progress, row: JobView, head: HeadView, observed: JobObservation, now: datetime) -> Progress:
    if row.state is JobState.SUCCEEDED:
        return replace(seen, stage=Stage.COMPLETE, reason=Reason.SUCCEEDED, message="the program ended with success")
    if row.state is JobState.STOPPED and row.reason == Reason.HEAD_STOPPED:
        # Nobody asked for the program's end: its head's pod was deleted, evicted or drained away.
        text = f"the head was stopped while the program ran{_RAISE_LIMIT}"
        return _failed_attempt(seen, observed, now, Reason.HEAD_LOST, text)
    if row.state is JobState.STOPPED:
        text = row.message or "the program was stopped on request"
        return replace(seen, stage=Stage.FAILED, reason=row.reason or Reason.STOPPED, message=text)
    if row.state is JobState.FAILED:
        return _failed_attempt(seen, observed, now, row.reason or Reason.ENTRYPOINT_FAILED, failure_text(row))
    if not head.reachable:
        # In the words that an operator would find which has just started and never heard this head.
        reason, text = cluster_block(observed)
        text = text or f"the head does not answer: {head.unreachable_message or 'connection lost'}"
        return replace(seen, stage=Stage.RUNNING, reason=reason or Reason.HEAD_UNREACHABLE, message=text)
    reason, text = cluster_block(observed)
    if row.state is JobState.PENDING and row.message:
        words = f"{row.message}; {text}" if text else row.message
        return replace(seen, stage=Stage.WAITING, reason=Reason.DRIVER_WAITS, message=words)
    if row.reason == Reason.NODE_OUT_OF_TOUCH:
        reason, text = Reason.NODE_OUT_OF_TOUCH, row.message
    return replace(seen, stage=Stage.RUNNING, reason=reason, message=text)


def _failed_attempt(progress: Progress, observed: JobObservation, now: datetime, reason: str, message: str) -> Progress:
    failed, spec = progress.failed_attempts + 1, observed.job.spec
    limit = spec.backoff_limit
    if failed > limit:
        text = f"{message} (attempt {failed} of {limit + 1})" if limit else message
        return replace(
            progress,
            stage=Stage.FAILED,
            failed_attempts=failed,
            reason=reason,
            message=text,
            failed_because=reason,
        )
    ended = progress.row.end_time if progress.row is not None else None
    anew = spec.retry_policy.cluster == "New" and observed.cluster is not None and owns_cluster(observed)
    retry = replace(
        progress,
        stage=Stage.WAITING,
        attempt=progress.attempt + 1,
        failed_attempts=failed,
        head_incarnation=None,
        last_failure_time=conditions.whole_second(min(now, ended or now)),
        discarded_cluster_uid=observed.cluster.metadata.uid if anew and observed.cluster else None,
        failed_because=reason,
        reason=Reason.RETRYING,
    )
    at = _next_time(retry, retry.last_failure_time or now)
    text = f"attempt {failed} of {limit + 1} failed ({reason}): {message.removesuffix(_RAISE_LIMIT)}; {_at(retry, at)}"
    left = max(0.0, (at - now) / timedelta(seconds=1))
    return replace(retry, message=text, wake_seconds=left)


def _retry_text(start: Progress, observed: JobObservation) -> str:
    """What the status said when the attempt failed, as long as it stands there."""
    status = observed.job.status
    if status.reason in {Reason.RETRYING, Reason.REPLACING_CLUSTER} and status.message:
        return status.message.removesuffix("; the cluster of the attempt before is being deleted")
    limit = observed.job.spec.backoff_limit
    text = f"attempt {start.failed_attempts} of {limit + 1} failed"
    return f"{text}; {_at(start, _next_time(start, start.last_failure_time))}" if start.last_failure_time else text


def _next_time(progress: Progress, failed_at: datetime) -> datetime:
    return failed_at + timedelta(seconds=retry_delay_seconds(max(1, progress.failed_attempts)))


def _at(progress: Progress, moment: datetime) -> str:
    return f"attempt {progress.failed_attempts + 1} begins at {moment:%H:%M:%S} UTC"


def _start_time(start: Progress, row: JobView, now: datetime) -> datetime | None:
    if start.start_time is not None or row.state is JobState.PENDING:
        return start.start_time
    return conditions.whole_second(row.start_time or now)


def failure_text(row: JobView) -> str:
    """How the program of a row ended, for people."""
    code = "" if row.exit_code is None else f"the program ended with exit code {row.exit_code}"
    if row.message and code and str(row.exit_code) not in row.message:
        return f"{code}: {row.message}"
    return row.message or code or "the program failed"
