"""What holds for every load: units run once, on one node, within its capacity; the same seed, the same outcome.

``SHOAL_WHATIF_SEEDS=2000`` tries more of them; a failing seed is the bug report.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict

import pytest
from tests.whatif import random_loads as loads

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Group, ScalingRequest
from shoal_operator.whatif.gangs import place_gang
from shoal_operator.whatif.nodes import SimNode, rank
from shoal_operator.whatif.outcome import Candidate, Outcome, outcome_of
from shoal_operator.whatif.simulation import Setup, Simulation
from shoal_operator.whatif.startup import Duration, StartModel, StartModels
from shoal_operator.whatif.work import Need, Trace, Work

SEEDS = int(os.environ.get("SHOAL_WHATIF_SEEDS", "200"))
CHUNK = 20


def watched(seed: int) -> tuple[loads.Watched, Simulation]:
    chance = random.Random(seed)
    record = loads.Watched(loads.trace(chance), loads.setup(chance, seed))
    return record, record.run()


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_unit_runs_once_and_no_node_holds_more_than_it_has(first):
    for seed in range(first, min(first + CHUNK, SEEDS)):
        record, simulation = watched(seed)
        started: Counter[int] = Counter()
        for run in record.runs:
            started[run.work.line] += run.units
            bundles = Counter(shape for _, shape, units in run.parts for _ in range(units))
            if run.work.need.kind == "gang":
                wanted = Counter(b.shape for b in run.work.need.bundles for _ in range(b.count))
            else:
                wanted = Counter({run.work.need.shape: run.units})
                assert len(run.parts) == 1, f"seed {seed}: a unit is on one node"
            assert bundles == wanted, f"seed {seed}: all of it has a place"
        for work in record.trace.work:
            assert started[work.line] <= work.count, f"seed {seed}: line {work.line} ran more often than it came"
        world = simulation.world
        assert sum(started.values()) + world.waiting.total() == world.arrived == record.trace.units, f"seed {seed}"
        check_capacity(seed, record)
        check_waiting(seed, simulation)
        outcome = outcome_of(simulation, record.trace, Candidate("c", "c", record.setup))
        check_node_seconds(seed, record, outcome)
        check_timeline(seed, record, outcome)
        assert simulation.settled, f"seed {seed}: the planner changes its mind for ever"


def check_capacity(seed: int, record: loads.Watched) -> None:
    """Sum up what runs on each node at every time, without the simulation's own books."""
    events: dict[str, list[tuple[float, int, ResourceSet, int]]] = defaultdict(list)
    for run in record.runs:
        for node, shape, units in run.parts:
            assert node.joins_at <= run.started, f"seed {seed}: {node.node_id} had not joined"
            assert run.ends is None or node.gone_at is None or run.ends <= node.gone_at, f"seed {seed}"
            events[node.node_id].append((run.started, 1, shape, units))
            if run.ends is not None:
                events[node.node_id].append((run.ends, -1, shape, units))
    for node_id, changes in events.items():
        held: Counter[str] = Counter()
        total = record.nodes[node_id].total
        for _, sign, shape, units in sorted(changes, key=lambda change: change[:2]):
            for name, amount in shape.items():
                held[name] += sign * amount * units
                assert 0 <= held[name] <= total[name], f"seed {seed}: {node_id} holds {held} of {total}"


