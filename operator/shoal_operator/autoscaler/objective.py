"""What makes one answer better than another; the only place that says so.

An answer is better the earlier it is smaller in this list:

1. placement groups that find no place, then work that finds none, by what it takes of the cluster;
2. placement groups that want to be spread and are not;
3. new nodes of the groups of the lowest priority, then those of the next higher one, and so on: strict priority
   means that a lower group is used only for what the higher ones cannot take. Within one priority:
   accelerators first (they are kept for work that asks for them), then all other capacity (so: waste, since the
   work is the same), then the number of nodes.

Capacity is counted as a price: of each resource, the largest node that any group has costs the same. Nodes that have
joined or are on their way cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from shoal_operator.autoscaler.packing import Packing, cost_of
from shoal_operator.autoscaler.problem import Space

Cost: TypeAlias = tuple[tuple[int, int, int], ...]
"""For each priority, the lowest first: accelerators, other capacity, nodes."""
Objective: TypeAlias = tuple[int, int, int, Cost]


def cost(space: Space, nodes: Mapping[int, int]) -> Cost:
    """What new nodes, by group, cost."""
    levels: dict[int, tuple[int, int, int]] = {kind.group.priority: (0, 0, 0) for kind in space.kinds}
    for index, count in nodes.items():
        kind = space.kinds[index]
        accelerators, capacity, number = levels[kind.group.priority]
        more = cost_of(kind, count)
        levels[kind.group.priority] = (accelerators + more[0], capacity + more[1], number + more[2])
    return tuple(levels[priority] for priority in sorted(levels))


def unmet(packing: Packing) -> tuple[int, int]:
    """Placement groups, and work by what it takes, that found no place."""
    work = sum((item.value + 1) * packing.left[item.index] for item in packing.items if item.is_possible)
    return len(packing.failed_gangs) + len(packing.late_gangs), work


def objective(packing: Packing) -> Objective:
    """How good a pass is; smaller is better."""
    return *unmet(packing), packing.huddled, cost(packing.space, packing.new_nodes())
