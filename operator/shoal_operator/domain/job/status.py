"""What to say about one ComputeJob: conditions, attempt, times, output, and why it waits.

Invariant: Complete and Failed are final; a condition's lastTransitionTime changes only when it flips; task
counts and output change at most every two seconds, so that a busy program does not flood the API server;
``summary`` is a function of the conditions and of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from shoal_operator.api.job import ComputeJob, ComputeJobStatus
from shoal_operator.api.meta import Condition
from shoal_operator.api.problems import Problem
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.status import dump
from shoal_operator.domain.conditions import FALSE, TRUE, UNKNOWN, Fact
from shoal_operator.domain.head import JobView
from shoal_operator.domain.job.cleanup import SAVING
from shoal_operator.domain.job.failure import completed, describe_failure
from shoal_operator.domain.job.figures import PROGRESS_SECONDS, are_outdated, read_figures
from shoal_operator.domain.job.judge import judge
from shoal_operator.domain.job.observed import SUBMITTING, JobObservation, cluster_name_of
from shoal_operator.domain.job.progress import Progress, Stage, submission_id
from shoal_operator.domain.job.waiting import head_address
from shoal_operator.domain.reasons import ConditionType, Reason


def job_status(
    observed: JobObservation,
    now: datetime,
    *,
    refusals: Sequence[str] = (),
) -> dict[str, Any]:
    """The whole ``status`` of the job as camelCase JSON.

    Args:
        observed: the world that this pass's plan was made from.
        now: the current time, timezone-aware.
        refusals: what the API server refused of that plan for good (the job's cluster), in its words.

    Returns:
        The value of ``status``. Write it only when it differs from what the object has.
    """
    progress = judge(observed, now)
    if refusals and progress.stage in (Stage.WAITING, Stage.SUBMITTING, Stage.RUNNING):
        progress = replace(progress, reason=Reason.WRITE_REFUSED, message=refusals[0])
    old = observed.job.status
    if progress.stage is Stage.IGNORED:
        return dump(old)
    if progress.is_recorded:
        return _recorded_status(observed, progress, now)
    generation = observed.job.metadata.generation
    blocked = bool(progress.reason) and progress.stage is not Stage.COMPLETE
    merged = conditions.merge(old.conditions, _facts(observed, progress), now, generation)
    interactive = observed.job.spec.mode == "Interactive"
    waits = progress.reason in {Reason.WAITING_FOR_SUBMISSION, Reason.SUBMISSION_NOT_FOUND}
    status = ComputeJobStatus(
        observed_generation=generation,
        conditions=merged,
        summary=summarize(merged),
        reason=str(progress.reason) if blocked else None,
        message=conditions.shorten(progress.message) if blocked and progress.message else None,
        attempt=progress.attempt,
        failed_attempts=progress.failed_attempts,
        submission_id=submission_id(observed.job, progress.attempt) or None,
        head_incarnation=progress.head_incarnation,
        cluster_name=cluster_name_of(observed.job),
        head_address=head_address(observed) if interactive and (waits or old.head_address) else None,
        discarded_cluster_uid=progress.discarded_cluster_uid,
        last_failure_time=progress.last_failure_time,
        start_time=progress.start_time,
        completion_time=conditions.whole_second(now) if progress.stage.is_final else None,
        failure=_failure(observed, progress, now),
    )
    return dump(status.model_copy(update=_running_figures(observed, progress, now)))


def summarize(merged: Sequence[Condition]) -> str:
    """One word for ``kubectl get``, from the conditions alone."""
    running = conditions.find(merged, ConditionType.RUNNING)
    is_running = running is not None and running.status == TRUE
    order = (
        (ConditionType.COMPLETE, Stage.COMPLETE),
        (ConditionType.FAILED, Stage.FAILED),
        (ConditionType.STOPPING, Stage.STOPPING),
        (ConditionType.SUSPENDED, Stage.SUSPENDED),
        (ConditionType.RUNNING, Stage.RUNNING),
        (ConditionType.INVALID_SPEC, Stage.INVALID),
    )
    for kind, stage in order:
        if conditions.is_true(merged, kind):
            return stage.value
    if running is not None and not is_running and running.reason in SUBMITTING:
        return Stage.SUBMITTING.value
    return Stage.WAITING.value


def invalid_job_status(document: dict[str, Any], problems: Sequence[Problem], now: datetime) -> dict[str, Any]:
    """The ``status`` of an object that cannot even be read (``ComputeJob.parse`` raised).

    What was known stays: the program of a job goes on although somebody has spoilt its spec.
    """
    metadata = document.get("metadata") or {}
    generation = int(metadata.get("generation") or 0)
    text = "; ".join(str(problem) for problem in problems)
    old = ComputeJobStatus.model_validate(document.get("status") or {})
    facts = [Fact(ConditionType.INVALID_SPEC, TRUE, Reason.INVALID_SPEC, text)]
    merged = conditions.merge(old.conditions, facts, now, generation)
    update = {
        "observed_generation": generation,
        "conditions": merged,
        "summary": summarize(merged) if old.attempt else None,
        "reason": Reason.INVALID_SPEC.value,
        "message": conditions.shorten(text),
    }
    return dump(old.model_copy(update=update))


def output_fact(job: ComputeJob, row: JobView | None) -> Fact | None:
    """Whether the whole output has been saved; None where nobody asked, or nothing is known yet."""
    if job.spec.output is None or row is None or not row.output_state:
        return None
    kind, url = ConditionType.OUTPUT_SAVED, job.spec.output.url
    if row.output_state == "Saved":
        return Fact(kind, TRUE, Reason.OUTPUT_SAVED, f"the whole output is at {row.output_message or url}")
    if row.output_state == SAVING:
        return Fact(kind, FALSE, Reason.SAVING_OUTPUT, f"the output is being saved to {url}")
    return Fact(kind, FALSE, Reason.OUTPUT_NOT_SAVED, f"the output could not be saved to {url}: {row.output_message}")


def _recorded_status(observed: JobObservation, progress: Progress, now: datetime) -> dict[str, Any]:
    """A final status stays as it is; what may still come: the saved output, the cluster's end, a lost pod's."""
    old = observed.job.status
    failure = completed(observed, old.failure, old.completion_time, now)
    facts = [fact for fact in (output_fact(observed.job, progress.row), _cluster_deleted(observed)) if fact]
    merged = conditions.merge(old.conditions, facts, now, old.observed_generation) if facts else old.conditions
    return dump(old.model_copy(update={"conditions": merged, "failure": failure}))


def _cluster_deleted(observed: JobObservation) -> Fact | None:
    """After the end: no head answers any more once the cluster is gone (a new one of that name is another)."""
    kind = ConditionType.HEAD_REACHABLE
    before = conditions.find(observed.job.status.conditions, kind)
    if observed.cluster is not None or before is None or before.status == FALSE:
        return None
    text = f"ComputeCluster `{cluster_name_of(observed.job)}` was deleted, and its head with it"
    return Fact(kind, FALSE, Reason.CLUSTER_DELETED, text)


def _failure(observed: JobObservation, progress: Progress, now: datetime) -> Any:
    if progress.failed_because or progress.stage is Stage.FAILED:
        return describe_failure(observed, progress)
    return completed(observed, observed.job.status.failure, progress.last_failure_time, now)


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


def _facts(observed: JobObservation, progress: Progress) -> Iterator[Fact]:
    stage, reason = progress.stage, progress.reason or Reason.NOT_FINISHED
    yield _running(progress)
    yield _head_reachable(observed)
    if stage is Stage.COMPLETE:
        yield Fact(ConditionType.COMPLETE, TRUE, reason, progress.message)
    else:
        text = "the program failed" if stage is Stage.FAILED else ""
        yield Fact(ConditionType.COMPLETE, FALSE, Reason.NOT_FINISHED, text)
    if stage is Stage.FAILED:
        yield Fact(ConditionType.FAILED, TRUE, reason, progress.message)
    else:
        ended = Reason.SUCCEEDED if stage is Stage.COMPLETE else Reason.NOT_FINISHED
        yield Fact(ConditionType.FAILED, FALSE, ended)
    if stage is Stage.SUSPENDED:
        yield Fact(ConditionType.SUSPENDED, TRUE, Reason.SUSPENDED, progress.message)
    else:
        yield Fact(ConditionType.SUSPENDED, FALSE, Reason.NOT_SUSPENDED)
    yield from _seldom(observed, progress)


def _seldom(observed: JobObservation, progress: Progress) -> Iterator[Fact]:
    """Conditions that stand there only where they have a meaning, or had one."""
    known = {condition.type for condition in observed.job.status.conditions}
    if progress.stage is Stage.STOPPING:
        yield Fact(ConditionType.STOPPING, TRUE, progress.reason, progress.message)
    elif ConditionType.STOPPING in known:
        yield Fact(ConditionType.STOPPING, FALSE, Reason.NOT_STOPPING)
    if progress.problems:
        text = "; ".join(str(problem) for problem in progress.problems)
        yield Fact(ConditionType.INVALID_SPEC, TRUE, Reason.INVALID_SPEC, text)
    elif ConditionType.INVALID_SPEC in known:
        yield Fact(ConditionType.INVALID_SPEC, FALSE, Reason.VALID)
    output = output_fact(observed.job, progress.row)
    if output is not None:
        yield output


def _running(progress: Progress) -> Fact:
    kind = ConditionType.RUNNING
    if progress.stage is Stage.RUNNING:
        return Fact(kind, TRUE, progress.reason or Reason.JOB_RUNNING, progress.message or "the program runs")
    if progress.stage is Stage.STOPPING and progress.head_incarnation is not None:
        return Fact(kind, TRUE, progress.reason, progress.message)
    if progress.stage.is_final:
        return Fact(kind, FALSE, Reason.FINISHED, "the program has ended")
    return Fact(kind, FALSE, progress.reason or Reason.WAITING_FOR_CLUSTER, progress.message)


def _head_reachable(observed: JobObservation) -> Fact:
    kind, head, cluster = ConditionType.HEAD_REACHABLE, observed.head, observed.cluster
    if cluster is None:
        return Fact(kind, FALSE, Reason.NO_HEAD, "there is no cluster, so no head")
    if head is not None and head.reachable:
        return Fact(kind, TRUE, Reason.HEAD_ANSWERS, "the head answers")
    if not conditions.is_true(cluster.status.conditions, ConditionType.HEAD_READY):
        return Fact(kind, FALSE, Reason.NO_HEAD, "the cluster has no head that is ready")
    before = conditions.find(observed.job.status.conditions, kind)
    if head is None and before is not None and before.reason == Reason.HEAD_UNREACHABLE:
        return Fact(kind, UNKNOWN, Reason.HEAD_UNREACHABLE, before.message)
    why = head.unreachable_message if head is not None else "not reached yet"
    text = f"the head does not answer ({why}): what the program does is not known, and what was known stands"
    return Fact(kind, UNKNOWN, Reason.HEAD_UNREACHABLE, text)
