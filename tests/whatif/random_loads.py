"""Clusters and traces drawn from a seed, and a record of all that happened to check it by."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Bundle, Demand, GangStrategy, Group, Limits, ScalingPlan, ScalingRequest
from shoal_operator.autoscaler.plan import plan_workers
from shoal_operator.whatif.nodes import SimNode
from shoal_operator.whatif.simulation import Setup, Simulation
from shoal_operator.whatif.startup import Duration, StartModel, StartModels
from shoal_operator.whatif.work import FloorChange, Need, Trace, Work
from shoal_operator.whatif.world import Run

UNTIL = 20_000.0
SHAPES = ({"CPU": 1}, {"CPU": 2}, {"CPU": 0.5}, {"CPU": 4, "memory": 4096}, {"GPU": 1, "CPU": 1}, {"GPU": 0.5})


def groups(chance: random.Random) -> tuple[Group, ...]:
    found = []
    for index in range(chance.randint(1, 3)):
        hosts = chance.choice((1, 1, 1, 2))
        most = chance.randint(1, 12) * hosts
        units = {"CPU": chance.choice((2, 4, 8)), "memory": chance.choice((4096, 16384))}
        if chance.random() < 0.4:
            units["GPU"] = chance.choice((1, 4))
        found.append(
            Group(
                f"g{index}",
                ResourceSet.from_units(units),
                min_nodes=chance.choice((0, 0, hosts)),
                max_nodes=most,
                priority=chance.randint(0, 1),
                idle_timeout_seconds=chance.choice((0, 5, 30, 120)),
                labels=(("zone", chance.choice("ab")),),
                hosts=hosts,
            )
        )
    return tuple(found)


def need(chance: random.Random) -> Need:
    shape = ResourceSet.from_units(chance.choice(SHAPES))
    kind = chance.choice(("task", "task", "task", "actor", "gang"))
    if kind != "gang":
        return Need(kind, shape, (("zone", chance.choice("ab")),) if chance.random() < 0.2 else ())
    bundles = (Bundle(shape, (), chance.randint(1, 3)),)
    return Need("gang", shape.times(bundles[0].count), (), chance.choice(list(GangStrategy)), bundles)


def trace(chance: random.Random) -> Trace:
    work = []
    for line in range(1, chance.randint(2, 9)):
        wanted = need(chance)
        count = chance.choice((1, 2, 5, 30)) if wanted.kind != "gang" else chance.randint(1, 3)
        over = chance.choice((0.0, 0.0, 60.0))
        work.append(Work(line, chance.uniform(0, 600), count, wanted, chance.uniform(0, 90), over))
    floors = ()
    if chance.random() < 0.3:
        at = chance.uniform(0, 300)
        units = Demand(ResourceSet.from_units({"CPU": 1}), chance.randint(1, 8), kind="floor")
        floors = (FloorChange(98, at, (units,)), FloorChange(99, at + chance.uniform(1, 300), ()))
    return Trace("random", tuple(sorted(work, key=lambda each: each.at)), floors)


def setup(chance: random.Random, seed: int) -> Setup:
    model = StartModel(
        Duration("uniform", 0, 3), Duration("lognormal", 8, 0.5), Duration("fixed", 1), chance.randint(1, 3)
    )
    limits = Limits(chance.choice((None, None, 6)))
    return Setup(ScalingRequest(groups=groups(chance), limits=limits), starts=StartModels(model, {}, seed), until=UNTIL)


@dataclass
class Watched:
    """One simulation with a record of every run, and checks of every question and answer of the planner."""

    trace: Trace
    setup: Setup
    runs: list[Run] = field(default_factory=list)
    nodes: dict[str, SimNode] = field(default_factory=dict)

    def run(self) -> Simulation:
        simulation = Simulation(self.trace, self.setup, self._begun, self._plan)
        simulation.run()
        return simulation

    def _begun(self, run: Run) -> None:
        self.runs.append(run)
        for node, _, _ in run.parts:
            assert node.takes_work
            self.nodes[node.node_id] = node

    def _plan(self, request: ScalingRequest) -> ScalingPlan:
        plan = plan_workers(request)
        present = Counter(node.group for node in (*request.nodes, *request.coming))
        for addition in plan.add:
            present[addition.group] += addition.count
        for group in request.groups:
            assert present[group.name] <= group.max_nodes + sum(n.draining for n in request.nodes), "never too many"
        idle = {node.pod_name: node.idle_seconds for node in request.nodes}
        for removal in plan.drain:
            timeout = next(each.idle_timeout_seconds for each in request.groups if each.name == removal.group)
            if removal.reason == "Idle":
                assert idle[removal.pod_name] >= timeout
        return plan
