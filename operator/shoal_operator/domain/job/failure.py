"""What is known about a failed attempt, kept on the job: it stays when the cluster and its pods have gone.

Invariant: bounded in every part (five shapes of demand, five pods, texts cut), and taken from what was observed in
the very pass that calls the attempt failed; only the pods' ends may be added, once, within ``LATE_SECONDS``. A pod
whose runtime ended and was started again in place has ended badly, too, if that was while the program ran.
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
"""A pod's end may be heard of so much later than the head's word that the node is lost, or the head before it."""
REASON_MAX: Final = 128
SHAPE_MAX: Final = 512
SIGNAL_BASE: Final = 128
SIGNAL_MAX: Final = 64
_ABOUT_DEMAND: Final = frozenset({Reason.INFEASIBLE, Reason.LIMIT_REACHED, Reason.WORKERS_BLOCKED})
_GOOD_PODS: Final = frozenset({"Completed", "ContainerCreating", "PodInitializing"})
_LOST: Final = frozenset({Reason.NODE_LOST, Reason.HEAD_LOST})


def describe_failure(observed: JobObservation, progress: Progress) -> JobFailure:
    """The post-mortem of the attempt that ``progress`` ends."""
    row = progress.row
    code = row.exit_code if row is not None else None
    reason = progress.failed_because or progress.reason
    signal = code - SIGNAL_BASE if code is not None and SIGNAL_BASE < code <= SIGNAL_BASE + SIGNAL_MAX else None
    return JobFailure(
        reason=reason[:REASON_MAX] or None,
        exit_code=None if code is None else max(-255, min(255, code)),
        signal=signal,
        demand_verdict=demand_verdict(observed),
        unmet_demand=tuple(_unmet(observed)),
        pods=tuple(_exits_since(_began(observed.job, progress.start_time, reason), observed.pods)),
    )


def completed(observed: JobObservation, failure: JobFailure | None, failed_at: datetime | None, now: datetime) -> Any:
    """``failure`` with the pods that are heard to have ended badly since, while that may be news."""
    if failure is None or failed_at is None or seconds_for_late_words(observed.job, failed_at, now) <= 0:
        return failure
    began = _began(observed.job, observed.job.status.start_time, failure.reason)
    exits = _exits_since(began, _ended(observed.pods))
    return failure.model_copy(update={"pods": tuple(exits)})


def seconds_for_late_words(job: ComputeJob, failed_at: datetime, now: datetime) -> float:
    """How much longer the end of a lost node's pod may be heard of; 0 when there is nothing to wait for."""
    failure = job.status.failure
    if failure is None or failure.pods or failure.reason not in _LOST:
        return 0.0
    return max(0.0, LATE_SECONDS - (now - failed_at) / timedelta(seconds=1))


def _began(job: ComputeJob, start_time: datetime | None, reason: str | None) -> datetime | None:
    """Since when ends of pods are the attempt's; None: it never began.

    Of a program that was lost with its head or node nobody may have heard that it had started.
    """
    first = start_time or (job.metadata.creation_timestamp if reason in _LOST else None)
    return first and max(filter(None, (first, job.status.last_failure_time)))


def _ended(pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """Those whose runtime has ended, for good or before it was started again; the end of a deleted one is no cause."""
    return tuple(pod for pod in pods if (pod.has_ended or pod.last_end) and not pod.is_deleting)


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


def _exits_since(since: datetime | None, pods: tuple[PodView, ...]) -> Iterator[PodExit]:
    """How pods do badly, one line each, the head's first.

    Args:
        since: restarts before this are not of the attempt; None: none is, as the program never started.
        pods: of the job's cluster.
    """
    found: Mapping[str, PodExit] = {}
    for pod in sorted(pods, key=lambda pod: (pod.role != "head", pod.name)):
        said = pod.reasons
        if pod.last_end and pod.last_end not in said and since and pod.last_ended and pod.last_ended >= since:
            said = (*said, pod.last_end)
        reasons = [reason for reason in said if reason.reason not in _GOOD_PODS]
        if reasons and pod.name not in found and len(found) < ENTRIES_MAX:
            text = conditions.shorten(reasons[0].message)
            found = {**found, pod.name: PodExit(name=pod.name, reason=reasons[0].reason[:REASON_MAX], message=text)}
    yield from found.values()
