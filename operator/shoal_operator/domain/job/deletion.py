"""The end of a job object whose program runs on a cluster that is not its own: stop the program first.

Invariants: the finalizer is there before the program is handed to the head, and only on jobs with clusterRef; it
goes when the head says that the program has stopped, when nothing can run any more, or when its time is over:
no deletion, of a job or of a namespace, waits longer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from shoal_operator.api.job import ComputeJob
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.idleness import rests
from shoal_operator.domain.job.observed import SUBMITTING, JobObservation, cluster_name_of
from shoal_operator.domain.job.progress import head_answers, live_rows
from shoal_operator.domain.labels import STOP_PROGRAM
from shoal_operator.domain.plan import EventRecord, Plan, StopJob
from shoal_operator.domain.reasons import Action, ConditionType, Reason

DELETION_MARGIN_SECONDS: Final = 15.0
"""Beyond the grace period: how long a deletion waits for a head to say that the program has stopped."""
LOOK_AGAIN_SECONDS: Final = 0.2


def plan_deletion(observed: JobObservation, now: datetime) -> Plan:
    """What to do about a job that is being deleted."""
    job = observed.job
    if STOP_PROGRAM not in job.metadata.finalizers:
        return Plan()
    cluster = observed.cluster
    gone = cluster is None or cluster.metadata.deletion_timestamp is not None or rests(cluster)
    live = live_rows(observed)
    if gone or (head_answers(observed) and not live) or not _was_submitted(observed):
        return Plan(finalizers=without_stop(job))
    since = job.metadata.deletion_timestamp or now
    left = job.spec.grace_period_seconds + DELETION_MARGIN_SECONDS - (now - since) / timedelta(seconds=1)
    if left <= 0:
        text = (
            f"the program may still run on ComputeCluster `{cluster_name_of(job)}`: its head did not say within "
            f"{job.spec.grace_period_seconds + DELETION_MARGIN_SECONDS:g} s that it has stopped"
        )
        event = EventRecord("Warning", Reason.STOP_NOT_CONFIRMED, text, Action.FINISH)
        return Plan(finalizers=without_stop(job), events=(event,))
    stops = tuple(
        StopJob(cluster_name_of(job), row.submission_id, Reason.DELETED, float(job.spec.grace_period_seconds))
        for row in live
    )
    return Plan(
        head_commands=stops if head_answers(observed) else (),
        requeue_after_seconds=max(LOOK_AGAIN_SECONDS, left),
    )


def without_stop(job: ComputeJob) -> tuple[str, ...]:
    """The job's finalizers without ours."""
    return tuple(name for name in job.metadata.finalizers if name != STOP_PROGRAM)


def _was_submitted(observed: JobObservation) -> bool:
    status = observed.job.status
    running = conditions.find(status.conditions, ConditionType.RUNNING)
    submits = running is not None and running.reason in SUBMITTING
    return status.head_incarnation is not None or bool(live_rows(observed)) or submits
