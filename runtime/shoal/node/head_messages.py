"""Between the head's protobuf messages and plain values; imported late, because protobuf is slow to load.

Invariant: nothing but translation happens here.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable
from typing import Any

from shoal.core.demand import NodeDemand
from shoal.core.labels import NODE_ID
from shoal.core.scheduler import NodeView
from shoal.node.config import NodeConfig
from shoal.protocol import PROTOCOL_VERSION, head_pb2, node_pb2
from shoal.resources import ResourceSet
from shoal.wire.address import RawAddress

DRAIN_STATES = {
    "active": head_pb2.DRAIN_STATE_ACTIVE,
    "draining": head_pb2.DRAIN_STATE_DRAINING,
    "drained": head_pb2.DRAIN_STATE_DRAINED,
}


def registration(
    config: NodeConfig, port: int, live_actor_ids: Iterable[str], bundles: Iterable[tuple[str, int]] = ()
) -> node_pb2.RegisterNode:
    """The first message of a session."""
    return node_pb2.RegisterNode(
        protocol_version=PROTOCOL_VERSION,
        address=node_pb2.NodeAddress(node_id=config.node_id, ip=config.ip, port=port),
        total=head_pb2.Resources(amounts=dict(config.total)),
        labels=dict(config.labels),
        pod_name=config.pod_name,
        group=config.group,
        is_head=config.is_head,
        live_actor_ids=list(live_actor_ids),
        held_bundles=[node_pb2.BundleKey(group_id=group_id, index=index) for group_id, index in bundles],
    )


def report(
    available: ResourceSet, demands: Iterable[NodeDemand], idle_seconds: float, activity: str, drain_state: str
) -> node_pb2.NodeReport:
    """The state of the node."""
    return node_pb2.NodeReport(
        available=head_pb2.Resources(amounts=dict(available)),
        demands=[
            head_pb2.Demand(
                shape=head_pb2.Resources(amounts=dict(demand.shape)),
                count=demand.count,
                label_selector=dict(demand.label_selector),
                kind=demand.kind,
                examples=demand.examples,
            )
            for demand in demands
        ],
        idle_seconds=idle_seconds,
        activity=activity,
        drain_state=DRAIN_STATES[drain_state],
    )


def views(message: node_pb2.ClusterView) -> list[NodeView]:
    """The nodes of a view."""
    return [
        NodeView(
            (node.address.node_id, node.address.ip, node.address.port),
            ResourceSet(node.total.amounts),
            ResourceSet(node.available.amounts),
            {**node.labels, NODE_ID: node.address.node_id},
            alive=node.alive,
            draining=node.draining,
        )
        for node in message.nodes
    ]


def create_actor(info: dict[str, Any], creation: bytes, node_id: str) -> node_pb2.CreateActorRequest:
    """The request to the head; the job travels with the creation, so that any node can start a worker of it."""
    bundle = info.get("bundle")
    return node_pb2.CreateActorRequest(
        actor_id=info["actor_id"],
        job_id=info["job"]["id"],
        owner_node_id=node_id,
        name=info.get("name") or "",
        namespace=info.get("namespace") or "",
        class_name=info.get("class_name") or "",
        resources=head_pb2.Resources(amounts=dict(info.get("resources") or ())),
        placement=head_pb2.Resources(amounts=dict(info.get("placement") or ())),
        max_restarts=info.get("max_restarts", 0),
        detached=bool(info.get("detached")),
        creation=marshal.dumps((info["job"], info.get("class_name") or "", creation)),
        handle=info.get("handle") or b"",
        label_selector=dict(info.get("label_selector") or ()),
        soft_node=bool(info.get("soft_node")),
        bundle=None if bundle is None else node_pb2.BundleKey(group_id=bundle[0], index=bundle[1]),
    )


def floors(wanted: Iterable[tuple[Any, int, Any]]) -> node_pb2.RequestResourcesRequest:
    """The request to the head, from (shape, count, label selector) with the shape and the selector as pairs."""
    return node_pb2.RequestResourcesRequest(
        floors=[
            head_pb2.Demand(shape=head_pb2.Resources(amounts=dict(shape)), count=count, label_selector=dict(labels))
            for shape, count, labels in wanted
        ]
    )


def read_creation(data: bytes) -> tuple[dict[str, Any], str, bytes]:
    """What ``create_actor`` packed: (job, class name, creation)."""
    job, class_name, creation = marshal.loads(data)
    return job, class_name, creation


def write_address(address: RawAddress | None) -> bytes:
    """A worker's address as bytes, which the head never opens."""
    return marshal.dumps(address)


def read_address(data: bytes) -> RawAddress | None:
    """The opposite."""
    address: RawAddress | None = marshal.loads(data) if data else None
    return address


def actor_update(update: node_pb2.ActorUpdate) -> tuple[Any, ...]:
    """The arguments of the cast ``actor_update``."""
    address = read_address(update.worker) if update.state == "ALIVE" else None
    return (
        update.actor_id,
        update.state,
        address,
        update.reason,
        update.message,
        update.error,
        update.restarts,
    )


def placement_group(asked: dict[str, Any]) -> node_pb2.PlacementGroup:
    """A group as a program asks for it."""
    return node_pb2.PlacementGroup(
        group_id=asked["group_id"],
        name=asked["name"],
        namespace=asked["namespace"],
        job_id=asked["job_id"],
        strategy=asked["strategy"],
        detached=asked["detached"],
        bundles=[
            node_pb2.PlacedBundle(shape=head_pb2.Resources(amounts=dict(shape)), label_selector=dict(labels))
            for shape, labels in asked["bundles"]
        ],
    )


def placement_group_dict(group: node_pb2.PlacementGroup) -> dict[str, Any]:
    """A group for ``placement_group_table()``."""
    return {
        "group_id": group.group_id,
        "name": group.name,
        "namespace": group.namespace,
        "job_id": group.job_id,
        "strategy": group.strategy,
        "state": group.state,
        "message": group.message,
        "detached": group.detached,
        "bundles": [
            (dict(bundle.shape.amounts), dict(bundle.label_selector), bundle.node.node_id) for bundle in group.bundles
        ],
    }


def node_dict(snapshot: head_pb2.NodeSnapshot) -> dict[str, Any]:
    """A node for ``nodes()``."""
    ip, _, port = snapshot.address.rpartition(":")
    return {
        "node_id": snapshot.node_id,
        "alive": snapshot.alive,
        "ip": ip,
        "port": int(port or 0),
        "pod_name": snapshot.pod_name,
        "group": snapshot.group,
        "total": dict(snapshot.total.amounts),
        "available": dict(snapshot.available.amounts),
        "draining": snapshot.drain_state != head_pb2.DRAIN_STATE_ACTIVE,
        "activity": snapshot.activity,
    }
