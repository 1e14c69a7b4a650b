"""The simulated cluster between two decisions of the planner: work waits, is placed, runs and ends.

Invariants: a unit is placed once, whole, and only where it fits; units of one need start in the order in which they
came; what waits after ``place`` fits on no node.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from shoal.resources import ResourceSet
from shoal_operator.whatif.gangs import Spreading, place_gang
from shoal_operator.whatif.ledger import Ledger, WorkPoint
from shoal_operator.whatif.nodes import Ranking, SimNode
from shoal_operator.whatif.work import Need, Work

LOG_MAX: Final = 100_000


@dataclass(slots=True)
class Waiting:
    """Units of one line that came at once and have no place yet."""

    work: Work
    since: float
    count: int
    serial: int


@dataclass(frozen=True, slots=True)
class Run:
    """Units of one line that were placed together: equal tasks on one node, or one gang."""

    work: Work
    units: int
    started: float
    ends: float | None
    """None: they stay."""
    parts: tuple[tuple[SimNode, ResourceSet, int], ...]
    """Node, shape, and how many of it."""
    serial: int


@dataclass
class World:
    """Nodes and work. Times are seconds since the start."""

    ledger: Ledger
    on_run: Callable[[Run], None] | None = None
    nodes: dict[str, SimNode] = field(default_factory=dict)
    queues: dict[Need, deque[Waiting]] = field(default_factory=dict)
    waiting: Counter[Need] = field(default_factory=Counter)
    running: Counter[Need] = field(default_factory=Counter)
    arrived: int = 0
    started: int = 0
    ended: int = 0
    became_idle: list[SimNode] = field(default_factory=list)
    """Since somebody last looked."""
    runs: dict[int, Run] = field(default_factory=dict)
    """What runs now, by serial number."""
    spreading: Spreading = field(default_factory=Spreading)
    coming: int = 0
    """How many pods have not joined."""
    _counts: dict[str, Counter[str]] = field(default_factory=dict)
    _rankings: dict[Need, Ranking] = field(default_factory=dict)
    _log: list[SimNode] = field(default_factory=list)
    """Nodes that changed, in that order; a ranking reads on from where it was."""
    _tried: set[Need] = field(default_factory=set)
    """Needs of gangs that found no room."""
    _has_room: bool = True
    """Whether any node has more room than when gangs were last placed."""
    _serial: int = 0

    def arrive(self, work: Work, count: int, now: float) -> None:
        """Units of work come."""
        self._serial += 1
        self.queues.setdefault(work.need, deque()).append(Waiting(work, now, count, self._serial))
        self.waiting[work.need] += count
        self.arrived += count
        self._draw(work.need, now)

    @property
    def gangs_wait(self) -> bool:
        """Whether any gang has no place."""
        return any(need.kind == "gang" for need in self.queues)

    def add(self, node: SimNode) -> None:
        """A pod was asked for, or (the head) is there already."""
        self.nodes[node.node_id] = node
        if node.joined:
            self._log.append(node)
            self.spreading.joined(node.asked_at)
        self.coming += not node.joined
        self._count(node, "", node.asked_at)

    def join(self, node: SimNode, now: float) -> None:
        """A node takes work from now on."""
        self.ledger.settle(node, now)
        before = _class(node)
        node.joined, node.idle_since = True, now
        self.spreading.joined(now)
        self.coming -= 1
        self._count(node, before, now)
        self._log.append(node)
        self._has_room = True
        self.became_idle.append(node)

    def drain(self, node: SimNode, now: float) -> None:
        """A node takes no work any more."""
        self.ledger.settle(node, now)
        before = _class(node)
        node.draining = True
        self._count(node, before, now)

    def remove(self, node: SimNode, now: float) -> None:
        """A node has gone."""
        self.ledger.settle(node, now)
        before = _class(node)
        node.gone_at = now
        self.coming -= not node.joined
        self._count(node, before, now)
        del self.nodes[node.node_id]

    def _count(self, node: SimNode, before: str, now: float) -> None:
        if node.removable:
            counts = self._counts.setdefault(node.group, Counter())
            counts[before] -= 1
            counts[_class(node)] += 1
            self.ledger.draw_group(now, node.group, counts["starting"], counts["ready"], counts["draining"])

    def _draw(self, need: Need, now: float) -> None:
        queue = self.queues.get(need)
        oldest_since = queue[0].since if queue else None
        self.ledger.draw_work(need, WorkPoint(now, self.waiting[need], self.running[need], oldest_since))

    def end(self, run: Run, now: float) -> None:
        """What ran has ended."""
        for node, shape, units in run.parts:
            self.ledger.settle(node, now)
            node.give_back(shape, units, run.work.line)
            self._log.append(node)
            self._has_room = True
            if not node.busy:
                node.idle_since = now
                self.became_idle.append(node)
        need = run.work.need
        del self.runs[run.serial]
        self.ledger.ran(need, run.units, now - run.started)
        self.running[need] -= run.units
        self.ended += run.units
        self._draw(need, now)

    def close(self, now: float) -> None:
        """The simulation is over: what runs and what is there is counted up to now."""
        for node in self.nodes.values():
            self.ledger.settle(node, now)
        for run in self.runs.values():
            self.ledger.ran(run.work.need, run.units, now - run.started)

    def place(self, now: float) -> list[Run]:
        """Give room to what waits, whoever waits longest first; the runs that begin."""
        begun: list[Run] = []
        has_room, self._has_room = self._has_room, False
        for need in sorted(self.queues, key=lambda each: self.queues[each][0].serial):
            if need.kind != "gang":
                runs = self._place_units(need, now)
            elif has_room or need not in self._tried or self.spreading.has(need):
                runs = self._place_gangs(need, now)
                self._tried.add(need)
            else:
                continue
            begun += runs
            if not self.queues[need]:
                del self.queues[need]
                self._tried.discard(need)
            if runs:
                self._draw(need, now)
        if len(self._log) > LOG_MAX:
            self._log.clear()
            self._rankings.clear()
        return begun

    def _ranking(self, need: Need) -> Ranking:
        """The nodes as they are now, best first."""
        ranking = self._rankings.get(need)
        behind = len(self._log) - ranking.seen if ranking else 0
        if ranking is None or max(behind, len(ranking)) > 4 * len(self.nodes) + 64:
            ranking = self._rankings[need] = Ranking(need)
            ranking.look_at(self.nodes.values())
        else:
            ranking.look_at({node.node_id: node for node in self._log[ranking.seen :]}.values())
        ranking.seen = len(self._log)
        return ranking

    def _place_units(self, need: Need, now: float) -> list[Run]:
        ranking, queue = self._ranking(need), self.queues[need]
        counts: dict[tuple[int, str], int] = {}
        items: dict[tuple[int, str], tuple[Waiting, SimNode]] = {}
        while queue and (node := ranking.best()) is not None:
            first = queue[0]
            key = (first.serial, node.node_id)
            if key not in counts:
                items[key] = (first, node)
            counts[key] = counts.get(key, 0) + 1
            self.ledger.settle(node, now)
            node.take(need.shape, 1, first.work.line)
            ranking.look_at((node,))
            first.count -= 1
            if not first.count:
                queue.popleft()
        self._log += {node.node_id: node for _, node in items.values()}.values()
        return [self._begin(*items[key], units, now) for key, units in counts.items()]

    def _begin(self, waiting: Waiting, node: SimNode, units: int, now: float) -> Run:
        return self._run(waiting, units, ((node, waiting.work.need.shape, units),), now)

    def _place_gangs(self, need: Need, now: float) -> list[Run]:
        queue, runs = self.queues[need], []
        assert need.strategy is not None
        able = [node for node in self.nodes.values() if node.takes_work]
        while queue:
            places = place_gang(need.strategy, need.bundles, able)
            if self.spreading.wait(need, places, now) or places is None:
                break
            first = queue[0]
            for bundle, node, count in places:
                self.ledger.settle(node, now)
                node.take(bundle.shape, count, first.work.line)
                self._log.append(node)
            runs.append(self._run(first, 1, tuple((n, b.shape, count) for b, n, count in places), now))
            first.count -= 1
            if not first.count:
                queue.popleft()
        return runs

    def _run(
        self, waiting: Waiting, units: int, parts: tuple[tuple[SimNode, ResourceSet, int], ...], now: float
    ) -> Run:
        work = waiting.work
        self._serial += 1
        ends = None if work.duration_seconds is None else now + work.duration_seconds
        run = Run(work, units, now, ends, parts, self._serial)
        self.waiting[work.need] -= units
        self.running[work.need] += units
        self.started += units
        self.ledger.started(work, units, waiting.since, now)
        self.runs[run.serial] = run
        if self.on_run is not None:
            self.on_run(run)
        return run


def _class(node: SimNode) -> str:
    if node.gone:
        return "gone"
    if node.draining:
        return "draining"
    return "ready" if node.joined else "starting"
