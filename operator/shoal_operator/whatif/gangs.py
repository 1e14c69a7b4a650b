"""Where the bundles of a gang go, all of them or none, and when a SPREAD gang shares nodes.

Invariant: the choice is the runtime's own (``shoal.core.packing``); here are only its words for the simulator's. The
rule for SPREAD is that of ``shoal.core.placement``, and a test compares the times.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from shoal.core import packing
from shoal.core.actor_placement import Candidate
from shoal.core.placement import SPREAD_WAIT_SECONDS, SPREAD_WAIT_SECONDS_MAX
from shoal_operator.autoscaler.model import Bundle, GangStrategy
from shoal_operator.whatif.nodes import SimNode
from shoal_operator.whatif.work import Need

Places = list[tuple[Bundle, SimNode, int]]
"""Bundle, node, and how many of them it gets."""


def place_gang(strategy: GangStrategy, bundles: Sequence[Bundle], nodes: Sequence[SimNode]) -> Places | None:
    """Nodes for all bundles, or None while there is no room; nothing is taken yet.

    Args:
        strategy: of the gang.
        bundles: equal ones grouped.
        nodes: those that take work.
    """
    units = [bundle for bundle in bundles for _ in range(bundle.count)]
    wanted = {index: packing.Bundle(bundle.shape, bundle.label_selector) for index, bundle in enumerate(units)}
    free = [Candidate(node.node_id, node.total, node.free, 0, node.labels) for node in nodes]
    found = packing.pack(wanted, strategy.value, free, {})
    if found is None:
        return None
    by_id = {node.node_id: node for node in nodes}
    counts = Counter((units[index], node_id) for index, node_id in found.items())
    return [(bundle, by_id[node_id], count) for (bundle, node_id), count in counts.items()]


class Spreading:
    """SPREAD gangs that have room and let it be, because nodes are joining and bundles would share one."""

    def __init__(self) -> None:
        self._joined_at = -math.inf
        self._share_by: dict[Need, float] = {}

    def joined(self, now: float) -> None:
        """A node has."""
        self._joined_at = now

    def wait(self, need: Need, places: Places | None, now: float) -> bool:
        """Whether gangs wait for more nodes; ``places`` is where they could go, None while there is no room."""
        if need.strategy is not GangStrategy.SPREAD or places is None:
            self._share_by.pop(need, None)
            return False
        is_spread = len({node.node_id for _, node, _ in places}) == sum(count for _, _, count in places)
        by = self._share_by.setdefault(need, now + SPREAD_WAIT_SECONDS_MAX)
        if is_spread or now >= min(self._joined_at + SPREAD_WAIT_SECONDS, by):
            del self._share_by[need]
            return False
        return True

    def has(self, need: Need) -> bool:
        """Whether gangs of that need wait for nodes."""
        return need in self._share_by

    @property
    def ends_at(self) -> float | None:
        """When the first of them takes what there is; None while none waits."""
        waiting = self._share_by.values()
        return min(self._joined_at + SPREAD_WAIT_SECONDS, *waiting) if waiting else None
