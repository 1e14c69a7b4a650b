"""The question in numbers: shapes, groups and nodes as tuples of integers over the resources that matter.

Invariant: the same question gives the same numbers whatever the order of its members. A resource has a dimension
here when work asks for it and some node offers it; work that asks for anything else fits nowhere. Nodes alike are
one bin with a count, so that effort grows with how different nodes are, and not with how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from shoal.core.labels import matches
from shoal.resources import ResourceSet
from shoal_operator.autoscaler.bins import Amounts, Needs
from shoal_operator.autoscaler.model import Demand, Group, Labels, Node, ScalingRequest

ACCELERATORS: Final = frozenset({"GPU", "TPU", "HPU", "NPU", "neuron_cores"})
PRICE_SCALE: Final = 1_000_000
"""Price of all that the largest node has of one resource."""
NODE_PRICE: Final = PRICE_SCALE // 10
"""Price of a node for being one: each pulls an image and runs an agent, and splits what it has from the others."""


@dataclass(frozen=True, slots=True)
class Item:
    """Units of work of one shape."""

    index: int
    demand: Demand
    count: int
    needs: Needs
    groups: frozenset[int]
    """Groups whose empty nodes can hold one unit."""
    value: int
    """What one unit takes of the cluster, as a price."""
    dominant: int
    """The largest share of the largest node that one unit takes of any resource, as a price."""
    accelerators: frozenset[int]
    """Dimensions of accelerators that it asks for."""
    is_possible: bool = True
    """False when it asks for a resource that no node and no group has."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A group in numbers: what another node of it is, and what it costs."""

    index: int
    group: Group
    capacity: Amounts
    labels: int
    accelerators: frozenset[int]
    """Dimensions of accelerators that it has, asked for or not (those nobody asks for are negative)."""
    price: int
    """Of a node, and of what it has beside accelerators."""
    accelerator_price: int


class Labelling:
    """Sets of labels by number, and which selectors they satisfy."""

    def __init__(self) -> None:
        self._numbers: dict[Labels, int] = {}
        self._sets: list[Mapping[str, str]] = []
        self._known: dict[tuple[Labels, int], bool] = {}

    def number(self, labels: Labels) -> int:
        """The number of a set; the same set has the same number."""
        found = self._numbers.get(labels)
        if found is None:
            found = self._numbers[labels] = len(self._sets)
            self._sets.append(dict(labels))
        return found

    def allows(self, selector: Labels, number: int) -> bool:
        """Whether nodes with that set of labels satisfy the selector."""
        if not selector:
            return True
        key = (selector, number)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = matches(selector, self._sets[number])
        return found


class Space:
    """Dimensions, prices and groups of one question; makes items and bins."""

    def __init__(self, request: ScalingRequest, shapes: Iterable[ResourceSet]) -> None:
        self.groups: dict[str, Group] = {group.name: group for group in request.groups}
        self.labelling = Labelling()
        offered: dict[str, int] = {}
        for resources in (group.resources for group in self.groups.values()):
            for name, amount in resources.items():
                offered[name] = max(offered.get(name, 0), amount)
        self._prices = {name: (PRICE_SCALE, amount) for name, amount in sorted(offered.items())}
        for resources in {total for node in request.nodes for total in (node.total, node.available)}:
            for name, amount in resources.items():
                offered[name] = max(offered.get(name, 0), amount)
        asked = {name for shape in set(shapes) for name in shape}
        names = sorted(asked & offered.keys())
        self.dimensions: dict[str, int] = {name: index for index, name in enumerate(names)}
        self.names = names
        self._largest = offered
        self.kinds: list[Kind] = [self._kind(index, name) for index, name in enumerate(sorted(self.groups))]
        self.kind_of: dict[str, int] = {kind.group.name: kind.index for kind in self.kinds}
        self._amounts: dict[ResourceSet, Amounts] = {}

    def amounts(self, resources: ResourceSet) -> Amounts:
        """Resources of a node, by dimension."""
        found = self._amounts.get(resources)
        if found is None:
            found = self._amounts[resources] = tuple(resources[name] for name in self.names)
        return found

    def item(self, index: int, demand: Demand, count: int) -> Item:
        """Work in numbers."""
        shape = demand.shape
        known = [(self.dimensions[name], amount) for name, amount in shape.items() if name in self.dimensions]
        is_possible = len(known) == len(shape)
        shares = [
            amount * PRICE_SCALE // self._largest[name] for name, amount in shape.items() if name in self._largest
        ]
        needs = tuple(sorted(known, key=lambda need: -need[1] * PRICE_SCALE // self._largest[self.names[need[0]]]))
        groups = frozenset(
            kind.index
            for kind in self.kinds
            if is_possible
            and all(kind.capacity[dimension] >= amount for dimension, amount in needs)
            and self.labelling.allows(demand.label_selector, kind.labels)
        )
        return Item(
            index=index,
            demand=demand,
            count=count,
            needs=needs,
            groups=groups,
            value=sum(self._price(name, amount) for name, amount in shape.items()),
            dominant=max(shares, default=0),
            accelerators=frozenset(self.dimensions[name] for name, _ in shape.items() if self._is_scarce(name)),
            is_possible=is_possible,
        )

    def labels_of(self, node: Node) -> int:
        """The number of a node's labels: its group's, and its own over them."""
        group = self.groups.get(node.group)
        if not node.labels:
            return self.labelling.number(group.labels if group else ())
        merged = {**dict(group.labels if group else ()), **dict(node.labels)}
        return self.labelling.number(tuple(sorted(merged.items())))

    def _is_scarce(self, name: str) -> bool:
        return name in ACCELERATORS and name in self.dimensions

    def _kind(self, index: int, name: str) -> Kind:
        group = self.groups[name]
        scarce = [(name, amount) for name, amount in group.resources.items() if name in ACCELERATORS]
        return Kind(
            index=index,
            group=group,
            capacity=tuple(group.resources[name] for name in self.names),
            labels=self.labelling.number(group.labels),
            accelerators=frozenset(
                self.dimensions.get(name, -1 - place) for place, (name, _) in enumerate(sorted(scarce))
            ),
            price=NODE_PRICE
            + sum(self._price(n, amount) for n, amount in group.resources.items() if n not in ACCELERATORS),
            accelerator_price=sum(self._price(n, amount) for n, amount in scarce),
        )

    def _price(self, name: str, amount: int) -> int:
        scale, largest = self._prices.get(name, (0, 1))
        return amount * scale // largest
