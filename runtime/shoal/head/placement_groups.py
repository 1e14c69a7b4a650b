"""Placement groups at the head: the shell around ``core.placement``.

Invariant: everything here happens under the head's lock, and nothing waits; what survives the head is written down
before anybody hears of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from shoal.core.actors import ActorSpec, Held
from shoal.core.gangs import Gang
from shoal.core.membership import Membership
from shoal.core.placement import Instruction, PlacementGroup, PlacementTable, Publish, Reserve, Return, bundle_for
from shoal.head import group_messages
from shoal.head.journal import Journal
from shoal.head.rooms import Rooms
from shoal.protocol import node_pb2

Groups = node_pb2.ListPlacementGroupsReply


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
        with self._lock:
            if not (request.group_id or request.name):
                return Groups(groups=[self._told(group) for group in self._table.listed()])
            by_id = self._table.get(request.group_id) or self._table.removed(request.group_id)
            group = by_id if request.group_id else self._table.find(request.name, request.namespace)
            if group is None:
                return Groups()
            if request.subscriber_node_id and group.state != "REMOVED":
                group.subscribers.add(request.subscriber_node_id)
            return Groups(groups=[self._told(group)])

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
            self._changed()

    def node_registered(self, node_id: str, held: Iterable[node_pb2.BundleKey], now: float) -> None:
        """A session begins."""
        keys = [(key.group_id, key.index) for key in held]
        self.carry_out(self._table.node_registered(node_id, keys, now))

    def node_died(self, node_id: str, now: float) -> None:
        """A node is gone for good."""
        for group in self._table.listed():
            group.subscribers.discard(node_id)
        self.carry_out(self._table.node_died(node_id, now))

    def node_reported(self, node_id: str, *, drains: bool, now: float) -> None:
        """A node's report has come; one that ends gives its bundles up."""
        self._table.node_reported(node_id)
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
        if self._table.is_waiting():
            self.carry_out(self._table.place(self._rooms.candidates(now), now))

    def find_bundle(self, spec: ActorSpec, held: Held, refusals: int) -> tuple[int, str] | None:
        """A bundle with room for an actor, and its node. See ``core.placement.bundle_for``."""
        group = self._table.get(spec.group_id)
        return None if group is None else bundle_for(group, spec.bundle_index, spec.need, held, refusals)

    def is_waiting(self) -> bool:
        """Whether any bundle has no node."""
        return self._table.is_waiting()

    def next_deadline(self, now: float) -> float | None:
        """When ``turn`` may do something that it cannot do now, if only time has to pass."""
        return self._table.next_deadline(now)

    def gangs(self) -> list[Gang]:
        """What waits, the oldest first."""
        return [group_messages.gang(group) for group in self._table.incomplete()]

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
            self._changed()

    def _publish(self, group: PlacementGroup) -> None:
        self._journal.placement_group(group)
        group.version += 1
        if group.subscribers:
            update = node_pb2.HeadMessage(placement_group=self._told(group))
            for node_id in group.subscribers:
                self._send(node_id, update)
        if group.state == "REMOVED":
            group.subscribers.clear()
            self._removed(group.spec.group_id)

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