def check_waiting(seed: int, simulation: Simulation) -> None:
    """What still waits when nothing runs any more fits nowhere, and no group may grow so that it would."""
    world, terms = simulation.world, simulation.setup.terms
    if world.running.total():
        return
    there = Counter(node.group for node in world.nodes.values())
    for need in (each for each, count in world.waiting.items() if count):
        for group in terms.groups:
            room = group.max_nodes - there[group.name]
            if terms.limits.max_nodes is not None:
                room = min(room, terms.limits.max_nodes - there.total())
            names = [f"new-{index}" for index in range(room // group.hosts * group.hosts)]
            new = [SimNode(n, n, group.name, group.resources, dict(group.labels), 0.0, joined=True) for n in names]
            if need.strategy is None:
                fits = any(rank(need, node) is not None for node in new)
            else:
                fits = place_gang(need.strategy, need.bundles, new) is not None
            assert not fits, f"seed {seed}: {need} waits, and group {group.name} has room for it"


def test_the_same_seed_gives_the_same_outcome_and_another_one_does_not():
    def times(seed: int, starts: int) -> list[object]:
        chance = random.Random(seed)
        record = loads.Watched(loads.trace(chance), loads.setup(chance, starts))
        simulation = record.run()
        outcome = outcome_of(simulation, record.trace, Candidate("c", "c", record.setup))
        return [outcome, [(run.started, run.work.line, run.units) for run in record.runs]]

    assert [times(seed, 1) for seed in range(8)] == [times(seed, 1) for seed in range(8)]
    assert [times(seed, 1) for seed in range(8)] != [times(seed, 2) for seed in range(8)]


def check_node_seconds(seed: int, record: loads.Watched, outcome: Outcome) -> None:
    """Nodes there, summed over time, are the node-seconds that are paid."""
    for group, terms in zip(outcome.groups, record.setup.terms.groups, strict=True):
        ends = [point.at for point in group.curve[1:]] + [outcome.lasted]
        there = sum(
            (stop - point.at) * (point.wanted + point.draining) for point, stop in zip(group.curve, ends, strict=True)
        )
        assert there == pytest.approx(group.seconds.paid), f"seed {seed}: {terms.name}"
        assert group.most <= terms.max_nodes, f"seed {seed}: {terms.name}"


def check_timeline(seed: int, record: loads.Watched, outcome: Outcome) -> None:
    """Columns add up to the totals, and what is largest in any of them is what was largest."""
    columns, width = outcome.timeline.columns, outcome.timeline.width_seconds
    assert [column.at for column in columns] == pytest.approx([index * width for index in range(len(columns))])
    for kind in ("used", "unfilled", "idle", "starting", "draining", "paid"):
        parts = sum(getattr(column.seconds, kind) for column in columns)
        assert parts == pytest.approx(getattr(outcome.seconds, kind), abs=1e-6), f"seed {seed}: {kind}"
    started: Counter[int] = Counter()
    for run in record.runs:
        started[next(i for i, column in enumerate(columns) if run.started < column.at + width + 1e-9)] += run.units
    assert [column.waits.units for column in columns] == [started[index] for index in range(len(columns))]
    assert max(column.waits.longest for column in columns) == outcome.waits.longest
    left = [outcome.lasted - p.oldest_since for n in outcome.needs if (p := n.curve[-1]).oldest_since is not None]
    assert max(column.oldest for column in columns) == pytest.approx(max([*left, outcome.waits.longest])), (
        f"seed {seed}"
    )
    assert max(column.nodes for column in columns) <= sum(group.max_nodes for group in record.setup.terms.groups)


def steady(seed: int) -> tuple[Trace, Setup, float]:
    """A load that repeats itself within half of the idle timeout, for twenty timeouts."""
    chance = random.Random(seed)
    timeout = chance.choice((20.0, 60.0))
    lasts, work = 20 * timeout, []
    for line in range(1, chance.randint(2, 4)):
        period = timeout / 2 / chance.randint(1, 6)
        shape = ResourceSet.from_units({"CPU": chance.choice((1, 2))})
        count = int(lasts / period)
        duration = chance.uniform(0.2, 3) * period
        work.append(Work(line, 0.0, count, Need("task", shape), duration, count * period))
    sizes = chance.sample((2, 4, 8), chance.randint(1, 3))
    groups = tuple(
        Group(f"g{size}", ResourceSet.from_units({"CPU": size}), max_nodes=200, idle_timeout_seconds=timeout)
        for size in sizes
    )
    start = StartModel(Duration("uniform", 0, 2), Duration("uniform", 2, timeout / 4), Duration("fixed", 1))
    setup = Setup(ScalingRequest(groups=groups), starts=StartModels(start, {}, seed))
    return Trace("steady", tuple(work)), setup, lasts


@pytest.mark.parametrize("first", range(0, SEEDS // 2, CHUNK))
def test_steady_work_makes_no_group_flap(first):
    """No node is removed and another one of its group asked for within the idle timeout."""
    for seed in range(first, min(first + CHUNK, SEEDS // 2)):
        trace, setup, lasts = steady(seed)
        simulation = Simulation(trace, setup)
        simulation.run()
        timeout = setup.terms.groups[0].idle_timeout_seconds
        changes = [each for each in simulation.ledger.decisions if each.change and 2 * timeout < each.at < lasts]
        removed: dict[str, float] = {}
        for each in changes:
            if each.change < 0:
                removed[each.group] = each.at
            else:
                gap = each.at - removed.get(each.group, -timeout)
                assert gap > timeout, f"seed {seed}: {each.group} is asked for {gap:g} s after it was removed"
