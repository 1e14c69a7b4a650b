"""Questions for the autoscaler, small and large, made from seeds.

Invariant: a seed gives the same question on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import ComingNode, Demand, Group, Labels, Node, ScalingRequest

_of = ResourceSet.from_units
_SELECTORS: Sequence[Labels] = ((), (), (), (), (("zone", "a"),), (("zone", "!a"),))


def small(seed: int) -> ScalingRequest:
    """A question that an exact solver answers in a moment: up to three groups, four shapes and seven nodes."""
    rng = random.Random(f"packing {seed}")
    groups = tuple(_group(rng, name) for name in ("a", "b", "c")[: rng.randint(1, 3)])
    nodes: list[Node] = []
    coming: list[ComingNode] = []
    for group in groups:
        for index in range(rng.randint(0, 2)):
            name = f"{group.name}-{index}"
            if rng.random() < 0.3:
                coming.append(ComingNode(name, group.name, 1.0))
                continue
            free = ResourceSet({key: amount * rng.randint(0, 4) // 4 for key, amount in group.resources.items()})
            nodes.append(Node(name, name, group.name, group.resources, free))
    demands = tuple(Demand(_shape(rng), rng.randint(1, 8), rng.choice(_SELECTORS)) for _ in range(rng.randint(1, 4)))
    return ScalingRequest(demands, groups, tuple(nodes), tuple(coming))


def equal_tasks(count: int) -> ScalingRequest:
    """So many tasks of one CPU, and an empty cluster."""
    group = Group("worker", _of({"CPU": 16, "memory": 64}), max_nodes=10_000)
    return ScalingRequest((Demand(_of({"CPU": 1}), count),), (group,))


def hundred_shapes(count: int, seed: int = 0) -> ScalingRequest:
    """So many tasks of 100 shapes, three kinds of nodes, and an empty cluster."""
    rng = random.Random(f"shapes {seed}")
    sizes = {"small": (8, 64), "medium": (16, 64), "large": (64, 256)}
    groups = tuple(
        Group(name, _of({"CPU": cpus, "memory": memory}), max_nodes=10_000) for name, (cpus, memory) in sizes.items()
    )
    shapes = [_of({"CPU": rng.randint(1, 16) / 2, "memory": rng.randint(1, 32)}) for _ in range(100)]
    return ScalingRequest(tuple(Demand(shape, count // 100) for shape in shapes), groups)


def crowded(count: int, *, are_alike: bool, seed: int = 0) -> ScalingRequest:
    """So many tasks of 100 shapes, 20 groups, and 1,000 nodes that are full, or each free in its own way."""
    rng = random.Random(f"crowd {seed}")
    groups = []
    for index in range(20):
        units: dict[str, float] = {"CPU": rng.choice([4, 8, 16, 32, 64]), "memory": rng.choice([16, 32, 64, 128, 256])}
        if index % 4 == 3:
            units["GPU"] = rng.choice([1, 2, 4, 8])
        groups.append(Group(f"group-{index:02}", _of(units), max_nodes=5_000, priority=index % 3))
    nodes = []
    for index in range(1_000):
        group = groups[index % 20]
        parts = {
            key: amount * (0 if are_alike else rng.randint(0, 100)) // 100 for key, amount in group.resources.items()
        }
        nodes.append(Node(f"node-{index}", f"pod-{index}", group.name, group.resources, ResourceSet(parts)))
    demands = []
    for index in range(100):
        units = {"CPU": rng.randint(1, 80) / 10, "memory": rng.randint(1, 200) / 10}
        if index % 10 == 9:
            units["GPU"] = rng.choice([0.5, 1, 2])
        demands.append(Demand(_of(units), count // 100))
    return ScalingRequest(tuple(demands), tuple(groups), tuple(nodes))


def _group(rng: random.Random, name: str) -> Group:
    units: dict[str, float] = {"CPU": rng.choice([2, 4, 6, 8, 16]), "memory": rng.choice([4, 8, 16, 32])}
    if rng.random() < 0.3:
        units["GPU"] = rng.choice([1, 2, 4])
    labels: Labels = rng.choice([(), (("zone", "a"),), (("zone", "b"),)])
    return Group(name, _of(units), 0, 2 + rng.randint(1, 6), rng.choice([0, 0, 0, 1]), labels=labels)


def _shape(rng: random.Random) -> ResourceSet:
    units: dict[str, float] = {"CPU": rng.choice([0.5, 1, 1, 2, 3, 4, 5])}
    if rng.random() < 0.6:
        units["memory"] = rng.randint(1, 8)
    if rng.random() < 0.15:
        units["GPU"] = rng.choice([0.5, 1, 2])
    return _of(units)
