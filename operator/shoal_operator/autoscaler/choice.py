"""Which nodes to use next for an item, among free ones and those that may be added.

Invariant: strict priority of groups and the keeping of accelerators come before all that strategies value; every tie is
broken, by what nodes are and never by where they stand in a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shoal_operator.autoscaler.bins import COMING, NEW, Bin, minus, units_per_node
from shoal_operator.autoscaler.patterns import Leanings, Pattern
from shoal_operator.autoscaler.problem import Item, Space


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to go about it; the best of several is taken."""

    order: str = "hardest"
    """In which order work is placed: a key of ``orders.ORDERS``."""
    choice: str = "dense"
    """What is valued in a group: ``dense`` (little unused), ``few`` (few nodes), ``cheap`` (little capacity); with
    ``balanced``, little unused, and nodes are filled by patterns."""
    lookahead: int = 8
    """How many of the following shapes are tried for what a node has left, when groups are compared."""
    by_age: bool = False
    """Whether older coming nodes are used before younger ones, whatever their group."""


class Choice:
    """The choices of one pass.

    Args:
        left: units that are still to be placed, by index of item; kept up by the pass.
    """

    def __init__(self, space: Space, items: Sequence[Item], strategy: Strategy, left: Mapping[int, int]) -> None:
        self._space = space
        self._items = items
        self._strategy = strategy
        self._left = left
        self._leanings = Leanings(items, len(space.names)) if strategy.choice == "balanced" else None
        self.position = -1
        """Of the item that is being placed; -1 for placement groups, which come first."""

    def best(self, able: Sequence[Bin], item: Item, units: int) -> Bin | None:
        """The one to use next of bins that can hold the item; None when there are none."""
        if len(able) > 1:
            ranks = [self._rank(item, source) for source in able]
            least = min(ranks)
            able = [source for source, rank in zip(able, ranks, strict=True) if rank == least]
        if len(able) > 1:
            return min(able, key=lambda source: self._worth(item, units, source))
        return able[0] if able else None

    def hosts(self, source: Bin) -> int:
        """How many nodes of it come together: new ones in replicas, others one by one."""
        return max(1, self._space.kinds[source.group].group.hosts) if source.stage == NEW else 1

    def pattern(self, item: Item, source: Bin) -> Pattern | None:
        """What to fill such a node with at once; None where nodes are filled with one item after the other."""
        if self._leanings is None or self.hosts(source) > 1 or not item.needs or self.position < 0:
            return None
        return self._leanings.fill(item, source, self._left, self._space.labelling)

    def _rank(self, item: Item, source: Bin) -> tuple[int, int, int, bool]:
        kind = self._space.kinds[source.group]
        age = source.age if self._strategy.by_age and source.stage == COMING else 0
        spoils = bool(kind.accelerators) and not item.accelerators & kind.accelerators
        return source.stage, age, -kind.group.priority, spoils

    def _worth(self, item: Item, units: int, source: Bin) -> tuple[object, ...]:
        """What a strategy values, best first; every tie is broken."""
        kind = self._space.kinds[source.group]
        hosts = self.hosts(source)
        fitting = units_per_node(item.needs, source.free, units)
        needed = -(-units // (fitting * hosts)) * hosts
        cost = max(1, kind.price + kind.accelerator_price)
        if self._strategy.choice == "few":
            first: tuple[int, ...] = (needed, cost)
        elif self._strategy.choice == "cheap":
            first = (needed * cost, needed)
        elif (pattern := self.pattern(item, source)) is not None:
            first = (-pattern.value * 1_000_000 // cost, needed)
        else:
            first = (-self._density(item, units, source, fitting, hosts), needed)
        return *first, -source.stage, source.labels, kind.group.name

    def _density(self, item: Item, units: int, source: Bin, fitting: int, hosts: int) -> int:
        """How much of the price of a replica its first filling takes, in millionths."""
        held = min(units, fitting * hosts)
        value = held * item.value
        free = minus(source.free, item.needs, -(-held // hosts))
        nodes = max(1, units // (fitting * hosts)) * hosts
        allows = self._space.labelling.allows
        for other in self._items[self.position + 1 : self.position + 1 + self._strategy.lookahead]:
            if other.is_possible and allows(other.demand.label_selector, source.labels):
                fits = units_per_node(other.needs, free, -(-self._left[other.index] // nodes))
                if fits:
                    value += fits * hosts * other.value
                    free = minus(free, other.needs, fits)
        kind = self._space.kinds[source.group]
        return value * 1_000_000 // max(1, hosts * (kind.price + kind.accelerator_price))
