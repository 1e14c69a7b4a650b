"""Where the bundles of a gang go: all of them, or none.

Invariant: the choice is the runtime's own (``shoal.core.packing``); here are only its words for the simulator's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from shoal.core import packing
from shoal.core.actor_placement import Candidate
from shoal_operator.autoscaler.model import Bundle, GangStrategy
from shoal_operator.whatif.nodes import SimNode

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
