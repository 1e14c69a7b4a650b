"""First-fit packing of grouped demand into bins, by arithmetic on counts.

A ``Bin`` stands for any number of nodes that are alike in the simulation, so that 100,000 units of one shape
on 1,000 nodes cost a handful of divisions. Placing units splits a bin into at most three: nodes that are
filled, one that is filled partly, nodes left as they were.

Invariant: no placement exceeds what a node has; units placed plus units left is units asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Demand, Group, Labels


@dataclass(frozen=True, slots=True)
class Bin:
    """``count`` nodes alike. ``members`` are pod names, or empty for nodes that do not exist yet."""

    group: str
    remaining: ResourceSet
    count: int
    labels: Labels = ()
    members: tuple[str, ...] = ()
    joined: bool = False
    """Whether the nodes exist and have joined."""
    used: bool = False
    """Whether the simulation has put something there."""


def units_per_node(shape: ResourceSet, room: ResourceSet, most: int) -> int:
    """How many units of ``shape`` fit in ``room``, at most ``most``.

    Example:
        >>> units_per_node(ResourceSet.from_units({"CPU": 2}), ResourceSet.from_units({"CPU": 5}), 100)
        2
    """
    if not shape.fits(room):
        return 0
    return min((room[name] // amount for name, amount in shape.items()), default=most) if shape else most


def matches(selector: Labels, labels: Labels) -> bool:
    """Whether a node with ``labels`` satisfies ``selector``."""
    return not selector or set(selector) <= set(labels)


def place(demand: Demand, units: int, target: Bin) -> tuple[int, list[Bin]]:
    """Put up to ``units`` units into the nodes of ``target``.

    Returns:
        How many were placed, and what became of the bin (just ``[target]`` when none fits).
    """
    if not matches(demand.label_selector, target.labels):
        return 0, [target]
    per_node = units_per_node(demand.shape, target.remaining, units)
    if per_node == 0 or units == 0:
        return 0, [target]
    full, rest = divmod(units, per_node)
    if full >= target.count:
        full, rest = target.count, 0
    pieces = [
        _take(target, 0, full, demand.shape.times(per_node)),
        _take(target, full, 1 if rest else 0, demand.shape.times(rest)),
        _untouched(target, full + (1 if rest else 0)),
    ]
    return full * per_node + rest, [piece for piece in pieces if piece.count]


def waste(demand: Demand, units: int, group: Group) -> float:
    """Mean share of the group's resources that would stay unused if it took all units; 0 is a perfect fit."""
    per_node = units_per_node(demand.shape, group.resources, units)
    if per_node == 0 or not group.resources:
        return 1.0
    nodes = -(-units // per_node)
    shares = [1 - demand.shape[name] * units / (amount * nodes) for name, amount in group.resources.items()]
    return sum(shares) / len(shares)


def _take(source: Bin, start: int, count: int, used: ResourceSet) -> Bin:
    if count == 0:
        return replace(source, count=0)
    return replace(
        source,
        remaining=source.remaining - used,
        count=count,
        members=source.members[start : start + count],
        used=True,
    )


def _untouched(source: Bin, start: int) -> Bin:
    return replace(source, count=source.count - start, members=source.members[start:])
