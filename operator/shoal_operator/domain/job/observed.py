"""The world of one ComputeJob as a reconcile sees it.

Invariant: an observation is complete for a decision; ``plan_job`` and ``job_status`` read nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.domain.cluster.observed import PodView, timestamp
from shoal_operator.domain.head import HeadView
from shoal_operator.domain.reasons import ConditionType, Reason

SUBMITTING: Final = frozenset({Reason.SUBMITTING, Reason.SUBMISSION_REFUSED})
"""Reasons of the condition Running while the program is on its way to the head."""


@dataclass(frozen=True, slots=True)
class SubmissionRefusal:
    """The last answer to a submission that was not taken."""

    submission_id: str
    message: str
    is_final: bool
    """True: the head refuses this program whenever it is asked (no such directory, ...); the job fails."""
    fetches_failed: int = 0
    """How often running the head could not fetch the program (an error of the network, a slow store)."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Another job that names the same cluster by clusterRef, and has neither ended nor been suspended."""

    name: str
    created: datetime | None = None
    holds_place: bool = False
    """Whether its program is with the head, or on its way there."""


@dataclass(frozen=True, slots=True)
class JobObservation:
    """Everything that a decision about one job may depend on.

    Attributes:
        job: the object, as last seen.
        cluster: the ComputeCluster that the job runs on (``cluster_name_of(job)`` in its namespace), with its
            status; None when there is none.
        head: the last word of that cluster's head; None before the first, or without a cluster.
        refusal: the last submission of this job that failed, while none has been taken since.
        pods: the pods of that cluster.
        rivals: the other jobs on a referenced cluster; empty when the cluster limits nothing.
    """

    job: ComputeJob
    cluster: ComputeCluster | None = None
    head: HeadView | None = None
    refusal: SubmissionRefusal | None = None
    pods: tuple[PodView, ...] = ()
    rivals: tuple[Rival, ...] = ()


def cluster_name_of(job: ComputeJob) -> str:
    """Name of the cluster that the job runs on: ``clusterRef.name``, else the job's own name."""
    return job.spec.cluster_ref.name if job.spec.cluster_ref else job.metadata.name


def read_rival(document: dict[str, Any]) -> Rival | None:
    """A ComputeJob as others on its cluster see it; None when it wants no place (ended, suspended, going)."""
    metadata, spec, status = (document.get(part) or {} for part in ("metadata", "spec", "status"))
    given = {one.get("type"): one for one in status.get("conditions") or ()}
    true = {kind for kind, one in given.items() if one.get("status") == "True"}
    if true & {ConditionType.COMPLETE, ConditionType.FAILED}:
        return None
    runs = bool(true & {ConditionType.RUNNING, ConditionType.STOPPING})
    if not runs and (spec.get("suspend") or metadata.get("deletionTimestamp")):
        return None
    submits = (given.get(ConditionType.RUNNING) or {}).get("reason") in SUBMITTING
    holds = runs or submits or bool(status.get("headIncarnation"))
    return Rival(str(metadata.get("name", "")), timestamp(metadata.get("creationTimestamp")), holds)
