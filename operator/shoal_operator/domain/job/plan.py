"""What to do about one ComputeJob now.

Invariant: the function is pure and level-triggered; carrying its plan out and planning again gives the
empty plan. Nothing is cleaned up before the outcome stands in the job's status, so that no crash between the
two can run a finished program again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Literal

from shoal_operator.api.job import CleanupRule
from shoal_operator.domain import conditions
from shoal_operator.domain.job.figures import PROGRESS_SECONDS, are_outdated
from shoal_operator.domain.job.observed import JobObservation, cluster_name_of
from shoal_operator.domain.job.progress import Progress, Stage, judge, owns_cluster, submission_id
from shoal_operator.domain.labels import APPLIED_HASH, JOB
from shoal_operator.domain.manifests.clusters import build_job_cluster
from shoal_operator.domain.manifests.owners import applied_hash
from shoal_operator.domain.plan import (
    EventRecord,
    HeadCommand,
    Manifest,
    ObjectRef,
    Plan,
    StopJob,
    SubmitJob,
)
from shoal_operator.domain.reasons import Action, ConditionType, Reason
from shoal_operator.engines import shoal

SUBMIT_RETRY_SECONDS: Final = 5.0
"""A submission that has not shown up in the head's table is repeated after this time."""
REQUEUE_SECONDS_MIN: Final = 0.2


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
        return Plan()
    if progress.is_recorded:
        return _clean_up(observed, progress, now)
    stops = tuple(_stops(observed, progress))
    events = tuple(_events(observed, progress))
    if progress.stage in {Stage.INVALID, Stage.COMPLETE, Stage.FAILED}:
        return Plan(head_commands=stops, events=events)
    if progress.stage is Stage.SUSPENDED:
        clusters = tuple(_own_cluster(observed))
        return Plan(delete=clusters, head_commands=() if clusters else stops)
    return Plan(
        apply=tuple(_outdated_cluster(observed)),
        head_commands=(*stops, *_submission(observed, progress)),
        events=events,
        requeue_after_seconds=_requeue_after(observed, progress),
    )


def _clean_up(observed: JobObservation, progress: Progress, now: datetime) -> Plan:
    """After the end: stop what still runs, then the cluster goes, then (after its time to live) the job."""
    job = observed.job
    ended = job.status.completion_time or now
    passed = (now - ended) / timedelta(seconds=1)
    ttl = job.spec.ttl_seconds_after_finished
    if ttl is not None and passed >= ttl:
        return Plan(delete=(ObjectRef(job.api_version, job.kind, job.metadata.name, job.metadata.uid),))
    rule = _cleanup_rule(observed, progress)
    clusters = tuple(_own_cluster(observed)) if rule.action == "DeleteCluster" else ()
    waits = [] if ttl is None else [ttl - passed]
    if clusters and passed < rule.after_seconds:
        waits.append(rule.after_seconds - passed)
        clusters = ()
    return Plan(
        delete=clusters,
        head_commands=() if clusters else tuple(_stops(observed, progress)),
        requeue_after_seconds=max(REQUEUE_SECONDS_MIN, min(waits)) if waits else None,
    )


def _cleanup_rule(observed: JobObservation, progress: Progress) -> CleanupRule:
    outcome: Literal["Complete", "Failed"] = "Complete" if progress.stage is Stage.COMPLETE else "Failed"
    rules = [rule for rule in observed.job.spec.cleanup_policy if rule.outcome == outcome]
    return rules[0] if rules else CleanupRule(outcome=outcome)


def _own_cluster(observed: JobObservation) -> Iterator[ObjectRef]:
    cluster = observed.cluster
    if cluster is not None and _is_own_and_stays(observed):
        yield ObjectRef(cluster.api_version, cluster.kind, cluster.metadata.name, cluster.metadata.uid)


def _is_own_and_stays(observed: JobObservation) -> bool:
    cluster = observed.cluster
    return cluster is not None and cluster.metadata.deletion_timestamp is None and owns_cluster(observed)


def _outdated_cluster(observed: JobObservation) -> Iterator[Manifest]:
    if observed.job.spec.cluster_ref is not None:
        return
    wanted = build_job_cluster(observed.job)
    cluster = observed.cluster
    if cluster is None:
        yield wanted
        return
    drifted = cluster.metadata.annotations.get(APPLIED_HASH) != applied_hash(wanted)
    if drifted and _is_own_and_stays(observed):
        yield wanted


def _stops(observed: JobObservation, progress: Progress) -> Iterator[HeadCommand]:
    """Stop every submission of this job that runs and should not."""
    if observed.head is None or not observed.head.reachable or observed.cluster is None:
        return
    wanted = progress.stage in {Stage.WAITING, Stage.SUBMITTING, Stage.RUNNING}
    current = submission_id(observed.job, progress.attempt)
    for row in observed.head.jobs:
        ours = row.submission_id.startswith(f"{observed.job.metadata.uid}-")
        if ours and not row.state.is_final and not (wanted and row.submission_id == current):
            yield StopJob(cluster_name_of(observed.job), row.submission_id, progress.reason or Reason.STOPPED)


def _submission(observed: JobObservation, progress: Progress) -> Iterator[HeadCommand]:
    if progress.stage is not Stage.SUBMITTING:
        return
    job = observed.job
    directory, in_place = _working_directory(observed)
    yield SubmitJob(
        cluster=cluster_name_of(job),
        submission_id=submission_id(job, progress.attempt),
        entrypoint=job.spec.entrypoint,
        working_directory=directory,
        run_in_place=in_place,
        environment={variable.name: variable.value for variable in job.spec.env},
        metadata={**job.spec.metadata, JOB: f"{job.metadata.namespace}/{job.metadata.name}"},
    )


def _working_directory(observed: JobObservation) -> tuple[str, bool]:
    source = observed.job.spec.source
    if source is None:
        return "", False
    if source.directory is not None:
        return source.directory, True
    if source.path is not None:
        return source.path, False
    return shoal.SOURCE_DIRECTORY, False


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
    if progress.stage is Stage.COMPLETE:
        yield EventRecord("Normal", Reason.SUCCEEDED, text, Action.FINISH)
    elif progress.stage is Stage.FAILED:
        yield EventRecord("Warning", progress.reason, text, Action.FINISH)
    elif progress.stage is Stage.INVALID:
        before = conditions.find(observed.job.status.conditions, ConditionType.INVALID_SPEC)
        if before is None or before.status != conditions.TRUE or before.message != text:
            yield EventRecord("Warning", Reason.INVALID_SPEC, text, Action.VALIDATE)
    elif progress.reason == Reason.RETRYING and progress.attempt > observed.job.status.attempt:
        yield EventRecord("Warning", Reason.RETRYING, text, Action.SUBMIT)
