"""The life of every placement group, as the head keeps it: events in, instructions out.

PENDING -> CREATED <-> RESCHEDULING, and any of them -> REMOVED. The head's ledger says which node holds which bundle;
a node confirms what it was told to hold, or refuses, because leases take its room meanwhile. What was refused is given
back everywhere and tried again: this is the prepare phase of two, and ``Publish`` of CREATED the commit, since nobody
asks for anything in a bundle before.

Invariants: a group is CREATED exactly while a node has confirmed every bundle; an attempt places all bundles that have
no node or none; a group that cannot be placed stays as it is, with a reason; a removed group leaves nothing behind but
a line in the list of those removed last. A SPREAD group shares no node while nodes are joining: others may come. No
need waits behind others for ever: that one comes first which was not tried for longest, and new ones come last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from shoal.core.actor_placement import Candidate
from shoal.core.packing import Work, explain, pack
from shoal.core.placement_group import (
    GroupSpec,
    Instruction,
    Place,
    PlacementGroup,
    Publish,
    Reserve,
    Return,
    Wish,
)
from shoal.resources import ResourceSet

MAX_GROUPS: Final = 10_000
MAX_BUNDLES_IN_ALL: Final = 100_000
"""Of all groups: each is looked at whenever a node is lost, and listed when somebody asks."""
MAX_REMOVED: Final = 1_000
MAX_REMOVED_BUNDLES: Final = 20_000
"""Removed groups that are still listed, and their bundles."""
MAX_TRIES: Final = 50
"""How many different needs are packed in one turn; the rest comes in the next."""
WORK_MAX: Final = 40_000
"""How often bundles are held against nodes in one turn, the last group's come on top: the head waits some 0.2 s."""
MORE_SECONDS: Final = 0.1
FIRST_PAUSE_SECONDS: Final = 0.1
LAST_PAUSE_SECONDS: Final = 1.0
"""Ray's pauses after a node had no room after all: its next report shows why."""
SPREAD_WAIT_SECONDS: Final = 3.0
"""After a node has joined, others that were asked for with it may: so long a SPREAD group shares no node."""
SPREAD_WAIT_SECONDS_MAX: Final = 30.0
"""A SPREAD group with room waits no longer for nodes to share less, however many go on joining."""
UNKNOWN: Final = "the head does not know it"


