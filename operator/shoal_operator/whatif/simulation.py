"""A trace replayed in virtual time: what happens next, and when the planner is asked.

Invariants: time only goes forward; all that happens at one instant happens before work is placed, and that before the
planner is asked; the planner is asked as the operator asks it, when something changed and when it said it wants to be.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import ScalingPlan, ScalingRequest
from shoal_operator.autoscaler.plan import plan_workers
from shoal_operator.domain.labels import HEAD_GROUP
from shoal_operator.whatif.asking import Asking
from shoal_operator.whatif.fleet import Fleet
from shoal_operator.whatif.ledger import Ledger
from shoal_operator.whatif.nodes import SimNode
from shoal_operator.whatif.repeats import Repeats
from shoal_operator.whatif.startup import StartModels
from shoal_operator.whatif.work import FloorChange, Need, Trace, Work
from shoal_operator.whatif.world import Run, World

CHECK_SECONDS_MIN: Final = 0.2
"""The operator cuts a wait no finer."""
QUIET_CHECKS_MAX: Final = 100
"""Checks in a row that change nothing, while nothing else is to come: then it is over."""
PLANS_AT_ONCE_MAX: Final = 100
"""At one instant; a planner that wants more does not settle."""

NOTHING: Final = ResourceSet()
_ENDS, _NODES, _COMES = 0, 1, 2
"""The order of what happens at one instant."""

Planner: TypeAlias = Callable[[ScalingRequest], ScalingPlan]


@dataclass(frozen=True, slots=True)
class Setup:
    """Which cluster, and how quick everything around the planner is."""

    terms: ScalingRequest
    """What the cluster's spec means to the planner."""
    head_resources: ResourceSet = NOTHING
    starts: StartModels = field(default_factory=StartModels)
    reaction_seconds: float = 0.1
    """From a change to the plan that knows of it."""
    removal_seconds: float = 1.0
    """From the drain of an idle node to the end of its pod."""
    until: float | None = None
    """When to stop; None: when nothing is to come."""


