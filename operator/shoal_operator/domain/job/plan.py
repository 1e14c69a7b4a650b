"""What to do about one ComputeJob now.

Invariant: the function is pure and level-triggered; carrying its plan out and planning again gives the
empty plan. Nothing is cleaned up before the outcome stands in the job's status, and no program is stopped before
the wish does, so that no crash between the two can run a finished program again or mistake a stop for a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from shoal_operator.domain import conditions
from shoal_operator.domain.job.cleanup import due_cleanup
from shoal_operator.domain.job.deletion import plan_deletion, without_stop
from shoal_operator.domain.job.figures import PROGRESS_SECONDS, are_outdated
from shoal_operator.domain.job.judge import judge
from shoal_operator.domain.job.observed import JobObservation, cluster_name_of
from shoal_operator.domain.job.progress import (
    Progress,
    Stage,
    head_answers,
    live_rows,
    owns_cluster,
    submission_id,
)
from shoal_operator.domain.job.status import output_fact
from shoal_operator.domain.job.stopping import stopping_reason
from shoal_operator.domain.job.submission import submit_command
from shoal_operator.domain.labels import APPLIED_HASH, STOP_PROGRAM
from shoal_operator.domain.manifests.clusters import build_job_cluster, without_workers
from shoal_operator.domain.manifests.owners import applied_hash
from shoal_operator.domain.plan import REQUEUE_SECONDS_MIN, EventRecord, HeadCommand, Manifest, ObjectRef, Plan, StopJob
from shoal_operator.domain.reasons import Action, ConditionType, Reason

SUBMIT_RETRY_SECONDS: Final = 5.0
"""A submission that has not shown up in the head's table is repeated after this time."""


def plan_job(observed: JobObservation, now: datetime) -> Plan:
    """Decide.

    Args:
        observed: the world.
        now: the current time, timezone-aware.

    Returns:
        Everything to do in this pass. Nothing is cleaned up before the outcome stands in the job's status.
    """
    progress = judge(observed, now)
    if progress.stage is Stage.IGNORED:
        return plan_deletion(observed, now)
    if progress.is_recorded:
        return _clean_up(observed, progress, now)
    events = tuple(_events(observed, progress))
    if progress.stage is Stage.STOPPING:
        return _stop(observed, progress, events)
    if progress.stage in {Stage.INVALID, Stage.COMPLETE, Stage.FAILED}:
        return Plan(events=events)
    if progress.stage is Stage.SUSPENDED:
        return Plan(delete=tuple(_own_cluster(observed)), events=events)
    if progress.stage is Stage.SUBMITTING and _wants_finalizer(observed):
        return Plan(finalizers=(*observed.job.metadata.finalizers, STOP_PROGRAM), events=events)
    submits = progress.stage is Stage.SUBMITTING
    return Plan(
        apply=() if progress.problems else tuple(_outdated_cluster(observed, progress)),
        delete=tuple(_discarded_cluster(observed, progress)),
        head_commands=(*_stops(observed, progress), *([submit_command(observed.job, progress)] if submits else [])),
        events=events,
        requeue_after_seconds=_requeue_after(observed, progress),
    )


def _stop(observed: JobObservation, progress: Progress, events: tuple[EventRecord, ...]) -> Plan:
    if not stopping_reason(observed.job):
        return Plan(events=events)  # the status says it first; its change brings the next pass
    return Plan(
        delete=tuple(_own_cluster(observed)) if progress.takes_cluster else (),
        head_commands=() if progress.takes_cluster else tuple(_stops(observed, progress)),
        events=events,
        requeue_after_seconds=_requeue_after(observed, progress),
    )


def _wants_finalizer(observed: JobObservation) -> bool:
    job = observed.job
    return job.spec.cluster_ref is not None and STOP_PROGRAM not in job.metadata.finalizers


def _clean_up(observed: JobObservation, progress: Progress, now: datetime) -> Plan:
    """After the end: stop what still runs, then workers, cluster and job go, each in its time."""
    job = observed.job
    cleanup = due_cleanup(job, progress, progress.row, now)
    stops = tuple(_stops(observed, progress))
    holds = STOP_PROGRAM in job.metadata.finalizers and not stops
    plan = Plan(
        finalizers=without_stop(job) if holds else None,
        events=tuple(_output_events(observed, progress)),
        requeue_after_seconds=None if cleanup.wake_seconds is None else max(REQUEUE_SECONDS_MIN, cleanup.wake_seconds),
    )
    if cleanup.action == "DeleteJob":
        mine = ObjectRef(job.api_version, job.kind, job.metadata.name, job.metadata.uid)
        return replace(plan, delete=(mine,), requeue_after_seconds=None)
    clusters = tuple(_own_cluster(observed)) if cleanup.action == "DeleteCluster" else ()
    apply = tuple(_without_workers(observed)) if cleanup.action == "DeleteWorkers" else ()
    return replace(plan, delete=clusters, apply=apply, head_commands=() if clusters else stops)


