"""One pass of packing: grouped work into bins, by arithmetic on counts.

A unit of work goes to nodes that the pass uses already, to joined nodes that hold something (busy ones first), to
nodes that hold nothing, joined before coming, and at last to new nodes. Among free and new nodes the choice is by
strict priority of their group, then nodes without accelerators for work that needs none, then by what the strategy
values. Within a node the rest is filled with the work that follows, the hardest to place first.

Nodes that come are chosen among as new ones are: so a pass that finds the new nodes of an earlier one on their way
goes the same way, and adds nothing.

Invariants: no placement exceeds what a node has; units placed plus units left is units asked; a group never gets more
nodes than there is room for, and always whole replicas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoal_operator.autoscaler.bins import (
    COMING,
    JOINED,
    NEW,
    Amounts,
    Bin,
    joined_bin,
    minus,
    piece,
    units_per_node,
)
from shoal_operator.autoscaler.choice import Choice, Strategy
from shoal_operator.autoscaler.patterns import Pattern
from shoal_operator.autoscaler.problem import Item, Kind, Space
from shoal_operator.autoscaler.reasons import Rule
from shoal_operator.autoscaler.standing import Room, Standing


@dataclass(frozen=True, slots=True)
class Saved:
    """A state of a pass."""

    bins: tuple[tuple[Bin, ...], ...]
    room: Room
    counters: tuple[dict[Any, int], ...]


class Packing:
    """The state of one pass; what it amounts to is read from its counters afterwards."""

    def __init__(
        self,
        space: Space,
        items: Sequence[Item],
        standing: Standing,
        room: Room,
        strategy: Strategy,
        extra: Mapping[int, int] | None = None,
    ) -> None:
        """Begin.

        Args:
            items: in the order in which they will be placed.
            extra: nodes of each group that count as coming although nobody has asked for them yet.
        """
        self.space = space
        self.items = items
        self.standing = standing
        self.room = room.copy()
        self.strategy = strategy
        self.rule: str = Rule.DEMAND
        self.used: list[Bin] = []
        """Nodes that hold work of this pass, and new ones that are still empty."""
        self.full: list[Bin] = []
        """Those among them in which nothing fits that is still to come."""
        self.joined = list(standing.joined)
        self.free = self._stock(extra or {})
        self.left = {item.index: item.count for item in items}
        self.on_the_way: Counter[int] = Counter()
        """Units, by item, that will run on nodes that have not joined."""
        self.added: Counter[tuple[int, str]] = Counter()
        """New nodes by group and the rule that they were opened for."""
        self.caused: Counter[tuple[int, int]] = Counter()
        """Units on new nodes, by group and item."""
        self.huddled = 0
        """Gangs that want to be spread and are not, for want of room."""
        self.looked = 0
        """How often work was held against nodes; what was undone counts, too."""
        self.is_cut = False
        """Whether that was so often that some gangs had to wait for their turn."""
        self.late_gangs: list[int] = []
        """Those whose turn it was not: nobody knows whether they have a place."""
        self.failed_gangs: list[int] = []
        self.waiting_gangs: list[int] = []
        self._items = {item.index: item for item in items}
        self._choice = Choice(space, items, strategy, self.left)
        self._tails = _smallest_to_come(items, len(space.names))

    def place_all(self) -> None:
        """Place the items in their order; what finds no place stays in ``left``."""
        for position, item in enumerate(self.items):
            self._choice.position = position
            if item.is_possible and item.count > 0:
                self.left[item.index] = self.place(item, self.left[item.index])

    def leave_items(self) -> None:
        """Be ready for bundles once more: they are in no pattern, and no node is full for them."""
        self._choice.position = -1
        self.used += self.full
        self.full.clear()

    def place(self, item: Item, units: int, *, may_add: bool = True) -> int:
        """Place units of one item; returns how many are left."""
        left = self.pour(item, units, self.used, moves=False)
        left = self.pour(item, left, self.joined, moves=True)
        while left:
            self.left[item.index] = left
            chosen = self.choose(item, left, may_add=may_add)
            if chosen is None:
                break
            left = self.open(item, left, chosen)
        return left

    def pour(self, item: Item, units: int, source: list[Bin], *, moves: bool) -> int:
        """Place into bins in their order. With ``moves``, bins that get something go over to ``used``."""
        if not units or not source:
            return units
        needs, selector, allows = item.needs, item.demand.label_selector, self.space.labelling.allows
        kept: list[Bin] = []
        first, least = needs[0] if needs else (-1, 0)
        self.looked += len(source)
        for place, bin_ in enumerate(source):
            if not units:
                kept.extend(source[place:])
                self.looked -= len(source) - place
                break
            if (least and bin_.free[first] < least) or (selector and not allows(selector, bin_.labels)):
                kept.append(bin_)
                continue
            fitting = units_per_node(needs, bin_.free, units)
            if not fitting:
                kept.append(bin_)
                continue
            units -= self.fill(item, bin_, fitting, units, self.used if moves else kept, kept)
        source[:] = kept
        return units

    def fill(self, item: Item, source: Bin, fitting: int, units: int, filled: list[Bin], untouched: list[Bin]) -> int:
        """Put units into the nodes of one bin, ``fitting`` into each; its parts go to the two lists."""
        nodes, rest = divmod(units, fitting)
        if nodes >= source.count:
            nodes, rest = source.count, 0
        if nodes:
            self._keep(piece(source, 0, nodes, minus(source.free, item.needs, fitting)), filled)
        if rest:
            self._keep(piece(source, nodes, 1, minus(source.free, item.needs, rest)), filled)
        taken = nodes + (1 if rest else 0)
        if taken < source.count:
            untouched.append(piece(source, taken, source.count - taken, source.free))
        placed = nodes * fitting + rest
        self.count(item, source, placed)
        return placed

    def count(self, item: Item, source: Bin, placed: int) -> None:
        """Write down where units went."""
        if source.stage != JOINED:
            self.on_the_way[item.index] += placed
            if source.stage == NEW:
                self.caused[source.group, item.index] += placed

    def choose(self, item: Item, units: int, *, may_add: bool = True) -> Bin | None:
        """The free nodes to use next for an item, or new ones; None when there are none."""
        self.looked += len(self.free)
        able = [
            source
            for source in self.free
            if self.space.labelling.allows(item.demand.label_selector, source.labels)
            and units_per_node(item.needs, source.free, 1)
        ]
        if not able and may_add:
            able = [
                Bin(NEW, index, self.space.kinds[index].capacity, self.space.kinds[index].labels, nodes)
                for index in sorted(item.groups)
                if (nodes := self.room.nodes_for(self.space, index))
            ]
        return self._choice.best(able, item, units)

    def open(self, item: Item, units: int, source: Bin) -> int:
        """Use free or new nodes for an item: as many as it fills, or one replica; returns the units left."""
        fitting = units_per_node(item.needs, source.free, units)
        hosts = self._choice.hosts(source)
        pattern = self._choice.pattern(item, source)
        if pattern is not None:
            return units - self._open_pattern(item, source, pattern)
        nodes = max(1, units // (fitting * hosts)) * hosts
        return units - self.fill(item, self.start(source, nodes), fitting, units, self.used, self.used)

    def _open_pattern(self, item: Item, source: Bin, pattern: Pattern) -> int:
        """Fill nodes with a pattern around an item; returns the units of it that they take."""
        nodes = min(self.left[index] // units for index, units in pattern.units.items())
        opened = self.start(source, max(1, nodes))
        self._keep(piece(opened, 0, opened.count, pattern.free), self.used)
        for index, units in pattern.units.items():
            self.left[index] -= units * opened.count
            self.count(self._items[index], opened, units * opened.count)
        return pattern.units[item.index] * opened.count

    def start(self, source: Bin, nodes: int) -> Bin:
        """Take so many of free nodes, or add so many new ones."""
        nodes = min(nodes, source.count)
        if source.stage == NEW:
            self.room.take(self.space, source.group, nodes)
            self.added[source.group, self.rule] += nodes
            return piece(source, 0, nodes, source.free)
        place = next(index for index, bin_ in enumerate(self.free) if bin_ is source)
        if nodes == source.count:
            del self.free[place]
        else:
            self.free[place] = piece(source, nodes, source.count - nodes, source.free)
        return piece(source, 0, nodes, source.free)

    def hosts(self, source: Bin) -> int:
        """How many nodes of it come together."""
        return self._choice.hosts(source)

    def save(self) -> Saved:
        """The state as it is, to come back to."""
        bins = tuple(tuple(source) for source in (self.used, self.full, self.joined, self.free))
        counters = tuple(dict(counter) for counter in (self.on_the_way, self.added, self.caused))
        return Saved(bins, self.room.copy(), counters)

    def restore(self, saved: Saved) -> None:
        """Go back."""
        for source, bins in zip((self.used, self.full, self.joined, self.free), saved.bins, strict=True):
            source[:] = bins
        self.room = saved.room
        self.on_the_way, self.added, self.caused = (Counter(counter) for counter in saved.counters)

    def new_nodes(self) -> Counter[int]:
        """New nodes by group."""
        result: Counter[int] = Counter()
        for (kind, _), nodes in self.added.items():
            result[kind] += nodes
        return result

    def used_members(self) -> set[str]:
        """Pods of joined and coming nodes that work of this pass would land on."""
        return {member for bin_ in (*self.used, *self.full) for member in bin_.members}

    def _keep(self, bin_: Bin, into: list[Bin]) -> None:
        tail = self._tails[self._choice.position + 1]
        for has, least in zip(bin_.free, tail, strict=True):
            if has < least:
                into = self.full
                break
        into.append(bin_)

    def _stock(self, extra: Mapping[int, int]) -> list[Bin]:
        kinds = self.space.kinds
        stock = list(self.standing.free)
        stock += [
            Bin(COMING, index, kinds[index].capacity, kinds[index].labels, nodes, (), len(stock))
            for index, nodes in sorted(extra.items())
            if nodes > 0
        ]
        if self.strategy.by_age:
            return stock
        merged: dict[tuple[int, int, Amounts, int], Bin] = {}
        for bin_ in stock:
            key = (bin_.stage, bin_.group, bin_.free, bin_.labels)
            found = merged.get(key)
            merged[key] = bin_ if found is None else joined_bin(found, bin_)
        return [*merged.values()]


def cost_of(kind: Kind, nodes: int) -> tuple[int, int, int]:
    """Accelerators, other capacity and nodes, as they count in the objective."""
    return kind.accelerator_price * nodes, kind.price * nodes, nodes


def _smallest_to_come(items: Sequence[Item], dimensions: int) -> list[Amounts]:
    """For each position, the least of each resource that any of the items from there on takes; first, 0 for all."""
    tails: list[Amounts] = []
    least: list[int] | None = None
    for item in reversed(items):
        needs = dict(item.needs)
        amounts = [needs.get(dimension, 0) for dimension in range(dimensions)]
        least = amounts if least is None else [min(pair) for pair in zip(least, amounts, strict=True)]
        tails.append(tuple(least))
    return [(0,) * dimensions, *reversed(tails)]
