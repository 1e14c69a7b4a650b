"""In which order work is placed: the hardest first, and other notions of hard.

Invariant: each order is total, so that the order of the question does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from shoal_operator.autoscaler.problem import Item

Order: TypeAlias = Callable[[Item], tuple[object, ...]]


def hardest(item: Item) -> tuple[object, ...]:
    """Labels and accelerators, then few groups that could, then a large share of a node."""
    return *_rare(item), -item.dominant, -item.value, *_identity(item)


def _largest(item: Item) -> tuple[object, ...]:
    return *_rare(item), -item.value, -item.dominant, *_identity(item)


def _widest(item: Item) -> tuple[object, ...]:
    return *_rare(item), -len(item.needs), -item.dominant, *_identity(item)


def _most(item: Item) -> tuple[object, ...]:
    return *_rare(item), -item.value * item.count, *_identity(item)


def _smallest(item: Item) -> tuple[object, ...]:
    return item.value, *_identity(item)


def _by_first_resource(item: Item) -> tuple[object, ...]:
    return *_rare(item), tuple((dimension, -amount) for dimension, amount in sorted(item.needs)), *_identity(item)


def _by_last_resource(item: Item) -> tuple[object, ...]:
    needs = tuple((-dimension, -amount) for dimension, amount in sorted(item.needs, reverse=True))
    return *_rare(item), needs, *_identity(item)


def _rare(item: Item) -> tuple[object, ...]:
    return -len(item.accelerators), -len(item.demand.label_selector), len(item.groups)


def _identity(item: Item) -> tuple[object, ...]:
    demand = item.demand
    return (
        tuple((name, -amount) for name, amount in demand.shape.items()),
        demand.label_selector,
        demand.kind,
        demand.examples,
        demand.count,
        demand.recent_count,
    )


ORDERS: Final[Mapping[str, Order]] = {
    "hardest": hardest,
    "largest": _largest,
    "widest": _widest,
    "most": _most,
    "smallest": _smallest,
    "first": _by_first_resource,
    "last": _by_last_resource,
}
