"""What the observed world of a cluster amounts to: which pods count, and what the autoscaler says.

Both the plan and the status are made from this, so that they can never tell different stories.

Invariant: without a head that answers nobody loses a worker, and only minimum counts are kept up; nor does anybody by
the word of a head that has said nothing for ``STALE_SECONDS``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.meta import MANAGED_BY_SHOAL
from shoal_operator.api.problems import Problem
from shoal_operator.autoscaler.model import ComingNode, Node, ScalingPlan, ScalingRequest
from shoal_operator.autoscaler.plan import plan_workers
from shoal_operator.autoscaler.turns import turn_at
from shoal_operator.domain.cluster.causes import Cause, cause_of
from shoal_operator.domain.cluster.cooldowns import remembered
from shoal_operator.domain.cluster.drains import read_drain
from shoal_operator.domain.cluster.groups import is_retired, live_groups
from shoal_operator.domain.cluster.idleness import Idleness, Suspension, judge_idleness, judge_suspension
from shoal_operator.domain.cluster.observed import ClusterObservation, PodView
from shoal_operator.domain.cluster.pod_reasons import PodReason
from shoal_operator.domain.cluster.rollout import UNREADY_HEAD_SECONDS, HeadState, Rollout, hold, plan_rollout
from shoal_operator.domain.cluster.scaling_terms import scaling_terms
from shoal_operator.domain.cluster.workers import Replica, Worker, form_replicas
from shoal_operator.domain.conditions import TRUE, find
from shoal_operator.domain.head import DrainState, HeadView, NodeView
from shoal_operator.domain.labels import HEAD_GROUP, ROLE_HEAD, ROLE_WORKER
from shoal_operator.domain.manifests.template_hash import MEMORY, head_hash, is_outdated
from shoal_operator.domain.names import head_pod_name, worker_pod_name
from shoal_operator.domain.reasons import ConditionType, Reason
from shoal_operator.domain.refusals import Refusal
from shoal_operator.domain.validation import validate_cluster

ENDED_POD_RETRY_SECONDS: Final = 5.0
"""A pod that ended sooner after its creation is replaced only then: a bad template fails cheaply."""
HANG_SECONDS: Final = 30.0
"""A pod that is still there so long after its grace period hangs in Terminating; mostly its machine is gone."""
STALE_SECONDS: Final = 20.0
"""A head speaks at least every 8 s: its last word is not acted upon any more where workers would be lost by it."""
STALE_CHECK_SECONDS: Final = 5.0
"""A head that speaks again may have no news to wake anybody with."""
MACHINE_TROUBLE: Final = frozenset({Reason.NODE_LOST, Reason.POD_DISRUPTED})
"""What says nothing about the other pods of a group."""
JOIN_TIMEOUT_SECONDS: Final = 300.0
"""A pod that has not joined after this time is no longer counted on."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Facts that decisions are made from."""

    cluster: ComputeCluster
    problems: tuple[Problem, ...]
    head_pod: PodView | None
    """The head pod, ours and not ended; may be on its way out."""
    head_name_taken: bool
    """Whether a pod with the head's name exists, be it ours, ended, or another cluster's."""
    head: HeadView | None
    """The head's word if it can be trusted now: reachable, and the cluster not suspended."""
    workers: tuple[Worker, ...]
    """Sorted by group and index."""
    ended: tuple[PodView, ...]
    """Our pods that will never run again and are not being deleted, head included; by name."""
    leaving: tuple[PodView, ...]
    """Our worker pods on their way out; by name."""
    hanging: frozenset[str]
    """Names of our pods, head included, that have been on their way out for longer than they may take."""
    scaling: ScalingPlan
    replicas: tuple[Replica, ...]
    """The workers as they come and go together, by group and index."""
    rollout: Rollout
    """How outdated pods follow their templates."""
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    """By group: pods of it are not let in now, and not asked for."""
    suspension: Suspension | None = None
    """Why the cluster has no pods, or is giving them up."""
    idleness: Idleness | None = None
    """What the idle policy says; None without one."""
    is_stale: bool = False
    """Whether the head's last word is an old one although nothing says that it is gone: nobody loses a worker."""

    @property
    def is_ours(self) -> bool:
        """Whether the operator acts on this object at all."""
        metadata = self.cluster.metadata
        return metadata.deletion_timestamp is None and self.cluster.spec.managed_by == MANAGED_BY_SHOAL


