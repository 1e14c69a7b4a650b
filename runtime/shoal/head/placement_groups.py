"""Placement groups at the head: the shell around ``core.placement``.

Invariant: everything here happens under the head's lock, but for the words of a list of all groups, which only reads;
nothing waits; that a group is there is told when it is on disk, where the head has one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from shoal.core.actors import ActorSpec, Held
from shoal.core.gangs import MAX_GANGS, Gang
from shoal.core.labels import pinned
from shoal.core.membership import Membership
from shoal.core.placement import PlacementTable
from shoal.core.placement_group import Instruction, PlacementGroup, Publish, Reserve, Return, Wish, bundle_for
from shoal.head import group_messages
from shoal.head.journal import Journal
from shoal.head.rooms import Rooms
from shoal.protocol import node_pb2
from shoal.resources import ResourceSet

Groups = node_pb2.ListPlacementGroupsReply
SETTLE_SECONDS: Final = 0.1
"""How long a group waits before it counts as demand: nodes report that work has ended within this time."""
RETRY_SECONDS: Final = 1.0
"""Waiting groups are tried again after this, whether or not anything is known to have changed."""


class PlacementGroups:
    """See the module.

    Args:
        lock: the head's. Methods named ``handle_...`` take it, all others are called with it.
        table: the groups.
        members: the nodes.
        rooms: what they have free.
        send: queues a message for a node.
        journal: where groups are written down.
        changed: something that a snapshot shows has changed, or that others may be placed by.
        removed: called with the id of a group that was removed.
    """

    def __init__(
        self,
        lock: threading.Lock,
        table: PlacementTable,
        members: Membership,
        rooms: Rooms,
        send: Callable[[str, node_pb2.HeadMessage], None],
        journal: Journal,
        changed: Callable[[], None],
        removed: Callable[[str], None],
    ) -> None:
        self._lock, self._table, self._members, self._rooms = lock, table, members, rooms
        self._send, self._journal = send, journal
        self._changed, self._removed = changed, removed
        self._known: dict[str, tuple[bool, ResourceSet]] = {}  # whether a node took work, and its room
        self._room_grew = True
        self._tried_at, self._try_again_at = 0.0, math.inf
        self._waits_since: dict[str, float] = {}
        self._gangs: set[str] = set()

    # Calls of agents

    @property
    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        """Methods of the ``Cluster`` service."""
        return {
            "CreatePlacementGroup": self.handle_create,
            "RemovePlacementGroup": self.handle_remove,
            "ListPlacementGroups": self.handle_list,
        }

    def handle_create(self, request: node_pb2.CreatePlacementGroupRequest) -> node_pb2.CreatePlacementGroupReply:
        """A program asks for a group. Raises ValueError with words when it makes no sense."""
        spec = group_messages.spec(request.group)
        with self._lock:
            refusal = self._table.create(spec)
            if refusal:
                return node_pb2.CreatePlacementGroupReply(created=False, message=refusal)
            now = time.monotonic()
            group = self._table.get(spec.group_id)
            assert group is not None
            self._journal.placement_group(group)
            self._room_grew = True
            self.turn(now)
            self._changed()
            return node_pb2.CreatePlacementGroupReply(created=True, message=self._words(group))

    def handle_remove(self, request: node_pb2.RemovePlacementGroupRequest) -> node_pb2.RemovePlacementGroupReply:
        """A program removes a group."""
        with self._lock:
            found = self._table.get(request.group_id) is not None
            self.carry_out(self._table.remove(request.group_id, "it was removed by its user"))
            return node_pb2.RemovePlacementGroupReply(found=found)

    def handle_list(self, request: node_pb2.ListPlacementGroupsRequest) -> Groups:
        """One group by id or name, or all."""
        if not (request.group_id or request.name):
            return self._all()
        with self._lock:
            by_id = self._table.get(request.group_id) or self._table.removed(request.group_id)
            group = by_id if request.group_id else self._table.find(request.name, request.namespace)
            if group is None:
                return Groups()
            if request.subscriber_node_id and group.state != "REMOVED":
                group.subscribers.add(request.subscriber_node_id)
            return Groups(groups=[self._told(group)])

    def _all(self) -> Groups:
        """Many groups take a while to put into words; that happens without the lock."""
        with self._lock:
            candidates = self._rooms.candidates(time.monotonic())
            groups = [(group, None if group.state == "REMOVED" else group.lacks()) for group in self._table.listed()]
        words: dict[Wish, str] = {}
        told = []
        for group, wish in groups:
            if wish is None or not wish[1] or group.message:
                why = group.message if wish is None else self._table.explain(group, candidates)
            elif wish in words:
                why = words[wish]
            else:
                why = words[wish] = self._table.explain(group, candidates)
            told.append(group_messages.told(group, self._address, why))
        return Groups(groups=told)

    # Events

    def restore(self, groups: Iterable[PlacementGroup]) -> None:
        """Take groups of an earlier head process."""
        for group in groups:
            self._table.restore(group)

    def answered(self, node_id: str, answer: node_pb2.BundlesAnswer, now: float) -> None:
        """A node holds bundles, or refuses to."""
        ok, words = answer.accepted, answer.message
        self.carry_out(self._table.answered(node_id, answer.group_id, answer.attempt, ok, words, now))
        if not ok:
            self._room_grew = True
            self._changed()

    def node_registered(self, node_id: str, held: Iterable[node_pb2.BundleKey], now: float) -> None:
        """A session begins."""
        keys = [(key.group_id, key.index) for key in held]
        self._room_grew = True
        member = self._members.get(node_id)
        if member is not None and not member.info.is_head:  # it is there before all work, and brings no others
            self._table.node_joined(node_id, now)
        self.carry_out(self._table.node_registered(node_id, keys, now))

    def node_died(self, node_id: str, now: float) -> None:
        """A node is gone for good."""
        for group in self._table.listed():
            group.subscribers.discard(node_id)
        self._known.pop(node_id, None)
        self.carry_out(self._table.node_died(node_id, now))

    def node_reported(self, node_id: str, *, drains: bool, now: float) -> None:
        """A node's report has come; one that ends gives its bundles up."""
        self._table.node_reported(node_id)
        member = self._members.get(node_id)
        if member is not None:
            took_work, before = self._known.get(node_id, (False, ResourceSet()))
            free = self._known[node_id] = member.takes_work, member.status.available
            self._room_grew |= free[0] and (not took_work or not free[1].fits(before))
        if drains:
            self.node_drains(node_id, now)

    def node_drains(self, node_id: str, now: float) -> None:
        """A node takes no more work."""
        self.carry_out(self._table.node_drains(node_id, now))

    def job_ended(self, job_id: str) -> None:
        """A job's last driver is gone."""
        self.carry_out(self._table.job_ended(job_id))

    # Placing

    def turn(self, now: float) -> None:
        """Place what can be placed now."""
        if self._table.is_waiting() and (self._room_grew or now >= self._try_again_at):
            self._room_grew, self._tried_at = False, now
            self.carry_out(self._table.place(self._rooms.candidates(now), now))
        waiting = [group.spec.group_id for group in self._table.incomplete() if not _names_node(group)]
        self._waits_since = {group_id: self._waits_since.get(group_id, now) for group_id in waiting}
        gangs = {group_id for group_id, since in self._waits_since.items() if now >= since + SETTLE_SECONDS}
        if gangs != self._gangs:
            self._gangs = gangs
            self._changed()

    def find_bundle(self, spec: ActorSpec, held: Held, refusals: int) -> tuple[int, str] | None:
        """A bundle with room for an actor, and its node. See ``core.placement_group.bundle_for``."""
        group = self._table.get(spec.group_id)
        return None if group is None else bundle_for(group, spec.bundle_index, spec.need, held, refusals)

    def is_waiting(self) -> bool:
        """Whether any bundle has no node."""
        return self._table.is_waiting()

    def next_deadline(self, now: float) -> float | None:
        """When ``turn`` may do something that it cannot do now, if only time has to pass."""
        if not self._table.is_waiting():
            return None
        unsettled = [since for group_id, since in self._waits_since.items() if group_id not in self._gangs]
        soon = self._table.next_deadline(now)
        # What actors were promised becomes free without a word: hence the last try's time.
        self._try_again_at = min(self._tried_at + RETRY_SECONDS, soon if soon is not None else math.inf)
        return min([self._try_again_at, *(since + SETTLE_SECONDS for since in unsettled)])

    def gangs(self) -> tuple[list[Gang], int]:
        """What waits, in the order in which it is tried, and how many more wait than can be told."""
        waiting = [group for group in self._table.incomplete() if group.spec.group_id in self._gangs]
        return [group_messages.gang(group) for group in waiting[:MAX_GANGS]], len(waiting[MAX_GANGS:])

    def carry_out(self, instructions: Iterable[Instruction]) -> None:
        """Send, write down and tell what the table decided."""
        any_done = False
        for instruction in instructions:
            any_done = True
            match instruction:
                case Reserve():
                    group = self._table.get(instruction.group_id)
                    if group is not None:
                        order = group_messages.reserve(instruction, group)
                        self._send(instruction.node_id, node_pb2.HeadMessage(reserve_bundles=order))
                case Return(node_id=node_id, group_id=group_id, indexes=indexes, kill=kill, reason=reason):
                    back = node_pb2.ReturnBundles(group_id=group_id, indexes=indexes, kill=kill, reason=reason)
                    self._send(node_id, node_pb2.HeadMessage(return_bundles=back))
                case Publish(group=group):
                    self._publish(group)
        if any_done:
            self._room_grew = True
            self._changed()

    def _publish(self, group: PlacementGroup) -> None:
        self._journal.placement_group(group)
        group.version += 1
        if group.state == "CREATED" and self._journal.outlives_the_head:
            # Nothing may run in bundles that the next head would give back as never confirmed.
            self._journal.when_durable(lambda: self._tell_created(group.spec.group_id))
            return
        self._tell(group)
        if group.state == "REMOVED":
            group.subscribers.clear()
            self._removed(group.spec.group_id)

    def _tell_created(self, group_id: str) -> None:
        with self._lock:
            group = self._table.get(group_id)
            if group is not None:
                self._tell(group)

    def _tell(self, group: PlacementGroup) -> None:
        if group.subscribers:
            update = node_pb2.HeadMessage(placement_group=self._told(group))
            for node_id in group.subscribers:
                self._send(node_id, update)

    def _told(self, group: PlacementGroup) -> node_pb2.PlacementGroup:
        return group_messages.told(group, self._address, self._words(group))

    def _words(self, group: PlacementGroup) -> str:
        if group.state == "REMOVED":
            return group.message
        return self._table.explain(group, self._rooms.candidates(time.monotonic()))

    def _address(self, node_id: str) -> node_pb2.NodeAddress | None:
        member = self._members.get(node_id)
        if member is None:
            return None
        return node_pb2.NodeAddress(node_id=node_id, ip=member.info.ip, port=member.info.port)


def _names_node(group: PlacementGroup) -> bool:
    """Whether it waits for a certain node: no other would help."""
    return any(pinned(bundle.selector) for bundle, _count in group.lacks()[1])
