"""The autoscaler's decision: one plan for the whole gap, with a reason for everything it leaves undone.

Invariants: a plan never exceeds a limit, never goes below a group's minimum, where pods that do not start count for
nothing, never drains a node that waiting work would land on, and planning again in the world it leads to adds
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.bins import COMING, Bin
from shoal_operator.autoscaler.ceilings import GangCeilings
from shoal_operator.autoscaler.consolidation import Elsewhere
from shoal_operator.autoscaler.cooldown import closures, half_open, update_cooldowns, with_grace
from shoal_operator.autoscaler.gangs import Band, compile_gangs, keep_places
from shoal_operator.autoscaler.growth import (
    PACE_SECONDS,
    Cause,
    additions,
    allowed_now,
    at_pace,
    causes,
    gang_origin,
    missing_for_minimum,
)
from shoal_operator.autoscaler.intake import Intake, gangs_in_one_line, take_in, take_in_gangs
from shoal_operator.autoscaler.model import (
    Addition,
    ComingNode,
    Removal,
    ScalingPlan,
    ScalingRequest,
    Unmet,
    Waiting,
)
from shoal_operator.autoscaler.objective import cost, objective, unmet
from shoal_operator.autoscaler.packing import Packing
from shoal_operator.autoscaler.probing import gang_probes
from shoal_operator.autoscaler.problem import Space
from shoal_operator.autoscaler.reasons import Rule
from shoal_operator.autoscaler.removal import Idle, over_limits, without
from shoal_operator.autoscaler.search import Question, best_packing, carried_out, pack
from shoal_operator.autoscaler.standing import Room, Standing, find_room, stand
from shoal_operator.autoscaler.turns import TURN_SECONDS
from shoal_operator.autoscaler.verdicts import Explainer
from shoal_operator.autoscaler.yielding import give_way, yielding_replicas

EXPLAINED_MAX: Final = 50_000
"""How often bundles of placement groups are held against kinds of nodes to say why they have no place."""


def plan_workers(request: ScalingRequest) -> ScalingPlan:
    """Decide how many workers of which group to add, which to remove, and why some work waits.

    Args:
        request: the whole question; the order of its members does not matter.

    Example:
        >>> from shoal.resources import ResourceSet
        >>> from shoal_operator.autoscaler.model import Demand, Group
        >>> cpu = ResourceSet.from_units({"CPU": 1})
        >>> question = ScalingRequest((Demand(cpu, 3),), (Group("small", cpu, max_nodes=4),))
        >>> [(item.group, item.count, str(item.reason)) for item in plan_workers(question).add]
        [('small', 3, 'Demand')]
    """
    return _Planning(request).plan()


@dataclass(frozen=True, slots=True)
class _Answers:
    """What was packed."""

    question: Question
    main: Packing
    floors: Packing | None
    room: Room
    """What is left of it."""

    def score(self) -> tuple[object, ...]:
        """How good they are together; smaller is better."""
        if self.floors is None:
            return objective(self.main)
        new = self.main.new_nodes() + self.floors.new_nodes()
        return *unmet(self.main), *unmet(self.floors), self.main.huddled, cost(self.main.space, new)


class _Planning:
    """One plan in the making."""

    def __init__(self, request: ScalingRequest) -> None:
        self._intake = take_in(request.demands)
        self._floors = take_in(request.floors)
        gangs = take_in_gangs(request)
        self._late = len(request.gangs) - len(gangs)
        """Gangs that the plan does not get to; more of them come to light when the rest is packed."""
        request = replace(request, gangs=gangs)
        coming, self._graces = with_grace(request.coming, request.unschedulable_seconds)
        request = replace(request, coming=coming)
        self._over = over_limits(request)
        self._request = request = without(request, self._over)
        self._cooldowns = update_cooldowns(
            request.cooldowns, request.coming, request.nodes, (group.name for group in request.groups)
        )
        self._closed = closures(request, self._cooldowns)
        self._space = Space(request, _shapes(request, self._intake, self._floors))
        probing = half_open(request, self._cooldowns, self._closed)
        self._yielding = yielding_replicas(request, self._cooldowns)
        names = frozenset(name for replica in self._yielding for name in replica.names)
        self._room = find_room(request, self._space, frozenset(self._closed), probing, names)
        self._opened = find_room(request, self._space, frozenset(self._closed), frozenset(), names)
        self._missing = missing_for_minimum(request, self._space, self._room)

    def plan(self) -> ScalingPlan:
        """The whole answer."""
        request, space = self._request, self._space
        answers = self._pack()
        added: dict[tuple[int, str], int] = {
            (index, Rule.MIN_REPLICAS): nodes for index, nodes in self._missing.items()
        }
        wanted = {**answers.main.added, **(answers.floors.added if answers.floors else {})}
        probes = self._probes(answers)
        wanted.update({(index, Rule.PLACEMENT_GROUP): max(1, space.kinds[index].group.hosts) for index in probes})
        in_flight = any(not pod.blocked_reason for pod in request.coming) or bool(added)
        now, held_back = at_pace(space, wanted, allowed_now(request), in_flight)
        self._late += len(answers.main.late_gangs)
        gangs = tuple(self._failed_gangs(answers))
        unseen = tuple(self._unseen())
        unmet_work = (*gangs, *self._unmet(answers), *unseen)
        waiting = tuple(_waiting(answers))
        caused = causes(_work(answers))
        caused.update({index: [gang_origin(band.gang)] for index, band in probes.items()})
        add = tuple(additions(space, {**added, **now}, caused))
        idle = Idle(request, set(), set()) if unseen or answers.main.is_cut else self._idle(answers)
        drain, cancel = (*self._over.drain, *idle.departures.drain), (*self._over.cancel, *idle.departures.cancel)
        cancel += tuple(self._give_way(add, {removal.pod_name for removal in cancel}))
        later = [*idle.later, *self._graces, *([PACE_SECONDS] if held_back else ())]
        later += [TURN_SECONDS] if self._late else []
        later += [closure.seconds_left for closure in self._closed.values() if closure.seconds_left > 0]
        return ScalingPlan(
            add=add,
            drain=drain,
            cancel=cancel,
            unmet=unmet_work,
            waiting=waiting,
            next_check_seconds=min(later, default=None),
            cooldowns=self._cooldowns,
            held_back=held_back,
        )

    def _probes(self, answers: _Answers) -> Mapping[int, Band]:
        question, main = answers.question, answers.main
        failed = frozenset(main.failed_gangs)
        bands = (band for band in question.bands if band.index in failed)
        return gang_probes(question, bands, answers.room, self._opened, main.strategy)

    def _give_way(self, add: Iterable[Addition], gone: set[str]) -> Iterable[Removal]:
        added = Counter[str]()
        for addition in add:
            added[addition.group] += addition.count
        return give_way(self._request, self._yielding, added, gone)

    def _pack(self) -> _Answers:
        """What waits, by what nodes have left, and requested capacity, by what they have in all.

        Nodes for the one serve the other, too, so that it matters which comes first: the better order is taken.
        """
        request, space = self._request, self._space
        bands = tuple(compile_gangs(space, request.gangs, len(self._intake.demands)))
        ours = self._ask(self._intake, bands, stand(request, space, recent=True), Rule.DEMAND)
        if not self._floors.demands:
            main = best_packing(ours)
            return _Answers(ours, main, None, main.room)
        requested = self._ask(self._floors, (), stand(request, space, whole=True), Rule.REQUESTED_RESOURCES)
        floors = best_packing(requested)
        after = carried_out(ours, floors)
        main = best_packing(after)
        answers = _Answers(after, main, floors, main.room)
        if not floors.added or not main.added:
            return answers
        main = best_packing(ours)
        floors = best_packing(carried_out(requested, main))
        return min(answers, _Answers(ours, main, floors, floors.room), key=_Answers.score)

    def _ask(self, intake: Intake, bands: tuple[Band, ...], standing: Standing, rule: str) -> Question:
        items = [self._space.item(index, demand, demand.count) for index, demand in enumerate(intake.demands)]
        turn = self._request.turn
        return Question(self._space, tuple(items), bands, standing, self._room, self._missing, rule, turn)

    def _unseen(self) -> Iterable[Unmet]:
        """Work that nobody looked at, each sort in one line."""
        gangs = gangs_in_one_line(self._request.gangs_left_out, self._late)
        return (line for line in (self._intake.left_out, self._floors.left_out, gangs) if line is not None)

    def _failed_gangs(self, answers: _Answers) -> Iterable[Unmet]:
        """Gangs without a place, in their order; those that are too many to say why wait for their turn, too."""
        explain = self._explainer(answers)
        failed = frozenset(answers.main.failed_gangs)
        kinds = len(self._request.groups) + len({(node.total, node.labels) for node in self._request.nodes})
        effort = 0
        for band in answers.question.bands:
            if band.index not in failed:
                continue
            effort += kinds * len(band.bundles)
            if effort <= EXPLAINED_MAX:
                yield explain.gang(band)
            else:
                self._late += 1

    def _unmet(self, answers: _Answers) -> Iterable[Unmet]:
        explain = self._explainer(answers)
        for packing in (answers.main, answers.floors):
            for item in packing.items if packing else ():
                left = packing.left[item.index] if packing else 0
                if left > 0:
                    kind = "requested bundle" if packing is answers.floors else item.demand.kind
                    yield explain.demand(replace(item.demand, kind=kind), left)

    def _explainer(self, answers: _Answers) -> Explainer:
        main = answers.main
        added = (
            Counter(self._missing) + main.new_nodes() + (answers.floors.new_nodes() if answers.floors else Counter())
        )
        names = {self._space.kinds[index].group.name: nodes for index, nodes in added.items()}
        limits = GangCeilings(answers.question, main.strategy, frozenset(main.failed_gangs), self._closed)
        return Explainer(self._request, self._space, answers.room, self._closed, names, limits)

    def _idle(self, answers: _Answers) -> Idle:
        """What goes because nothing needs it."""
        main, request = answers.main, self._request
        before = unmet(main)
        question = self._settled(answers.question)
        settled = main if question is answers.question else pack(question, main.strategy)
        used = main.used_members() | settled.used_members()
        fixed = self._needed_stuck(answers)
        are_kept = keep_places(main, answers.question.bands)
        fixed |= main.used_members() - used
        if answers.floors is not None:
            fixed |= answers.floors.used_members()
        idle = Idle(request, used, fixed)
        if are_kept and not settled.is_cut:
            can_move = Elsewhere(question, unmet(settled) if settled is not main else before, main.strategy)
            idle.choose(can_move if request.consolidation else None)
        return idle

    def _settled(self, question: Question) -> Question:
        """The question as removals count it: work of a moment ago still there, and room of then not."""
        request = self._request
        is_settled = all(node.recently_available is None for node in request.nodes)
        if is_settled and all(demand.recent_count == demand.count for demand in self._intake.demands):
            return question
        items = tuple(replace(item, count=item.demand.recent_count) for item in question.items)
        return replace(question, items=items, standing=stand(request, self._space))

    def _needed_stuck(self, answers: _Answers) -> set[str]:
        """Pods that do not start, and stay: those that work without a place would use, and a probe of each group."""
        pods = [pod for pod in self._request.coming if pod.blocked_reason and pod.group in self._space.kind_of]
        if not pods:
            return set()
        main, question = answers.main, answers.question
        bins = _stuck_bins(self._space, pods)
        bundles = [item for band in question.bands if band.index in main.failed_gangs for item in band.bundles]
        wanted = {
            index
            for item in (*main.items, *bundles)
            if main.on_the_way[item.index] or main.left.get(item.index, item.count)
            for index in item.groups
        }
        wanted |= {index for item in answers.floors.items for index in item.groups} if answers.floors else set()
        for item in (*main.items, *bundles):
            main.pour(item, main.left.get(item.index, item.count), bins, moves=True)
        probes = {entry.group: entry.probe for entry in self._cooldowns if entry.probe}
        return {probes[name] for name in sorted(probes) if self._space.kind_of[name] in wanted}


def _shapes(request: ScalingRequest, intake: Intake, floors: Intake) -> Iterable[ResourceSet]:
    yield from (demand.shape for demand in (*intake.demands, *floors.demands))
    yield from (bundle.shape for gang in request.gangs for bundle in gang.bundles)


def _stuck_bins(space: Space, pods: Iterable[ComingNode]) -> list[Bin]:
    named: dict[int, list[str]] = {}
    for pod in sorted(pods, key=lambda item: (-item.age_seconds, item.pod_name)):
        named.setdefault(space.kind_of[pod.group], []).append(pod.pod_name)
    return [
        Bin(COMING, index, space.kinds[index].capacity, space.kinds[index].labels, len(names), tuple(names))
        for index, names in sorted(named.items())
    ]


def _waiting(answers: _Answers) -> Iterable[Waiting]:
    main = answers.main
    bands = {band.index: band for band in answers.question.bands}
    for index in main.waiting_gangs:
        band = bands[index]
        yield Waiting(band.bundles[0].demand, sum(item.count for item in band.bundles), band.gang)
    for item in main.items:
        if main.on_the_way[item.index]:
            yield Waiting(item.demand, main.on_the_way[item.index])


def _work(answers: _Answers) -> Iterable[tuple[Packing, Mapping[int, Cause]]]:
    work = {item.index: Cause(item.demand, Rule.DEMAND) for item in answers.question.items}
    for band in answers.question.bands:
        work.update({item.index: Cause(item.demand, Rule.PLACEMENT_GROUP, band.gang) for item in band.bundles})
        bundles = sum(item.count for item in band.bundles)
        work[band.whole.index] = Cause(band.whole.demand, Rule.PLACEMENT_GROUP, band.gang, bundles)
    yield answers.main, work
    if answers.floors is not None:
        yield (
            answers.floors,
            {item.index: Cause(item.demand, Rule.REQUESTED_RESOURCES) for item in answers.floors.items},
        )
