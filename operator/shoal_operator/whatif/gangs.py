"""Where the bundles of a gang go: all of them, or none.

Invariants: no node gets more than it has free; the same nodes give the same answer. STRICT_PACK and STRICT_SPREAD find
a way whenever there is one; PACK and SPREAD are greedy, as in the runtime.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Bundle, GangStrategy
from shoal_operator.autoscaler.selectors import matches
from shoal_operator.whatif.nodes import SimNode

_COMMON: Final = ("CPU", "memory", "object_store_memory")
Places = list[tuple[Bundle, SimNode, int]]
"""Bundle, node, and how many of them it gets."""


def place_gang(strategy: GangStrategy, bundles: Sequence[Bundle], nodes: Sequence[SimNode]) -> Places | None:
    """Nodes for all bundles, or None while there is no room; nothing is taken yet.

    Args:
        strategy: of the gang.
        bundles: equal ones grouped.
        nodes: those that take work.
    """
    return _WAYS[strategy](sorted(bundles, key=_hardness, reverse=True), nodes)


def _hardness(bundle: Bundle) -> tuple[int, int, int, int, int]:
    shape = bundle.shape
    custom = sum(amount for name, amount in shape.items() if name not in _COMMON and name != "GPU")
    return shape["GPU"], custom, len(bundle.label_selector), shape["memory"], shape["CPU"]


def _waste(node: SimNode, free: ResourceSet, need: ResourceSet) -> tuple[int, float]:
    """Accelerators that lie idle beside the bundles, then what else is left over."""
    idle = sum(free[name] for name in node.total if name not in _COMMON and not need[name])
    return idle, sum((free[name] - need[name]) / node.total[name] for name in need if node.total[name] > 0)


def _on_one(bundles: Sequence[Bundle], nodes: Sequence[SimNode]) -> Places | None:
    need = ResourceSet()
    for bundle in bundles:
        need += bundle.shape.times(bundle.count)
    able = [
        node
        for node in nodes
        if need.fits(node.free) and all(matches(bundle.label_selector, node.labels) for bundle in bundles)
    ]
    if not able:
        return None
    best = min(able, key=lambda node: (*_waste(node, node.free, need), node.node_id))
    return [(bundle, best, bundle.count) for bundle in bundles]


def _on_few(bundles: Sequence[Bundle], nodes: Sequence[SimNode]) -> Places | None:
    """All on one, else again and again the node that takes the most of what is left."""
    alone = _on_one(bundles, nodes)
    if alone is not None:
        return alone
    left = [bundle.count for bundle in bundles]
    rest = {node.node_id: node for node in nodes}
    places: Places = []
    while any(left):
        found = [(node, _fill(node, bundles, left)) for node in rest.values()]
        node, counts = min(found, key=lambda item: _fullness(bundles, *item), default=(None, []))
        if node is None or not any(counts):
            return None
        del rest[node.node_id]
        places += [(bundle, node, count) for bundle, count in zip(bundles, counts, strict=True) if count]
        left = [before - count for before, count in zip(left, counts, strict=True)]
    return places


def _fullness(bundles: Sequence[Bundle], node: SimNode, counts: list[int]) -> tuple[int, tuple[int, float], str]:
    taken = ResourceSet()
    for bundle, count in zip(bundles, counts, strict=True):
        taken += bundle.shape.times(count)
    return -sum(counts), _waste(node, node.free, taken), node.node_id


def _fill(node: SimNode, bundles: Sequence[Bundle], left: list[int]) -> list[int]:
    """How many of each the node takes, the hardest first."""
    free = dict(node.free)
    counts = []
    for bundle, most in zip(bundles, left, strict=True):
        fitting = min((free.get(name, 0) // amount for name, amount in bundle.shape.items()), default=most)
        count = min(most, fitting) if matches(bundle.label_selector, node.labels) else 0
        for name, amount in bundle.shape.items():
            free[name] = free.get(name, 0) - amount * count
        counts.append(count)
    return counts


def _on_many(bundles: Sequence[Bundle], nodes: Sequence[SimNode]) -> Places | None:
    """Each bundle to the node with the fewest of them, of these the one with the most room."""
    free = {node.node_id: node.free for node in nodes}
    held: Counter[str] = Counter()
    places: Places = []
    for bundle in bundles:
        allowed = [node for node in nodes if matches(bundle.label_selector, node.labels)]
        for _ in range(bundle.count):
            able = [node for node in allowed if bundle.shape.fits(free[node.node_id])]
            if not able:
                return None
            best = min(able, key=lambda node: _emptiness(node, free[node.node_id], bundle, held[node.node_id]))
            held[best.node_id] += 1
            free[best.node_id] -= bundle.shape
            places.append((bundle, best, 1))
    return places


def _emptiness(node: SimNode, free: ResourceSet, bundle: Bundle, held: int) -> tuple[int, int, float, str]:
    idle, left = _waste(node, free, bundle.shape)
    return held, idle, -left, node.node_id


def _on_own(bundles: Sequence[Bundle], nodes: Sequence[SimNode]) -> Places | None:
    """A matching of bundles and nodes, the tightest nodes first."""
    units = [bundle for bundle in bundles for _ in range(bundle.count)]
    if len(units) > len(nodes):
        return None
    options: dict[Bundle, list[SimNode]] = {}
    for bundle in bundles:
        able = [n for n in nodes if bundle.shape.fits(n.free) and matches(bundle.label_selector, n.labels)]
        options[bundle] = sorted(able, key=lambda node: (*_waste(node, node.free, bundle.shape), node.node_id))
    holder: dict[str, int] = {}
    for index in range(len(units)):
        if not _augment(index, units, options, holder):
            return None
    by_id = {node.node_id: node for node in nodes}
    return [(units[index], by_id[node_id], 1) for node_id, index in holder.items()]


def _augment(index: int, units: list[Bundle], options: dict[Bundle, list[SimNode]], holder: dict[str, int]) -> bool:
    """Find a node for one more bundle, moving others where that helps."""
    came_from: dict[str, int] = {}
    queue = deque([index])
    while queue:
        asking = queue.popleft()
        for node in options[units[asking]]:
            if node.node_id in came_from:
                continue
            came_from[node.node_id] = asking
            if node.node_id in holder:
                queue.append(holder[node.node_id])
                continue
            _shift(node.node_id, came_from, holder)
            return True
    return False


def _shift(free_node: str, came_from: dict[str, int], holder: dict[str, int]) -> None:
    """Give the free node to who asked for it, what that one held to who asked for that, and so on."""
    place_of = {held: node_id for node_id, held in holder.items()}
    end: str | None = free_node
    while end is not None:
        mover = came_from[end]
        holder[end] = mover
        end = place_of.get(mover)


_WAYS: Final[dict[GangStrategy, Callable[[Sequence[Bundle], Sequence[SimNode]], Places | None]]] = {
    GangStrategy.PACK: _on_few,
    GangStrategy.SPREAD: _on_many,
    GangStrategy.STRICT_PACK: _on_one,
    GangStrategy.STRICT_SPREAD: _on_own,
}
