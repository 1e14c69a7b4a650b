"""Nodes of the simulated cluster and where the runtime would put work on them.

Invariants: what is placed on a node never exceeds what it has; a draining node gets nothing. The rules are the
runtime's own, put in a way that is quick for many nodes; tests compare them (``shoal.core.scheduler``,
``actor_placement``).
"""

from __future__ import annotations

import heapq
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from shoal.core.labels import matches
from shoal.resources import ResourceSet
from shoal_operator.whatif.startup import Machine
from shoal_operator.whatif.work import Need

THRESHOLD: Final = 0.5
"""A node that would be used less than this counts as unused, so that small loads stay together."""
DRIVERS_NODE: Final = "head"
"""Where the program runs that submits; each node sends tasks to others in an order of its own."""


@dataclass(slots=True)
class SimNode:
    """A pod, from when it is asked for until it is gone."""

    node_id: str
    """Names of pods are used again, ids are not."""
    pod_name: str
    group: str
    total: ResourceSet
    labels: Mapping[str, str]
    asked_at: float
    replica: str = ""
    machine: Machine | None = None
    joins_at: float = 0.0
    joined: bool = False
    draining: bool = False
    gone_at: float | None = None
    removable: bool = True
    idle_since: float = 0.0
    free: ResourceSet = field(default_factory=ResourceSet)
    held: Counter[int] = field(default_factory=Counter)
    """Units on it, by an id of where they came from."""
    rank: int = 0
    version: int = 0
    """Goes up with every change of what it takes."""

    def __post_init__(self) -> None:
        self.free = self.total
        self.rank = zlib.crc32(f"{DRIVERS_NODE} {self.node_id}".encode())

    @property
    def gone(self) -> bool:
        """Whether its pod has ended."""
        return self.gone_at is not None

    @property
    def takes_work(self) -> bool:
        """Whether work may be placed on it."""
        return self.joined and not self.draining and not self.gone

    @property
    def busy(self) -> bool:
        """Whether anything runs on it."""
        return bool(self.held)

    @property
    def used_share(self) -> float:
        """How much of its scarcest resource is taken, from 0 to 1."""
        return max((1 - self.free[name] / amount for name, amount in self.total.items()), default=0.0)

    def take(self, shape: ResourceSet, units: int, owner: int) -> None:
        """Place units."""
        self.version += 1
        self.free -= shape.times(units)
        self.held[owner] += units

    def give_back(self, shape: ResourceSet, units: int, owner: int) -> None:
        """Units have ended."""
        self.version += 1
        self.free += shape.times(units)
        self.held[owner] -= units
        if not self.held[owner]:
            del self.held[owner]


def rank(need: Need, node: SimNode) -> tuple[float, int, str] | None:
    """How well a node suits one unit of a task or an actor, the least first; None when it has no room."""
    if not node.takes_work or not need.shape.fits(node.free) or not matches(need.label_selector, node.labels):
        return None
    counted = node.total if need.kind == "actor" else need.shape
    total, free, shape = node.total, node.free, need.shape
    shares = [(total[name] - free[name] + shape[name]) / total[name] for name in counted if total[name]]
    share = max(shares, default=0.0)
    if need.kind == "actor":
        return (0.0 if share <= THRESHOLD else share), 0, node.node_id
    return (0.0 if share < THRESHOLD else share), node.rank, node.node_id


class Ranking:
    """Nodes in the order in which units of one need go to them; only nodes that changed are looked at again.

    Args:
        need: of tasks or actors.
    """

    def __init__(self, need: Need) -> None:
        self._need = need
        self._heap: list[tuple[tuple[float, int, str], int, SimNode]] = []
        self.seen = 0
        """How far the log of changes has been read."""

    def __len__(self) -> int:
        return len(self._heap)

    def look_at(self, nodes: Iterable[SimNode]) -> None:
        """Take nodes in that are new, or have changed."""
        for node in nodes:
            score = rank(self._need, node)
            if score is not None:
                heapq.heappush(self._heap, (score, node.version, node))

    def best(self) -> SimNode | None:
        """Where the next unit goes; None when no node has room."""
        while self._heap:
            _, version, node = self._heap[0]
            if version == node.version and node.takes_work:
                return node
            heapq.heappop(self._heap)
        return None
