"""What a request may hold, made fit for planning: equal work together, nonsense out, no more than can be looked at.

Invariant: whatever is left out is told; nothing raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Demand, Labels, Unmet, Verdict

SHAPES_MAX: Final = 1_000
"""Shapes that one plan looks at; those with the most units come first."""
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
        demands: as the head says; counts below 1 mean nothing.
    """
    merged: dict[tuple[ResourceSet, Labels, str], Demand] = {}
    for demand in demands:
        count, recent = _bounded(demand.count), _bounded(max(demand.count, demand.recent_count))
        if not recent:
            continue
        selector = tuple(sorted(set(demand.label_selector)))
        key = (demand.shape, selector, demand.kind)
        found = merged.get(key)
        if found is not None:
            count, recent = _bounded(count + found.count), _bounded(recent + found.recent_count)
            demand = min(demand, found, key=lambda item: item.examples)  # noqa: PLW2901 - whichever comes first
        merged[key] = replace(demand, count=count, recent_count=recent, label_selector=selector)
    ordered = sorted(merged.values(), key=_most_first)
    if len(merged) <= SHAPES_MAX:
        return Intake(tuple(ordered))
    return Intake(tuple(ordered[:SHAPES_MAX]), _summary(ordered[SHAPES_MAX:]))


def _summary(rest: Sequence[Demand]) -> Unmet:
    units = sum(demand.count for demand in rest)
    message = (
        f"{units} more units of {len(rest)} other shapes wait their turn: a plan looks at {SHAPES_MAX} shapes, "
        "those with the most units; round what tasks ask for, so that they share shapes"
    )
    return Unmet(replace(rest[0], examples=()), units, Verdict.LIMIT_REACHED, message, ())


def _most_first(demand: Demand) -> tuple[object, ...]:
    return -demand.count, -demand.recent_count, tuple(demand.shape.items()), demand.label_selector, demand.kind


def _bounded(count: int) -> int:
    return max(0, min(count, UNITS_MAX))