def assess(observed: ClusterObservation, now: datetime) -> Assessment:
    """Sort the observed pods and ask the autoscaler.

    Args:
        observed: the world.
        now: the current time, timezone-aware.
    """
    cluster = observed.cluster
    problems = tuple(validate_cluster(cluster.spec))
    refused = {refusal.group: refusal for refusal in observed.refusals}
    own = sorted(
        (pod for pod in observed.pods if pod.owner_uid == cluster.metadata.uid),
        key=lambda pod: (pod.group, pod.index, pod.name),
    )
    suspension = judge_suspension(cluster, observed.head, observed.wanted_by, has_all_pods=_has_all_pods(observed))
    head = observed.head if observed.head and observed.head.reachable and not suspension else None
    is_stale = head is not None and _silence_seconds(head, now) > STALE_SECONDS
    fresh = None if is_stale else observed.head
    workers = tuple(_workers(own, head, now))
    hanging = tuple(pod for pod in own if until_hanging_seconds(pod, now) == 0)
    ended = tuple(pod for pod in own if pod.has_ended and not pod.is_deleting)
    name = head_pod_name(cluster.metadata.name)
    head_pod = next((pod for pod in own if pod.role == ROLE_HEAD and not pod.has_ended), None)
    replicas = form_replicas(cluster, workers, hanging, is_valid=not problems)
    if problems or suspension:
        rollout, scaling = Rollout(), ScalingPlan()
    else:
        rollout = hold(plan_rollout(cluster, replicas, _head_state(cluster, head_pod, head, now)), refused)
        gone = {replica.key for group in rollout.groups for replica in group.discard}
        counted = [replica for replica in replicas if replica.key not in gone and not replica.has_lost_a_host]
        request = _request(cluster, counted, rollout.hidden, ended, head, now)
        coming = (*request.coming, *_not_let_in(cluster, refused))
        scaling = plan_workers(replace(request, coming=coming, cooldowns=remembered(cluster, now)))
        scaling = _without_losses(scaling) if is_stale else scaling
    return Assessment(
        cluster=cluster,
        problems=problems,
        head_pod=head_pod,
        head_name_taken=any(pod.name == name for pod in observed.pods),
        head=head,
        workers=workers,
        ended=ended,
        leaving=tuple(pod for pod in own if pod.is_deleting and pod.role == ROLE_WORKER),
        hanging=frozenset(pod.name for pod in hanging),
        scaling=scaling,
        replicas=replicas,
        rollout=rollout,
        refused=refused,
        suspension=suspension,
        idleness=None if problems else judge_idleness(cluster, fresh, observed.wanted_by, suspension, now),
        is_stale=is_stale,
    )


def _has_all_pods(observed: ClusterObservation) -> bool:
    """Whether the head's pod is there to stay: a suspension has taken nothing away yet."""
    uid = observed.cluster.metadata.uid
    mine = [pod for pod in observed.pods if pod.owner_uid == uid and pod.role == ROLE_HEAD]
    return any(not pod.is_deleting and not pod.has_ended for pod in mine)


def _workers(own: Sequence[PodView], head: HeadView | None, now: datetime) -> Iterator[Worker]:
    nodes = head.nodes if head else ()
    alive = {node.pod_name: node for node in nodes if node.alive}
    dead = {node.pod_name for node in nodes if not node.alive}
    for pod in own:
        if pod.role != ROLE_WORKER or pod.is_deleting or pod.has_ended:
            continue
        died = head is not None and pod.name not in alive and (pod.name in dead or pod.node_dead_since is not None)
        since = pod.node_dead_since if died else None
        yield Worker(
            pod,
            alive.get(pod.name),
            read_drain(pod.drain),
            age_seconds(pod, now),
            blocked=blocking_cause(pod) is not None,
            node_died=died,
            node_dead_seconds=max(0.0, (now - since) / timedelta(seconds=1)) if since else 0.0,
        )


