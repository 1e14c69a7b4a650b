"""Placement groups: all bundles get a place, or none.

Invariant: a gang that finds no place leaves the pass as it was before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.bins import Bin, minus, piece, units_per_node
from shoal_operator.autoscaler.model import PLACEMENT_GROUP, Demand, Gang, GangStrategy, Labels
from shoal_operator.autoscaler.packing import Packing
from shoal_operator.autoscaler.problem import Item, Space
from shoal_operator.autoscaler.reasons import Rule
from shoal_operator.autoscaler.turns import OTHER_STRIDE, in_turn

LOOKED_MAX: Final = 500_000
"""How often a pass holds bundles against nodes before gangs have to wait for their turn; those whose turn it is may
take as much again, and what stays for the ones that found no place a third time: a plan takes some 0.2 s for it."""


@dataclass(frozen=True, slots=True)
class Band:
    """A gang in numbers."""

    index: int
    gang: Gang
    bundles: tuple[Item, ...]
    """The hardest to place first; equal ones together."""
    whole: Item
    """All bundles as one unit, for one node."""

    @property
    def pattern(self) -> tuple[object, ...]:
        """What makes two gangs alike."""
        bundles = tuple((item.demand.shape, item.demand.label_selector, item.count) for item in self.bundles)
        return self.gang.strategy, bundles, self.gang.occupied_nodes


def compile_gangs(space: Space, gangs: Sequence[Gang], first_index: int) -> list[Band]:
    """Gangs in numbers, in the order in which they are placed: strict ones and large ones first.

    One that has no bundle left to place waits for nothing, and is left out.
    """
    bands: list[Band] = []
    for gang in gangs:
        if not any(bundle.count > 0 for bundle in gang.bundles):
            continue
        named = (gang.name or gang.gang_id,)
        merged: Counter[tuple[ResourceSet, Labels]] = Counter()
        for bundle in gang.bundles:
            merged[bundle.shape, bundle.label_selector] += max(0, bundle.count)
        items = []
        total: Counter[str] = Counter()
        for (shape, selector), count in merged.items():
            items.append(space.item(first_index, Demand(shape, count, selector, PLACEMENT_GROUP, named), count))
            first_index += 1
            total.update(dict(shape.times(count)))
        labels = tuple(sorted({pair for _, selector in merged for pair in selector}))
        whole = space.item(first_index, Demand(ResourceSet(total), 1, labels, PLACEMENT_GROUP, named), 1)
        items.sort(key=_hardest)
        bands.append(Band(first_index, gang, tuple(item for item in items if item.count), whole))
        first_index += 1
    return sorted(bands, key=_order)


def place_gangs(packing: Packing, bands: Sequence[Band], turn: int) -> None:
    """Place gangs one after the other; of those alike only the first is tried in vain.

    Those that could never have a place cost next to nothing. Where the others are too many to be looked at, the first
    in order are, and as many of the rest as one turn allows.
    """
    packing.rule = Rule.PLACEMENT_GROUP
    hopeless: set[tuple[object, ...]] = set()
    chances = Chances(packing) if bands else None
    rest = [band for band in bands if chances and chances.of(band)]
    kept = {band.index for band in rest}
    packing.failed_gangs += [band.index for band in bands if band.index not in kept]
    rest = _place_until(packing, rest, hopeless, LOOKED_MAX)
    if rest:
        packing.is_cut = True
        rest = _place_until(packing, in_turn(rest, turn, OTHER_STRIDE), hopeless, 2 * LOOKED_MAX)
        packing.late_gangs += [band.index for band in rest]


def _place_until(
    packing: Packing, bands: Sequence[Band], hopeless: set[tuple[object, ...]], looked_max: int
) -> list[Band]:
    """Place gangs until so much was looked at, the last one's comes on top; returns those that are left."""
    rest = []
    for band in bands:
        pattern = band.pattern
        before = packing.on_the_way.total()
        if pattern in hopeless:
            packing.failed_gangs.append(band.index)
        elif packing.looked >= looked_max:
            rest.append(band)
        elif not place_gang(packing, band):
            hopeless.add(pattern)
            packing.failed_gangs.append(band.index)
        elif packing.on_the_way.total() > before:
            packing.waiting_gangs.append(band.index)
    return rest


