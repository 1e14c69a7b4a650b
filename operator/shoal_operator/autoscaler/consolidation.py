"""Idle nodes that can be done without although waiting work would land on them: it fits elsewhere.

Invariant: no work that has a place without the removal loses it, and nothing is added for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from shoal_operator.autoscaler.bins import Bin
from shoal_operator.autoscaler.choice import Strategy
from shoal_operator.autoscaler.gangs import LOOKED_MAX
from shoal_operator.autoscaler.objective import unmet
from shoal_operator.autoscaler.search import Question, pack
from shoal_operator.autoscaler.standing import Standing

CONSOLIDATIONS_MAX: Final = 16
"""Replicas that one plan tries to do without although waiting work would land there."""


class Elsewhere:
    """Whether waiting work finds its place without certain nodes, and without new ones."""

    def __init__(self, question: Question, before: tuple[int, int], strategy: Strategy) -> None:
        self._question = question
        self._before = before
        self._strategy = strategy
        self._tries = CONSOLIDATIONS_MAX
        self._looked = 0

    def __call__(self, gone: Collection[str]) -> bool:
        self._tries -= 1
        if self._tries < 0 or self._looked >= LOOKED_MAX:
            return False
        question = self._question
        standing = Standing(
            tuple(_left_of(question.standing.joined, gone)),
            tuple(_left_of(question.standing.free, gone)),
            question.standing.members,
        )
        none = replace(question.room.copy(), nodes_by_kind=[0] * len(question.space.kinds))
        packing = pack(replace(question, standing=standing, extra={}), self._strategy, none)
        self._looked += packing.looked
        return unmet(packing) <= self._before


def _left_of(bins: Iterable[Bin], gone: Collection[str]) -> Iterable[Bin]:
    for bin_ in bins:
        members = tuple(name for name in bin_.members if name not in gone)
        if members:
            yield replace(bin_, members=members, count=len(members))
