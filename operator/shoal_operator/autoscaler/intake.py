"""What a request may hold, made fit for planning: equal work together, nonsense out, no more than can be looked at.

Invariant: whatever is left out is told; nothing raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import PLACEMENT_GROUP, Demand, Gang, Labels, ScalingRequest, Unmet, Verdict
from shoal_operator.autoscaler.turns import in_turn

SHAPES_MAX: Final = 1_000
"""Shapes that one plan looks at; those with the most units come first."""
BUNDLES_MAX: Final = 5_000
"""Bundles of placement groups that one plan looks at, equal ones of one group counted once."""
SUMMED_UP: Final = "other"
"""Kind of the one entry in which a head sums up the shapes that it does not list."""
UNITS_MAX: Final = 10**12
"""More units of one shape than this are not counted."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Work that a plan looks at."""

    demands: tuple[Demand, ...]
    left_out: Unmet | None = None
    """The rest, in one line."""


def take_in(demands: Iterable[Demand]) -> Intake:
    """Equal shapes together; at most ``SHAPES_MAX`` of them.

    Args:
        demands: as the head says; counts below 1 mean nothing. What it has summed up is left out, too.
    """
    summed_up = 0
    merged: dict[tuple[ResourceSet, Labels, str], Demand] = {}
    for demand in demands:
        count, recent = _bounded(demand.count), _bounded(max(demand.count, demand.recent_count))
        if demand.kind == SUMMED_UP and not demand.shape:
            summed_up = _bounded(summed_up + count)
            continue
        if not recent:
            continue
        selector = tuple(sorted(set(demand.label_selector))) if demand.label_selector else ()
        key = (demand.shape, selector, demand.kind)
        found = merged.get(key)
        if found is not None:
            count, recent = _bounded(count + found.count), _bounded(recent + found.recent_count)
            demand = min(demand, found, key=lambda item: item.examples)  # noqa: PLW2901 - whichever comes first
        merged[key] = Demand(demand.shape, count, selector, demand.kind, demand.examples, recent)
    ordered = sorted(merged.values(), key=_most_first)
    rest = ordered[SHAPES_MAX:]
    return Intake(tuple(ordered[:SHAPES_MAX]), _summary(rest, summed_up) if rest or summed_up else None)


def take_in_gangs(request: ScalingRequest) -> tuple[Gang, ...]:
    """As many placement groups as one plan looks at: all, or those whose turn it is.

    Those that ask for more of a resource than any node has come last: they keep no others waiting.
    """
    if sum(len(gang.bundles) for gang in request.gangs) <= BUNDLES_MAX:
        return request.gangs
    most: Counter[str] = Counter()
    for resources in {*(group.resources for group in request.groups), *(node.total for node in request.nodes)}:
        most |= Counter(dict(resources))
    ordered = sorted(request.gangs, key=lambda gang: (gang.gang_id, gang.name))
    able = [gang for gang in ordered if all(_is_within(bundle.shape, most) for bundle in gang.bundles)]
    names = {gang.gang_id for gang in able}
    taken: list[Gang] = []
    bundles = 0
    for gang in [*in_turn(able, request.turn), *(gang for gang in ordered if gang.gang_id not in names)]:
        bundles += len(gang.bundles)
        if bundles > BUNDLES_MAX and taken:
            break
        taken.append(gang)
    return tuple(taken)


def gangs_in_one_line(unlisted: int, late: int = 0) -> Unmet | None:
    """Placement groups that nobody looked at, for people; None where there are none.

    Args:
        unlisted: so many the head does not list.
        late: so many more it lists, and the plan did not get to.
    """
    unlisted, late = _bounded(unlisted), _bounded(late)
    count = _bounded(unlisted + late)
    # Without the number, which is beside it: the message stands in a status, which is not written for each group.
    limit, when = "the head lists", "they get workers when others have found their places"
    if not unlisted:
        limit, when = "one plan looks at", "they are looked at in turn"
    message = f"more placement groups wait than {limit}: {when}, and no idle worker goes meanwhile"
    demand = Demand(ResourceSet(), count, kind=PLACEMENT_GROUP)
    return Unmet(demand, count, Verdict.LIMIT_REACHED, message, (), sums_up=True) if count else None


def _summary(rest: Sequence[Demand], summed_up: int) -> Unmet:
    units = sum(demand.count for demand in rest) + summed_up
    shapes = "other shapes" if summed_up else f"{len(rest)} other shapes"
    message = (
        f"{units} more units of {shapes} wait their turn: a plan looks at {SHAPES_MAX} shapes, "
        "those with the most units; round what tasks ask for, so that they share shapes"
    )
    demand = replace(rest[0], examples=()) if rest else Demand(ResourceSet(), units, kind=SUMMED_UP)
    return Unmet(demand, units, Verdict.LIMIT_REACHED, message, (), sums_up=True)


def _most_first(demand: Demand) -> tuple[object, ...]:
    return -demand.count, -demand.recent_count, tuple(demand.shape.items()), demand.label_selector, demand.kind


def _is_within(shape: ResourceSet, most: Mapping[str, int]) -> bool:
    return all(amount <= most.get(name, 0) for name, amount in shape.items())


def _bounded(count: int) -> int:
    return max(0, min(count, UNITS_MAX))
