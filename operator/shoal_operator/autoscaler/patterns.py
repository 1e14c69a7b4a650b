"""What one node is filled with so that it runs out of everything at once.

Filling a node with the hardest work first leaves it full in one resource and half empty in another. A pattern starts
with one unit of the hardest work, and then always takes from the work that leans most on what the node has most left
of. It is used for as many nodes as there is work for.

Invariant: a pattern fits into one node, and its units are there to be placed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shoal_operator.autoscaler.bins import Amounts, Bin
from shoal_operator.autoscaler.problem import PRICE_SCALE, Item, Labelling

PORTION: Final = 4
"""Units are taken by such a part of what would fit, so that small ones take few steps."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The content of one node."""

    units: Mapping[int, int]
    """By index of item."""
    value: int
    """What they take, as a price."""
    free: Amounts
    """What is left."""


class Leanings:
    """Work by the resource that it leans on: of which it takes the largest share of all there is to place."""

    def __init__(self, items: Sequence[Item], dimensions: int) -> None:
        totals = [0] * dimensions
        for item in items:
            for dimension, amount in item.needs:
                totals[dimension] += amount * item.count
        self._by_dimension: list[list[Item]] = [[] for _ in range(dimensions)]
        for item in items:
            if item.needs and item.is_possible:
                leaning = max(item.needs, key=lambda need: (need[1] * PRICE_SCALE // max(1, totals[need[0]]), -need[0]))
                self._by_dimension[leaning[0]].append(item)
        self._known: dict[tuple[int, Amounts, int], Pattern] = {}

    def fill(self, anchor: Item, source: Bin, left: Mapping[int, int], labelling: Labelling) -> Pattern:
        """A pattern around one unit of ``anchor``, which fits; the last one for such a node while it lasts.

        Args:
            left: units that are still to be placed, by index of item.
        """
        key = (anchor.index, source.free, source.labels)
        known = self._known.get(key)
        if known is None or any(left[index] < units for index, units in known.units.items()):
            known = self._known[key] = self._fill(anchor, source, left, labelling)
        return known

    def _fill(self, anchor: Item, source: Bin, left: Mapping[int, int], labelling: Labelling) -> Pattern:
        free = list(source.free)
        units = {anchor.index: 1}
        value = anchor.value
        for dimension, amount in anchor.needs:
            free[dimension] -= amount
        starts = [0] * len(free)
        while True:
            shares = sorted(
                ((free[d] * PRICE_SCALE // max(1, source.free[d]), -d) for d in range(len(free))), reverse=True
            )
            for _, negative in shares:
                found = self._next(-negative, starts, free, units, left, labelling, source.labels)
                if found is not None:
                    item, fitting = found
                    taken = max(1, fitting // PORTION)
                    units[item.index] = units.get(item.index, 0) + taken
                    value += item.value * taken
                    for dimension, amount in item.needs:
                        free[dimension] -= amount * taken
                    break
            else:
                return Pattern(units, value, tuple(free))

    def _next(
        self,
        leaning: int,
        starts: list[int],
        free: Sequence[int],
        units: Mapping[int, int],
        left: Mapping[int, int],
        labelling: Labelling,
        labels: int,
    ) -> tuple[Item, int] | None:
        """The next item that leans on that resource and fits; those before it never will again."""
        items = self._by_dimension[leaning]
        for place in range(starts[leaning], len(items)):
            item = items[place]
            most = left[item.index] - units.get(item.index, 0)
            for dimension, amount in item.needs:
                fitting = free[dimension] // amount
                if fitting < most:
                    most = fitting
                    if most <= 0:
                        break
            if most > 0 and labelling.allows(item.demand.label_selector, labels):
                return item, most
            starts[leaning] = place + 1
        return None
