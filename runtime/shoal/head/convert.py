"""Between the messages of the control plane and the values that the pure cores work with.

Invariant: nothing but translation happens here; a malformed message raises ``ValueError`` with the
field's name.
"""

from __future__ import annotations

import math
from typing import Any, Final

from shoal.core.actors import Actor, ActorSpec
from shoal.core.demand import NodeDemand, selector
from shoal.core.floors import KIND as FLOOR
from shoal.core.gangs import Gang
from shoal.core.labels import checked
from shoal.core.membership import DrainState, Member, NodeInfo, NodeStatus
from shoal.core.placement_group import MAX_BUNDLES
from shoal.core.shapes import received
from shoal.protocol import head_pb2, node_pb2
from shoal.resources import ResourceSet

MAX_ID_LENGTH: Final = 256
MAX_TEXT_LENGTH: Final = 1_024
"""Of names and namespaces that programs give."""
MAX_WAITING: Final = 10**15
"""How much work of one shape a node may say that waits there: sums of all nodes fit in a message."""
_DRAIN_OF: Final[dict[Any, DrainState]] = {
    head_pb2.DRAIN_STATE_DRAINING: "draining",
    head_pb2.DRAIN_STATE_DRAINED: "drained",
}
_DRAIN_TO: Final = {
    "active": head_pb2.DRAIN_STATE_ACTIVE,
    "draining": head_pb2.DRAIN_STATE_DRAINING,
    "drained": head_pb2.DRAIN_STATE_DRAINED,
}


def resources(message: head_pb2.Resources) -> ResourceSet:
    """Raises ValueError for a negative amount."""
    return ResourceSet(message.amounts)


def to_resources(amounts: ResourceSet) -> head_pb2.Resources:
    """The message of a set."""
    return head_pb2.Resources(amounts=dict(amounts))


def node_info(message: node_pb2.RegisterNode) -> NodeInfo:
    """Raises ValueError when the node has no id."""
    if not 0 < len(message.address.node_id) <= MAX_ID_LENGTH:
        raise ValueError("address.node_id must have 1 to 256 characters")
    return NodeInfo(
        node_id=message.address.node_id,
        ip=message.address.ip,
        port=message.address.port,
        total=resources(message.total),
        labels=dict(message.labels),
        pod_name=message.pod_name,
        group=message.group,
        is_head=message.is_head,
    )


def drivers(message: node_pb2.RegisterNode) -> dict[str, int] | None:
    """How many a node has of each job; None when it does not say. Raises ValueError for a count below 1."""
    counts = dict(message.drivers.count_by_job_id)
    for job_id, count in counts.items():
        if count < 1:
            raise ValueError(f"job {job_id[:40]!r} must have at least 1 driver where it is listed, got {count}")
    return counts if message.HasField("drivers") else None


def node_status(message: node_pb2.NodeReport) -> NodeStatus:
    """Raises ValueError for negative amounts, and a time that is no number: it would spoil every snapshot."""
    if not 0 <= message.idle_seconds < math.inf:
        raise ValueError(f"idle_seconds must be finite and not negative, got {message.idle_seconds}")
    for demand in message.demands:
        if not 0 <= demand.count <= MAX_WAITING:
            raise ValueError(f"the count of a demand must be from 0 to {MAX_WAITING}, got {demand.count}")
    demands = tuple(
        NodeDemand(resources(d.shape), d.count, d.kind or "task", selector(d.label_selector), tuple(d.examples))
        for d in message.demands
    )
    return NodeStatus(
        available=resources(message.available),
        demands=demands,
        idle_seconds=message.idle_seconds,
        activity=message.activity,
        drain_state=_DRAIN_OF.get(message.drain_state, "active"),
    )


def demand_message(demand: NodeDemand) -> head_pb2.Demand:
    """One entry of a snapshot's demands."""
    return head_pb2.Demand(
        shape=to_resources(demand.shape),
        count=demand.count,
        label_selector=dict(demand.label_selector),
        kind=demand.kind,
        examples=demand.examples,
        recent_count=max(demand.count, demand.recent_count),
    )


def floor(message: head_pb2.Demand) -> NodeDemand:
    """One entry of a request for resources. Raises ValueError for what asks for nothing or makes no sense."""
    if message.count <= 0:
        raise ValueError(f"a bundle is asked for at least once, got {message.count}")
    labels = checked("the label selector of a bundle of request_resources", message.label_selector)
    return NodeDemand(received("a bundle of request_resources", message.shape.amounts), message.count, FLOOR, labels)


def gang_message(gang: Gang) -> head_pb2.Gang:
    """One entry of a snapshot's gangs."""
    return head_pb2.Gang(
        gang_id=gang.gang_id,
        name=gang.name,
        strategy=f"GANG_STRATEGY_{gang.strategy}",
        bundles=[
            head_pb2.GangBundle(
                shape=to_resources(bundle.shape), count=bundle.count, label_selector=dict(bundle.label_selector)
            )
            for bundle in gang.bundles
        ],
        occupied_node_ids=gang.occupied_node_ids,
    )


