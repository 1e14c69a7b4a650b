"""Where the bundles of a placement group go: a choice over what nodes have free now.

Ray's strategies: PACK on few nodes, SPREAD over many, STRICT_PACK on exactly one, STRICT_SPREAD on one node each.

Invariants: every bundle gets a node or none does; no node gets more than it has free; the same world gives the same
answer. STRICT_PACK and STRICT_SPREAD find a way whenever there is one. PACK and SPREAD are greedy, largest bundles
first; where greed takes more nodes than seem to be needed, or finds no way, PACK searches for a better one within the
bound of ``pack_search``. Small groups on small clusters are so placed on the fewest nodes there are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shoal.core.actor_placement import Candidate
from shoal.core.labels import Selector, matches
from shoal.core.pack_search import STEPS_MAX, Equal, PackSearch
from shoal.resources import ResourceSet, describe

Strategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
STRATEGIES: Final[tuple[Strategy, ...]] = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
SEARCHED_MAX: Final = 20_000
"""Kinds of bundles times nodes: what is larger is left to greed alone."""
LOOKS_MAX: Final = 4_000
"""So often greed looks again how many bundles of a kind a node takes, beside the looks that it cannot do without."""
_COMMON: Final = ("CPU", "memory", "object_store_memory")


_Rank = tuple[int, bool, tuple[int, float], str]


@dataclass(frozen=True)
class Bundle:
    """Resources that are reserved together on one node, and the labels which that node must have."""

    shape: ResourceSet
    selector: Selector = ()


@dataclass
class Work:
    """How often a bundle was held against a node: some five microseconds each."""

    done: int = 0


@dataclass
class _Class:
    """Equal bundles."""

    bundle: Bundle
    indexes: list[int]


def pack(
    bundles: Mapping[int, Bundle],
    strategy: Strategy,
    nodes: Sequence[Candidate],
    occupied: Mapping[str, int],
    work: Work | None = None,
) -> dict[int, str] | None:
    """A node for each bundle, or None when there is no room now.

    Args:
        bundles: those to place, by their index in the group.
        strategy: of the group.
        nodes: that take work, with what they have free.
        occupied: how many bundles of the group each node holds already.
        work: is added to what was done before.
    """
    classes, work = _classes(bundles), work or Work()
    work.done += len(classes) * len(nodes)
    if not all(any(each.bundle.shape.fits(node.available) for node in nodes) for each in classes):
        return None
    if any(sum(node.available[name] for node in nodes) < amount for name, amount in _sum(classes).items()):
        return None
    if strategy == "STRICT_PACK":
        return _on_one(classes, nodes, occupied)
    if strategy == "PACK":
        return _on_fewest(classes, nodes, occupied, work)
    if strategy == "SPREAD":
        return _on_many(classes, nodes, occupied)
    return _on_own(classes, [node for node in nodes if not occupied.get(node.node_id)])


def explain(
    bundles: Mapping[int, Bundle], strategy: Strategy, nodes: Sequence[Candidate], occupied: Mapping[str, int]
) -> str:
    """Why ``pack`` found no room, for people. It says "no node ..." only of what no node could hold even when empty."""
    if not nodes:
        return "no node takes work yet"
    classes = _classes(bundles)
    for each in classes:
        if not any(_could_hold(node, each.bundle) for node in nodes):
            return f"no node could hold {_words(each.bundle)}, even when it is empty"
    if strategy == "STRICT_PACK":
        whole = _sum(classes)
        if not any(whole.fits(node.total) for node in nodes):
            return f"no node could hold all bundles ({describe(whole)}), even when it is empty"
    if strategy == "STRICT_SPREAD":
        free = [n for n in nodes if not occupied.get(n.node_id) and any(_could_hold(n, c.bundle) for c in classes)]
        empty = [Candidate(node.node_id, node.total, node.total, 0, node.labels) for node in free]
        if _on_own(classes, empty) is None:
            need = (
                "1 bundle needs a node of its own" if len(bundles) == 1 else f"{len(bundles)} bundles need a node each"
            )
            return f"{need}, and {len(free) or 'no'} node{'' if len(free) <= 1 else 's'} could take one"
    return "what nodes have free is not enough now"


def _classes(bundles: Mapping[int, Bundle]) -> list[_Class]:
    """Equal bundles together, those that are hard to place first."""
    found: dict[Bundle, list[int]] = {}
    for index in sorted(bundles):
        found.setdefault(bundles[index], []).append(index)
    return sorted((_Class(*item) for item in found.items()), key=_hardness, reverse=True)


def _hardness(each: _Class) -> tuple[int, int, int, int, int]:
    shape = each.bundle.shape
    custom = sum(amount for name, amount in shape.items() if name not in _COMMON and name != "GPU")
    return shape["GPU"], custom, len(each.bundle.selector), shape["memory"], shape["CPU"]


def _sum(classes: Iterable[_Class]) -> ResourceSet:
    total = ResourceSet()
    for each in classes:
        total = total + each.bundle.shape.times(len(each.indexes))
    return total


def _could_hold(node: Candidate, bundle: Bundle) -> bool:
    return bundle.shape.fits(node.total) and matches(bundle.selector, node.labels)


def _words(bundle: Bundle) -> str:
    labels = f" with labels {dict(bundle.selector)}" if bundle.selector else ""
    return f"a bundle of {describe(bundle.shape)}{labels}"


def _waste(node: Candidate, need: ResourceSet) -> tuple[int, float]:
    """How badly a node suits: accelerators that lie idle below the bundles, then what else is left over."""
    idle = sum(node.available[name] for name in node.total if name not in _COMMON and not need[name])
    left = [(node.available[name] - need[name]) / node.total[name] for name in need if node.total[name] > 0]
    return idle, sum(left)


# STRICT_PACK, and PACK where all go to one node


def _on_one(classes: list[_Class], nodes: Sequence[Candidate], occupied: Mapping[str, int]) -> dict[int, str] | None:
    need = _sum(classes)
    fitting = [
        node
        for node in nodes
        if (not occupied or occupied.get(node.node_id))
        and need.fits(node.available)
        and all(matches(each.bundle.selector, node.labels) for each in classes)
    ]
    if not fitting:
        return None
    best = min(fitting, key=lambda node: (*_waste(node, need), node.node_id)).node_id
    return {index: best for each in classes for index in each.indexes}


# PACK


def _on_fewest(
    classes: list[_Class], nodes: Sequence[Candidate], occupied: Mapping[str, int], work: Work
) -> dict[int, str] | None:
    """On as few nodes as can be that the group is not on yet."""
    alone = _on_one(classes, nodes, occupied) or _on_one(classes, nodes, {})
    placed = alone or _on_few(classes, nodes, occupied, work)
    least = 0 if occupied else 1 if alone else 2
    if (placed is not None and _added(placed, occupied) <= least) or len(classes) * len(nodes) > SEARCHED_MAX:
        return placed
    work.done += 2 * len(classes) * len(nodes)
    wanted = [Equal(each.bundle.shape, each.bundle.selector, len(each.indexes)) for each in classes]
    search = PackSearch(wanted, sorted(nodes, key=_order(classes, occupied)), occupied)
    bound = search.least()
    while bound is not None and (placed is None or _added(placed, occupied) > max(least, bound)):
        better = search.find(len(nodes) if placed is None else _added(placed, occupied) - 1)
        if better is None:
            break
        placed = dict(zip((index for each in classes for index in each.indexes), better, strict=True))
    work.done += STEPS_MAX - search.steps
    return placed


def _added(placed: Mapping[int, str], occupied: Mapping[str, int]) -> int:
    return sum(1 for node_id in set(placed.values()) if not occupied.get(node_id))


def _order(classes: list[_Class], occupied: Mapping[str, int]) -> Callable[[Candidate], _Rank]:
    """Nodes that take more of the bundles first, of these the ones that the group is on, then what suits better."""

    def rank(node: Candidate) -> _Rank:
        counts = _fill(node, classes)
        taken = ResourceSet()
        for each, count in zip(classes, counts, strict=True):
            if count:
                taken = taken + each.bundle.shape.times(count)
        return -sum(counts), not occupied.get(node.node_id), _waste(node, taken), node.node_id

    return rank


def _on_few(
    classes: list[_Class], nodes: Sequence[Candidate], occupied: Mapping[str, int], work: Work
) -> dict[int, str] | None:
    """Again and again the node that takes the most of what is left.

    What a node can take shrinks, so it is looked at again only when it seems to be the best one; or it grows where
    harder bundles have gone elsewhere, and then all are looked at again, as often as ``LOOKS_MAX`` allows.
    """
    rest = [_Class(each.bundle, list(each.indexes)) for each in classes]
    by_id = {node.node_id: node for node in nodes}
    rank = _order(rest, occupied)
    heap = [(rank(node), 0) for node in nodes]
    heapq.heapify(heap)
    placed: dict[int, str] = {}
    rounds, looks = 0, LOOKS_MAX
    work.done += len(heap) * len(rest)
    while any(each.indexes for each in rest):
        work.done += len(rest)
        if not heap or heap[0][0][0] == 0:
            return None
        (*_rank, node_id), seen = heapq.heappop(heap)
        if seen != rounds:
            heapq.heappush(heap, (rank(by_id[node_id]), rounds))
            continue
        may_grow = sum(1 for each in rest if each.indexes) > 1
        for each, count in zip(rest, _fill(by_id[node_id], rest), strict=True):
            taken, each.indexes = each.indexes[:count], each.indexes[count:]
            placed.update(dict.fromkeys(taken, node_id))
        rounds += 1
        if may_grow and looks >= len(heap) * len(rest):
            looks -= len(heap) * len(rest)
            work.done += len(heap) * len(rest)
            heap = [(rank(by_id[name]), rounds) for (*_rank, name), _seen in heap]
            heapq.heapify(heap)
    return placed


def _fill(node: Candidate, classes: list[_Class]) -> list[int]:
    """How many of each class the node takes, the hardest first."""
    free = dict(node.available)
    counts = []
    for each in classes:
        count = len(each.indexes) if matches(each.bundle.selector, node.labels) else 0
        for name, amount in each.bundle.shape.items():
            count = min(count, free.get(name, 0) // amount)
        for name, amount in each.bundle.shape.items():
            free[name] = free.get(name, 0) - amount * count
        counts.append(count)
    return counts


# SPREAD


def _on_many(classes: list[_Class], nodes: Sequence[Candidate], occupied: Mapping[str, int]) -> dict[int, str] | None:
    """Each bundle to the node with the fewest of the group's, of these the one with the most room."""
    free = {node.node_id: node.available for node in nodes}
    counts = {node.node_id: occupied.get(node.node_id, 0) for node in nodes}
    by_id = {node.node_id: node for node in nodes}

    def rank(node_id: str, shape: ResourceSet) -> tuple[int, tuple[int, float], str]:
        node = by_id[node_id]
        idle, left = _waste(Candidate(node_id, node.total, free[node_id]), shape)
        return counts[node_id], (idle, -left), node_id

    placed: dict[int, str] = {}
    for each in classes:
        shape = each.bundle.shape
        able = [node.node_id for node in nodes if matches(each.bundle.selector, node.labels)]
        heap = [rank(node_id, shape) for node_id in able if shape.fits(free[node_id])]
        heapq.heapify(heap)
        for index in each.indexes:
            if not heap:
                return None
            node_id = heapq.heappop(heap)[-1]
            placed[index] = node_id
            counts[node_id] += 1
            free[node_id] = free[node_id] - shape
            if shape.fits(free[node_id]):
                heapq.heappush(heap, rank(node_id, shape))
    return placed