def until_hanging_seconds(pod: PodView, now: datetime) -> float | None:
    """Seconds until a pod on its way out counts as hanging there; 0 when it does, None when it is not leaving."""
    if pod.deleting_since is None:
        return None
    return max(0.0, HANG_SECONDS - (now - pod.deleting_since) / timedelta(seconds=1))


def has_pods(assessment: Assessment) -> bool:
    """Whether any pod of the cluster is there, be it on its way out."""
    return bool(assessment.workers or assessment.ended or assessment.leaving or assessment.head_pod)


def age_seconds(pod: PodView, now: datetime) -> float:
    """Seconds since the pod was created; 0 when that is unknown or in the future."""
    return max(0.0, (now - pod.created) / timedelta(seconds=1)) if pod.created else 0.0


def blocking_cause(pod: PodView) -> Cause | None:
    """What keeps the pod from starting until somebody acts; None while it may just need time."""
    cause = cause_of(pod)
    return cause if cause and cause.is_blocking else None


def _head_state(cluster: ComputeCluster, pod: PodView | None, head: HeadView | None, now: datetime) -> HeadState:
    if pod is None or pod.is_deleting:
        return HeadState(is_outdated=False, is_broken=False, keeps_state=False, view=head)
    ready = find(cluster.status.conditions, ConditionType.HEAD_READY)
    unready = ready is not None and ready.status != TRUE and not pod.ready
    waited = ready is not None and (now - ready.last_transition_time) / timedelta(seconds=1) >= UNREADY_HEAD_SECONDS
    return HeadState(
        is_outdated=is_outdated(pod.template_hash, head_hash(cluster)),
        is_broken=cause_of(pod) is not None or (unready and waited),
        keeps_state=cluster.spec.state.backend != MEMORY,
        view=head,
    )


def _request(
    cluster: ComputeCluster,
    replicas: Sequence[Replica],
    hidden: frozenset[str],
    ended: tuple[PodView, ...],
    head: HeadView | None,
    now: datetime,
) -> ScalingRequest:
    """What the autoscaler is asked. ``hidden`` pods stand in for outdated ones, which count in their place."""
    waited = _silence_seconds(head, now) if head else 0.0
    seen = [(item, one) for item in replicas for one in item.workers if one.pod.name not in hidden]
    nodes = [_node(cluster, replica, worker, worker.node, waited) for replica, worker in seen if worker.node]
    nodes += [
        Node(
            n.node_id,
            n.pod_name,
            HEAD_GROUP,
            n.total,
            n.available,
            removable=False,
            recently_available=n.recently_available,
            labels=n.labels,
        )
        for n in (head.nodes if head else ())
        if n.alive and n.group == HEAD_GROUP
    ]
    known = frozenset(node.pod_name for node in head.nodes) if head else None
    coming = [
        _coming(replica, worker, known)
        for replica, worker in seen
        if not worker.node and not is_retired(cluster.spec, worker.pod.group)
    ]
    for replica in replicas:
        coming += [
            ComingNode(name, replica.group, replica.age_seconds, replica=replica.key)
            for name in missing_hosts(cluster, replica)
        ]
    asked = {node.pod_name for node in coming}
    for pod in ended:
        age = age_seconds(pod, now)
        if pod.name in asked:
            continue
        if pod.role == ROLE_WORKER and age < ENDED_POD_RETRY_SECONDS and not is_retired(cluster.spec, pod.group):
            coming.append(ComingNode(pod.name, pod.group, age, Reason.FAILED_POD, pod_text(pod), replica=pod.name))
    return replace(
        scaling_terms(cluster.spec),
        demands=head.demands if head else (),
        gangs=head.gangs if head else (),
        gangs_left_out=head.gangs_left_out if head else 0,
        turn=turn_at(now.timestamp()),
        floors=head.floors if head else (),
        nodes=tuple(nodes),
        coming=tuple(coming),
    )


