"""A planner that is not asked again what it has answered gives the answers that it would have given."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import ComingNode, Demand, Group, Limits, Node, ScalingPlan, ScalingRequest
from shoal_operator.autoscaler.plan import plan_workers
from shoal_operator.whatif.repeats import Repeats
from shoal_operator.whatif.simulation import Setup, Simulation
from shoal_operator.whatif.work import Need, Trace, Work

SHAPES: tuple[dict[str, float], ...] = ({"CPU": 1}, {"CPU": 2}, {"CPU": 3, "memory": 1024}, {"GPU": 1}, {"CPU": 16})


class Checked:
    """Asks both, and counts how often the planner was needed."""

    def __init__(self) -> None:
        self.asked = self.needed = 0
        self._repeats = Repeats(self._plan)

    def _plan(self, request: ScalingRequest) -> ScalingPlan:
        self.needed += 1
        return plan_workers(request)

    def __call__(self, request: ScalingRequest) -> ScalingPlan:
        self.asked += 1
        given, right = (
            replace(plan, unmet=tuple(sorted(plan.unmet, key=repr)))
            for plan in (self._repeats(request), plan_workers(request))
        )
        assert given == right
        return right


def stream(line: int, shape: dict[str, float], count: int, over: float, name: str = "") -> Work:
    return Work(line, 0.0, count, Need("task", ResourceSet.from_units(shape)), 10.0 + line, over, name)


def group(name: str, most: int, **units: float) -> Group:
    return Group(name, ResourceSet.from_units(units), max_nodes=most, idle_timeout_seconds=20)


def test_a_full_cluster_is_planned_when_it_changes_and_not_for_all_that_comes() -> None:
    checked = Checked()
    trace = Trace("t", (stream(1, {"CPU": 1}, 600, 120), stream(2, {"GPU": 1}, 60, 120)))
    Simulation(trace, Setup(ScalingRequest(groups=(group("w", 3, CPU=4),))), planner=checked).run()
    assert checked.asked > 400
    assert checked.needed < checked.asked / 4


CPU = ResourceSet.from_units({"CPU": 1})
FULL = tuple(Node(f"n{index}", f"p{index}", "w", CPU.times(4), ResourceSet()) for index in range(2))
ASKED = ScalingRequest((Demand(CPU, 5, recent_count=5),), (group("w", 2, CPU=4),), FULL)


@pytest.mark.parametrize(
    ("then", "is_asked"),
    [
        (replace(ASKED, demands=(Demand(CPU, 9, recent_count=9),)), False),
        (replace(ASKED, nodes=tuple(replace(node, age_seconds=9.0) for node in FULL)), False),
        (replace(ASKED, demands=(Demand(CPU, 9, examples=("f",)),)), True),
        (replace(ASKED, demands=(*ASKED.demands, Demand(CPU.times(2), 1))), True),
        (replace(ASKED, nodes=(FULL[0], replace(FULL[1], available=CPU))), True),
        (replace(ASKED, nodes=(FULL[0], replace(FULL[1], idle_seconds=1.0))), True),
        (replace(ASKED, nodes=(FULL[0], replace(FULL[1], draining=True))), True),
        (replace(ASKED, nodes=FULL[:1]), True),
        (replace(ASKED, coming=(ComingNode("p2", "w"),)), True),
        (replace(ASKED, floors=(Demand(CPU, 3),)), True),
        (replace(ASKED, groups=(group("w", 3, CPU=4),)), True),
    ],
)
def test_whatever_a_plan_depends_on_is_planned_anew(then: ScalingRequest, is_asked: bool) -> None:
    checked = Checked()
    checked(ASKED)
    checked(then)
    assert checked.needed == 1 + is_asked


@pytest.mark.parametrize("seed", range(12))
def test_every_answer_is_the_planners(seed: int) -> None:
    chance = random.Random(seed)
    work = [
        stream(
            line, chance.choice(SHAPES), chance.randint(10, 60), chance.choice((0.0, 60.0, 90.0)), chance.choice("ab")
        )
        for line in range(1, chance.randint(3, 7))
    ]
    groups = (group("w", chance.randint(1, 4), CPU=4, memory=4096), group("g", chance.randint(0, 2), CPU=4, GPU=1))
    limits = Limits(max_nodes=chance.choice((None, 3)))
    checked = Checked()
    Simulation(Trace("t", tuple(work)), Setup(ScalingRequest(groups=groups, limits=limits)), planner=checked).run()
    assert checked.needed < checked.asked
