"""Whether a cluster rests, and how long until it does: suspended by its spec, or by its idle policy.

Invariant: only a fresh word of the head counts down; silence, a head that started anew, an edit of the spec and a
ComputeJob that wants the cluster never bring the end nearer. The end is told in the status before anything is taken
away, and taken back when somebody comes in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.conditions import FALSE, TRUE, UNKNOWN, Fact, find, whole_second
from shoal_operator.domain.head import HeadView
from shoal_operator.domain.reasons import ConditionType, Reason

SPEC_TEXT: Final = "spec.suspend is true"
BACK_TEXT: Final = "it comes back for a ComputeJob with a clusterRef to it, or when its spec is edited"
SINCE_TOLERANCE: Final = timedelta(seconds=2)
"""Two words of a head about the same moment differ by less; what was told first stands."""
BEGUN: Final = frozenset({Reason.SUSPENDING, Reason.SUSPENDED, Reason.SUSPENDING_IDLE, Reason.IDLE_TIMEOUT})
"""Reasons of the condition Suspended that say that pods go, or have gone."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """The cluster has no pods, or is giving them up."""

    text: str
    """Why, for people."""
    by_idleness: bool = False
    """Whether the idle policy did it; else somebody who wrote spec.suspend."""


@dataclass(frozen=True, slots=True)
class Idleness:
    """What the idle policy says now."""

    fact: Fact
    since: datetime | None = None
    """Since when it is counted, in whole seconds; None while the cluster is in use."""
    ends_in_seconds: float | None = None
    """Until the policy acts; 0 when it should; None while it does not count down."""

    @property
    def is_due(self) -> bool:
        """Whether the policy's time is over."""
        return self.ends_in_seconds == 0


def rests(cluster: ComputeCluster) -> bool:
    """Whether the cluster has no pods, or gives them up for good: nobody need look for its head."""
    suspended = find(cluster.status.conditions, ConditionType.SUSPENDED)
    edited = suspended is None or suspended.observed_generation != cluster.metadata.generation
    by_idleness = suspended is not None and suspended.reason == Reason.IDLE_TIMEOUT and not edited
    return cluster.spec.suspend or by_idleness


def judge_suspension(
    cluster: ComputeCluster, head: HeadView | None, wanted_by: Sequence[str], *, has_all_pods: bool
) -> Suspension | None:
    """Whether the cluster rests, or is about to; None when it shall have pods.

    Args:
        cluster: the object; its condition Suspended says what has begun.
        head: the last word of the head.
        wanted_by: names of ComputeJobs that want the cluster.
        has_all_pods: whether nothing was taken away yet.
    """
    if cluster.spec.suspend:
        return Suspension(SPEC_TEXT)
    before = find(cluster.status.conditions, ConditionType.SUSPENDED)
    if before is None:
        return None
    edited = before.observed_generation != cluster.metadata.generation
    if before.reason == Reason.SUSPENDING:
        return Suspension("a suspension that has begun is finished before pods come back")
    if before.reason == Reason.SUSPENDING_IDLE:
        if has_all_pods and (edited or wanted_by or _uses(head)):
            return None
        finishing = "somebody wants the cluster again; it comes back once its pods are gone"
        return Suspension(finishing) if edited or wanted_by else Suspension(before.message, by_idleness=True)
    if before.reason == Reason.IDLE_TIMEOUT and not edited and not wanted_by:
        return Suspension(before.message, by_idleness=True)
    return None


