"""Which node runs the driver of a job that needs resources: waiting ones, placed ones, lost ones.

Invariant: a driver is with one node at most; a node that is gone never gets its drivers back; what waits is demand
of kind ``job``, so that a worker is made for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from shoal.core.actor_placement import Candidate, choose, explain
from shoal.core.demand import NodeDemand
from shoal.resources import ResourceSet, describe

REFUSED_PAUSE_SECONDS: Final = 0.2
"""After a node had no room: its next report shows why."""
SETTLE_SECONDS: Final = 1.0
"""How long a driver's share is taken out of what its node reports as free."""


@dataclass
class _Driver:
    need: ResourceSet
    node_id: str = ""
    placed_at: float = 0.0
    not_before: float = 0.0


@dataclass(frozen=True)
class Placement:
    """Start the driver of that submission on that node."""

    submission_id: str
    node_id: str


class PlacedDrivers:
    """All drivers that need a node, oldest first."""

    def __init__(self) -> None:
        self._drivers: dict[str, _Driver] = {}

    def add(self, submission_id: str, need: ResourceSet) -> None:
        """A driver wants a node; the same id again is no error."""
        self._drivers.setdefault(submission_id, _Driver(need))

    def adopt(self, submission_id: str, node_id: str) -> None:
        """It turns out to be with that node already."""
        self._drivers[submission_id].node_id = node_id

    def remove(self, submission_id: str) -> str:
        """It has ended, or is not wanted any more; returns the node that has it, or an empty text."""
        driver = self._drivers.pop(submission_id, None)
        return driver.node_id if driver is not None else ""

    def node_of(self, submission_id: str) -> str | None:
        """The node that a driver is with; empty: it waits; None: it is not known."""
        driver = self._drivers.get(submission_id)
        return None if driver is None else driver.node_id

    def on_node(self, node_id: str) -> list[str]:
        """The drivers that a node has, or should have."""
        return [key for key, driver in self._drivers.items() if driver.node_id == node_id]

    def waiting(self) -> bool:
        """Whether any driver has no node."""
        return any(not driver.node_id for driver in self._drivers.values())

    def demands(self) -> list[NodeDemand]:
        """What waiting drivers need, one entry each."""
        return [
            NodeDemand(driver.need, 1, "job", (), (submission_id,))
            for submission_id, driver in self._drivers.items()
            if not driver.node_id
        ]

    def place(self, candidates: Sequence[Candidate], now: float) -> list[Placement]:
        """Give waiting drivers to nodes that have the resources free now."""
        nodes = [self._less_promises(node, now) for node in candidates]
        placed = []
        for submission_id, driver in self._drivers.items():
            if driver.node_id or now < driver.not_before:
                continue
            chosen = choose(driver.need, nodes)
            if chosen is None:
                continue
            driver.node_id, driver.placed_at = chosen, now
            placed.append(Placement(submission_id, chosen))
            nodes = [_take(node, driver.need) if node.node_id == chosen else node for node in nodes]
        return placed

    def explain(self, submission_id: str, candidates: Sequence[Candidate]) -> str:
        """What a waiting driver waits for, for people."""
        need = self._drivers[submission_id].need
        return f"the driver waits for a node with {describe(need)}: {explain(need, candidates)}"

    def refused(self, submission_id: str, node_id: str, now: float) -> None:
        """The node had no room after all: the driver waits again."""
        driver = self._drivers.get(submission_id)
        if driver is not None and driver.node_id == node_id:
            driver.node_id, driver.not_before = "", now + REFUSED_PAUSE_SECONDS

    def node_died(self, node_id: str) -> list[str]:
        """The drivers that went with a node; they are forgotten here."""
        lost = self.on_node(node_id)
        for submission_id in lost:
            del self._drivers[submission_id]
        return lost

    def next_deadline(self) -> float | None:
        """When a refused driver may be placed again."""
        times = [driver.not_before for driver in self._drivers.values() if not driver.node_id and driver.not_before]
        return min(times, default=None)

    def _less_promises(self, node: Candidate, now: float) -> Candidate:
        for driver in self._drivers.values():
            if driver.node_id == node.node_id and now < driver.placed_at + SETTLE_SECONDS:
                node = _take(node, driver.need)
        return node


def _take(node: Candidate, need: ResourceSet) -> Candidate:
    left = {name: max(0, amount - need[name]) for name, amount in node.available.items()}
    return replace(node, available=ResourceSet(left))
