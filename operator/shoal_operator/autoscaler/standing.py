"""What stands already: joined and coming nodes as bins, and how many more nodes there may be.

Invariant: nodes that leave and pods that do not start offer nothing, and still count against every limit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.bins import COMING, JOINED, Bin
from shoal_operator.autoscaler.model import Node, ScalingRequest
from shoal_operator.autoscaler.problem import Space

FREE_FOREVER = 10**18
"""Stands for no limit."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where work can go before anything is added."""

    joined: tuple[Bin, ...]
    """Nodes that hold something, and those of no group: busy ones first, so that idle ones stay idle."""
    free: tuple[Bin, ...]
    """Nodes that hold nothing, joined or coming: they are chosen as new ones are."""
    members: dict[str, str] = field(default_factory=dict)
    """Names of pods by id of node."""


@dataclass(slots=True)
class Room:
    """How many more nodes there may be."""

    nodes_by_kind: list[int]
    nodes: int
    resources: dict[str, int]
    """Of each resource that is bounded over all groups, what is left."""
    probing: frozenset[int] = frozenset()
    """Groups that get one replica only, to see whether their pods start again."""

    def copy(self) -> Room:
        """Another one that can be used up by itself."""
        return Room(list(self.nodes_by_kind), self.nodes, dict(self.resources), self.probing)

    def nodes_for(self, space: Space, kind: int) -> int:
        """Nodes of a group that may still be added: whole replicas."""
        group = space.kinds[kind].group
        hosts = max(1, group.hosts)
        most = min(self.nodes_by_kind[kind], self.nodes) // hosts
        for name, left in self.resources.items():
            if group.resources[name]:
                most = min(most, left // (group.resources[name] * hosts))
        return max(0, most) * hosts

    def take(self, space: Space, kind: int, nodes: int) -> None:
        """Count nodes that are added."""
        self.nodes_by_kind[kind] -= nodes
        self.nodes -= nodes
        for name in self.resources:
            self.resources[name] -= space.kinds[kind].group.resources[name] * nodes


def stand(request: ScalingRequest, space: Space, *, recent: bool = False, whole: bool = False) -> Standing:
    """The nodes of a question as bins.

    Args:
        recent: whether room that nodes had a moment ago counts, too.
        whole: whether all that nodes have counts, used or not (for floors).
    """
    nodes = [node for node in request.nodes if not node.draining]
    nodes.sort(key=lambda node: (max(0.0, node.idle_seconds), node.pod_name, node.node_id))
    used: dict[tuple[object, ...], list[str]] = {}
    free: dict[tuple[int, int, ResourceSet, int], list[str]] = {}
    plain = {name: space.labelling.number(group.labels) for name, group in space.groups.items()}
    for node in nodes:
        offer = _offer(node, recent=recent, whole=whole)
        kind = space.kind_of.get(node.group, -1)
        labels = space.labels_of(node) if node.labels or kind < 0 else plain[node.group]
        if kind >= 0 and not whole and offer == node.total:
            free.setdefault((JOINED, kind, offer, labels), []).append(node.pod_name)
        else:
            used.setdefault((node.idle_seconds > 0, kind, offer, labels), []).append(node.pod_name)
    joined = [
        Bin(JOINED, kind, space.amounts(offer), labels, len(names), tuple(names))  # type: ignore[arg-type]
        for (_, kind, offer, labels), names in used.items()
    ]
    stock = [
        Bin(stage, kind, space.amounts(offer), labels, len(names), tuple(names))
        for (stage, kind, offer, labels), names in free.items()
    ]
    stock += _coming(request, space)
    return Standing(tuple(joined), tuple(stock), {node.node_id: node.pod_name for node in nodes})


def find_room(
    request: ScalingRequest,
    space: Space,
    closed: frozenset[str],
    probing: frozenset[str],
    yielding: frozenset[str] = frozenset(),
) -> Room:
    """How many nodes may be added.

    Args:
        closed: groups that get none now.
        probing: groups that get one replica at most, until it has joined.
        yielding: names of pods that count against no limit over all groups: they give way.
    """
    present = Counter(node.group for node in request.nodes if node.removable)
    on_the_way = Counter(node.group for node in request.coming if node.exists)
    present.update(on_the_way)
    by_kind = []
    for kind in space.kinds:
        group = kind.group
        room = 0 if group.name in closed else max(0, group.max_nodes - present[group.name])
        hosts = max(1, group.hosts)
        by_kind.append(max(0, min(room, hosts - on_the_way[group.name])) if group.name in probing else room)
    limits = request.limits
    count = sum(present.values()) - sum(node.exists and node.pod_name in yielding for node in request.coming)
    nodes = FREE_FOREVER if limits.max_nodes is None else max(0, limits.max_nodes - count)
    return Room(
        by_kind, nodes, _resources_left(request, space, yielding), frozenset(map(space.kind_of.__getitem__, probing))
    )


def _resources_left(request: ScalingRequest, space: Space, yielding: frozenset[str]) -> dict[str, int]:
    limits = request.limits.max_resources
    if limits is None:
        return {}
    totals = Counter(node.total for node in request.nodes if node.removable)
    coming = (node for node in request.coming if node.exists and node.pod_name not in yielding)
    there = (node.group for node in coming if node.group in space.groups)
    totals.update(space.groups[name].resources for name in there)
    return {
        name: most - sum(resources[name] * count for resources, count in totals.items())
        for name, most in sorted(limits.items())
    }


def _offer(node: Node, *, recent: bool, whole: bool) -> ResourceSet:
    if whole:
        return node.total
    if recent and node.recently_available is not None:
        return node.recently_available
    return node.available


def _coming(request: ScalingRequest, space: Space) -> list[Bin]:
    """Coming nodes, oldest first within a group; those of one age are one bin."""
    runs: dict[tuple[float, int], list[str]] = {}
    for node in request.coming:
        if node.group in space.kind_of and not node.blocked_reason:
            runs.setdefault((-max(0.0, node.age_seconds), space.kind_of[node.group]), []).append(node.pod_name)
    ages = {age: place for place, age in enumerate(sorted({age for age, _ in runs}))}
    return [
        Bin(
            COMING,
            kind,
            space.kinds[kind].capacity,
            space.kinds[kind].labels,
            len(names),
            tuple(sorted(names)),
            ages[age],
        )
        for (age, kind), names in sorted(runs.items())
    ]