def _silence_seconds(head: HeadView, now: datetime) -> float:
    """Since the head's last word; 0 when the clock was set back meanwhile."""
    return max(0.0, (now - head.received_at) / timedelta(seconds=1))


def _without_losses(scaling: ScalingPlan) -> ScalingPlan:
    soon = min(scaling.next_check_seconds or STALE_CHECK_SECONDS, STALE_CHECK_SECONDS)
    return replace(scaling, drain=(), cancel=(), next_check_seconds=soon)


def _not_let_in(cluster: ComputeCluster, refused: Mapping[str, Refusal]) -> Iterator[ComingNode]:
    """Pods that would be there if they were let in: groups that get none now, so that others step in."""
    for group in live_groups(cluster.spec):
        refusal = refused.get(group.name)
        if refusal is not None:
            name = refusal.pod_name
            yield ComingNode(name, group.name, 0.0, refusal.reason, refusal.words, replica=name, exists=False)


def missing_hosts(cluster: ComputeCluster, replica: Replica) -> dict[str, int]:
    """Names and host indexes of pods that are to be made again in a replica that has not run yet."""
    if replica.ran or replica.is_draining or replica.has_lost_a_host or is_retired(cluster.spec, replica.group):
        return {}
    name = cluster.metadata.name
    return {worker_pod_name(name, replica.group, replica.index, host): host for host in replica.missing}


def _node(cluster: ComputeCluster, replica: Replica, worker: Worker, node: NodeView, waited: float) -> Node:
    leaves = is_retired(cluster.spec, worker.pod.group) or any(
        other.drain is not None and other.drain.reason == Reason.OUTDATED_POD for other in replica.workers
    )
    return Node(
        node_id=node.node_id,
        pod_name=worker.pod.name,
        group=worker.pod.group,
        total=node.total,
        available=node.available,
        recently_available=node.recently_available,
        idle_seconds=node.idle_seconds + waited if node.idle_seconds > 0 else 0.0,
        draining=leaves or node.drain_state is not DrainState.ACTIVE,
        age_seconds=worker.age_seconds,
        replica=replica.key,
        labels=node.labels,
    )


def _coming(replica: Replica, worker: Worker, known: frozenset[str] | None) -> ComingNode:
    """A worker without a live node. ``known``: pods that the head has heard of; None without a head."""
    pod = worker.pod
    cause = blocking_cause(pod)
    if cause is not None:
        age = worker.age_seconds
        closes = cause.reason not in MACHINE_TROUBLE
        key = replica.key
        return ComingNode(pod.name, pod.group, age, cause.reason, cause.words, replica=key, closes_group=closes)
    if known is not None and pod.name not in known and worker.age_seconds >= JOIN_TIMEOUT_SECONDS:
        text = not_joined_text(pod)
        return ComingNode(pod.name, pod.group, worker.age_seconds, Reason.NOT_JOINED, text, replica=replica.key)
    return ComingNode(pod.name, pod.group, worker.age_seconds, replica=replica.key)


def not_joined_text(pod: PodView) -> str:
    """For people: a pod that the head knows nothing of."""
    return f"it has not joined within {JOIN_TIMEOUT_SECONDS:g} s; see `kubectl logs {pod.name}`"


def hanging_text(pod: PodView) -> str:
    """For people: what is known of a pod that hangs in Terminating, and what to do."""
    if pod.has_ended:
        return f"pod {pod.name} has ended and hangs in Terminating; see its finalizers"
    node = pod.node_name or "unknown"
    return (
        f"pod {pod.name} hangs in Terminating on node {node}, which does not say that it has ended: bring the node "
        f"back, or delete it (kubectl delete node {node}); if the machine is off for certain, this will do: "
        f"kubectl delete pod {pod.name} --force --grace-period=0"
    )


def pod_text(pod: PodView) -> str:
    """What is known of a pod's trouble, for people; its phase when nothing is."""
    return "; ".join(_describe(reason) for reason in pod.reasons[:2]) or pod.phase


def _describe(reason: PodReason) -> str:
    """For people: "ErrImagePull: no such image"."""
    return f"{reason.reason}: {reason.message}" if reason.message else reason.reason
