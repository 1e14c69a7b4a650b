"""What the observed world of a cluster amounts to: which pods count, and what the autoscaler says.

Both the plan and the status are made from this, so that they can never tell different stories.

Invariant: without a head that answers nobody loses a worker; only minimum counts are kept up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shoal.resources import ResourceSet
from shoal_operator.api.cluster import ComputeCluster, WorkerGroup
from shoal_operator.api.meta import MANAGED_BY_SHOAL
from shoal_operator.api.problems import Problem
from shoal_operator.autoscaler.model import ComingNode, Demand, Group, Node, ScalingPlan, ScalingRequest
from shoal_operator.autoscaler.plan import plan_workers
from shoal_operator.domain.cluster.drains import Drain, read_drain
from shoal_operator.domain.cluster.observed import ClusterObservation, PodReason, PodView
from shoal_operator.domain.head import DrainState, HeadView, NodeView
from shoal_operator.domain.labels import HEAD_GROUP, ROLE_HEAD, ROLE_WORKER
from shoal_operator.domain.names import head_pod_name
from shoal_operator.domain.quantities import group_resources
from shoal_operator.domain.validation import validate_cluster

ENDED_POD_RETRY_SECONDS: Final = 5.0
"""A pod that ended sooner after its creation is replaced only then: a bad template fails cheaply."""
JOIN_TIMEOUT_SECONDS: Final = 300.0
"""A pod that has not joined after this time is no longer counted on."""
BLOCKING_REASONS: Final = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
        "Unschedulable",
    }
)
"""Reasons of pods that do not go away by waiting a little."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker pod of ours that is not on its way out, with what the head says about it."""

    pod: PodView
    node: NodeView | None
    """Its live node; None when it has not joined (or has left)."""
    drain: Drain | None
    age_seconds: float


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
    scaling: ScalingPlan

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
    own = sorted(
        (pod for pod in observed.pods if pod.owner_uid == cluster.metadata.uid),
        key=lambda pod: (pod.group, pod.index, pod.name),
    )
    head = observed.head if observed.head and observed.head.reachable and not cluster.spec.suspend else None
    alive = {node.pod_name: node for node in (head.nodes if head else ()) if node.alive}
    workers = tuple(
        Worker(pod, alive.get(pod.name), read_drain(pod.drain), age_seconds(pod, now))
        for pod in own
        if pod.role == ROLE_WORKER and not pod.is_deleting and not pod.has_ended
    )
    ended = tuple(pod for pod in own if pod.has_ended and not pod.is_deleting)
    name = head_pod_name(cluster.metadata.name)
    if problems or cluster.spec.suspend:
        scaling = ScalingPlan()
    else:
        scaling = plan_workers(_request(cluster, workers, ended, head, now))
    return Assessment(
        cluster=cluster,
        problems=problems,
        head_pod=next((pod for pod in own if pod.role == ROLE_HEAD and not pod.has_ended), None),
        head_name_taken=any(pod.name == name for pod in observed.pods),
        head=head,
        workers=workers,
        ended=ended,
        leaving=tuple(pod for pod in own if pod.is_deleting and pod.role == ROLE_WORKER),
        scaling=scaling,
    )


def age_seconds(pod: PodView, now: datetime) -> float:
    """Seconds since the pod was created; 0 when that is unknown or in the future."""
    return max(0.0, (now - pod.created) / timedelta(seconds=1)) if pod.created else 0.0


def blocking_reason(pod: PodView) -> PodReason | None:
    """What keeps the pod from starting until somebody acts; None while it may just need time."""
    return next((reason for reason in pod.reasons if reason.reason in BLOCKING_REASONS), None)


def _request(
    cluster: ComputeCluster,
    workers: tuple[Worker, ...],
    ended: tuple[PodView, ...],
    head: HeadView | None,
    now: datetime,
) -> ScalingRequest:
    waited = max(0.0, (now - head.received_at) / timedelta(seconds=1)) if head else 0.0
    nodes = [_node(worker, worker.node, waited) for worker in workers if worker.node]
    nodes += [
        Node(n.node_id, n.pod_name, HEAD_GROUP, n.total, n.available, removable=False)
        for n in (head.nodes if head else ())
        if n.alive and n.group == HEAD_GROUP
    ]
    known = frozenset(node.pod_name for node in head.nodes) if head else None
    coming = [_coming(worker, known) for worker in workers if not worker.node]
    for pod in ended:
        age = age_seconds(pod, now)
        if pod.role == ROLE_WORKER and age < ENDED_POD_RETRY_SECONDS:
            coming.append(ComingNode(pod.name, pod.group, age, "PodEnded", pod_text(pod)))
    return ScalingRequest(
        demands=tuple(
            Demand(d.shape, d.count, d.label_selector, d.kind, d.examples)
            for d in (head.demands if head else ())
            if d.count > 0
        ),
        groups=tuple(_group(cluster, group) for group in cluster.spec.worker_groups),
        nodes=tuple(nodes),
        coming=tuple(coming),
    )


def _node(worker: Worker, node: NodeView, waited: float) -> Node:
    return Node(
        node_id=node.node_id,
        pod_name=worker.pod.name,
        group=worker.pod.group,
        total=node.total,
        available=node.available,
        idle_seconds=node.idle_seconds + waited if node.idle_seconds > 0 else 0.0,
        draining=node.drain_state is not DrainState.ACTIVE,
    )


def _coming(worker: Worker, known: frozenset[str] | None) -> ComingNode:
    """A worker without a live node. ``known``: pods that the head has heard of; None without a head."""
    pod = worker.pod
    reason = blocking_reason(pod)
    if reason is not None:
        return ComingNode(pod.name, pod.group, worker.age_seconds, reason.reason, reason.message)
    if known is not None and pod.name not in known and worker.age_seconds >= JOIN_TIMEOUT_SECONDS:
        text = f"it has not joined within {JOIN_TIMEOUT_SECONDS:g} s; see `kubectl logs {pod.name}`"
        return ComingNode(pod.name, pod.group, worker.age_seconds, "NotJoined", text)
    return ComingNode(pod.name, pod.group, worker.age_seconds)


def _group(cluster: ComputeCluster, group: WorkerGroup) -> Group:
    autoscaling = cluster.spec.autoscaling
    fixed = group.min_replicas if group.replicas is None else group.replicas
    idle = group.idle_timeout_seconds
    return Group(
        name=group.name,
        resources=_resources(group),
        min_nodes=group.min_replicas if autoscaling.enabled else fixed,
        max_nodes=group.max_replicas if autoscaling.enabled else fixed,
        priority=group.priority,
        idle_timeout_seconds=autoscaling.idle_timeout_seconds if idle is None else idle,
    )


def _resources(group: WorkerGroup) -> ResourceSet:
    return group_resources(group.resources, group.template)


def pod_text(pod: PodView) -> str:
    """What is known of a pod's trouble, for people; its phase when nothing is."""
    return "; ".join(_describe(reason) for reason in pod.reasons[:2]) or pod.phase


def _describe(reason: PodReason) -> str:
    """For people: "ErrImagePull: no such image"."""
    return f"{reason.reason}: {reason.message}" if reason.message else reason.reason
