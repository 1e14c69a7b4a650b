"""Where a request for room in a placement group goes, as the node of its owner sees the group.

Invariant: pure; a request goes only to a node that holds a bundle which could ever take it; one that no bundle could
take, or whose group is gone, is told so instead of waiting for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shoal.core.bundles import ANY
from shoal.resources import ResourceSet, describe
from shoal.wire.address import RawNode


@dataclass(frozen=True)
class Seen:
    """A placement group as the head last told of it: each bundle's shape and node."""

    state: str
    message: str
    bundles: tuple[tuple[ResourceSet, RawNode | None], ...]


@dataclass(frozen=True)
class Here:
    """This node holds a bundle for it."""


@dataclass(frozen=True)
class Elsewhere:
    """That node holds a bundle for it."""

    node: RawNode


@dataclass(frozen=True)
class Later:
    """The bundles that could take it have no node now."""


@dataclass(frozen=True)
class Never:
    """It can not be served. ``kind``: the group is ``removed``, or the need is ``unschedulable``."""

    kind: Literal["removed", "unschedulable"]
    message: str


Route = Here | Elsewhere | Later | Never


def route(seen: Seen, index: int, shape: ResourceSet, node_id: str, *, has_room: bool, turn: int) -> Route:
    """Decide for one request.

    Args:
        seen: the group.
        index: of the bundle; ``ANY`` for whichever.
        shape: what is needed in it.
        node_id: this node.
        has_room: whether a bundle here would take it now.
        turn: grows with every request, so that those for any bundle go round the nodes.
    """
    if seen.state == "REMOVED":
        return Never("removed", seen.message)
    if index != ANY and not 0 <= index < len(seen.bundles):
        return Never("unschedulable", f"the placement group has no bundle {index}, only 0 to {len(seen.bundles) - 1}")
    asked = seen.bundles if index == ANY else (seen.bundles[index],)
    able = [node for bundle, node in asked if shape.fits(bundle)]
    if not able:
        which = "no bundle of the placement group" if index == ANY else f"bundle {index} of the placement group cannot"
        words = "could ever hold" if index == ANY else "hold"
        return Never("unschedulable", f"{which} {words} {describe(shape)}")
    nodes = list(dict.fromkeys(node for node in able if node is not None))
    if not nodes:
        return Later()
    mine = any(node[0] == node_id for node in nodes)
    if mine and (has_room or len(nodes) == 1):
        return Here()
    chosen = nodes[turn % len(nodes)]
    return Here() if chosen[0] == node_id else Elsewhere(chosen)
