"""Between placement groups as the head keeps them and messages, rows of the state, and gangs.

Invariant: nothing but translation and checks happens here; a malformed message or row raises ``ValueError`` with words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from shoal.core.demand import selector
from shoal.core.gangs import Gang, GangBundle
from shoal.core.labels import checked
from shoal.core.packing import STRATEGIES, Bundle
from shoal.core.placement_group import MAX_BUNDLES, MAX_NAME_LENGTH, GroupSpec, Place, PlacementGroup, Reserve
from shoal.core.shapes import received
from shoal.protocol import head_pb2, node_pb2
from shoal.resources import ResourceSet

MAX_ID_LENGTH: Final = 256
MAX_TEXT_LENGTH: Final = 1_024
AddressOf = Callable[[str], node_pb2.NodeAddress | None]


def spec(message: node_pb2.PlacementGroup) -> GroupSpec:
    """What is asked for. Raises ValueError for whatever is missing, negative, unknown or too much."""
    if not 0 < len(message.group_id) <= MAX_ID_LENGTH:
        raise ValueError(f"the id of a placement group has 1 to {MAX_ID_LENGTH} characters")
    if len(message.name) > MAX_NAME_LENGTH:
        raise ValueError(f"the name of a placement group has at most {MAX_NAME_LENGTH} characters")
    if message.strategy not in STRATEGIES:
        raise ValueError(f"{message.strategy!r} is no placement strategy: it is one of {', '.join(STRATEGIES)}")
    if not 0 < len(message.bundles) <= MAX_BUNDLES:
        raise ValueError(f"a placement group has 1 to {MAX_BUNDLES} bundles, got {len(message.bundles)}")
    if max(len(message.job_id), len(message.namespace)) > MAX_TEXT_LENGTH:
        raise ValueError(f"job_id and namespace of a placement group have at most {MAX_TEXT_LENGTH} characters")
    where = "bundle {} of the placement group"
    bundles = tuple(_bundle(where.format(index), each) for index, each in enumerate(message.bundles))
    return GroupSpec(
        group_id=message.group_id,
        job_id=message.job_id,
        strategy=next(strategy for strategy in STRATEGIES if strategy == message.strategy),
        bundles=bundles,
        name=message.name,
        namespace=message.namespace,
        detached=message.detached,
    )


def _bundle(where: str, message: node_pb2.PlacedBundle) -> Bundle:
    labels = checked(f"the label selector of {where}", message.label_selector)
    return Bundle(received(where, message.shape.amounts), labels)


def told(group: PlacementGroup, address_of: AddressOf, message: str) -> node_pb2.PlacementGroup:
    """What others hear of a group; a bundle has a node once it can be used there."""
    spec = group.spec
    bundles = []
    for bundle, node_id in zip(spec.bundles, group.nodes(), strict=True):
        address = address_of(node_id) if node_id else None
        shape = head_pb2.Resources(amounts=dict(bundle.shape))
        labels = dict(bundle.selector)
        bundles.append(node_pb2.PlacedBundle(shape=shape, label_selector=labels, node=address))
    return node_pb2.PlacementGroup(
        group_id=spec.group_id,
        name=spec.name,
        namespace=spec.namespace,
        job_id=spec.job_id,
        strategy=spec.strategy,
        state=group.state,
        message=message,
        detached=spec.detached,
        bundles=bundles,
        version=group.version,
    )


def reserve(order: Reserve, group: PlacementGroup) -> node_pb2.ReserveBundles:
    """The order to a node."""
    shapes = group.spec.bundles
    return node_pb2.ReserveBundles(
        group_id=order.group_id,
        attempt=order.attempt,
        bundles=[
            node_pb2.ReservedBundle(index=index, shape=head_pb2.Resources(amounts=dict(shapes[index].shape)))
            for index in order.indexes
        ],
        total=len(shapes),
    )


def gang(group: PlacementGroup) -> Gang:
    """The bundles that have no node, as demand."""
    counts = Counter(group.unplaced().values())
    rest = tuple(GangBundle(bundle.shape, count, bundle.selector) for bundle, count in counts.items())
    spec = group.spec
    return Gang(spec.group_id, spec.name, spec.strategy, rest, tuple(sorted(group.occupied())))


def row(group: PlacementGroup) -> tuple[str, str, str, str]:
    """A row of ``placement_groups``."""
    spec = group.spec
    record = {
        "job_id": spec.job_id,
        "namespace": spec.namespace,
        "strategy": spec.strategy,
        "detached": spec.detached,
        "attempt": group.attempt,
        "bundles": [[dict(bundle.shape), list(bundle.selector)] for bundle in spec.bundles],
        "places": [[place.node_id, place.held, place.attempt] for place in group.places],
    }
    return (spec.group_id, spec.name, group.state, json.dumps(record))


def group(row: tuple[Any, ...]) -> PlacementGroup:
    """The opposite. Raises ValueError for a malformed row."""
    group_id, name, state, text = row
    record = json.loads(text)
    bundles = tuple(Bundle(ResourceSet(shape), selector(dict(labels))) for shape, labels in record["bundles"])
    if record["strategy"] not in STRATEGIES or state not in ("PENDING", "CREATED", "RESCHEDULING"):
        raise ValueError(f"placement group {group_id} has strategy {record['strategy']!r} and state {state!r}")
    made = GroupSpec(
        *(group_id, record["job_id"], record["strategy"], bundles, name, record["namespace"]), bool(record["detached"])
    )
    places = [Place(str(node_id), bool(held), int(attempt)) for node_id, held, attempt in record["places"]]
    if len(places) != len(bundles):
        raise ValueError(f"placement group {group_id} has {len(bundles)} bundles and {len(places)} places")
    return PlacementGroup(made, state, places, int(record["attempt"]))