class Chances:
    """What a pass begins with, in so few numbers that they show of most gangs whether they could have a place."""

    def __init__(self, packing: Packing) -> None:
        bins = (*packing.joined, *packing.free)
        rooms = [packing.room.nodes_for(packing.space, kind.index) for kind in packing.space.kinds]
        packing.looked += len(bins)
        self._most = tuple(map(max, zip(*(bin_.free for bin_ in bins), strict=True))) if bins else ()
        self._open = frozenset(index for index, nodes in enumerate(rooms) if nodes)
        self._nodes = sum(bin_.count for bin_ in bins) + min(sum(rooms), packing.room.nodes)

    def of(self, band: Band) -> bool:
        """Whether a gang could have a place; True may be wrong, False is not."""
        strategy = band.gang.strategy
        if strategy is GangStrategy.STRICT_SPREAD and sum(item.count for item in band.bundles) > self._nodes:
            return False
        items = (band.whole, *band.bundles) if strategy is GangStrategy.STRICT_PACK else band.bundles
        return all(map(self._is_there, items))

    def _is_there(self, item: Item) -> bool:
        if not item.is_possible:
            return False
        if not self._open.isdisjoint(item.groups):
            return True
        return bool(self._most) and all(self._most[dimension] >= amount for dimension, amount in item.needs)


def place_gang(packing: Packing, band: Band) -> bool:
    """Place one gang; False leaves everything as it was."""

    def first_of(*ways: Callable[[], bool]) -> bool:
        return any(_attempt(packing, way) for way in ways)

    match band.gang.strategy:
        case GangStrategy.STRICT_PACK:
            return first_of(lambda: _on_one_node(packing, band))
        case GangStrategy.STRICT_SPREAD:
            return first_of(
                lambda: _apart(packing, band, may_add=True),
                lambda: _apart(packing, band, may_add=True, easiest_first=True),
            )
        case GangStrategy.SPREAD:
            is_spread = first_of(
                lambda: _apart(packing, band, may_add=False),
                lambda: _anywhere(packing, band, may_add=False),
                lambda: _apart(packing, band, may_add=True),
            )
            packing.huddled += not is_spread
            return is_spread or first_of(lambda: _anywhere(packing, band, may_add=True))
        case _:
            return first_of(
                lambda: not packing.place(band.whole, 1, may_add=False),
                lambda: _anywhere(packing, band, may_add=False),
                lambda: not packing.place(band.whole, 1),
                lambda: _anywhere(packing, band, may_add=True),
            )


def keep_places(packing: Packing, bands: Sequence[Band]) -> bool:
    """Let gangs that found no place use what there is of them: their nodes stay until the rest can come.

    Returns:
        False when they are so many that not all were looked at.
    """
    failed = set(packing.failed_gangs)
    packing.leave_items()
    looked_max = packing.looked + LOOKED_MAX
    for band in bands:
        if band.index in failed and all(item.is_possible for item in band.bundles):
            if packing.looked >= looked_max:
                return False
            for item in band.bundles:
                if band.gang.strategy is GangStrategy.STRICT_SPREAD:
                    taken: list[Bin] = []
                    left = item.count
                    for source in (packing.used, packing.joined, packing.free):
                        left = _one_each(packing, item, left, source, taken)
                    packing.used.extend(taken)
                else:
                    packing.place(item, item.count, may_add=False)
    return True


def _attempt(packing: Packing, way: Callable[[], bool]) -> bool:
    saved = packing.save()
    if way():
        return True
    packing.restore(saved)
    return False


def _on_one_node(packing: Packing, band: Band) -> bool:
    """STRICT_PACK: any node that has room for all, or the one that holds the others already."""
    if not band.gang.occupied_nodes:
        return not packing.place(band.whole, 1)
    held = _Held(packing, band.gang)
    left = held.pour(band.whole)
    held.back()
    return not left


