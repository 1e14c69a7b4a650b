"""The world of one ComputeJob as a reconcile sees it.

Invariant: an observation is complete for a decision; ``plan_job`` and ``job_status`` read nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.domain.head import HeadView


@dataclass(frozen=True, slots=True)
class SubmissionRefusal:
    """The last answer to a submission that was not taken."""

    submission_id: str
    message: str
    is_final: bool
    """True: the head refuses this program whenever it is asked (no such directory, ...); the job fails."""


@dataclass(frozen=True, slots=True)
class JobObservation:
    """Everything that a decision about one job may depend on.

    Attributes:
        job: the object, as last seen.
        cluster: the ComputeCluster that the job runs on (``cluster_name_of(job)`` in its namespace), with its
            status; None when there is none.
        head: the last word of that cluster's head; None before the first, or without a cluster.
        refusal: the last submission of this job that failed, while none has been taken since.
    """

    job: ComputeJob
    cluster: ComputeCluster | None = None
    head: HeadView | None = None
    refusal: SubmissionRefusal | None = None


def cluster_name_of(job: ComputeJob) -> str:
    """Name of the cluster that the job runs on: ``clusterRef.name``, else the job's own name."""
    return job.spec.cluster_ref.name if job.spec.cluster_ref else job.metadata.name
