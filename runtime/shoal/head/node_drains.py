"""Drains of nodes that the operator asks for: which are refused, and what nodes answer.

Invariant: everything here is guarded by the head's lock; a node counts as being drained from the request until it
refuses, does not answer in time, or says itself that it drains.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from shoal.core.actors import ActorTable
from shoal.core.membership import Member, Membership
from shoal.core.placement import PlacementTable
from shoal.head.drains import DrainDone, PendingDrains
from shoal.head.journal import Journal
from shoal.protocol import head_pb2, node_pb2


class NodeDrains:
    """See the module.

    Args:
        lock: the head's. ``request`` takes it, all other methods are called with it.
        members: the nodes.
        actors: that may be starting there.
        groups: whose bundles may be on their way there.
        send: queues a message for a node.
        journal: where drains are written down.
        changed: a node takes work no longer, or again.
    """

    def __init__(
        self,
        lock: threading.Lock,
        members: Membership,
        actors: ActorTable,
        groups: PlacementTable,
        send: Callable[[str, node_pb2.HeadMessage], None],
        journal: Journal,
        changed: Callable[[], None],
    ) -> None:
        self._lock, self._members, self._actors, self._groups = lock, members, actors, groups
        self._send, self._journal, self._changed = send, journal, changed
        self._pending = PendingDrains()

    def request(self, request: head_pb2.DrainNodeRequest, done: DrainDone) -> None:
        """Ask a node to drain; ``done(accepted, message)`` is called once, soon, and must only queue."""
        now = time.monotonic()
        with self._lock:
            member = self._members.get(request.node_id)
            refusal = self._refusal(member, request)
            if refusal:
                done(False, refusal)
                return
            if member is None or member.status.drain_state != "active":
                done(True, "it drains already")
                return
            drain_id = os.urandom(8).hex()
            member.drain_requested = True
            self._journal.drain(request.node_id, request.reason)
            self._pending.add(drain_id, request.node_id, done, now)
            drain = node_pb2.Drain(
                reason=request.reason,
                deadline_seconds=request.deadline_seconds,
                only_if_idle=request.only_if_idle,
                drain_id=drain_id,
            )
            self._send(request.node_id, node_pb2.HeadMessage(drain=drain))
            self._changed()

    def _refusal(self, member: Member | None, request: head_pb2.DrainNodeRequest) -> str:
        if member is None:
            return f"there is no node {request.node_id}"
        if not member.alive:
            return f"node {request.node_id[:8]} is dead: {member.reason}"
        if member.lost_at is not None:
            return f"node {request.node_id[:8]} is out of touch"
        if request.only_if_idle and any(a.starting for a in self._actors.on_node(request.node_id)):
            return "an actor is starting there"
        if request.only_if_idle and self._groups.coming(request.node_id):
            return "it is being asked to hold bundles of a placement group"
        return ""

    def answered(self, node_id: str, answer: node_pb2.DrainAnswer) -> None:
        """The node's own word."""
        self._pending.answered(answer.drain_id, answer.accepted, answer.message)
        if not answer.accepted:
            self._refused(node_id)

    def node_drains(self, node_id: str) -> None:
        """A report shows that the node drains."""
        self._pending.node_drains(node_id)

    def node_gone(self, node_id: str) -> None:
        """The node died."""
        self._pending.node_gone(node_id)

    def expire(self, now: float) -> None:
        """Give up on nodes that have not answered in time."""
        for node_id in self._pending.expire(now):
            self._refused(node_id)

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do next."""
        return self._pending.next_deadline()

    def _refused(self, node_id: str) -> None:
        member = self._members.get(node_id)
        if member is not None and member.drain_requested:
            member.drain_requested = False
            self._journal.drain(node_id, None)
            self._changed()
