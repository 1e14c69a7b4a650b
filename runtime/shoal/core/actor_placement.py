"""On which node an actor goes: a pure choice over the head's view of the nodes.

Invariant: the same view gives the same choice; a node that lacks the resources, drains or is out of touch
is never chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shoal.core.labels import Selector, matches
from shoal.resources import ResourceSet

PACK_THRESHOLD: Final = 0.5
"""Up to this use of a node's scarcest resource it counts as empty, so that actors pack (Ray's rule)."""


@dataclass(frozen=True)
class Candidate:
    """A node that takes work. ``available`` has what is promised to actors on their way already taken out."""

    node_id: str
    total: ResourceSet
    available: ResourceSet
    actors: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


def choose(need: ResourceSet, nodes: Sequence[Candidate], prefer: str = "") -> str | None:
    """The node for an actor that needs ``need`` free at its start; None when none has it free now.

    The owner's node (``prefer``) wins while it is as good as any; an actor that needs nothing goes where
    the fewest actors are.
    """
    fitting = [node for node in nodes if need.fits(node.available)]
    if not fitting:
        return None
    if not need:
        return min(fitting, key=lambda node: (node.actors, node.node_id != prefer)).node_id
    scored = [(_use_after(need, node), node.node_id != prefer, node.node_id) for node in fitting]
    return min(scored)[2]


def _use_after(need: ResourceSet, node: Candidate) -> float:
    """The used share of the node's scarcest resource once ``need`` is taken;

    0 up to the packing threshold.
    """
    shares = [1.0 - (node.available[name] - need[name]) / amount for name, amount in node.total.items() if amount > 0]
    highest = max(shares, default=0.0)
    return 0.0 if highest <= PACK_THRESHOLD else highest


def explain(need: ResourceSet, nodes: Sequence[Candidate], selector: Selector = ()) -> str:
    """Why ``choose`` found no node with the labels of ``selector``, for people."""
    if not nodes:
        return "no node takes work yet"
    if not any(matches(selector, node.labels) for node in nodes):
        wanted = ", ".join(f"{key}={expression}" for key, expression in selector)
        return f"none of {len(nodes)} nodes has the labels {wanted}"
    nodes = [node for node in nodes if matches(selector, node.labels)]
    able = [node for node in nodes if need.fits(node.total)]
    if able:
        return f"{len(able)} of {len(nodes)} nodes could hold it, all are busy"
    return f"none of {len(nodes)} nodes is large enough"
