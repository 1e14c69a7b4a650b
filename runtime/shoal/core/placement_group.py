"""One placement group: what was asked for, where its bundles are, and what is to be done about it.

Invariant: a group has one place for each bundle; what it lacks is worked out from its places and from nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from shoal.core.packing import Bundle, Strategy
from shoal.resources import ResourceSet, describe

State = Literal["PENDING", "CREATED", "RESCHEDULING", "REMOVED"]

MAX_BUNDLES: Final = 1_000
MAX_NAME_LENGTH: Final = 255


@dataclass(frozen=True)
class GroupSpec:
    """What was asked for."""

    group_id: str
    job_id: str
    strategy: Strategy
    bundles: tuple[Bundle, ...]
    name: str = ""
    namespace: str = ""
    detached: bool = False


@dataclass
class Place:
    """Where a bundle is. ``attempt``: the one that chose the node; ``held``: the node has confirmed."""

    node_id: str = ""
    held: bool = False
    attempt: int = 0


Wish = tuple[Strategy, frozenset[tuple[Bundle, int]], frozenset[tuple[str, int]]]
"""Strategy, bundles that have no node with their counts, and nodes that have others with theirs."""


@dataclass
class PlacementGroup:
    """One group's state. ``version`` grows whenever others are told of it; ``wish`` is what it lacks, if worked out.

    ``share_by``: when it shares nodes at the latest, while it has room and waits for more nodes.
    """

    spec: GroupSpec
    state: State = "PENDING"
    places: list[Place] = field(default_factory=list)
    attempt: int = 0
    message: str = ""
    pause_seconds: float = 0.0
    not_before: float = 0.0
    version: int = 0
    wish: Wish | None = None
    share_by: float | None = None
    subscribers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.places = self.places or [Place() for _ in self.spec.bundles]

    def lacks(self) -> Wish:
        """What groups have in common that find room at the same time or do not."""
        if self.wish is None:
            bundles = frozenset(Counter(self.unplaced().values()).items())
            self.wish = (self.spec.strategy, bundles, frozenset(self.occupied().items()))
        return self.wish

    def unplaced(self) -> dict[int, Bundle]:
        """The bundles without a node."""
        return {i: b for i, b in enumerate(self.spec.bundles) if not self.places[i].node_id}

    def occupied(self) -> Counter[str]:
        """How many bundles each node has."""
        return Counter(place.node_id for place in self.places if place.node_id)

    def nodes(self) -> list[str]:
        """Where each bundle can be used; empty while it has no node, or not all of its attempt have confirmed."""
        prepared = self.attempt if self.trying() else -1
        return [
            place.node_id if place.held and self.state != "PENDING" and place.attempt != prepared else ""
            for place in self.places
        ]

    def trying(self) -> bool:
        """Whether nodes are being asked to hold bundles."""
        return any(place.node_id and not place.held for place in self.places)

    def indexes_on(self, node_id: str) -> list[int]:
        """The bundles that a node holds or was asked to hold."""
        return [index for index, place in enumerate(self.places) if place.node_id == node_id]


@dataclass(frozen=True)
class Reserve:
    """Ask a node to hold bundles."""

    node_id: str
    group_id: str
    attempt: int
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class Return:
    """Tell a node to let go of bundles; ``kill``: and of what runs in them, at once."""

    node_id: str
    group_id: str
    indexes: tuple[int, ...]
    kill: bool
    reason: str


@dataclass(frozen=True)
class Publish:
    """Tell every subscribed node the group's state, and write it down."""

    group: PlacementGroup


Instruction = Reserve | Return | Publish


def misfit(group: PlacementGroup, index: int, need: ResourceSet) -> str:
    """Why no bundle of a group could ever hold an actor; empty when one could.

    Args:
        group: in which it is to live.
        index: of the bundle; -1: any.
        need: of the actor.
    """
    bundles = group.spec.bundles
    if index >= len(bundles):
        return f"the placement group has no bundle {index}, only 0 to {len(bundles) - 1}"
    asked = bundles if index < 0 else bundles[index : index + 1]
    if any(need.fits(bundle.shape) for bundle in asked):
        return ""
    where = "any bundle of the placement group" if index < 0 else f"bundle {index} of the placement group"
    return f"it needs {describe(need)}, which does not fit in {where}"


def bundle_for(
    group: PlacementGroup,
    index: int,
    need: ResourceSet,
    held: Iterable[tuple[int, str, ResourceSet]],
    refusals: int,
) -> tuple[int, str] | None:
    """A bundle with room for an actor, and its node; None when there is none now.

    Args:
        group: it is placed in.
        index: of the bundle; -1: any.
        need: must be free in it.
        held: bundle, node and resources of every actor that is in the group already.
        refusals: how often a node had less room than this says; each time another bundle is tried first.
    """
    if group.state == "PENDING":
        return None
    nodes, shapes = group.nodes(), group.spec.bundles
    taken: dict[int, ResourceSet] = {}
    for i, node_id, resources in held:
        if i < len(nodes) and nodes[i] == node_id:  # a bundle that moved has left behind what ran in it
            taken[i] = taken.get(i, ResourceSet()) + resources
    indexes = range(len(nodes)) if index < 0 else range(index, min(index + 1, len(nodes)))
    able = [i for i in indexes if nodes[i] and (need + taken.get(i, ResourceSet())).fits(shapes[i].shape)]
    if not able:
        return None
    chosen = able[refusals % len(able)]
    return chosen, nodes[chosen]
