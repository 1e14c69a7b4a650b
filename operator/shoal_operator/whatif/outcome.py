"""What came of a simulation: figures, curves and decisions, ready to be shown.

Invariant: figures are of units and node-seconds, weighted by how many there were; outcomes that are compared cover the
same span of time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from shoal.resources import UNITS
from shoal_operator.whatif.ledger import Decision, GroupPoint, NodeSeconds, WorkPoint
from shoal_operator.whatif.simulation import Setup, Simulation
from shoal_operator.whatif.timeline import Timeline, timeline_of
from shoal_operator.whatif.waits import Waits, waits_of
from shoal_operator.whatif.work import Need, Trace


@dataclass(frozen=True, slots=True)
class NeedOutcome:
    """What became of the units of one need."""

    need: Need
    waits: Waits
    most_waiting: int
    left_waiting: int
    """At the end."""
    curve: tuple[WorkPoint, ...]


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """What became of one worker group."""

    name: str
    most: int
    """Nodes wanted at once."""
    asked: int
    """Pods asked for in all."""
    machines: int
    seconds: NodeSeconds
    curve: tuple[GroupPoint, ...]


@dataclass(frozen=True, slots=True)
class ResourceOutcome:
    """One resource, in units times seconds."""

    name: str
    paid: float
    used: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one cluster and one trace."""

    name: str
    """Of the cluster's file."""
    cluster: str
    trace: str
    seed: int
    lasted: float
    came: int
    started: int
    ended: int
    waits: Waits
    needs: tuple[NeedOutcome, ...]
    """In the order in which they came first."""
    groups: tuple[GroupOutcome, ...]
    """In the order of the spec."""
    seconds: NodeSeconds
    resources: tuple[ResourceOutcome, ...]
    decisions: tuple[Decision, ...]
    decisions_left_out: int
    timeline: Timeline
    plans: int
    settled: bool
    start_models: tuple[tuple[str, str], ...] = ()
    """Group, and how its pods start, for people."""

    @property
    def left_waiting(self) -> int:
        """Units that never started."""
        return self.came - self.started


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cluster to try."""

    name: str
    cluster: str
    setup: Setup


OnTurn: TypeAlias = Callable[[str, float, int], None]
"""Told the name of the cluster's file, the time that is simulated, and how many plans there were."""


def simulate(trace: Trace, candidates: Sequence[Candidate], on_turn: OnTurn | None = None) -> list[Outcome]:
    """Replay a trace on each cluster; several cover the span of the longest.

    Args:
        trace: what comes.
        candidates: one cluster, or several to compare.
        on_turn: called often, to show how far it is.
    """
    outcomes = [_simulate(trace, each, on_turn) for each in candidates]
    longest = max((each.lasted for each in outcomes), default=0.0)
    return [
        outcome
        if outcome.lasted == longest or each.setup.until is not None
        else _simulate(trace, replace(each, setup=replace(each.setup, until=longest)), on_turn)
        for outcome, each in zip(outcomes, candidates, strict=True)
    ]


def _simulate(trace: Trace, candidate: Candidate, on_turn: OnTurn | None) -> Outcome:
    told = None if on_turn is None else partial(on_turn, candidate.name)
    simulation = Simulation(trace, candidate.setup, on_turn=told)
    simulation.run()
    return outcome_of(simulation, trace, candidate)


def outcome_of(simulation: Simulation, trace: Trace, candidate: Candidate) -> Outcome:
    """Sum up a simulation that has run."""
    ledger, world = simulation.ledger, simulation.world
    all_waits: Counter[float] = Counter()
    for counts in ledger.waits.values():
        all_waits.update(counts)
    machines = simulation.fleet.machines_made()
    groups = []
    for group in candidate.setup.terms.groups:
        curve = tuple(ledger.group_curves.get(group.name, ()))
        most = max((point.wanted for point in curve), default=0)
        seconds = ledger.seconds.get(group.name, NodeSeconds())
        groups.append(GroupOutcome(group.name, most, ledger.asked[group.name], machines[group.name], seconds, curve))
    needs = tuple(
        NeedOutcome(
            need,
            waits_of(ledger.waits.get(need, {})),
            max(point.waiting for point in curve),
            world.waiting[need],
            tuple(curve),
        )
        for need, curve in ledger.work_curves.items()
    )
    return Outcome(
        name=candidate.name,
        cluster=candidate.cluster,
        trace=trace.name,
        seed=candidate.setup.starts.seed,
        lasted=simulation.now,
        came=world.arrived,
        started=world.started,
        ended=world.ended,
        waits=waits_of(all_waits),
        needs=needs,
        groups=tuple(groups),
        seconds=total_of([group.seconds for group in groups]),
        resources=tuple(_resources(simulation)),
        decisions=tuple(ledger.decisions),
        decisions_left_out=ledger.decisions_left_out,
        timeline=timeline_of(
            simulation.now,
            [each.curve for each in needs],
            [[(point.at, point.wanted) for point in group.curve] for group in groups],
            ledger.starts,
            ledger.spans,
        ),
        plans=simulation.plans,
        settled=simulation.settled,
        start_models=tuple(
            (group.name, str(candidate.setup.starts.model(group.name))) for group in candidate.setup.terms.groups
        ),
    )


def total_of(parts: Sequence[NodeSeconds]) -> NodeSeconds:
    """The sum of node-seconds, class by class."""
    return NodeSeconds(
        used=sum(part.used for part in parts),
        unfilled=sum(part.unfilled for part in parts),
        idle=sum(part.idle for part in parts),
        starting=sum(part.starting for part in parts),
        draining=sum(part.draining for part in parts),
    )


def _resources(simulation: Simulation) -> list[ResourceOutcome]:
    used, offered = simulation.ledger.used_resources, simulation.ledger.offered_resources
    return [
        ResourceOutcome(name, offered.get(name, 0.0) / UNITS, used.get(name, 0.0) / UNITS)
        for name in sorted({*used, *offered})
    ]