def _anywhere(packing: Packing, band: Band, *, may_add: bool) -> bool:
    return all(not packing.place(item, item.count, may_add=may_add) for item in band.bundles)


def _apart(packing: Packing, band: Band, *, may_add: bool, easiest_first: bool = False) -> bool:
    """Each bundle on a node of its own, and none where the gang has one already."""
    held = _Held(packing, band.gang)
    taken: list[Bin] = []
    for item in reversed(band.bundles) if easiest_first else band.bundles:
        left = item.count
        for source in (packing.used, packing.joined):
            left = _one_each(packing, item, left, source, taken)
        while left:
            chosen = packing.choose(item, 1, may_add=may_add)
            if chosen is None:
                return False
            hosts = packing.hosts(chosen)
            opened = packing.start(chosen, -(-left // hosts) * hosts)
            fresh = [opened]
            left = _one_each(packing, item, left, fresh, taken)
            packing.used.extend(fresh)
    packing.used.extend(taken)
    held.back()
    return True


def _one_each(packing: Packing, item: Item, units: int, source: list[Bin], taken: list[Bin]) -> int:
    """One unit into each of the nodes that can take it; they go over to ``taken``. Returns the units left."""
    if not units:
        return 0
    selector, allows = item.demand.label_selector, packing.space.labelling.allows
    first, least = item.needs[0] if item.needs else (-1, 0)
    kept: list[Bin] = []
    packing.looked += len(source)
    for place, bin_ in enumerate(source):
        if not units:
            kept += source[place:]
            packing.looked -= len(source) - place
            break
        if (
            (least and bin_.free[first] < least)
            or (selector and not allows(selector, bin_.labels))
            or not units_per_node(item.needs, bin_.free, 1)
        ):
            kept.append(bin_)
            continue
        nodes = min(units, bin_.count)
        taken.append(piece(bin_, 0, nodes, minus(bin_.free, item.needs, 1)))
        packing.count(item, bin_, nodes)
        units -= nodes
        if nodes < bin_.count:
            kept.append(piece(bin_, nodes, bin_.count - nodes, bin_.free))
    source[:] = kept
    return units


class _Held:
    """Nodes that hold bundles of a gang already, out of the pass's sight for a while."""

    def __init__(self, packing: Packing, gang: Gang) -> None:
        names = {packing.standing.members.get(node_id, "") for node_id in gang.occupied_nodes} - {""}
        lists = (packing.used, packing.joined, packing.free)
        packing.looked += sum(map(len, lists)) if names else 0
        self._packing = packing
        self._held = [(source, _split_off(source, names)) for source in lists if names]

    def pour(self, item: Item) -> int:
        """Place one unit of an item on one of them; returns the units left."""
        for source, bins in self._held:
            if source is not self._packing.free and not self._packing.pour(item, 1, bins, moves=False):
                return 0
        return 1

    def back(self) -> None:
        """Put them where they were."""
        for source, bins in self._held:
            source.extend(bins)


def _split_off(source: list[Bin], names: set[str]) -> list[Bin]:
    held: list[Bin] = []
    kept: list[Bin] = []
    for bin_ in source:
        if names.isdisjoint(bin_.members):
            kept.append(bin_)
            continue
        for place in range(bin_.count):
            part = piece(bin_, place, 1, bin_.free)
            (kept if names.isdisjoint(part.members) else held).append(part)
    source[:] = kept
    return held


def _hardest(item: Item) -> tuple[object, ...]:
    demand = item.demand
    amounts = tuple((name, -amount) for name, amount in demand.shape.items())
    return (
        -len(item.accelerators),
        -len(demand.label_selector),
        len(item.groups),
        -item.dominant,
        amounts,
        (demand.label_selector),
    )


_STRICTEST = (GangStrategy.STRICT_PACK, GangStrategy.STRICT_SPREAD, GangStrategy.PACK, GangStrategy.SPREAD)


def _order(band: Band) -> tuple[object, ...]:
    hardest = _hardest(band.bundles[0]) if band.bundles else ()
    return _STRICTEST.index(band.gang.strategy), hardest, -band.whole.value, band.gang.gang_id, band.gang.name
