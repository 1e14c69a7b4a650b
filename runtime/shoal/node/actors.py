"""Actors that live on this node, and what this node's processes want to know of actors anywhere.

Invariants: an actor's resources are held from StartActor until its worker has ended; the head hears of every
actor that it started here either ActorStarted and later ActorFailed, or ActorFailed alone, once each.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from shoal.core import actor_ends as ends
from shoal.node.clients import Client
from shoal.node.context import NodeContext
from shoal.node.worker_pool import NEW_TITLE, Worker, WorkerPool
from shoal.resources import ResourceSet, describe

if TYPE_CHECKING:
    from shoal.protocol import node_pb2

STOP_GRACE_SECONDS: Final = 30.0
UNKNOWN_TO_HEAD: Final = "the head was started again and does not know it (does it keep its state in a directory?)"


@dataclass(eq=False)
class LocalActor:
    """An actor on this node."""

    actor_id: str
    job_id: str
    creation: bytes
    class_name: str
    worker: Worker | None = None
    started: bool = False
    reported: bool = False
    stop_reason: str = ""


class Actors:
    """See the module.

    Args:
        context: of this node.
        pool: gives workers.
        changed: called when what is held has changed.
    """

    def __init__(self, context: NodeContext, pool: WorkerPool, changed: Callable[[], None]) -> None:
        self.actors: dict[str, LocalActor] = {}
        self._scheduler, self._leases, self._pool = context.scheduler, context.leases, pool
        self._link, self._inquiries, self._node_id = context.link, context.inquiries, context.node_id
        self._changed = changed
        self._subscribers: dict[str, set[Client]] = {}

    def __len__(self) -> int:
        return len(self.actors)

    # The head's orders

    def start(self, message: node_pb2.StartActor) -> None:
        """Reserve, take a worker, give it the creation."""
        from shoal.node.head_messages import read_creation

        if message.actor_id in self.actors:
            return  # the order came again after a reconnect
        job, class_name, creation = read_creation(message.creation)
        actor = LocalActor(message.actor_id, message.job_id, creation, class_name)
        self.actors[actor.actor_id] = actor
        shape = ResourceSet(message.resources.amounts)
        lacking = {"the node": 1} if self._scheduler.draining else {}
        bundle = (message.bundle.group_id, message.bundle.index) if message.HasField("bundle") else None
        lacking = lacking or self._scheduler.reserve(_holder(actor), shape, job["id"], bundle)
        if lacking:
            why = "it is being drained" if self._scheduler.draining else f"{describe(lacking)} more would be needed"
            self._failed(actor, ends.NO_RESOURCES, f"the node has no room for it now: {why}")
            del self.actors[actor.actor_id]
            return
        self._changed()
        self._pool.request(
            _holder(actor),
            job,
            lambda worker: self._found(actor, worker),
            lambda words: self._no_worker(actor, words),
        )

    def _found(self, actor: LocalActor, worker: Worker) -> None:
        actor.worker = worker
        if worker.title == NEW_TITLE:
            worker.title = actor.class_name or "actor"
        assert worker.client is not None
        worker.client.caller.cast("start_actor", actor.actor_id, actor.class_name or "actor", payload=actor.creation)
        actor.creation = b""

    def _no_worker(self, actor: LocalActor, words: str) -> None:
        self._failed(actor, ends.WORKER_DIED, words)
        self._end(actor)

    def stop(self, actor_id: str, reason: str, *, force: bool) -> None:
        """End an actor; ActorFailed follows when its worker has ended."""
        actor = self.actors.get(actor_id)
        if actor is None:
            return
        actor.stop_reason = actor.stop_reason or reason
        if actor.worker is None:
            self._pool.withdraw(_holder(actor))
            self._failed(actor, reason, "it was stopped before it had a worker")
            self._end(actor)
            return
        self._pool.stop(actor.worker, reason, force=force, grace_seconds=STOP_GRACE_SECONDS)

    def stop_all(self, reason: str, grace_seconds: float) -> None:
        """The node ends: what has restarts left begins again elsewhere."""
        for actor in list(self.actors.values()):
            actor.stop_reason = actor.stop_reason or ends.NODE_DIED
            if actor.worker is None:
                self._pool.withdraw(_holder(actor))
                self._failed(actor, ends.NO_RESOURCES, f"it had not begun: {reason}")
                self._end(actor)
            else:
                self._pool.stop(actor.worker, reason, force=False, grace_seconds=grace_seconds)

    def update(self, message: node_pb2.ActorUpdate) -> None:
        """Tell those who subscribed."""
        from shoal.node.head_messages import actor_update

        args = actor_update(message)
        subscribers = self._subscribers.get(message.actor_id, set())
        if message.state == "DEAD":
            self._subscribers.pop(message.actor_id, None)
        for client in subscribers:
            client.caller.cast("actor_update", *args)

    # What workers say

    def said_started(self, worker: Worker, actor_id: str) -> None:
        """``actor_started``: its __init__ returned."""
        from shoal.node.head_messages import write_address
        from shoal.protocol import node_pb2

        actor = self.actors.get(actor_id)
        if actor is None or actor.worker is not worker or worker.client is None:
            return
        actor.started = True
        started = node_pb2.ActorStarted(actor_id=actor_id, worker=write_address(worker.client.address))
        self._link().send(node_pb2.NodeMessage(actor_started=started))

    def said_failed(self, worker: Worker, actor_id: str, reason: str, message: str, error: bytes) -> None:
        """``actor_failed``: its __init__ raised, or it wants to end; its worker is of no more use."""
        actor = self.actors.get(actor_id)
        if actor is not None and actor.worker is worker:
            self._failed(actor, reason, message, error)
            self._pool.stop(worker, reason, force=False)

    def worker_ended(self, worker: Worker) -> None:
        """The worker of an actor is gone."""
        for actor in list(self.actors.values()):
            if actor.worker is worker:
                self._failed(actor, actor.stop_reason or ends.WORKER_DIED, worker.end_reason)
                self._end(actor)

    def subscribe(self, client: Client, actor_id: str) -> None:
        """``actor_update`` of that actor goes to this client from now on."""
        self._subscribers.setdefault(actor_id, set()).add(client)

    def subscribe_again(self) -> None:
        """A new head does not know what this node's processes want to hear of."""
        from shoal.protocol import node_pb2

        for actor_id in list(self._subscribers):
            request = node_pb2.GetActorRequest(actor_id=actor_id, subscriber_node_id=self._node_id)
            self._inquiries.ask("GetActor", actor_id, request, partial(self._heard_again, actor_id))

    def _heard_again(self, actor_id: str, future: Future[node_pb2.GetActorReply]) -> None:
        from shoal.protocol import node_pb2
        from shoal.protocol.link import HeadCallError

        try:
            reply = future.result()
        except HeadCallError:
            return  # the head is away again; the next one is asked again
        unknown = node_pb2.ActorUpdate(actor_id=actor_id, state="DEAD", reason="HeadLost", message=UNKNOWN_TO_HEAD)
        self.update(reply.actor if reply.found else unknown)

    def client_gone(self, client: Client) -> None:
        """A process that may have subscribed is gone."""
        for actor_id in [a for a, clients in self._subscribers.items() if client in clients]:
            self._subscribers[actor_id].discard(client)
            if not self._subscribers[actor_id]:
                del self._subscribers[actor_id]

    def owns(self, worker: Worker) -> bool:
        """Whether a worker serves an actor."""
        return worker.holder.startswith(_HOLDER)

    def _failed(self, actor: LocalActor, reason: str, message: str, error: bytes = b"") -> None:
        from shoal.protocol import node_pb2

        if actor.reported:
            return
        actor.reported = True
        failed = node_pb2.ActorFailed(actor_id=actor.actor_id, reason=reason, message=message, error=error)
        self._link().send(node_pb2.NodeMessage(actor_failed=failed))

    def _end(self, actor: LocalActor) -> None:
        self.actors.pop(actor.actor_id, None)
        self._leases.release(_holder(actor))
        self._changed()


_HOLDER: Final = "actor:"


def _holder(actor: LocalActor) -> str:
    return _HOLDER + actor.actor_id