# STRICT_SPREAD


def _on_own(classes: list[_Class], nodes: Sequence[Candidate]) -> dict[int, str] | None:
    """A matching of bundles and nodes, by augmenting paths; the tightest nodes are tried first."""
    options: dict[int, list[str]] = {}
    for each in classes:
        bundle = each.bundle
        able = [n for n in nodes if bundle.shape.fits(n.available) and matches(bundle.selector, n.labels)]
        able.sort(key=lambda node: (*_waste(node, bundle.shape), node.node_id))
        names = [node.node_id for node in able]
        options.update(dict.fromkeys(each.indexes, names))
    if len(options) > len(nodes):
        return None
    holder: dict[str, int] = {}
    for index in options:
        if not _augment(index, options, holder):
            return None
    return {index: node_id for node_id, index in holder.items()}


def _augment(index: int, options: Mapping[int, list[str]], holder: dict[str, int]) -> bool:
    """Find a node for one more bundle, moving others where that helps."""
    came_from: dict[str, int] = {}
    place_of = {held: node_id for node_id, held in holder.items()}
    queue = deque([index])
    while queue:
        asking = queue.popleft()
        for node_id in options[asking]:
            if node_id in came_from:
                continue
            came_from[node_id] = asking
            if node_id in holder:
                queue.append(holder[node_id])
                continue
            end: str | None = node_id
            while end is not None:
                mover = came_from[end]
                holder[end] = mover
                end = place_of.get(mover)
            return True
    return False