def _own_cluster(observed: JobObservation) -> Iterator[ObjectRef]:
    cluster = observed.cluster
    if cluster is not None and _is_own_and_stays(observed):
        yield ObjectRef(cluster.api_version, cluster.kind, cluster.metadata.name, cluster.metadata.uid)


def _discarded_cluster(observed: JobObservation, progress: Progress) -> Iterator[ObjectRef]:
    """The cluster of a failed attempt, once the failure stands in the status."""
    cluster, recorded = observed.cluster, observed.job.status.discarded_cluster_uid
    if cluster is not None and recorded == cluster.metadata.uid == progress.discarded_cluster_uid:
        yield from _own_cluster(observed)


def _is_own_and_stays(observed: JobObservation) -> bool:
    cluster = observed.cluster
    return cluster is not None and cluster.metadata.deletion_timestamp is None and owns_cluster(observed)


def _outdated_cluster(observed: JobObservation, progress: Progress) -> Iterator[Manifest]:
    if observed.job.spec.cluster_ref is not None or progress.discarded_cluster_uid is not None:
        return
    cluster = observed.cluster
    if cluster is None:
        if progress.reason != Reason.RETRYING:  # made anew, but not before the next attempt is due
            yield build_job_cluster(observed.job)
        return
    wanted = build_job_cluster(observed.job)
    if cluster.metadata.annotations.get(APPLIED_HASH) != applied_hash(wanted) and _is_own_and_stays(observed):
        yield wanted


def _without_workers(observed: JobObservation) -> Iterator[Manifest]:
    cluster = observed.cluster
    if cluster is None or not _is_own_and_stays(observed):
        return
    wanted = without_workers(observed.job)
    if cluster.metadata.annotations.get(APPLIED_HASH) != applied_hash(wanted):
        yield wanted


def _stops(observed: JobObservation, progress: Progress) -> Iterator[HeadCommand]:
    """Stop every submission of this job that runs and should not."""
    if not head_answers(observed):
        return
    wanted = progress.stage in {Stage.WAITING, Stage.SUBMITTING, Stage.RUNNING}
    current = submission_id(observed.job, progress.attempt)
    grace = float(observed.job.spec.grace_period_seconds)
    for row in live_rows(observed):
        if not (wanted and row.submission_id == current):
            reason = progress.reason or Reason.STOPPED
            yield StopJob(cluster_name_of(observed.job), row.submission_id, reason, grace)


def _requeue_after(observed: JobObservation, progress: Progress) -> float | None:
    waits = [] if progress.wake_seconds is None else [progress.wake_seconds]
    if progress.stage is Stage.SUBMITTING:
        waits.append(SUBMIT_RETRY_SECONDS)
    row = progress.row
    if row is not None and progress.stage is Stage.RUNNING and are_outdated(observed.job.status, row):
        waits.append(PROGRESS_SECONDS)
    return max(REQUEUE_SECONDS_MIN, min(waits)) if waits else None


def _events(observed: JobObservation, progress: Progress) -> Iterator[EventRecord]:
    text = conditions.shorten(progress.message)
    status = observed.job.status
    if progress.stage is Stage.COMPLETE:
        yield EventRecord("Normal", Reason.SUCCEEDED, text, Action.FINISH)
    elif progress.stage is Stage.FAILED:
        yield EventRecord("Warning", progress.reason, text, Action.FINISH)
    elif progress.stage is Stage.STOPPING and not stopping_reason(observed.job):
        yield EventRecord("Normal", progress.reason, text, Action.FINISH)
    elif progress.reason == Reason.RETRYING and progress.attempt > status.attempt:
        yield EventRecord("Warning", Reason.RETRYING, text, Action.SUBMIT)
    if progress.problems:
        text = conditions.shorten("; ".join(str(problem) for problem in progress.problems))
        before = conditions.find(status.conditions, ConditionType.INVALID_SPEC)
        if before is None or before.status != conditions.TRUE or before.message != text:
            yield EventRecord("Warning", Reason.INVALID_SPEC, text, Action.VALIDATE)


def _output_events(observed: JobObservation, progress: Progress) -> Iterator[EventRecord]:
    fact = output_fact(observed.job, progress.row)
    before = conditions.find(observed.job.status.conditions, ConditionType.OUTPUT_SAVED)
    if fact is None or fact.reason != Reason.OUTPUT_NOT_SAVED:
        return
    if before is None or before.reason != fact.reason:
        yield EventRecord("Warning", fact.reason, conditions.shorten(fact.message), Action.FINISH)
