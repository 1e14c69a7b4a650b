"""What is added, in the end: minimums, the nodes of the best packing, held to the pace that was asked for.

Invariants: every node that is added has a rule and the work behind it; the pace changes when nodes come, never which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shoal.resources import ResourceSet, describe
from shoal_operator.autoscaler.model import (
    PLACEMENT_GROUP,
    Addition,
    Demand,
    Gang,
    Group,
    Labels,
    Origin,
    ScalingRequest,
    UpscalingMode,
)
from shoal_operator.autoscaler.packing import Packing
from shoal_operator.autoscaler.problem import Space
from shoal_operator.autoscaler.reasons import Rule
from shoal_operator.autoscaler.standing import Room
from shoal_operator.autoscaler.wording import count_of_replicas

ORIGINS_MAX: Final = 5
"""Shapes that an addition names."""
BUNDLES_NAMED_MAX: Final = 3
"""Shapes of bundles that are named of one placement group."""
PACE_SECONDS: Final = 5.0
"""After which a growth that is held back is looked at again, if nothing has joined meanwhile."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What new nodes may be for."""

    demand: Demand
    rule: str
    gang: Gang | None = None
    """The one that the units are bundles of."""
    bundles: int = 1
    """How many of them one unit is."""


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
    for index, rule in sorted(added, key=lambda key: (key[0], key[1] != Rule.MIN_REPLICAS, key[1])):
        group = space.kinds[index].group
        reason = rule
        if rule == Rule.MIN_REPLICAS:
            reason = Rule.REPLICAS if group.fixed_by == "replicas" else Rule.MIN_REPLICAS
            origins: tuple[Origin, ...] = (Origin(reason, _minimum_text(group)),)
        else:
            origins = tuple(origin for origin in caused.get(index, ()) if origin.rule == rule)[:ORIGINS_MAX]
            origins = origins or tuple(caused.get(index, ()))[:ORIGINS_MAX]
        yield Addition(group.name, added[index, rule], reason, origins)


def _minimum_text(group: Group) -> str:
    least = count_of_replicas(group.min_nodes // max(1, group.hosts))
    return f"group `{group.name}` has " + (f"{least}, autoscaling is off" if group.fixed_by else f"at least {least}")


def causes(packings: Iterable[tuple[Packing, Mapping[int, Cause]]]) -> dict[int, list[Origin]]:
    """For each group the work that its new nodes take, the most first; gangs alike are told once.

    Args:
        packings: each with its work, by number of item.
    """
    result: dict[int, list[Origin]] = {}
    for packing, work in packings:
        alike: dict[tuple[int, object], list[tuple[Cause, int]]] = {}
        for (index, item), units in sorted(packing.caused.items()):
            cause = work[item]
            like = _likeness(cause.gang) if cause.gang else item
            alike.setdefault((index, like), []).append((cause, units * cause.bundles))
        origins = [(index, _origin(found)) for (index, _), found in alike.items()]
        for index, origin in sorted(origins, key=lambda pair: (-pair[1].units, pair[1].text)):
            result.setdefault(index, []).append(origin)
    return result


def _origin(found: Sequence[tuple[Cause, int]]) -> Origin:
    """Of work of one shape, or of gangs alike."""
    first, units = found[0][0], sum(units for _, units in found)
    gangs = {cause.gang.gang_id: cause.gang for cause, _ in found if cause.gang}
    return Origin(
        first.rule, gangs_in_words(sorted(gangs.values(), key=_name)) if gangs else in_words(first.demand, units), units
    )


def gang_origin(gang: Gang) -> Origin:
    """Of one placement group as the cause of a node."""
    return Origin(Rule.PLACEMENT_GROUP, gangs_in_words([gang]), sum(bundle.count for bundle in gang.bundles))


def _name(gang: Gang) -> tuple[str, str]:
    return gang.name or gang.gang_id, gang.gang_id


def _likeness(gang: Gang) -> tuple[object, ...]:
    """What is equal in gangs that need the same words."""
    return gang.strategy, bool(gang.occupied_nodes), frozenset(_counts(gang).items())


def _counts(gang: Gang) -> Counter[tuple[ResourceSet, Labels]]:
    counts: Counter[tuple[ResourceSet, Labels]] = Counter()
    for bundle in gang.bundles:
        counts[bundle.shape, bundle.label_selector] += bundle.count
    return counts


def in_words(demand: Demand, units: int) -> str:
    """For people: ``12 tasks of 1 CPU``."""
    named = f" (`{demand.examples[0]}`)" if demand.examples else ""
    return f"{units} {demand.kind}{'' if units == 1 else 's'} of {describe(demand.shape)}{named}"


def gangs_in_words(gangs: Sequence[Gang]) -> str:
    """For people: ``placement group `sp` (3 bundles of 1 CPU, SPREAD)``; of several alike, how many and one of them."""
    gang = gangs[0]
    more = "more " if gang.occupied_nodes else ""
    shapes: Counter[ResourceSet] = Counter()
    for (shape, _), count in _counts(gang).items():
        shapes[shape] += count
    parts = [
        f"{count} {more}bundle{'' if count == 1 else 's'} of {describe(shape) or 'nothing'}"
        for shape, count in sorted(shapes.items(), key=lambda pair: (-pair[1], describe(pair[0])))[:BUNDLES_NAMED_MAX]
    ]
    rest = len(shapes) - len(parts)
    bundles = " and ".join(parts) + (f" and {rest} other kind{'' if rest == 1 else 's'} of bundles" if rest else "")
    noun = PLACEMENT_GROUP if len(gangs) == 1 else f"{len(gangs)} {PLACEMENT_GROUP}s like"
    return f"{noun} `{gang.name or gang.gang_id}` ({bundles}, {gang.strategy})"
