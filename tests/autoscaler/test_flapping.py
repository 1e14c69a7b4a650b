"""The planner over time, in a small world of its own: it grows, stays, and shrinks once, and never to and fro."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from tests.autoscaler.worlds import of

from shoal.resources import UNITS
from shoal_operator.autoscaler.model import ComingNode, Demand, Group, Node, ScalingRequest
from shoal_operator.autoscaler.plan import plan_workers

TICK = 0.25
CPU = of({"CPU": 1})


@dataclass
class Machine:
    """A pod, and later a node with slots of one CPU."""

    name: str
    asked: float
    joins: float
    ends: list[float] = field(default_factory=list)
    idle_since: float = 0.0


@dataclass
class World:
    """Tasks of one CPU, placed at once where there is room; the head tells the most that waited in the last second.

    Nothing goes that any moment of the idle timeout wanted, and nothing comes that there is room for.
    """

    group: Group
    start_seconds: Callable[[], float]
    now: float = 0.0
    waiting: list[float] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)
    needs: list[tuple[float, int]] = field(default_factory=list)
    recent: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)
    asked: int = 0

    @property
    def slots(self) -> int:
        return self.group.resources["CPU"] // UNITS

    def run(self, seconds: float, arrivals: Callable[[float], Iterator[float]]) -> None:
        """Let time pass; ``arrivals`` gives how long each task runs that comes in a tick."""
        end = self.now + seconds
        while self.now < end:
            self.waiting += arrivals(self.now)
            self._place()
            self._scale()
            self.now += TICK

    def _place(self) -> None:
        for machine in self.machines:
            if machine.joins > self.now:
                continue
            was_busy = bool(machine.ends)
            machine.ends = [end for end in machine.ends if end > self.now]
            while self.waiting and len(machine.ends) < self.slots:
                machine.ends.append(self.now + self.waiting.pop(0))
            if was_busy and not machine.ends:
                machine.idle_since = self.now
        need = len(self.waiting) + sum(len(machine.ends) for machine in self.machines)
        timeout = self.group.idle_timeout_seconds
        self.needs = [(at, count) for at, count in self.needs if self.now - at < timeout] + [(self.now, need)]
        self.recent = [(at, count) for at, count in self.recent if self.now - at <= 1.0]
        self.recent.append((self.now, len(self.waiting)))

    def _scale(self) -> None:
        nodes = [
            Node(
                machine.name,
                machine.name,
                self.group.name,
                self.group.resources,
                of({"CPU": self.slots - len(machine.ends)}),
                0.0 if machine.ends else self.now - max(machine.idle_since, machine.joins),
                age_seconds=self.now - machine.asked,
            )
            for machine in self.machines
            if machine.joins <= self.now
        ]
        coming = [
            ComingNode(machine.name, self.group.name, self.now - machine.asked)
            for machine in self.machines
            if machine.joins > self.now
        ]
        demand = Demand(CPU, len(self.waiting), recent_count=max(count for _, count in self.recent))
        plan = plan_workers(ScalingRequest((demand,), (self.group,), tuple(nodes), tuple(coming)))
        gone = {removal.pod_name for removal in (*plan.drain, *plan.cancel)}
        assert not any(machine.ends for machine in self.machines if machine.name in gone)
        self.machines = [machine for machine in self.machines if machine.name not in gone]
        added = sum(item.count for item in plan.add)
        capacity = self.slots * len(self.machines)
        assert not gone or max(count for _, count in self.needs) <= capacity
        assert not added or self.needs[-1][1] > capacity
        for _ in range(added):
            self.asked += 1
            self.machines.append(Machine(f"w{self.asked:05}", self.now, self.now + self.start_seconds()))
        if added or gone:
            self.changes.append((self.now, added - len(gone)))


def world(seed: int) -> World:
    rng = random.Random(seed)
    group = Group("worker", of({"CPU": 4}), max_nodes=100, idle_timeout_seconds=10)
    return World(group, lambda: rng.uniform(2.0, 8.0))


@pytest.mark.parametrize("seed", range(3))
def test_under_a_steady_load_nothing_changes_and_it_shrinks_once_afterwards(seed: int) -> None:
    scene = world(seed)
    scene.run(60, lambda _now: iter([1.0] * 8))
    scene.changes.clear()
    scene.run(120, lambda _now: iter([1.0] * 8))
    assert all(change < 0 for _, change in scene.changes), "nodes of the first rush may go, none come"
    scene.changes.clear()
    scene.run(60, lambda _now: iter(()))
    assert scene.machines == []
    assert all(change < 0 for _, change in scene.changes)


@pytest.mark.parametrize("seed", range(3))
def test_batches_with_gaps_shorter_than_the_idle_timeout_keep_their_nodes(seed: int) -> None:
    scene = world(seed)
    batches = [at * 6.0 for at in range(1_000)]

    def arrivals(now: float) -> Iterator[float]:
        return iter([3.0] * 80 if now in batches else ())

    scene.run(60, arrivals)
    scene.changes.clear()
    scene.run(180, arrivals)
    assert scene.changes == []
    assert len(scene.machines) == 20


@pytest.mark.parametrize("seed", range(3))
def test_under_a_random_load_nothing_goes_that_was_wanted_and_nothing_comes_that_is_not(seed: int) -> None:
    scene = world(seed)
    rng = random.Random(seed)
    scene.run(300, lambda _now: iter([rng.uniform(0.5, 3.0)] * rng.randint(0, 8)))
    assert any(change > 0 for _, change in scene.changes)
    assert any(change < 0 for _, change in scene.changes)
