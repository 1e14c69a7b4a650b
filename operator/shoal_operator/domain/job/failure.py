"""What is known about a failed attempt, kept on the job: it stays when the cluster and its pods have gone.

Invariant: bounded in every part (five shapes of demand, five pods, texts cut), and taken from what was observed in
the very pass that calls the attempt failed; only the pods' ends may be added, once, within ``LATE_SECONDS``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from shoal.resources import describe
from shoal_operator.api.job import ComputeJob, JobFailure, PodExit, UnmetDemand
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.job.observed import JobObservation
from shoal_operator.domain.job.progress import Progress
from shoal_operator.domain.reasons import ConditionType, Reason

ENTRIES_MAX: Final = 5
LATE_SECONDS: Final = 5.0
"""A pod's end may be heard of so much later than the head's word that the node is lost."""
SHAPE_MAX: Final = 512
SIGNAL_BASE: Final = 128
SIGNAL_MAX: Final = 64
_ABOUT_DEMAND: Final = frozenset({Reason.INFEASIBLE, Reason.LIMIT_REACHED, Reason.WORKERS_BLOCKED})
_GOOD_PODS: Final = frozenset({"Completed", "ContainerCreating", "PodInitializing"})


def describe_failure(observed: JobObservation, progress: Progress) -> JobFailure:
    """The post-mortem of the attempt that ``progress`` ends."""
    row = progress.row
    code = row.exit_code if row is not None else None
    signal = code - SIGNAL_BASE if code is not None and SIGNAL_BASE < code <= SIGNAL_BASE + SIGNAL_MAX else None
    return JobFailure(
        exit_code=None if code is None else max(-255, min(255, code)),
        signal=signal,
        demand_verdict=demand_verdict(observed),
        unmet_demand=tuple(_unmet(observed)),
        pods=tuple(_pod_exits(observed.pods)),
    )


def completed(observed: JobObservation, failure: JobFailure | None, failed_at: datetime | None, now: datetime) -> Any:
    """``failure`` with the pods that are heard to have ended badly since, while that may be news."""
    if failure is None or failed_at is None or seconds_for_late_words(observed.job, failed_at, now) <= 0:
        return failure
    return failure.model_copy(update={"pods": tuple(_pod_exits(_ended(observed.pods)))})


def seconds_for_late_words(job: ComputeJob, failed_at: datetime, now: datetime) -> float:
    """How much longer the end of a lost node's pod may be heard of; 0 when there is nothing to wait for."""
    failure, condition = job.status.failure, conditions.find(job.status.conditions, ConditionType.FAILED)
    is_final = condition is not None and condition.status == conditions.TRUE
    is_lost = Reason.NODE_LOST in (condition.reason if is_final and condition else job.status.message or "")
    if failure is None or failure.pods or not is_lost:
        return 0.0
    return max(0.0, LATE_SECONDS - (now - failed_at) / timedelta(seconds=1))


def _ended(pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """Without those that are deleted now: their end is no cause."""
    return tuple(pod for pod in pods if pod.has_ended and not pod.is_deleting)


def demand_verdict(observed: JobObservation) -> str | None:
    """The autoscaler's words about work that waits: the cluster's now, else those that the job said last."""
    status = observed.cluster.status if observed.cluster else None
    found = conditions.find(status.conditions, ConditionType.DEMAND_SATISFIED) if status else None
    if found is not None and found.status != conditions.TRUE and found.reason in _ABOUT_DEMAND:
        return conditions.shorten(found.message)
    before = observed.job.status
    return before.message if before.reason in _ABOUT_DEMAND else None


def _unmet(observed: JobObservation) -> Iterator[UnmetDemand]:
    waiting = [demand for demand in observed.head.demands if demand.count > 0] if observed.head else []
    for demand in waiting[:ENTRIES_MAX]:
        shape = describe(demand.shape)
        yield UnmetDemand(shape=shape[:SHAPE_MAX], count=demand.count, kind=demand.kind[:64])


def _pod_exits(pods: tuple[PodView, ...]) -> Iterator[PodExit]:
    found: Mapping[str, PodExit] = {}
    for pod in sorted(pods, key=lambda pod: (pod.role != "head", pod.name)):
        reasons = [reason for reason in pod.reasons if reason.reason not in _GOOD_PODS]
        if reasons and pod.name not in found and len(found) < ENTRIES_MAX:
            text = conditions.shorten(reasons[0].message)
            found = {**found, pod.name: PodExit(name=pod.name, reason=reasons[0].reason[:128], message=text)}
    yield from found.values()
