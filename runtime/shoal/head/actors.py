"""Actors at the head: the shell around ``core.actors``.

Invariant: everything here happens under the head's lock and nothing waits; what the table decides is written down
before it is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from shoal.core import actor_ends
from shoal.core.actor_placement import explain
from shoal.core.actors import ActorTable, Instruction, Start, Stop
from shoal.core.ids import is_lasting
from shoal.core.placement import PlacementTable
from shoal.core.placement_group import misfit
from shoal.head import convert
from shoal.head.journal import Journal
from shoal.head.placement_groups import PlacementGroups
from shoal.head.rooms import Rooms
from shoal.protocol import node_pb2


@dataclass(frozen=True)
class ActorEvents:
    """What the rest of the head hears of actors; called with its lock.

    Args:
        changed: something that a snapshot shows.
        waiting: some wait for a node or a bundle: there is to be a turn soon.
        tried: what waits was tried at that time.
        last_of_job: an actor that outlived its job's driver is dead, and the job is over with it.
    """

    changed: Callable[[], None]
    waiting: Callable[[], None]
    tried: Callable[[float], None]
    last_of_job: Callable[[str], None]


class Actors:
    """See the module.

    Args:
        lock: the head's. Methods named ``handle_...`` take it, all others are called with it.
        table: the actors.
        group_table: the placement groups that they live in.
        groups: finds room in those.
        rooms: what nodes have free.
        send: queues a message for a node.
        journal: where actors are written down.
        events: see ``ActorEvents``.
    """

    def __init__(
        self,
        lock: threading.Lock,
        table: ActorTable,
        group_table: PlacementTable,
        groups: PlacementGroups,
        rooms: Rooms,
        send: Callable[[str, node_pb2.HeadMessage], None],
        journal: Journal,
        events: ActorEvents,
    ) -> None:
        self._lock, self._table, self._group_table, self._groups = lock, table, group_table, groups
        self._rooms, self._send, self._journal, self._events = rooms, send, journal, events

    # Calls of agents

    @property
    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        """Methods of the ``Cluster`` service."""
        return {"CreateActor": self.handle_create, "GetActor": self.handle_get, "KillActor": self.handle_kill}

    def handle_create(self, request: node_pb2.CreateActorRequest) -> node_pb2.CreateActorReply:
        """A program makes an actor. Raises ValueError with words when it makes no sense, or could never be placed."""
        spec = convert.actor_spec(request)
        with self._lock:
            group = self._group_table.get(spec.group_id)
            words = "" if group is None else misfit(group, spec.bundle_index, spec.need)
            if words:
                raise ValueError(words)
            refusal = self._table.create(spec)
            if refusal:
                return node_pb2.CreateActorReply(created=False, message=refusal)
            now = time.monotonic()
            if spec.group_id and group is None:
                self.group_removed(spec.group_id)
            self.place(now)
            self._events.changed()
            actor = self._table.get(spec.actor_id)
            self._journal.actor(actor)
            waits = actor is not None and actor.waits
            why = explain(spec.need, self._rooms.candidates(now), spec.label_selector) if waits else ""
        return node_pb2.CreateActorReply(created=True, message=why)

    def handle_get(self, request: node_pb2.GetActorRequest) -> node_pb2.GetActorReply:
        """One actor by id or name; who asks may hear of it from now on."""
        with self._lock:
            by_name = self._table.find(request.name, request.namespace) if request.name else None
            actor = self._table.get(request.actor_id) if request.actor_id else by_name
            if actor is None:
                return node_pb2.GetActorReply(found=False)
            if request.subscriber_node_id and actor.state != "DEAD":
                actor.subscribers.add(request.subscriber_node_id)
            update = convert.actor_update(actor)
            return node_pb2.GetActorReply(found=True, actor=update, handle=actor.spec.handle)

    def handle_kill(self, request: node_pb2.KillActorRequest) -> node_pb2.KillActorReply:
        """A program ends an actor at once."""
        with self._lock:
            actor = self._table.get(request.actor_id)
            found = actor is not None and actor.state != "DEAD"
            reason = request.reason or actor_ends.KILLED
            self.carry_out(self._table.kill(request.actor_id, request.no_restart, reason))
        return node_pb2.KillActorReply(found=found)

    # Events

    def started(self, node_id: str, message: node_pb2.ActorStarted) -> None:
        """Its ``__init__`` has returned."""
        self.carry_out(self._table.started(node_id, message.actor_id, message.worker))

    def failed(self, node_id: str, message: node_pb2.ActorFailed, now: float) -> None:
        """It could not be made, or its process has ended."""
        self.carry_out(self.failure(node_id, message, now))

    def failure(self, node_id: str, message: node_pb2.ActorFailed, now: float) -> list[Instruction]:
        """The same, to be carried out by the caller."""
        return self._table.failed(node_id, message.actor_id, message.reason, message.message, message.error, now)

    def scope_ended(self, message: node_pb2.ActorScopeEnded) -> None:
        """Nobody has a handle to it any more."""
        self.carry_out(self._table.scope_ended(message.actor_id, message.reason))

    def node_died(self, node_id: str, reason: str, now: float) -> None:
        """A node is gone for good."""
        self.carry_out(self._table.node_died(node_id, f"node {node_id[:8]} died: {reason}", now))

    def group_removed(self, group_id: str) -> None:
        """A placement group is gone, and what lived in it."""
        self.carry_out(self._table.group_removed(group_id))

    def job_ended(self, job_id: str) -> None:
        """A job's last driver is gone."""
        self.carry_out(self._table.job_ended(job_id))

    # Placing and telling

    def is_waiting(self) -> bool:
        """Whether any actor needs a node."""
        return bool(self._table.waiting())

    def place(self, now: float) -> None:
        """Start what finds room now."""
        instructions = self._table.place(self._rooms.candidates(now), now, self._rooms.total)
        instructions += self._table.place_in_bundles(self._groups.find_bundle, now)
        self._events.tried(now)
        if instructions:
            self.carry_out(instructions)

    def carry_out(self, instructions: Iterable[Instruction]) -> None:
        """Write down, send and tell what the table decided."""
        any_done = False
        for instruction in instructions:
            any_done = True
            actor_id = instruction.spec.actor_id if isinstance(instruction, Start) else instruction.actor_id
            self._journal.actor(self._table.get(actor_id))
            if isinstance(instruction, Start):
                self._send(instruction.node_id, self._start(instruction))
            elif isinstance(instruction, Stop):
                stop = node_pb2.StopActor(
                    actor_id=instruction.actor_id, reason=instruction.reason, force=instruction.force
                )
                self._send(instruction.node_id, node_pb2.HeadMessage(stop_actor=stop))
            else:
                self._publish(instruction.actor_id)
        if any_done:
            self._events.changed()
        if self._table.waiting():
            self._events.waiting()

    def _start(self, instruction: Start) -> node_pb2.HeadMessage:
        spec = instruction.spec
        start = node_pb2.StartActor(
            actor_id=spec.actor_id,
            resources=convert.to_resources(spec.resources),
            creation=spec.creation,
            job_id=spec.job_id,
            bundle=convert.bundle(self._table.get(spec.actor_id)),
        )
        return node_pb2.HeadMessage(start_actor=start)

    def _publish(self, actor_id: str) -> None:
        actor = self._table.get(actor_id)
        if actor is not None and actor.state == "DEAD" and actor.spec.detached and is_lasting(actor.spec.job_id):
            self._events.last_of_job(actor.spec.job_id)
        if actor is not None and actor.subscribers:
            update = self.update(actor_id)
            for node_id in actor.subscribers:
                self._send(node_id, update)

    def update(self, actor_id: str) -> node_pb2.HeadMessage:
        """What subscribers hear of an actor. Raises KeyError for one that is not known."""
        actor = self._table.get(actor_id)
        if actor is None:
            raise KeyError(actor_id)
        return node_pb2.HeadMessage(actor_update=convert.actor_update(actor))
