"""What is counted while a simulation runs: waits, node-seconds, curves and decisions.

Invariant: every second of every node is in exactly one class, so that paid is used + unfilled + idle + starting +
draining; curves have a point only where something changed.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from shoal_operator.whatif.nodes import SimNode
from shoal_operator.whatif.work import Need, Work

DECISIONS_MAX: Final = 10_000
BUSY: Final = "busy"
NODE_CLASSES: Final = (BUSY, "idle", "starting", "draining")
"""What a node does; of one that is busy a share is used, the rest is unfilled."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that the planner changed or said, and why."""

    at: float
    group: str
    """Empty where it is about no group."""
    change: int
    """Nodes added; below 0: drained or given up; 0: a verdict."""
    reason: str
    text: str = ""


@dataclass(slots=True)
class NodeSeconds:
    """Where the seconds of a group's nodes went."""

    used: float = 0.0
    """Times the share that was taken of a node's scarcest resource."""
    unfilled: float = 0.0
    """The rest of nodes that ran something."""
    idle: float = 0.0
    starting: float = 0.0
    draining: float = 0.0

    def book(self, kind: str, seconds: float, share: float) -> None:
        """Add time of a node.

        Args:
            kind: one of ``NODE_CLASSES``.
            seconds: how long.
            share: how much of it was used, from 0 to 1; of a busy node.
        """
        if kind == BUSY:
            self.used += share * seconds
            self.unfilled += (1 - share) * seconds
        else:
            setattr(self, kind, getattr(self, kind) + seconds)

    @property
    def paid(self) -> float:
        """All of them."""
        return self.used + self.wasted

    @property
    def wasted(self) -> float:
        """All but the used."""
        return self.unfilled + self.idle + self.starting + self.draining


@dataclass(frozen=True, slots=True)
class GroupPoint:
    """Nodes of a group at one time."""

    at: float
    starting: int
    ready: int
    draining: int

    @property
    def wanted(self) -> int:
        """Those that shall be there: on their way or ready."""
        return self.starting + self.ready


@dataclass(frozen=True, slots=True)
class WorkPoint:
    """Units of one need at one time."""

    at: float
    waiting: int
    running: int
    oldest_since: float | None = None
    """When the unit came that has waited longest; None while none waits."""

    def is_like(self, other: WorkPoint) -> bool:
        """Whether only the time differs."""
        ours, theirs = (self.waiting, self.running), (other.waiting, other.running)
        return ours == theirs and self.oldest_since == other.oldest_since


class Records:
    """Rows of numbers, many in little memory.

    Args:
        width: how many numbers a row has.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._numbers = array("d")

    def add(self, *row: float) -> None:
        """Write one row down."""
        self._numbers.extend(row)

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        numbers = iter(self._numbers)
        return zip(*[numbers] * self._width, strict=True)


@dataclass
class Ledger:
    """Filled in by the simulation; read by the outcome."""

    seconds: dict[str, NodeSeconds] = field(default_factory=dict)
    waits: dict[Need, Counter[float]] = field(default_factory=dict)
    """Units by how long they waited."""
    group_curves: dict[str, list[GroupPoint]] = field(default_factory=dict)
    work_curves: dict[Need, list[WorkPoint]] = field(default_factory=dict)
    starts: Records = field(default_factory=lambda: Records(3))
    """Time, wait and number of units that started."""
    spans: Records = field(default_factory=lambda: Records(4))
    """Start, end, number of the class and used share of a node's time."""
    decisions: list[Decision] = field(default_factory=list)
    decisions_left_out: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    used_resources: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Ten-thousandths times seconds, by resource."""
    offered_resources: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _since: dict[str, float] = field(default_factory=dict)

    def settle(self, node: SimNode, now: float) -> None:
        """Book the time since the node last changed; to be called before it changes."""
        if not node.removable:
            return
        since = self._since.get(node.node_id, node.asked_at)
        self._since[node.node_id] = now
        lasted = now - since
        if lasted <= 0 or node.gone:
            return
        for name, amount in node.total.items():
            self.offered_resources[name] += amount * lasted
        kind = _class(node)
        share = node.used_share if kind == BUSY else 0.0
        self.seconds.setdefault(node.group, NodeSeconds()).book(kind, lasted, share)
        self.spans.add(since, now, NODE_CLASSES.index(kind), share)

    def started(self, work: Work, units: int, since: float, now: float) -> None:
        """Units of work that came at ``since`` have found a place."""
        waited = round(now - since, 6)
        self.waits.setdefault(work.need, Counter())[waited] += units
        self.starts.add(now, waited, units)

    def ran(self, need: Need, units: int, seconds: float) -> None:
        """Units of work have run for so long."""
        for name, amount in need.shape.items():
            self.used_resources[name] += amount * units * seconds

    def decide(self, decisions: Iterable[Decision]) -> None:
        """Note decisions; beyond a bound they are only counted."""
        for decision in decisions:
            if len(self.decisions) < DECISIONS_MAX:
                self.decisions.append(decision)
            else:
                self.decisions_left_out += 1

    def draw_group(self, now: float, group: str, starting: int, ready: int, draining: int) -> None:
        """Add a point to the curve of a group that changed."""
        curve = self.group_curves.setdefault(group, [])
        if curve and curve[-1].at == now:
            curve.pop()
        if not curve or (curve[-1].starting, curve[-1].ready, curve[-1].draining) != (starting, ready, draining):
            curve.append(GroupPoint(now, starting, ready, draining))

    def draw_work(self, need: Need, point: WorkPoint) -> None:
        """Add a point to the curve of a need that changed."""
        curve = self.work_curves.setdefault(need, [])
        if curve and curve[-1].at == point.at:
            curve.pop()
        if not curve or not curve[-1].is_like(point):
            curve.append(point)


def _class(node: SimNode) -> str:
    if not node.joined:
        return "starting"
    if node.busy:
        return BUSY
    return "draining" if node.draining else "idle"
