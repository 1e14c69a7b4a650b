"""Bundles on the fewest nodes: what greed misses is searched for, with a bound on the work.

Invariants: at most ``STEPS_MAX`` pairs of a bundle and a node are looked at for one group, however large it and the
cluster are; what is found is within the room; the same world gives the same answer. A search that ends within its bound
has tried every way, but for those that only swap equal bundles or equal nodes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shoal.core.actor_placement import Candidate
from shoal.core.labels import Selector, matches
from shoal.resources import ResourceSet

STEPS_MAX: Final = 4_000
"""Some 20 ms: the head's other work waits meanwhile."""
CLASSES_COUNTED: Final = 4
"""So many classes, the hardest ones, are counted for the lower bound beside the sums of resources."""


@dataclass(frozen=True)
class Equal:
    """So many equal bundles."""

    shape: ResourceSet
    selector: Selector
    count: int


class PackSearch:
    """One group's bundles, and the nodes in the order in which they are tried.

    Args:
        classes: the bundles, those that are hard to place first.
        nodes: that take work.
        occupied: how many bundles of the group each node holds already: those nodes cost nothing.
        steps: see ``STEPS_MAX``.
    """

    def __init__(
        self,
        classes: Sequence[Equal],
        nodes: Iterable[Candidate],
        occupied: Mapping[str, int],
        steps: int = STEPS_MAX,
    ) -> None:
        self.nodes: Final = sorted(nodes, key=lambda node: not occupied.get(node.node_id))
        self.own: Final = sum(1 for node in self.nodes if occupied.get(node.node_id))
        """So many of the first nodes cost nothing."""
        self.steps = steps
        names = sorted({name for each in classes for name in each.shape})
        self.shapes: Final = [tuple(each.shape[name] for name in names) for each in classes]
        self.counts: Final = [each.count for each in classes]
        self.items: Final = [number for number, each in enumerate(classes) for _ in range(each.count)]
        self.need: Final = [sum(each.shape[name] * each.count for each in classes) for name in names]
        self.rooms: Final = [tuple(node.available[name] for name in names) for node in self.nodes]
        selectors = list(dict.fromkeys(each.selector for each in classes))
        fitting = [[matches(selector, node.labels) for node in self.nodes] for selector in selectors]
        self.allowed: Final = [fitting[selectors.index(each.selector)] for each in classes]
        self.twins: Final = self._twins(fitting)
        columns = zip(*self.rooms, strict=True)
        self.largest: Final = [_sums(sorted(column[self.own :], reverse=True)) for column in columns]

    def _twins(self, fitting: list[list[bool]]) -> list[int]:
        """For each node the one before that is just like it; -1: none."""
        last: dict[tuple[object, ...], int] = {}
        twins = []
        for at, room in enumerate(self.rooms):
            kind = (room, *(column[at] for column in fitting))
            twins.append(last.get(kind, -1) if at >= self.own else -1)
            if at >= self.own:
                last[kind] = at
        return twins

    def least(self) -> int | None:
        """So many nodes have to be added at least; None: all nodes together have not enough room."""
        added = [0]
        for column, total in zip(zip(*self.rooms, strict=True), self.need, strict=True):
            added.append(_added(list(column), total, self.own))
        for number in range(min(CLASSES_COUNTED, len(self.shapes))):
            most = [self._most(number, at) for at in range(len(self.nodes))]
            added.append(_added(most, self.counts[number], self.own))
        return None if max(added) > len(self.nodes) else max(added)

    def _most(self, number: int, at: int) -> int:
        """How many bundles of one class a node takes when it takes no others."""
        pairs = zip(self.rooms[at], self.shapes[number], strict=True)
        return min((room // amount for room, amount in pairs if amount), default=0) * self.allowed[number][at]

    def find(self, most: int) -> list[str] | None:
        """A node for each bundle, in the order of the classes, with at most so many nodes added.

        None: there is no way, or none was found before the steps were used up.
        """
        attempt = _Attempt(self, most)
        start = 0
        while (done := len(attempt.chosen)) < len(self.items):
            at = attempt.next_node(start)
            if at is not None:
                attempt.put(at)
                # Equal bundles go to nodes in their order: the same ones swapped are no other way.
                start = at if self.items[done + 1 : done + 2] == [self.items[done]] else 0
            elif done and self.steps > 0:
                start = attempt.take_back() + 1
            else:
                return None
        return [self.nodes[at].node_id for at in attempt.chosen]


class _Attempt:
    """Bundles on nodes, of which at most ``most`` are added, one after the other and back again."""

    def __init__(self, search: PackSearch, most: int) -> None:
        self._search = search
        self._may_add = most
        self._left = [list(room) for room in search.rooms]
        self._held = [1] * search.own + [0] * (len(search.nodes) - search.own)
        self._open = list(range(search.own))
        self._spare = [-amount for amount in search.need]  # room of the open nodes beyond all that is to be placed
        for at in self._open:
            self._spare = [spare + room for spare, room in zip(self._spare, search.rooms[at], strict=True)]
        self.chosen: list[int] = []

    def next_node(self, start: int) -> int | None:
        """The first node from there on that may take the next bundle."""
        search = self._search
        number = search.items[len(self.chosen)]
        shape, allowed = search.shapes[number], search.allowed[number]
        several = range(start, len(self._left)) if self._may_add else self._open[bisect_left(self._open, start) :]
        for at in several:
            search.steps -= 1
            if search.steps <= 0:
                return None
            fits = allowed[at] and all(room >= amount for room, amount in zip(self._left[at], shape, strict=True))
            if fits and (self._held[at] or self._is_worth_adding(at)):
                return at
        return None

    def _is_worth_adding(self, at: int) -> bool:
        """Whether the rest may still find room once it is added; of equal nodes only the first one."""
        search = self._search
        if search.twins[at] >= 0 and not self._held[search.twins[at]]:
            return False
        others = self._may_add - 1
        return all(
            spare + room + sums[min(others, len(sums) - 1)] >= 0
            for spare, room, sums in zip(self._spare, search.rooms[at], search.largest, strict=True)
        )

    def put(self, at: int) -> None:
        """The next bundle goes there."""
        self._change(at, self._search.items[len(self.chosen)], -1)
        self.chosen.append(at)
        self._held[at] += 1
        if self._held[at] == 1:
            insort(self._open, at)
            self._opened(at, 1)

    def take_back(self) -> int:
        """The last bundle has no node again. Returns the one that it had."""
        at = self.chosen.pop()
        self._change(at, self._search.items[len(self.chosen)], 1)
        self._held[at] -= 1
        if not self._held[at]:
            self._open.remove(at)
            self._opened(at, -1)
        return at

    def _opened(self, at: int, sign: int) -> None:
        self._may_add -= sign
        self._spare = [spare + sign * room for spare, room in zip(self._spare, self._search.rooms[at], strict=True)]

    def _change(self, at: int, number: int, sign: int) -> None:
        pairs = zip(self._left[at], self._search.shapes[number], strict=True)
        self._left[at] = [room + sign * amount for room, amount in pairs]


def _sums(amounts: list[int]) -> list[int]:
    """What the first 0, 1, 2, ... of them are together."""
    sums = [0]
    for amount in amounts:
        sums.append(sums[-1] + amount)
    return sums


def _added(amounts: list[int], total: int, own: int) -> int:
    """How many nodes have to be added for a total; more than there are: all of them have less."""
    sums = _sums(sorted(amounts[own:], reverse=True))
    return bisect_left(sums, total - sum(amounts[:own])) if total <= sum(amounts) else len(amounts) + 1
