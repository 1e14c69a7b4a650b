"""What holds a cluster's head and workers up, as conditions, and the Events of its coming and going.

Invariant: an Event is made when the first thing that holds the cluster up becomes another one, never because a pass
was made, and never for what is part of every start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from shoal_operator.api.cluster import ComputeClusterStatus, WorkerGroupStatus
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.assessment import (
    JOIN_TIMEOUT_SECONDS,
    Assessment,
    hanging_text,
    not_joined_text,
)
from shoal_operator.domain.cluster.causes import cause_of
from shoal_operator.domain.cluster.groups import find_group, least_workers
from shoal_operator.domain.cluster.growth import room_of
from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.conditions import FALSE, TRUE, UNKNOWN, Fact
from shoal_operator.domain.labels import HEAD_GROUP
from shoal_operator.domain.plan import EventRecord
from shoal_operator.domain.reasons import Action, ConditionType, Reason

GROUPS_MAX: Final = 3
"""Groups that one condition explains."""
WARNINGS: Final = frozenset(
    {
        Reason.IMAGE_UNAVAILABLE,
        Reason.IMAGE_PULL_DENIED,
        Reason.UNSCHEDULABLE,
        Reason.VOLUME_CLAIM_PENDING,
        Reason.VOLUME_NOT_MOUNTED,
        Reason.CONTAINER_MISCONFIGURED,
        Reason.CONTAINER_NOT_STARTED,
        Reason.SANDBOX_FAILED,
        Reason.INIT_CONTAINER_FAILED,
        Reason.CRASH_LOOP,
        Reason.HEAD_CRASH_LOOP,
        Reason.OUT_OF_MEMORY,
        Reason.PROBE_FAILS,
        Reason.NODE_REFUSED_POD,
        Reason.EVICTED,
        Reason.POD_DISRUPTED,
        Reason.NOT_JOINED,
        Reason.NODE_LOST,
        Reason.QUOTA_EXCEEDED,
        Reason.ADMISSION_DENIED,
        Reason.ADMISSION_UNAVAILABLE,
        Reason.SERVICE_ACCOUNT_MISSING,
        Reason.PRIORITY_CLASS_MISSING,
        Reason.INVALID_TEMPLATE,
        Reason.WRITE_REFUSED,
        Reason.HEAD_NODE_LOST,
        Reason.HEAD_UNREACHABLE,
        Reason.WORKERS_BLOCKED,
    }
)
"""Things that somebody may have to act upon. InfeasibleDemand has an Event of its own."""
NOTES: Final = frozenset(
    {Reason.SCHEDULING_GATED, Reason.INIT_CONTAINER_RUNS, Reason.LIMIT_REACHED, Reason.SUSPENDING_IDLE}
)
"""Things that are meant to be so, and are worth a word."""


@dataclass(frozen=True, slots=True)
class Blockage:
    """What holds a pod up: a cause, or a refusal."""

    reason: Reason
    message: str


def pod_blockage(pod: PodView) -> Blockage | None:
    """What holds up a pod that is there."""
    cause = cause_of(pod)
    return Blockage(cause.reason, cause.message) if cause else None


def group_blockage(assessment: Assessment, group: str) -> Blockage | None:
    """What holds up the workers of ``group`` (or ``head``): a refusal first, then the first pod that does not start."""
    refusal = assessment.refused.get(group)
    if refusal is not None:
        return Blockage(refusal.reason, refusal.message)
    waiting = [worker.pod for worker in assessment.workers if worker.node is None and worker.pod.group == group]
    ended = [pod for pod in assessment.ended if pod.group == group]
    found = next((found for pod in (*waiting, *ended) if (found := pod_blockage(pod))), None)
    return found or _not_joined(assessment, group) or _hanging(assessment, group) or _avoided(assessment, group)


def _avoided(assessment: Assessment, name: str) -> Blockage | None:
    """A group below its minimum that is not tried again yet: its last pods did not start, and none is there now."""
    group = find_group(assessment.cluster.spec, name)
    cooldowns = [entry for entry in assessment.scaling.cooldowns if entry.group == name]
    there = sum(worker.pod.group == name for worker in assessment.workers)
    least = least_workers(group) if group else 0
    if not cooldowns or there >= least:
        return None
    told = next((item.blocked for item in assessment.cluster.status.worker_groups if item.name == name), None)
    reason = Reason(cooldowns[0].reason) if cooldowns[0].reason in set(Reason) else Reason.WORKERS_BLOCKED
    again = f"; it is tried again at {told.retry_at:%H:%M:%S} UTC" if told else ""
    text = f"{there} of at least {least} workers: {told.message if told and told.message else 'its pods did not start'}"
    return Blockage(reason, text + again)


def _not_joined(assessment: Assessment, group: str) -> Blockage | None:
    known = {node.pod_name for node in assessment.head.nodes} if assessment.head else None
    for worker in assessment.workers:
        pod = worker.pod
        is_late = worker.node is None and worker.age_seconds >= JOIN_TIMEOUT_SECONDS
        if is_late and pod.group == group and known is not None and pod.name not in known:
            return Blockage(Reason.NOT_JOINED, f"pod {pod.name}: {not_joined_text(pod)}")
    return None


def _hanging(assessment: Assessment, name: str) -> Blockage | None:
    """So many pods of the group hang in Terminating that no more are made in their place."""
    group = find_group(assessment.cluster.spec, name)
    wanted = sum(addition.count for addition in assessment.scaling.add if addition.group == name)
    hanging = [pod for pod in assessment.leaving if pod.group == name and pod.name in assessment.hanging]
    if group is None or not hanging or not wanted or room_of(assessment, group) >= group.hosts_per_replica:
        return None
    text = f"{len(hanging)} pods of an earlier time are not gone: {hanging_text(hanging[0])}"
    return Blockage(Reason.NODE_LOST, text)


def invalid_template(assessment: Assessment) -> Blockage | None:
    """The first template that the API server does not take, the head's before the groups'."""
    groups = [HEAD_GROUP, *(group.name for group in assessment.cluster.spec.worker_groups)]
    refusals = (assessment.refused[group] for group in groups if group in assessment.refused)
    faults = [refusal for refusal in refusals if refusal.reason is Reason.INVALID_TEMPLATE]
    return Blockage(Reason.INVALID_TEMPLATE, "; ".join(fault.message for fault in faults)) if faults else None


def workers_ready(assessment: Assessment, groups: Sequence[WorkerGroupStatus]) -> Fact:
    """The condition WorkersReady: whether every worker that there should be has joined, and if not, why."""
    kind = ConditionType.WORKERS_READY
    if assessment.problems:
        return Fact(kind, FALSE, Reason.INVALID_SPEC, "no workers are started from an invalid spec")
    if assessment.suspension:
        return Fact(kind, UNKNOWN, Reason.SUSPENDED, assessment.suspension.text)
    found = [(group.name, group_blockage(assessment, group.name)) for group in groups]
    blocked = [(name, blockage) for name, blockage in found if blockage]
    if blocked:
        texts = [f"group `{name}`: {blockage.message}" for name, blockage in blocked[:GROUPS_MAX]]
        return Fact(kind, FALSE, blocked[0][1].reason, "; ".join(texts))
    pending = {group.name: group.pending for group in groups if group.pending}
    if pending:
        text = ", ".join(f"{count} of group `{name}`" for name, count in pending.items())
        return Fact(kind, FALSE, Reason.WAITING_FOR_WORKERS, f"workers are starting: {text}")
    return Fact(kind, TRUE, Reason.ALL_READY, "every worker that there should be has joined")


def transition_events(before: ComputeClusterStatus, after: Mapping[str, Any]) -> Iterator[EventRecord]:
    """The Event of a change of what holds the cluster up first.

    Args:
        before: the status as it stands in the object.
        after: the status that is about to be written.
    """
    reason, message = str(after.get("reason") or ""), str(after.get("message") or "")
    # One template is corrected to be wrong in another way: that is news under the same reason.
    other_fault = reason == Reason.INVALID_TEMPLATE and message != (before.message or "")
    if reason and (reason != before.reason or other_fault):
        type_: Literal["Normal", "Warning"] | None = None
        if reason in WARNINGS:
            type_ = "Warning"
        elif reason in NOTES:
            type_ = "Normal"
        if type_ is not None:
            yield EventRecord(type_, reason, conditions.shorten(message), Action.EXPLAIN)
