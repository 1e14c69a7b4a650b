"""The best answer that there is, by a constraint solver, and how far ours is from it.

Invariant: the objective is the planner's own (``autoscaler/objective.py``), level by level; where the packing comes
from is the solver's alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ortools.sat.python import cp_model

from shoal.core.labels import matches
from shoal_operator.autoscaler.model import ScalingPlan, ScalingRequest
from shoal_operator.autoscaler.objective import cost
from shoal_operator.autoscaler.problem import Item, Space
from shoal_operator.autoscaler.standing import FREE_FOREVER, stand

SOLVE_SECONDS_MAX = 20.0

Score: TypeAlias = tuple[int, ...]
"""Unmet work; then for each priority, the lowest first: accelerators, other capacity, nodes."""


@dataclass(frozen=True)
class Place:
    """A node that there is, or one that there may be."""

    group: int
    free: tuple[int, ...]
    labels: dict[str, str]
    is_new: bool


def score_of(request: ScalingRequest, plan: ScalingPlan) -> Score:
    """What a plan is worth."""
    space, items = _numbers(request)
    left = {(unmet.demand.shape, unmet.demand.label_selector): unmet.count for unmet in plan.unmet}
    unmet = sum((item.value + 1) * left.get((item.demand.shape, item.demand.label_selector), 0) for item in items)
    nodes: dict[int, int] = {}
    for addition in plan.add:
        index = space.kind_of[addition.group]
        nodes[index] = nodes.get(index, 0) + addition.count
    return unmet, *(figure for level in cost(space, nodes) for figure in level)


def best_score(request: ScalingRequest) -> Score:
    """What the best plan is worth.

    Raises:
        TimeoutError: the solver did not finish within ``SOLVE_SECONDS_MAX``.
    """
    return _Model(request).solve()


def gap(request: ScalingRequest, ours: Score, best: Score) -> float:
    """How far ours is from the best: the difference at the first level at which they differ.

    Unmet work counts relative to all work, capacity relative to that of all new nodes of the best answer (one node
    at least), nodes relative to their number.
    """
    space, items = _numbers(request)
    place = next((index for index, (one, other) in enumerate(zip(ours, best, strict=True)) if one != other), None)
    if place is None:
        return 0.0
    if place == 0:
        return (ours[0] - best[0]) / sum((item.value + 1) * item.count for item in items)
    if place % 3 == 0:
        return (ours[place] - best[place]) / max(1, sum(best[3::3]))
    prices = [kind.price + kind.accelerator_price for kind in space.kinds]
    return (ours[place] - best[place]) / max(sum(best[1::3]) + sum(best[2::3]), min(prices))


def _numbers(request: ScalingRequest) -> tuple[Space, list[Item]]:
    merged: dict[tuple[Any, Any], int] = {}
    for demand in request.demands:
        key = (demand.shape, demand.label_selector)
        merged[key] = merged.get(key, 0) + demand.count
    named = {(demand.shape, demand.label_selector): demand for demand in request.demands}
    space = Space(request, [demand.shape for demand in request.demands])
    return space, [space.item(index, named[key], count) for index, (key, count) in enumerate(merged.items())]


class _Model:
    """Integers: units of each shape in each node, and whether each new node is there."""

    def __init__(self, request: ScalingRequest) -> None:
        self._model = cp_model.CpModel()
        self._space, items = _numbers(request)
        self._items = [item for item in items if item.is_possible]
        self._never = sum((item.value + 1) * item.count for item in items if not item.is_possible)
        self._places = list(self._find_places(request))
        self._there = [
            self._model.new_bool_var(f"there {index}") if place.is_new else 1
            for index, place in enumerate(self._places)
        ]
        self._units = [self._place_units(item) for item in self._items]
        self._respect_capacity()

    def solve(self) -> Score:
        """Level after level, each with the ones before it held."""
        unmet = sum(
            (item.value + 1) * (item.count - sum(units.values()))
            for item, units in zip(self._items, self._units, strict=True)
        )
        levels = [unmet if self._items else 0]
        for priority in sorted({kind.group.priority for kind in self._space.kinds}):
            there = [
                (self._space.kinds[place.group], present)
                for place, present in zip(self._places, self._there, strict=True)
                if place.is_new and self._space.kinds[place.group].group.priority == priority
            ]
            levels.append(sum(kind.accelerator_price * present for kind, present in there))
            levels.append(sum(kind.price * present for kind, present in there))
            levels.append(sum(present for _, present in there))
        score = [self._minimise(level) for level in levels]
        return score[0] + self._never, *score[1:]

    def _minimise(self, level: Any) -> int:
        if isinstance(level, int):
            return level
        self._model.minimize(level)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.max_time_in_seconds = SOLVE_SECONDS_MAX
        if solver.solve(self._model) != cp_model.OPTIMAL:
            raise TimeoutError(f"no optimum within {SOLVE_SECONDS_MAX:g} s")
        best: int = round(solver.objective_value)
        self._model.add(level <= best)
        return best

    def _find_places(self, request: ScalingRequest) -> Sequence[Place]:
        standing = stand(request, self._space)
        labels = {kind.index: dict(kind.group.labels) for kind in self._space.kinds}
        places = [
            Place(bin_.group, bin_.free, labels.get(bin_.group, {}), is_new=False)
            for bin_ in (*standing.joined, *standing.free)
            for _ in range(bin_.count)
        ]
        units = sum(item.count for item in self._items)
        names = [node.group for node in request.nodes] + [pod.group for pod in request.coming]
        for kind in self._space.kinds:
            room = min(max(0, kind.group.max_nodes - names.count(kind.group.name)), units, FREE_FOREVER)
            places += [Place(kind.index, kind.capacity, labels[kind.index], is_new=True)] * room
        return places

    def _place_units(self, item: Item) -> dict[int, Any]:
        found = {}
        for index, place in enumerate(self._places):
            most = min([item.count, *(place.free[dimension] // amount for dimension, amount in item.needs)])
            if most > 0 and matches(item.demand.label_selector, place.labels):
                found[index] = self._model.new_int_var(0, most, f"units {item.index} {index}")
        self._model.add(sum(found.values()) <= item.count)
        return found

    def _respect_capacity(self) -> None:
        for index, place in enumerate(self._places):
            for dimension, free in enumerate(place.free):
                load = sum(
                    amount * units[index]
                    for item, units in zip(self._items, self._units, strict=True)
                    for needed, amount in item.needs
                    if needed == dimension and index in units
                )
                self._model.add(load <= free * self._there[index])
            following = index + 1
            if place.is_new and following < len(self._places) and self._places[following] == place:
                self._model.add(self._there[index] >= self._there[following])
