"""What keeps a job from being submitted, first cause first.

Invariant: every wait names what it waits for and, where there is something to do, what to do; a job that is not
admitted to a shared cluster changes nothing there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shoal_operator.domain import conditions
from shoal_operator.domain.job.concurrency import who_goes_first
from shoal_operator.domain.job.observed import JobObservation, cluster_name_of
from shoal_operator.domain.job.progress import Progress, Stage, owns_cluster, submission_id
from shoal_operator.domain.names import head_service_name
from shoal_operator.domain.reasons import ConditionType, Reason
from shoal_operator.engines.shoal import CONTROL_PORT

FETCH_TRIES_MAX: Final = 8
"""Tries of the head to fetch a program, 20 s apart altogether; then the attempt has failed."""


def before_submission(start: Progress, observed: JobObservation) -> Progress:
    """The attempt has not been seen in a head's table yet."""
    reason, message = _missing_cluster(observed)
    if reason:
        return replace(start, stage=Stage.WAITING, reason=reason, message=message)
    if observed.job.spec.mode == "Interactive":
        return _interactive(start, observed)
    ahead = who_goes_first(observed)
    if ahead:
        limit = observed.cluster.spec.job_concurrency if observed.cluster else None
        text = (
            f"ComputeCluster `{cluster_name_of(observed.job)}` lets no more than {limit} run at once "
            f"(spec.jobConcurrency); before this one: {ahead}"
        )
        return replace(start, stage=Stage.WAITING, reason=Reason.CONCURRENCY_LIMIT, message=text)
    refusal = observed.refusal
    if refusal is not None and refusal.submission_id == submission_id(observed.job, start.attempt):
        stage = Stage.FAILED if refusal.is_final else Stage.SUBMITTING
        text = f"the head did not take the program: {refusal.message}"
        if refusal.fetches_failed:
            text += f"; try {refusal.fetches_failed} of {FETCH_TRIES_MAX}"
        elif not refusal.is_final:
            text += "; it is asked again, until spec.startDeadlineSeconds where that is set"
        return replace(start, stage=stage, reason=Reason.SUBMISSION_REFUSED, message=text)
    text = "the program is being handed to the head"
    return replace(start, stage=Stage.SUBMITTING, reason=Reason.SUBMITTING, message=text)


def head_address(observed: JobObservation) -> str:
    """Where people reach the head of the job's cluster: a DNS name of the cluster network, and the port."""
    namespace = observed.job.metadata.namespace
    return f"{head_service_name(cluster_name_of(observed.job))}.{namespace}.svc:{CONTROL_PORT}"


def cluster_block(observed: JobObservation) -> tuple[str, str]:
    """The first thing that holds the cluster up, in its own words."""
    status = observed.cluster.status if observed.cluster else None
    return (status.reason or "", status.message or "") if status else ("", "")


def _interactive(start: Progress, observed: JobObservation) -> Progress:
    wanted, address = observed.job.spec.submission_id, head_address(observed)
    if wanted is None:
        text = (
            f"the cluster is there, its head listens on {address}: submit the program yourself "
            "(shoal job submit --submission-id ID) and name it in spec.submissionId"
        )
        return replace(start, stage=Stage.WAITING, reason=Reason.WAITING_FOR_SUBMISSION, message=text)
    text = f"the head on {address} knows no submission `{wanted}`: submit it, or correct spec.submissionId"
    return replace(start, stage=Stage.WAITING, reason=Reason.SUBMISSION_NOT_FOUND, message=text)


def _missing_cluster(observed: JobObservation) -> tuple[str, str]:
    """What keeps the job from a head; empty when nothing does."""
    cluster, name = observed.cluster, cluster_name_of(observed.job)
    if cluster is None:
        if observed.job.spec.cluster_ref is not None:
            return (
                Reason.CLUSTER_NOT_FOUND,
                f"there is no ComputeCluster `{name}` in this namespace; create it",
            )
        return Reason.WAITING_FOR_CLUSTER, f"ComputeCluster `{name}` is being created"
    if observed.job.spec.cluster_ref is None and not owns_cluster(observed):
        text = f"a ComputeCluster `{name}` is not this job's; delete it, or run on it with clusterRef"
        return Reason.CLUSTER_NAME_TAKEN, text
    if cluster.metadata.deletion_timestamp is not None:
        return Reason.WAITING_FOR_CLUSTER, f"an earlier ComputeCluster `{name}` is being deleted"
    if cluster.spec.suspend and observed.job.spec.cluster_ref is not None:
        text = f"ComputeCluster `{name}` is suspended; set its spec.suspend to false"
        return Reason.CLUSTER_SUSPENDED, text
    head_ready = conditions.is_true(cluster.status.conditions, ConditionType.HEAD_READY)
    if not head_ready or observed.head is None or not observed.head.reachable:
        reason, message = cluster_block(observed)
        return (
            reason or Reason.WAITING_FOR_HEAD,
            message or f"the head of ComputeCluster `{name}` is starting",
        )
    return "", ""
