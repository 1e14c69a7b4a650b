"""Which limits keep work from a place, and the words for each: of a group, of all workers, of a resource in all groups.

Invariants: of work that needs one replica all limits are named that have no room for it; of a placement group those
without which it would find a place. So each answer, raised, helps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.choice import Strategy
from shoal_operator.autoscaler.gangs import LOOKED_MAX, Band, place_gang, place_gangs
from shoal_operator.autoscaler.model import Group, ScalingRequest
from shoal_operator.autoscaler.packing import Packing
from shoal_operator.autoscaler.problem import Space
from shoal_operator.autoscaler.search import Question
from shoal_operator.autoscaler.standing import FREE_FOREVER, Room
from shoal_operator.autoscaler.wording import count_of_replicas, maximum, resource_bound, worker_bound

AND: Final = " and "
"""Between limits that have to be raised together."""
PATTERNS_MAX: Final = 16
"""Kinds of placement groups of which one plan finds out which limits hold them back."""
CEILINGS_MAX: Final = 24
"""Limits that are tried for one of them."""


@dataclass(frozen=True, slots=True, order=True)
class Ceiling:
    """One limit: a group's own, of all workers (both empty), or of one resource in all groups."""

    group: str = ""
    resource: str = ""


WORKERS: Final = Ceiling()


class Ceilings:
    """The limits of one question, and what its best answer left of the room."""

    def __init__(self, request: ScalingRequest, space: Space, room: Room, added: Mapping[str, int]) -> None:
        """Begin.

        Args:
            added: new nodes by group, of this answer.
        """
        self._limits = request.limits
        self._groups = space.groups
        self._room = room
        self._present = Counter(node.group for node in request.nodes if node.removable)
        self._present.update(node.group for node in request.coming if node.exists)
        self._present.update(added)

    def binding(self, group: Group) -> list[Ceiling]:
        """All that have no room for one more replica of a group."""
        hosts = max(1, group.hosts)
        found = [Ceiling(group.name)] if group.max_nodes - self._present[group.name] < hosts else []
        found += [WORKERS] if self._room.nodes < hosts else []
        left = self._room.resources
        need = {name: group.resources[name] * hosts for name in left}
        return found + [Ceiling(resource=name) for name in sorted(left) if need[name] and left[name] < need[name]]

    def concerning(self, group: Group) -> list[Ceiling]:
        """All that could ever hold a group back."""
        found = [Ceiling(group.name)]
        found += [WORKERS] if self._limits.max_nodes is not None else []
        bounded = self._limits.max_resources or ResourceSet()
        return found + [Ceiling(resource=name) for name in sorted(bounded) if group.resources[name]]

    def text(self, ceilings: Iterable[Ceiling]) -> str:
        """For people: "group `small` is at its maxReplicas (4) and the cluster may have no more than 5 workers"."""
        return AND.join(self._text(ceiling) for ceiling in ceilings)

    def _text(self, ceiling: Ceiling) -> str:
        if ceiling.group:
            group = self._groups[ceiling.group]
            most = maximum(group)
            if group.fixed_by:
                return f"group `{group.name}` is at its {group.fixed_by} ({most}), autoscaling is off"
            if group.max_nodes - self._present[group.name] < max(1, group.hosts):
                return f"group `{group.name}` is at its maxReplicas ({most})"
            return f"group `{group.name}` may have no more than {count_of_replicas(most)} (maxReplicas)"
        if ceiling.resource:
            return resource_bound(ceiling.resource, (self._limits.max_resources or ResourceSet())[ceiling.resource])
        return worker_bound(self._limits.max_nodes or 0)


class GangCeilings:
    """Finds out by trying which limits keep placement groups from a place."""

    def __init__(
        self, question: Question, strategy: Strategy, failed: Collection[int], closed: Collection[str]
    ) -> None:
        """Begin.

        Args:
            question: what was packed.
            strategy: how the best answer was found.
            failed: numbers of the placement groups that found no place.
            closed: groups that get no more nodes, whatever the limits are.
        """
        self._question = question
        self._strategy = strategy
        self._failed = failed
        self._closed = closed
        self._known: dict[object, list[tuple[Ceiling, ...]]] = {}

    @cached_property
    def _packing(self) -> Packing:
        """Where the placement groups are that have a place."""
        question = self._question
        packing = Packing(question.space, (), question.standing, question.room, self._strategy, question.extra)
        place_gangs(packing, [band for band in question.bands if band.index not in self._failed], question.turn)
        return packing

    def helping(self, band: Band) -> list[tuple[Ceiling, ...]]:
        """Each answer is enough when all of it is raised; none where no limit, or nobody knows which, is the reason."""
        pattern = band.pattern
        if pattern not in self._known:
            is_in_time = len(self._known) < PATTERNS_MAX and self._packing.looked < 3 * LOOKED_MAX
            self._known[pattern] = self._find(band) if is_in_time else []
        return self._known[pattern]

    def _find(self, band: Band) -> list[tuple[Ceiling, ...]]:
        ceilings = self._candidates(band)
        if not self._finds_place(band, ceilings):
            return []
        alone = [ceiling for ceiling in ceilings if self._finds_place(band, [ceiling])]
        if alone:
            return [(ceiling,) for ceiling in alone]
        needed = list(ceilings)
        for ceiling in reversed(ceilings):
            fewer = [other for other in needed if other != ceiling]
            if self._finds_place(band, fewer):
                needed = fewer
        return [tuple(needed)]

    def _candidates(self, band: Band) -> list[Ceiling]:
        space, room = self._question.space, self._question.room
        able = set().union(*(item.groups for item in band.bundles)) - room.probing
        kinds = [space.kinds[index] for index in able if space.kinds[index].group.name not in self._closed]
        open_groups = sorted((kind.group for kind in kinds if not kind.group.suspended), key=_first)
        found = [WORKERS] if room.nodes < FREE_FOREVER else []
        found += [Ceiling(resource=name) for name in room.resources]
        return (found + [Ceiling(group.name) for group in open_groups])[:CEILINGS_MAX]

    def _finds_place(self, band: Band, lifted: Iterable[Ceiling]) -> bool:
        packing = self._packing
        saved = packing.save()
        room = packing.room.copy()
        for ceiling in lifted:
            if ceiling.group:
                room.nodes_by_kind[self._question.space.kind_of[ceiling.group]] = FREE_FOREVER
            elif ceiling.resource:
                room.resources.pop(ceiling.resource)
            else:
                room.nodes = FREE_FOREVER
        packing.room = room
        has_place = place_gang(packing, band)
        packing.restore(saved)
        return has_place


def _first(group: Group) -> tuple[int, str]:
    return -group.priority, group.name
