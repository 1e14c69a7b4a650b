"""The best of several passes, and small changes to it that make it better.

A pass is greedy. So small questions are packed in several ways, and then nodes are taken out of the best answer, or
swapped for others, for as long as all work still finds its place. How often depends on the size of the question
alone: large ones are packed once.

Invariants: no answer is worse than that of the first strategy; the same question gets the same answer; an answer that
is carried out and asked for again adds nothing, because the passes that led to it go the same way once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shoal_operator.autoscaler.bins import COMING
from shoal_operator.autoscaler.choice import Strategy
from shoal_operator.autoscaler.gangs import Band, place_gangs
from shoal_operator.autoscaler.objective import cost, objective, unmet
from shoal_operator.autoscaler.orders import ORDERS
from shoal_operator.autoscaler.packing import Packing
from shoal_operator.autoscaler.problem import Item, Space
from shoal_operator.autoscaler.reasons import Rule
from shoal_operator.autoscaler.standing import Room, Standing

EFFORT_MAX: Final = 15_000
"""Comparisons of an item with a bin that all passes of one question may make, about, after the first."""
PASSES_MAX: Final = 80
"""Passes of one question, however small it is."""

CANDIDATES_MAX: Final = 4
"""Answers that are looked at closely, when the best one would not last."""
ROUNDS_MAX: Final = 3
"""How often an answer is completed by what would be added to it next."""

STRATEGIES: Final = (
    Strategy(),
    Strategy(choice="balanced"),
    Strategy(order="largest", choice="balanced"),
    Strategy(by_age=True),
    Strategy(choice="few"),
    Strategy(order="largest"),
    Strategy(order="most"),
    Strategy(order="first"),
    Strategy(order="last"),
    Strategy(choice="cheap"),
    Strategy(order="widest"),
    Strategy(order="largest", choice="few"),
    Strategy(order="smallest"),
    Strategy(order="first", choice="few"),
    Strategy(order="largest", choice="cheap"),
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be packed, in numbers."""

    space: Space
    items: tuple[Item, ...]
    bands: tuple[Band, ...]
    standing: Standing
    room: Room
    extra: Mapping[int, int]
    """Nodes by group that are asked for in any case, and count as coming."""
    rule: str = Rule.DEMAND
    """What nodes for items are added for."""
    turn: int = 0
    """Of gangs, where a pass cannot look at all."""

    def effort(self) -> int:
        """Comparisons that one pass makes, about.

        Nodes that an answer may add count as little as new ones: it would not be found again if it made the question
        that follows worth fewer passes.
        """
        coming = sum(bin_.stage == COMING for bin_ in self.standing.free)
        stock = len(self.standing.joined) + len(self.standing.free) - coming + max(coming, len(self.space.kinds))
        bundles = sum(len(band.bundles) + 1 for band in self.bands)
        return 200 + (len(self.items) + 3 * bundles) * (stock + len(self.items) // 2)

    def passes(self) -> int:
        """How many more passes than one the question is worth."""
        return min(PASSES_MAX, EFFORT_MAX // self.effort())


def pack(question: Question, strategy: Strategy, room: Room | None = None) -> Packing:
    """One pass.

    Args:
        room: less room than the question has; what is left is of the question's all the same.
    """
    items = sorted(question.items, key=ORDERS[strategy.order])
    packing = Packing(question.space, items, question.standing, room or question.room, strategy, question.extra)
    place_gangs(packing, question.bands, question.turn)
    packing.rule = question.rule
    packing.place_all()
    if room is not None:
        packing.room = question.room.copy()
        for index, nodes in packing.new_nodes().items():
            packing.room.take(question.space, index, nodes)
    return packing


def best_packing(question: Question) -> Packing:
    """The best answer that the effort allows."""
    found = _candidates(question)
    if question.passes() < 1:
        return found[0]
    for candidate in found:
        if not candidate.added:
            return candidate
        after = carried_out(question, candidate)
        if _is_perfect(pack(after, candidate.strategy)) or not _candidates(after)[0].added:
            return candidate
    return _completed(question, found[0])


def _candidates(question: Question) -> list[Packing]:
    """Some answers, the best first."""
    first = pack(question, STRATEGIES[0])
    passes = question.passes()
    if passes < 1 or _is_perfect(first):
        return [first]
    found = [first, *(pack(question, strategy) for strategy in STRATEGIES[1 : passes + 1])]
    found.sort(key=objective)
    improved = _improve(question, found[0], passes - len(STRATEGIES) + 1)
    distinct: list[Packing] = [improved]
    for packing in found:
        if len(distinct) < CANDIDATES_MAX and all(packing.added != other.added for other in distinct):
            distinct.append(packing)
    return distinct


def carried_out(question: Question, packing: Packing) -> Question:
    """The question that is asked next, when an answer has been carried out."""
    return replace(question, room=packing.room, extra=Counter(question.extra) + packing.new_nodes())


def _completed(question: Question, packing: Packing) -> Packing:
    """An answer with what the next ones would add."""
    added, caused = packing.added.copy(), packing.caused.copy()
    for _ in range(ROUNDS_MAX):
        question = carried_out(question, packing)
        packing = _candidates(question)[0]
        if not packing.added:
            break
        added += packing.added
        caused += packing.caused
    packing.added, packing.caused = added, caused
    return packing


def _is_perfect(packing: Packing) -> bool:
    """Whether nothing is added and all is placed, so that nothing can be better."""
    return not packing.added and unmet(packing) == (0, 0)


def _improve(question: Question, best: Packing, passes: int) -> Packing:
    score = objective(best)
    strategies = (STRATEGIES[0], STRATEGIES[3], STRATEGIES[2])
    while passes > 0:
        better = None
        for nodes in _neighbours(question, best):
            for strategy in strategies:
                if passes <= 0:
                    break
                passes -= 1
                other = pack(question, strategy, _only(question, nodes))
                if objective(other) < score:
                    better = other
                    break
            if better or passes <= 0:
                break
        if better is None:
            return best
        best, score = better, objective(better)
    return best


def _neighbours(question: Question, packing: Packing) -> Iterator[Counter[int]]:
    """Other choices of new nodes that would be better if all work found its place there: less first."""
    space = question.space
    now = packing.new_nodes()
    budget = cost(space, now)
    is_short = unmet(packing) != (0, 0)
    worst_first = sorted(now, key=lambda index: (space.kinds[index].group.priority, -space.kinds[index].price, index))
    seen: set[tuple[tuple[int, int], ...]] = set()
    for out in (*([index] for index in worst_first), *_pairs(worst_first)):
        for into in (None, *range(len(space.kinds))):
            nodes = Counter(now)
            for index in out:
                nodes[index] -= max(1, space.kinds[index].group.hosts)
            is_whole = all(nodes[index] >= 0 for index in out)
            if into is not None:
                nodes[into] += max(1, space.kinds[into].group.hosts)
            nodes = +nodes
            key = tuple(sorted(nodes.items()))
            if key in seen or not is_whole:
                continue
            seen.add(key)
            if nodes != now and (cost(space, nodes) < budget or is_short) and _fits(question, nodes):
                yield nodes


def _pairs(indexes: Sequence[int]) -> Iterator[list[int]]:
    for place, one in enumerate(indexes):
        for other in indexes[place:]:
            yield [one, other]


def _fits(question: Question, nodes: Mapping[int, int]) -> bool:
    room = question.room.copy()
    for index, count in sorted(nodes.items()):
        if room.nodes_for(question.space, index) < count:
            return False
        room.take(question.space, index, count)
    return True


def _only(question: Question, nodes: Mapping[int, int]) -> Room:
    """Room for exactly these nodes."""
    by_kind = [nodes.get(index, 0) for index in range(len(question.space.kinds))]
    return replace(question.room.copy(), nodes_by_kind=by_kind)
