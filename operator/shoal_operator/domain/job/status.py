"""What to say about one ComputeJob: conditions, attempt, times, output, and why it waits.

Invariant: Complete and Failed are final; a condition's lastTransitionTime changes only when it flips; task
counts and output change at most every two seconds, so that a busy program does not flood the API server.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from shoal_operator.api.job import ComputeJobStatus
from shoal_operator.api.problems import Problem
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.status import dump, invalid_status
from shoal_operator.domain.conditions import FALSE, TRUE, Fact
from shoal_operator.domain.job.figures import PROGRESS_SECONDS, are_outdated, read_figures
from shoal_operator.domain.job.observed import JobObservation, cluster_name_of
from shoal_operator.domain.job.progress import Progress, Stage, judge, submission_id
from shoal_operator.domain.plan import Plan
from shoal_operator.domain.reasons import ConditionType, Reason


def job_status(observed: JobObservation, plan: Plan, now: datetime) -> dict[str, Any]:  # noqa: ARG001 - one shape
    """The whole ``status`` of the job as camelCase JSON.

    Args:
        observed: the world that ``plan`` was made from.
        plan: what this pass does.
        now: the current time, timezone-aware.

    Returns:
        The value of ``status``. Write it only when it differs from what the object has.
    """
    progress = judge(observed, now)
    old = observed.job.status
    if progress.stage is Stage.IGNORED or progress.is_recorded:
        return dump(old)
    generation = observed.job.metadata.generation
    blocked = bool(progress.reason) and progress.stage is not Stage.COMPLETE
    status = ComputeJobStatus(
        observed_generation=generation,
        conditions=conditions.merge(old.conditions, _facts(observed, progress), now, generation),
        summary=progress.stage.value,
        reason=str(progress.reason) if blocked else None,
        message=conditions.shorten(progress.message) if blocked and progress.message else None,
        attempt=progress.attempt,
        failed_attempts=progress.failed_attempts,
        submission_id=submission_id(observed.job, progress.attempt),
        head_incarnation=progress.head_incarnation,
        cluster_name=cluster_name_of(observed.job),
        start_time=progress.start_time,
        completion_time=conditions.whole_second(now) if progress.stage.is_final else None,
    )
    return dump(status.model_copy(update=_running_figures(observed, progress, now)))


def invalid_job_status(document: dict[str, Any], problems: Sequence[Problem], now: datetime) -> dict[str, Any]:
    """The ``status`` of an object that cannot even be read (``ComputeJob.parse`` raised)."""
    return invalid_status(ComputeJobStatus, document, problems, now)


def _running_figures(observed: JobObservation, progress: Progress, now: datetime) -> dict[str, Any]:
    """Task counts and output; the old ones while they were brought up to date just now."""
    old, row = observed.job.status, progress.row
    kept = {"tasks": old.tasks, "output_tail": old.output_tail, "progress_time": old.progress_time}
    if row is None or not are_outdated(old, row):
        return kept
    fresh = old.progress_time is not None and now - old.progress_time < timedelta(seconds=PROGRESS_SECONDS)
    if fresh and progress.stage is Stage.RUNNING and old.summary == Stage.RUNNING:
        return kept
    tasks, tail = read_figures(row)
    return {"tasks": tasks, "output_tail": tail, "progress_time": conditions.whole_second(now)}


def _facts(observed: JobObservation, progress: Progress) -> list[Fact]:
    stage, reason = progress.stage, progress.reason or Reason.NOT_FINISHED
    facts = [_running(progress)]
    if stage is Stage.COMPLETE:
        facts.append(Fact(ConditionType.COMPLETE, TRUE, reason, progress.message))
    else:
        text = "the program failed" if stage is Stage.FAILED else ""
        facts.append(Fact(ConditionType.COMPLETE, FALSE, Reason.NOT_FINISHED, text))
    if stage is Stage.FAILED:
        facts.append(Fact(ConditionType.FAILED, TRUE, reason, progress.message))
    else:
        ended = Reason.SUCCEEDED if stage is Stage.COMPLETE else Reason.NOT_FINISHED
        facts.append(Fact(ConditionType.FAILED, FALSE, ended))
    if stage is Stage.SUSPENDED:
        facts.append(Fact(ConditionType.SUSPENDED, TRUE, Reason.SUSPENDED, progress.message))
    else:
        facts.append(Fact(ConditionType.SUSPENDED, FALSE, Reason.NOT_SUSPENDED))
    known = {condition.type for condition in observed.job.status.conditions}
    if stage is Stage.INVALID:
        facts.append(Fact(ConditionType.INVALID_SPEC, TRUE, Reason.INVALID_SPEC, progress.message))
    elif ConditionType.INVALID_SPEC in known:
        facts.append(Fact(ConditionType.INVALID_SPEC, FALSE, Reason.VALID))
    return facts


def _running(progress: Progress) -> Fact:
    kind = ConditionType.RUNNING
    if progress.stage is Stage.RUNNING:
        return Fact(kind, TRUE, progress.reason or Reason.JOB_RUNNING, progress.message or "the program runs")
    if progress.stage.is_final:
        return Fact(kind, FALSE, Reason.FINISHED, "the program has ended")
    return Fact(kind, FALSE, progress.reason or Reason.WAITING_FOR_CLUSTER, progress.message)