def node_snapshot(
    member: Member, free: ResourceSet, most: ResourceSet, coming: tuple[int, int], now: float
) -> head_pb2.NodeSnapshot:
    """What the operator sees of a node.

    ``free`` is its room now, ``most`` the most that it may have had a moment ago; with actors or bundles on their way
    to it (``coming``: so many), it is not idle.
    """
    status = member.status
    drain = "draining" if member.drain_requested and status.drain_state == "active" else status.drain_state
    activity = status.activity
    if member.awaited:
        activity = "it has not come back to the restarted head yet"
    actors, bundles = coming
    if actors:
        activity = ", ".join(
            part for part in (activity, f"{actors} {'actor' if actors == 1 else 'actors'} starting") if part
        )
    if bundles:
        noun = "bundle" if bundles == 1 else "bundles"
        activity = ", ".join(part for part in (activity, f"{bundles} {noun} being reserved") if part)
    return head_pb2.NodeSnapshot(
        node_id=member.info.node_id,
        pod_name=member.info.pod_name,
        group=member.info.group,
        address=f"{member.info.ip}:{member.info.port}",
        total=to_resources(member.info.total),
        available=to_resources(free),
        recently_available=None if most == free else to_resources(most),
        alive=member.alive,
        idle_seconds=0.0 if any(coming) else member.idle_seconds(now),
        drain_state=_DRAIN_TO[drain],
        activity=activity if member.alive else member.reason,
        labels=member.info.labels,
    )


def cluster_node(member: Member) -> node_pb2.ClusterNode:
    """What other nodes see of a node."""
    info = member.info
    return node_pb2.ClusterNode(
        address=node_pb2.NodeAddress(node_id=info.node_id, ip=info.ip, port=info.port),
        total=to_resources(info.total),
        available=to_resources(member.status.available),
        labels=info.labels,
        alive=member.alive,
        draining=member.alive and not member.takes_work,
    )


def _bundle(message: node_pb2.CreateActorRequest) -> tuple[str, int]:
    if not message.HasField("bundle"):
        return "", -1
    if not 0 < len(message.bundle.group_id) <= MAX_ID_LENGTH:
        raise ValueError("bundle.group_id must have 1 to 256 characters")
    if not -1 <= message.bundle.index < MAX_BUNDLES:
        raise ValueError(f"bundle.index must be from 0 to {MAX_BUNDLES - 1}, or -1 for any, got {message.bundle.index}")
    return message.bundle.group_id, message.bundle.index


def bundle(actor: Actor | None) -> node_pb2.BundleKey | None:
    """The bundle that an actor is to be started in."""
    if actor is None or not actor.spec.group_id:
        return None
    return node_pb2.BundleKey(group_id=actor.spec.group_id, index=actor.bundle_index)


def actor_spec(message: node_pb2.CreateActorRequest) -> ActorSpec:
    """Raises ValueError for what is missing, too long or negative, and for a label selector that makes no sense."""
    if not 0 < len(message.actor_id) <= MAX_ID_LENGTH:
        raise ValueError("actor_id must have 1 to 256 characters")
    for field in ("name", "namespace", "class_name", "job_id", "owner_node_id"):
        text = getattr(message, field)
        if len(text) > MAX_TEXT_LENGTH:
            words = f"{field} must have at most {MAX_TEXT_LENGTH} characters"
            raise ValueError(f"{words}, got {len(text)}: {text[:40]!r}...")
    if message.max_restarts < -1:
        raise ValueError(f"max_restarts must be -1 (without limit) or at least 0, got {message.max_restarts}")
    group_id, bundle_index = _bundle(message)
    return ActorSpec(
        actor_id=message.actor_id,
        job_id=message.job_id,
        owner_node_id=message.owner_node_id,
        name=message.name,
        namespace=message.namespace,
        class_name=message.class_name,
        resources=received("resources", message.resources.amounts, may_be_empty=True),
        placement=received("placement", message.placement.amounts, may_be_empty=True),
        max_restarts=message.max_restarts,
        detached=message.detached,
        creation=message.creation,
        handle=message.handle,
        label_selector=checked("label_selector", message.label_selector),
        soft_node=message.soft_node,
        group_id=group_id,
        bundle_index=bundle_index,
    )


def actor_update(actor: Actor) -> node_pb2.ActorUpdate:
    """What subscribers hear of an actor."""
    return node_pb2.ActorUpdate(
        actor_id=actor.spec.actor_id,
        state=actor.state,
        worker=actor.worker,
        reason=actor.reason,
        message=actor.message,
        error=actor.error,
        restarts=actor.restarts,
    )