def judge_idleness(
    cluster: ComputeCluster,
    head: HeadView | None,
    wanted_by: Sequence[str],
    suspension: Suspension | None,
    now: datetime,
) -> Idleness | None:
    """What spec.idlePolicy says; None without one that was ever there.

    Args:
        cluster: the object; ``status.idleSince`` keeps the beginning steady.
        head: the last word of the head.
        wanted_by: names of ComputeJobs that want the cluster.
        suspension: whether it rests already.
        now: the current time, timezone-aware.
    """
    policy, kind = cluster.spec.idle_policy, ConditionType.IDLE
    if policy is None:
        was_told = find(cluster.status.conditions, kind) is not None
        return Idleness(Fact(kind, UNKNOWN, Reason.NO_IDLE_POLICY)) if was_told else None
    if suspension is not None:
        reason = Reason.IDLE_TIMEOUT if suspension.by_idleness else Reason.SUSPENDED
        return Idleness(Fact(kind, TRUE if suspension.by_idleness else UNKNOWN, reason, suspension.text))
    if wanted_by:
        return Idleness(Fact(kind, FALSE, Reason.IN_USE, f"ComputeJob `{wanted_by[0]}` wants the cluster"))
    if head is None or not head.reachable or head.activity is None:
        text = "whether the cluster is in use is not known while the head does not say; nothing is counted meanwhile"
        return Idleness(Fact(kind, UNKNOWN, Reason.NO_DEMAND_KNOWN, text), cluster.status.idle_since)
    uses = _uses(head)
    if uses:
        return Idleness(Fact(kind, FALSE, Reason.IN_USE, uses))
    since = _counted_since(cluster, head.received_at - timedelta(seconds=head.activity.idle_seconds), now)
    end = since + timedelta(seconds=policy.timeout_seconds)
    does = "suspended" if policy.action == "Suspend" else "deleted"
    text = f"no driver, detached actor or job, counted since {_clock(since)}; the cluster is {does} at {_clock(end)}"
    left = max(0.0, (end - now) / timedelta(seconds=1))
    reason = Reason.COUNTING_DOWN if left else Reason.IDLE_TIMEOUT
    return Idleness(Fact(kind, TRUE, reason, f"{text} (spec.idlePolicy)"), since, left)


def suspension_facts(
    cluster: ComputeCluster, suspension: Suspension | None, idleness: Idleness | None, pods_left: str | None
) -> list[Fact]:
    """The conditions Suspended and Idle. The reason of Suspended keeps a suspension going that has begun.

    Args:
        cluster: the object.
        suspension: whether it rests.
        idleness: what its idle policy says.
        pods_left: what is to be said of the pods that have not gone yet; None when there are none.
    """
    kind = ConditionType.SUSPENDED
    before = find(cluster.status.conditions, kind)
    facts = [idleness.fact] if idleness else []
    if suspension is None:
        if idleness and idleness.is_due and idleness.since and _suspends(cluster):
            text = _idle_text(cluster, idleness.since)
            return [*facts, Fact(kind, FALSE, Reason.SUSPENDING_IDLE, text)]
        return [*facts, Fact(kind, FALSE, Reason.NOT_SUSPENDED)] if before else facts
    if suspension.by_idleness:
        reason = Reason.SUSPENDING_IDLE if pods_left else Reason.IDLE_TIMEOUT
        return [*facts, Fact(kind, FALSE if pods_left else TRUE, reason, suspension.text)]
    if pods_left:
        return [*facts, Fact(kind, FALSE, Reason.SUSPENDING, pods_left)]
    if not cluster.spec.suspend:
        return [*facts, Fact(kind, FALSE, Reason.NOT_SUSPENDED)]
    if before is None or before.reason not in BEGUN:
        return [*facts, Fact(kind, FALSE, Reason.SUSPENDING, f"{SPEC_TEXT}; there is no pod to delete")]
    return [*facts, Fact(kind, TRUE, Reason.SUSPENDED, f"{SPEC_TEXT}; set it to false to bring the pods back")]


def _suspends(cluster: ComputeCluster) -> bool:
    return cluster.spec.idle_policy is not None and cluster.spec.idle_policy.action == "Suspend"


def _idle_text(cluster: ComputeCluster, since: datetime) -> str:
    """Why the idle policy takes the pods away, and what brings them back."""
    policy = cluster.spec.idle_policy
    seconds = policy.timeout_seconds if policy else 0
    return f"not in use since {_clock(since)}, for more than {seconds} s (spec.idlePolicy); {BACK_TEXT}"


def _uses(head: HeadView | None) -> str:
    """What uses the cluster, for people; steady words, so that a count that changes is no news."""
    activity = head.activity if head is not None and head.reachable else None
    if activity is None:
        return ""
    parts = [
        *(["a driver is connected"] if activity.drivers else []),
        *(["a job waits or runs"] if activity.jobs else []),
        *(["a detached actor lives"] if activity.detached_actors else []),
    ]
    return ", ".join(parts)


def _counted_since(cluster: ComputeCluster, unused_since: datetime, now: datetime) -> datetime:
    """The beginning of the countdown: the end of the last use, or the last edit of the spec where that was later."""
    told, before = cluster.status.idle_since, find(cluster.status.conditions, ConditionType.IDLE)
    if before is None or before.observed_generation != cluster.metadata.generation:
        return whole_second(max(unused_since, now))
    return told if told is not None and told >= unused_since - SINCE_TOLERANCE else whole_second(unused_since)


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