class PlacementTable:
    """All placement groups of the cluster. Times are seconds of any clock that only goes forward."""

    def __init__(self, max_groups: int = MAX_GROUPS, max_removed: int = MAX_REMOVED) -> None:
        self._groups: dict[str, PlacementGroup] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._incomplete: dict[str, None] = {}
        self._removed: dict[str, PlacementGroup] = {}
        self._unsettled: dict[str, dict[tuple[str, int], ResourceSet]] = {}
        self._max_groups, self._max_removed = max_groups, max_removed
        self._bundles = self._removed_bundles = 0
        self._more_at: float | None = None  # when the rest of a turn that was cut short is tried
        self._turns = 0
        self._due: dict[Wish, int] = {}  # from which turn on a need has a claim to be tried
        self._joined: set[str] = set()
        self._joined_at = -math.inf
        self._spread_at: float | None = None  # when a group that waits for more nodes takes what there is

    # What there is

    def get(self, group_id: str) -> PlacementGroup | None:
        """A group that is not removed."""
        return self._groups.get(group_id)

    def find(self, name: str, namespace: str) -> PlacementGroup | None:
        """The group of that name."""
        group_id = self._names.get((namespace, name))
        return self._groups.get(group_id) if group_id is not None else None

    def listed(self) -> list[PlacementGroup]:
        """All groups, those removed lately first."""
        return [*self._removed.values(), *self._groups.values()]

    def removed(self, group_id: str) -> PlacementGroup | None:
        """A group that was removed lately."""
        return self._removed.get(group_id)

    def incomplete(self) -> list[PlacementGroup]:
        """Groups with a bundle that has no node, in the order in which they came."""
        return [group for i in self._incomplete if (group := self._groups[i]).lacks()[1]]

    def is_waiting(self) -> bool:
        """Whether any bundle has no node."""
        return any(self._groups[group_id].lacks()[1] for group_id in self._incomplete)

    def on_node(self, node_id: str) -> list[PlacementGroup]:
        """Groups with bundles on a node."""
        return [group for group in self._groups.values() if group.indexes_on(node_id)]

    def promised(self, node_id: str) -> ResourceSet:
        """What bundles take on a node that its last report does not show yet."""
        total = ResourceSet()
        for shape in self._unsettled.get(node_id, {}).values():
            total = total + shape
        return total

    def coming(self, node_id: str) -> int:
        """How many bundles a node was asked to hold that its last report does not show yet."""
        return len(self._unsettled.get(node_id, ()))

    def explain(self, group: PlacementGroup, candidates: Sequence[Candidate]) -> str:
        """What a group waits for, for people; empty when it waits for nothing."""
        rest = group.unplaced()
        if not rest:
            return "nodes are asked to hold its bundles" if group.trying() else ""
        refused = f"; the last try: {group.message}" if group.message else ""
        if group.share_by is not None:
            return f"bundles would share a node, and nodes are joining: it waits for others a few seconds{refused}"
        return explain(rest, group.spec.strategy, candidates, group.occupied()) + refused

    # Life

    def create(self, spec: GroupSpec) -> str:
        """Take a new group, to be placed by ``place``. Returns why not, or an empty text.

        The same id again is no error.
        """
        if spec.group_id in self._groups:
            return ""
        if len(self._groups) >= self._max_groups:
            return f"the cluster has {self._max_groups} placement groups already, the most a head takes"
        if self._bundles + len(spec.bundles) > MAX_BUNDLES_IN_ALL:
            return f"the cluster has {self._bundles} bundles already, and a head takes {MAX_BUNDLES_IN_ALL} at most"
        if spec.name:
            if (spec.namespace, spec.name) in self._names:
                return f"the name {spec.name!r} is taken by another placement group in namespace {spec.namespace!r}"
            self._names[spec.namespace, spec.name] = spec.group_id
        self._groups[spec.group_id] = PlacementGroup(spec)
        self._bundles += len(spec.bundles)
        self._incomplete[spec.group_id] = None
        return ""

    def restore(self, group: PlacementGroup) -> None:
        """Take a group as an earlier head process left it; its nodes confirm it when they come back."""
        spec = group.spec
        self._groups[spec.group_id] = group
        self._bundles += len(spec.bundles)
        if spec.name:
            self._names[spec.namespace, spec.name] = spec.group_id
        if group.state != "CREATED":
            self._incomplete[spec.group_id] = None

    def remove(self, group_id: str, message: str) -> list[Instruction]:
        """End a group; what runs in it ends too. An unknown one changes nothing."""
        group = self._groups.pop(group_id, None)
        if group is None:
            return []
        self._bundles -= len(group.places)
        nodes = group.occupied()
        returns = [Return(node_id, group_id, tuple(group.indexes_on(node_id)), True, message) for node_id in nodes]
        for index in range(len(group.places)):
            self._clear(group, index)
        group.state, group.message = "REMOVED", message
        self._incomplete.pop(group_id, None)
        name = (group.spec.namespace, group.spec.name)
        if self._names.get(name) == group_id:
            del self._names[name]
        self._removed[group_id] = group
        self._removed_bundles += len(group.places)
        while len(self._removed) > self._max_removed or self._removed_bundles > MAX_REMOVED_BUNDLES:
            self._removed_bundles -= len(self._removed.pop(next(iter(self._removed))).places)
        return [*returns, Publish(group)]

    def job_ended(self, job_id: str) -> list[Instruction]:
        """The job's driver is gone: its groups go, detached ones stay."""
        ended = [g.spec.group_id for g in self._groups.values() if g.spec.job_id == job_id and not g.spec.detached]
        return [i for group_id in ended for i in self.remove(group_id, f"its job {job_id} has ended")]

    # Placing

    def place(self, candidates: Sequence[Candidate], now: float) -> list[Instruction]:
        """Choose nodes for what has none. ``candidates`` have promises taken out."""
        nodes = {node.node_id: node for node in candidates}
        hopeless: dict[Wish, float | None] = {}
        instructions: list[Instruction] = []
        work = Work()
        self._more_at, self._spread_at = None, None
        for group in self._by_turn():
            if now < group.not_before or group.trying():
                continue
            if group.lacks() in hopeless:
                group.share_by = hopeless[group.lacks()]
                continue
            if len(hopeless) >= MAX_TRIES or work.done >= WORK_MAX:
                self._more_at = now + MORE_SECONDS
                break
            rest = group.unplaced()
            chosen = pack(rest, group.spec.strategy, list(nodes.values()), group.occupied(), work)
            if chosen is None or self._waits_for_nodes(group, chosen, now):
                group.share_by = group.share_by if chosen is not None else None
                hopeless[group.lacks()] = group.share_by
                self._due[group.lacks()] = self._turns + 1
                continue
            instructions += self._assign(group, chosen)
            for index, node_id in chosen.items():
                node = nodes[node_id]
                nodes[node_id] = replace(node, available=node.available - rest[index].shape)
        return instructions

    def _by_turn(self) -> list[PlacementGroup]:
        """Groups with a bundle that has no node: those whose need was not tried for longest, then in their order."""
        groups = self.incomplete()
        self._turns += 1
        self._due = {need: self._due.get(need, self._turns) for need in (group.lacks() for group in groups)}
        return sorted(groups, key=lambda group: self._due[group.lacks()])

    def next_deadline(self, now: float) -> float | None:
        """When ``place`` may do something that it cannot do now, if only time has to pass."""
        waiting = (self._groups[group_id] for group_id in self._incomplete)
        pauses = [group.not_before for group in waiting if group.not_before > now]
        later = [time for time in (self._spread_at, self._more_at) if time is not None]
        return min([*pauses, *later], default=None)

    def _waits_for_nodes(self, group: PlacementGroup, chosen: dict[int, str], now: float) -> bool:
        """Whether a SPREAD group lets room be, because bundles would share a node while nodes are joining."""
        is_spread = len(set(chosen.values()) - group.occupied().keys()) == len(chosen)
        growing_until = self._joined_at + SPREAD_WAIT_SECONDS
        if group.spec.strategy != "SPREAD" or is_spread or now >= growing_until:
            return False
        if group.share_by is None:
            group.share_by = now + SPREAD_WAIT_SECONDS_MAX
        if now >= group.share_by:
            return False
        until = min(growing_until, group.share_by)
        self._spread_at = until if self._spread_at is None else min(self._spread_at, until)
        return True

    def _assign(self, group: PlacementGroup, chosen: dict[int, str]) -> list[Instruction]:
        group.attempt, group.wish, group.share_by = group.attempt + 1, None, None
        by_node: dict[str, list[int]] = {}
        for index, node_id in sorted(chosen.items()):
            group.places[index] = Place(node_id, False, group.attempt)
            shape = group.spec.bundles[index].shape
            self._unsettled.setdefault(node_id, {})[group.spec.group_id, index] = shape
            by_node.setdefault(node_id, []).append(index)
        return [Reserve(node, group.spec.group_id, group.attempt, tuple(found)) for node, found in by_node.items()]

    def answered(
        self, node_id: str, group_id: str, attempt: int, accepted: bool, message: str, now: float
    ) -> list[Instruction]:
        """A node holds the bundles of an attempt, or refuses them."""
        group = self._groups.get(group_id)
        if group is None:
            return []
        asked = [i for i in group.indexes_on(node_id) if group.places[i].attempt == attempt]
        if not asked:
            return []
        if not accepted:
            return self._give_up(group, attempt, message, now, refused_by=node_id)
        for index in asked:
            group.places[index].held = True
        return self._completed(group)

    def _completed(self, group: PlacementGroup) -> list[Instruction]:
        if all(place.held for place in group.places):
            group.state, group.message, group.pause_seconds = "CREATED", "", 0.0
            self._incomplete.pop(group.spec.group_id, None)
            return [Publish(group)]
        return []

    def _give_up(
        self, group: PlacementGroup, attempt: int, message: str, now: float, refused_by: str
    ) -> list[Instruction]:
        """One node of an attempt cannot: the others let go again, and all of it is tried once more a little later."""
        group.message = message
        group.pause_seconds = min(LAST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, group.pause_seconds * 1.5))
        group.not_before = now + group.pause_seconds
        returns: dict[str, list[int]] = {}
        for index, place in enumerate(group.places):
            if place.node_id and place.attempt == attempt:
                if place.node_id != refused_by:
                    returns.setdefault(place.node_id, []).append(index)
                self._clear(group, index)
        why = "another node had no room for its group"
        return [Return(node, group.spec.group_id, tuple(rest), False, why) for node, rest in returns.items()]

    # What nodes do

    def node_joined(self, node_id: str, now: float) -> None:
        """The cluster grows by a node. One that was there before (its session was broken) is none."""
        if node_id not in self._joined:
            self._joined.add(node_id)
            self._joined_at = now

    def node_died(self, node_id: str, now: float) -> list[Instruction]:
        """Its bundles have to go elsewhere; an attempt that it was part of is over."""
        self._joined.discard(node_id)
        return [i for group in self.on_node(node_id) for i in self._lost(group, node_id, "it is gone", now)]

    def node_drains(self, node_id: str, now: float) -> list[Instruction]:
        """It ends: its bundles go elsewhere, and what runs in them finishes within the drain's time."""
        instructions: list[Instruction] = []
        for group in self.on_node(node_id):
            indexes = tuple(group.indexes_on(node_id))
            instructions.append(Return(node_id, group.spec.group_id, indexes, False, "the node is being drained"))
            instructions += self._lost(group, node_id, "it is being drained", now)
        return instructions

    def _lost(self, group: PlacementGroup, node_id: str, why: str, now: float) -> list[Instruction]:
        instructions: list[Instruction] = []
        places = [group.places[index] for index in group.indexes_on(node_id)]
        if any(not place.held or (place.attempt == group.attempt and group.trying()) for place in places):
            words = f"node {node_id[:8]} was asked to hold bundles, and {why}"
            instructions += self._give_up(group, group.attempt, words, now, refused_by=node_id)
        for index in group.indexes_on(node_id):
            self._clear(group, index)
        if group.state == "CREATED":
            group.state = "RESCHEDULING"
        self._incomplete[group.spec.group_id] = None
        return [*instructions, Publish(group)]

    def node_registered(self, node_id: str, held: Iterable[tuple[str, int]], now: float) -> list[Instruction]:
        """A node is back (or new) and says what it holds; what the broken session swallowed is made up for."""
        holds: dict[str, set[int]] = {}
        for group_id, index in held:
            holds.setdefault(group_id, set()).add(index)
        instructions: list[Instruction] = []
        for group_id, indexes in holds.items():
            group = self._groups.get(group_id)
            stray = indexes - set(group.indexes_on(node_id) if group is not None else ())
            if stray:
                removed = self._removed.get(group_id)
                why = removed.message if removed is not None else UNKNOWN
                instructions.append(Return(node_id, group_id, tuple(sorted(stray)), group is None, why))
        for group in self.on_node(node_id):
            instructions += self._compare(group, node_id, holds.get(group.spec.group_id, set()), now)
        return instructions

    def _compare(self, group: PlacementGroup, node_id: str, holds: set[int], now: float) -> list[Instruction]:
        mine = group.indexes_on(node_id)
        if any(group.places[index].held and index not in holds for index in mine):
            back = tuple(index for index in mine if index in holds)
            returns = [Return(node_id, group.spec.group_id, back, False, "the node lost others")] if back else []
            return [*returns, *self._lost(group, node_id, "it does not hold them any more", now)]
        for index in mine:
            group.places[index].held = index in holds
        asked = tuple(index for index in mine if index not in holds)
        if asked:
            return [Reserve(node_id, group.spec.group_id, group.attempt, asked)]
        return self._completed(group) if group.state != "CREATED" else []

    def node_reported(self, node_id: str) -> None:
        """Its report shows what it has confirmed before."""
        unsettled = self._unsettled.get(node_id)
        if not unsettled:
            return
        for group_id, index in list(unsettled):
            group = self._groups.get(group_id)
            if group is None or group.places[index].held:
                del unsettled[group_id, index]
        if not unsettled:
            del self._unsettled[node_id]

    def _clear(self, group: PlacementGroup, index: int) -> None:
        node_id = group.places[index].node_id
        unsettled = self._unsettled.get(node_id)
        if unsettled is not None:
            unsettled.pop((group.spec.group_id, index), None)
            if not unsettled:
                del self._unsettled[node_id]
        group.places[index], group.wish = Place(), None