class Simulation:
    """One run. Times are seconds since the start of the trace.

    Args:
        trace: what comes.
        setup: the cluster.
        on_run: told of every run that begins.
        planner: one to compare the operator's with; None: that one, which is not asked the same again.
        on_turn: told after everything that happens: the time, and how many plans there were.
    """

    def __init__(
        self,
        trace: Trace,
        setup: Setup,
        on_run: Callable[[Run], None] | None = None,
        planner: Planner | None = None,
        on_turn: Callable[[float, int], None] | None = None,
    ) -> None:
        self.setup = setup
        self.ledger = Ledger()
        self.world = World(self.ledger, on_run)
        self.fleet = Fleet(setup.terms.groups, setup.starts, self.world)
        self.now = 0.0
        self.plans = 0
        self.settled = True
        """False when the planner went on changing its mind at one instant."""
        self._asking = Asking(setup.terms, self.world, self.fleet)
        self._planner = planner if planner is not None else Repeats(plan_workers)
        self._on_turn = on_turn
        self._events: list[tuple[float, int, int, Callable[[], None]]] = []
        self._serial = 0
        self._plan_at: float | None = setup.reaction_seconds
        self._came: set[Need] = set()
        self._has_ended = False
        self._quiet = 0
        self._changed_at = 0.0
        self._at_once = 0
        self._timeouts = {group.name: group.idle_timeout_seconds for group in setup.terms.groups}
        for work in trace.work:
            self._at(work.at, _COMES, partial(self._arrive, work, 0))
        for change in trace.floors:
            self._at(change.at, _COMES, partial(self._ask, change))

    def run(self) -> None:
        """Go on until nothing is to come, or ``until``."""
        for group in self.setup.terms.groups:
            self.ledger.draw_group(0.0, group.name, 0, 0, 0)
        if self.setup.head_resources:
            head = self.setup.head_resources
            self.world.add(SimNode("head", "head", HEAD_GROUP, head, {}, 0.0, joined=True, removable=False))
        until = self.setup.until
        while (at := self._next()) is not None and (until is None or at <= until):
            self._at_once = self._at_once if at == self.now else 0
            self.now = at
            self._turn()
            if self._on_turn is not None:
                self._on_turn(at, self.plans)
        self.now = self._changed_at if until is None else until
        self.world.close(self.now)

    def _next(self) -> float | None:
        times = [self._events[0][0]] if self._events else []
        if (spread := self.world.spreading.ends_at) is not None:
            times.append(spread)
        if self._plan_at is not None and (self._events or self._quiet < QUIET_CHECKS_MAX):
            times.append(self._plan_at)
        return min(times, default=None)

    def _turn(self) -> None:
        """All that happens now."""
        while self._events and self._events[0][0] <= self.now:
            self._changed_at = self.now
            heapq.heappop(self._events)[-1]()
        self._place()
        for node in self.world.became_idle:
            if not node.gone and not node.busy:
                self._check_at(self.now + self._timeouts.get(node.group, 0.0))
                if node.draining:
                    self._leave(node)
        self.world.became_idle.clear()
        if self._plan_at is not None and self._plan_at <= self.now:
            self._plan()

    def _place(self) -> None:
        waited = self.world.waiting.total()
        for run in self.world.place(self.now):
            self._changed_at = self.now
            if run.ends is not None:
                self._at(run.ends, _ENDS, partial(self._end, run))
        waits = self.world.waiting.total()
        # The planner adds for what has come and waits; that less waits than before matters to it while pods are coming.
        is_more = any(self.world.waiting[need] for need in self._came)
        is_less = waits < waited and self.world.coming > 0
        # Room that tasks did not take may be a part of what a gang needs.
        has_room = waits > 0 and (bool(self.world.became_idle) or (self._has_ended and self.world.gangs_wait))
        if is_more or is_less or has_room:
            self._wake()
        self._has_ended = False
        self._came.clear()

    def _at(self, time: float, order: int, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._events, (time, order, self._serial, action))

    def _wake(self) -> None:
        self._quiet = 0
        self._check_at(self.now + self.setup.reaction_seconds)

    def _check_at(self, time: float) -> None:
        self._plan_at = time if self._plan_at is None else min(self._plan_at, time)

    # What happens

    def _arrive(self, work: Work, index: int) -> None:
        self._came.add(work.need)
        if not work.over_seconds:
            self.world.arrive(work, work.count, self.now)
            return
        self.world.arrive(work, 1, self.now)
        if index + 1 < work.count:
            later = work.at + work.over_seconds * (index + 1) / work.count
            self._at(later, _COMES, partial(self._arrive, work, index + 1))

    def _end(self, run: Run) -> None:
        self.world.end(run, self.now)
        self._has_ended = True

    def _ask(self, change: FloorChange) -> None:
        self._asking.floors = change.floors
        self._wake()

    def _join(self, node: SimNode) -> None:
        if not node.gone:
            self.world.join(node, self.now)
            self._wake()

    def _leave(self, node: SimNode) -> None:
        self._at(self.now + self.setup.removal_seconds, _NODES, partial(self._gone, node))

    def _gone(self, node: SimNode) -> None:
        self._start(self.fleet.remove(node, self.now))
        self._wake()

    def _start(self, nodes: list[SimNode]) -> None:
        for node in nodes:
            self._at(node.joins_at, _NODES, partial(self._join, node))

    # The planner

    def _plan(self) -> None:
        self._plan_at = None
        self._at_once += 1
        if self._at_once > PLANS_AT_ONCE_MAX:
            self.settled = False
            return
        self.plans += 1
        plan = self._planner(self._asking.request(self.now))
        self.ledger.decide(self._asking.answered(plan, self.now))
        if self._carry_out(plan):
            self._quiet, self._changed_at = 0, self.now
            self._wake()
        else:
            self._quiet += 1
        if plan.next_check_seconds is not None:
            self._check_at(self.now + max(CHECK_SECONDS_MIN, plan.next_check_seconds))
        fresh = [node for node in self.world.nodes.values() if node.takes_work and not node.busy]
        times = [self._timeouts[n.group] for n in fresh if n.idle_since == self.now and n.group in self._timeouts]
        if times:
            self._check_at(self.now + max(CHECK_SECONDS_MIN, min(times)))

    def _carry_out(self, plan: ScalingPlan) -> bool:
        """Do what the plan says; whether that was anything."""
        for addition in plan.add:
            self._start(self.fleet.add(addition, self.now))
        changed = bool(plan.add)
        for removal in plan.drain:
            node = self.fleet.by_pod(removal)
            if node is not None and self.fleet.may_drain(node, removal):
                self.world.drain(node, self.now)
                changed = True
                if not node.busy:
                    self._leave(node)
        for removal in plan.cancel:
            node = self.fleet.by_pod(removal)
            if node is not None and not node.joined:
                self._start(self.fleet.remove(node, self.now))
                changed = True
        return changed
