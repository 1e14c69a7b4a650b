"""Where a job stands: the values of one decision, from which both the plan and the status are made.

Invariant: the submission id names the job's UID and attempt, so that submitting twice is submitting once; an
interactive job follows the id that its user named and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shoal_operator.api.job import ComputeJob
from shoal_operator.api.problems import Problem
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.idleness import rests
from shoal_operator.domain.head import JobView
from shoal_operator.domain.job.observed import JobObservation
from shoal_operator.domain.labels import ROLE_HEAD
from shoal_operator.domain.reasons import ConditionType


class Stage(StrEnum):
    """The stages of a job."""

    IGNORED = "Ignored"
    INVALID = "Invalid"
    WAITING = "Waiting"
    SUBMITTING = "Submitting"
    RUNNING = "Running"
    STOPPING = "Stopping"
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
    last_failure_time: datetime | None = None
    discarded_cluster_uid: str | None = None
    """The own cluster of an earlier attempt, which has to go before the next one."""
    failed_because: str = ""
    """The reason, where this very decision ends an attempt as failed; empty where it ends none."""
    is_recorded: bool = False
    """Whether the final outcome stands in the job's status already."""
    takes_cluster: bool = False
    """While stopping: the stop cannot be confirmed in time, so the job's own cluster goes."""
    wake_seconds: float | None = None
    """When something has to be looked at again, at the latest."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the spec; a program that runs goes on all the same."""


def submission_id(job: ComputeJob, attempt: int) -> str:
    """Id of an attempt in the head's job table; empty while an interactive job has none."""
    if job.spec.mode == "Interactive":
        return job.spec.submission_id or ""
    return f"{job.metadata.uid}-{attempt}"


def is_submission_of(job: ComputeJob, row: JobView) -> bool:
    """Whether a row of the head's table is an attempt of this job."""
    if job.spec.mode == "Interactive":
        return bool(job.spec.submission_id) and row.submission_id == job.spec.submission_id
    return row.submission_id.startswith(f"{job.metadata.uid}-")


def live_rows(observed: JobObservation) -> tuple[JobView, ...]:
    """The job's attempts that the head's last word calls unfinished."""
    rows = observed.head.jobs if observed.head else ()
    return tuple(row for row in rows if is_submission_of(observed.job, row) and not row.state.is_final)


def row_of(observed: JobObservation, attempt: int) -> JobView | None:
    """The head's row of an attempt."""
    key = submission_id(observed.job, attempt)
    return observed.head.job(key) if observed.head and key else None


def owns_cluster(observed: JobObservation) -> bool:
    """Whether the observed cluster was made by this job."""
    if observed.cluster is None:
        return False
    uid = observed.job.metadata.uid
    return any(owner.controller and owner.uid == uid for owner in observed.cluster.metadata.owner_references)


def nothing_can_run(observed: JobObservation) -> bool:
    """Whether the cluster has gone, or is suspended and has no head any more: no program can be running there."""
    cluster = observed.cluster
    if cluster is None:
        return True
    suspended = conditions.find(cluster.status.conditions, ConditionType.SUSPENDED)
    told = suspended is not None and suspended.status == conditions.TRUE
    has_head = any(pod.role == ROLE_HEAD and not pod.has_ended for pod in observed.pods)
    return rests(cluster) and told and not has_head


def head_answers(observed: JobObservation) -> bool:
    """Whether the head's word is of now, and not the last one before silence."""
    return observed.cluster is not None and observed.head is not None and observed.head.reachable
