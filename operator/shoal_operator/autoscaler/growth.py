"""What is added, in the end: minimums, the nodes of the best packing, held to the pace that was asked for.

Invariants: every node that is added has a rule and the work behind it; the pace changes when nodes come, never which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from shoal.resources import describe
from shoal_operator.autoscaler.model import Addition, Demand, Origin, ScalingRequest, UpscalingMode
from shoal_operator.autoscaler.packing import Packing
from shoal_operator.autoscaler.problem import Space
from shoal_operator.autoscaler.standing import Room

MINIMUM: Final = "MinReplicas"
REQUESTED: Final = "RequestedResources"
ORIGINS_MAX: Final = 5
"""Shapes that an addition names."""
PACE_SECONDS: Final = 5.0
"""After which a growth that is held back is looked at again, if nothing has joined meanwhile."""


def missing_for_minimum(request: ScalingRequest, space: Space, room: Room) -> Counter[int]:
    """Nodes by group that its minimum lacks; they are taken from the room."""
    staying = Counter(node.group for node in request.nodes if node.removable and not node.draining)
    staying.update(node.group for node in request.coming)
    missing: Counter[int] = Counter()
    for kind in sorted(space.kinds, key=lambda item: (-item.group.priority, item.index)):
        group = kind.group
        hosts = max(1, group.hosts)
        nodes = min(-(-(group.min_nodes - staying[group.name]) // hosts) * hosts, room.nodes_for(space, kind.index))
        if nodes > 0:
            missing[kind.index] = nodes
            room.take(space, kind.index, nodes)
    return missing


def allowed_now(request: ScalingRequest) -> int | None:
    """New nodes that the pace allows in this plan; None means any number."""
    if request.upscaling.mode is not UpscalingMode.CONSERVATIVE:
        return None
    connected = sum(node.removable and not node.draining for node in request.nodes)
    in_flight = sum(not pod.blocked_reason for pod in request.coming)
    return max(0, max(request.upscaling.step_nodes, connected) - in_flight)


def at_pace(
    space: Space, added: Mapping[tuple[int, str], int], allowed: int | None, in_flight: bool
) -> tuple[dict[tuple[int, str], int], int]:
    """What of the new nodes is asked for now, and how many are put off.

    Args:
        added: by group and rule.
        allowed: how many may come; None means all.
        in_flight: whether some are on their way; if not, one replica comes in any case.
    """
    if allowed is None or sum(added.values()) <= allowed:
        return dict(added), 0
    now: dict[tuple[int, str], int] = {}
    held = 0
    for index, rule in sorted(added, key=lambda key: (-space.kinds[key[0]].group.priority, key)):
        hosts = max(1, space.kinds[index].group.hosts)
        nodes = min(added[index, rule], allowed // hosts * hosts)
        if not nodes and not now and not in_flight:
            nodes = hosts
        allowed = max(0, allowed - nodes)
        held += added[index, rule] - nodes
        if nodes:
            now[index, rule] = nodes
    return now, held


def additions(
    space: Space, added: Mapping[tuple[int, str], int], caused: Mapping[int, list[Origin]]
) -> Iterator[Addition]:
    """By name of group and rule, the minimum first."""
    for index, rule in sorted(added, key=lambda key: (key[0], key[1] != MINIMUM, key[1])):
        group = space.kinds[index].group
        if rule == MINIMUM:
            least = group.min_nodes // max(1, group.hosts)
            origins: tuple[Origin, ...] = (Origin(rule, f"group `{group.name}` has at least {least} replicas"),)
        else:
            origins = tuple(origin for origin in caused.get(index, ()) if origin.rule == rule)[:ORIGINS_MAX]
            origins = origins or tuple(caused.get(index, ()))[:ORIGINS_MAX]
        yield Addition(group.name, added[index, rule], rule, origins)


def causes(packings: Iterable[tuple[Packing, Mapping[int, tuple[Demand, str]]]]) -> dict[int, list[Origin]]:
    """For each group the work that its new nodes take, the most first.

    Args:
        packings: each with its work and the rule of it, by number of item.
    """
    result: dict[int, list[Origin]] = {}
    for packing, work in packings:
        for (index, item), units in sorted(packing.caused.items(), key=lambda pair: (-pair[1], pair[0])):
            demand, rule = work[item]
            result.setdefault(index, []).append(Origin(rule, in_words(demand, units), units))
    return result


def in_words(demand: Demand, units: int) -> str:
    """For people: ``12 tasks of 1 CPU``."""
    named = f" (`{demand.examples[0]}`)" if demand.examples else ""
    return f"{units} {demand.kind}{'' if units == 1 else 's'} of {describe(demand.shape)}{named}"
