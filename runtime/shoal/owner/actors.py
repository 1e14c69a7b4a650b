"""Actors as seen by one process: creating them, calling them, and losing them.

An actor lives as long as somebody holds a handle. Handles carry a reference to a hidden object of the creator, the
actor's scope, so that the reference counting of objects decides that, also across processes.

Invariants: every call ends: with a result, with what the actor raised, or with an error that says what became of the
actor; an actor is dead only when somebody knows it to be: while the head is away, one asks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from shoal.core import actor_ends as ends
from shoal.core.actor_calls import ALIVE, DEAD, UNKNOWN, CallQueue, QueuedCall
from shoal.core.ids import lasting_job, object_id
from shoal.exceptions import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorPlacementGroupRemovedError,
    ActorUnavailableError,
    ActorUnschedulableError,
    ShoalError,
    TaskError,
)
from shoal.owner import calls
from shoal.owner.calls import Call, Function
from shoal.owner.refs import ObjectRef
from shoal.owner.tasks import send_functions
from shoal.serialization import deserialize, serialize
from shoal.wire import messages
from shoal.wire.address import RawAddress
from shoal.wire.connection import ConnectionClosedError

if TYPE_CHECKING:
    from shoal.owner.process import OwnerProcess

REGISTER_SECONDS: Final = 60.0
"""How long ``.remote()`` of a named actor waits to learn whether its name is free."""
STATE_WAIT_SECONDS: Final = 15.0
"""How long calls in flight wait for the head's word after their connection broke."""
ASK_AGAIN_SECONDS: Final = 0.5
"""How soon the head is asked again after it was away; the agent waits for it too, and ends when it is away for good."""
DEAD_KEPT_MAX: Final = 1000
"""Dead actors whose end is known here without asking the head again."""
UNAVAILABLE: Final = "Unavailable"
_ERRORS: Final[dict[str, type[ShoalError]]] = {
    ends.GROUP_REMOVED: ActorPlacementGroupRemovedError,
    ends.UNSCHEDULABLE: ActorUnschedulableError,
}
"""The head's reasons for an actor's end that have errors of their own."""


class ActorLink:
    """One actor, from here."""

    def __init__(self, actor_id: bytes, class_name: str) -> None:
        self.actor_id = actor_id
        self.class_name = class_name
        self.queue = CallQueue()
        self.address: RawAddress | None = None
        self.reason = ""
        self.error: BaseException | None = None
        self.subscribed = False
        self.sequence = 0


class Actors:
    """All actors that this process created or calls."""

    def __init__(self, process: OwnerProcess) -> None:
        self._process = process
        self._links: dict[bytes, ActorLink] = {}
        self._calls: dict[bytes, Call] = {}
        self._dead: dict[bytes, None] = {}
        self._scopes: dict[bytes, bytes] = {}  # scope object -> actor

    # Creation

    def create(
        self,
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        info: dict[str, Any],
        options: dict[str, Any],
        handle: bytes,
    ) -> tuple[bytes, ObjectRef[Any] | None]:
        """Begin an actor; returns its id and the reference that keeps it alive (None when detached).

        Raises:
            ActorAlreadyExistsError: the name is taken.
        """
        process = self._process
        process.settle_dropped()
        actor_id = process.ids.actor()
        link = ActorLink(actor_id, function.name)
        call = Call(process.ids.task(), function, f"{function.name}.__init__", 0)
        call.options = options
        call.actor_id = actor_id
        calls.prepare(process, call, args, kwargs)
        info = {
            **info,
            "actor_id": actor_id.hex(),
            "class_name": function.name,
            "job": _job_of(process.job, actor_id.hex(), detached=bool(info["detached"])),
            "handle": handle,
        }
        with process.lock:
            self._links[actor_id] = link
            scope = None if info["detached"] else self._open_scope(actor_id)
            calls.when_dependencies_resolve(process, call, lambda ready: self._register(link, ready, info))
        if info["name"]:
            self._raise_if_taken(link, info["name"])
        return actor_id, scope

    def _open_scope(self, actor_id: bytes) -> ObjectRef[Any]:
        entry = self._process.table.own(object_id(self._process.ids.task(), 0))
        self._process.table.resolve_inline(entry, serialize(None).to_bytes())
        self._scopes[entry.object_id] = actor_id
        return self._process.reference(entry)

    def _register(self, link: ActorLink, call: Call, info: dict[str, Any]) -> None:
        process = self._process
        failed = calls.failed_dependency(process, call)
        if failed is not None:
            self._died(link, "an argument of its __init__ failed", process.error_of(failed))
            return
        creation = serialize((calls.encode(process, call), call.function.data, process.address)).to_bytes()

        def answered(error: Any, value: Any, _payload: bytes, _fds: list[int]) -> None:
            with process.lock:
                if error is not None and error[0] == UNAVAILABLE:
                    again = partial(self._register, link, call, info)
                    process.reactor.call_later(ASK_AGAIN_SECONDS, partial(self._unless_dead, link, again))
                elif error is not None:
                    self._died(link, f"it could not be registered: {error[1]}", None)
                elif not value["created"]:
                    link.error = ActorAlreadyExistsError(value["message"])
                    self._died(link, value["message"], None)
                else:
                    self._subscribe(link)

        process.agent.call("actor_create", info, payload=creation, on_reply=answered)

    def _raise_if_taken(self, link: ActorLink, name: str) -> None:
        known = lambda: link.subscribed or link.queue.state == DEAD  # noqa: E731
        with self._process.blocking():
            self._process.reactor.run_until(known, time.monotonic() + REGISTER_SECONDS)
        if isinstance(link.error, ActorAlreadyExistsError):
            raise link.error
        if link.queue.state == DEAD and link.error is None:
            raise ActorDiedError(f"actor {name!r} could not be created: {link.reason}", actor_id=link.actor_id.hex())

    def scope_ended(self, oid: bytes) -> None:
        """An object was freed; if it was the scope of an actor, the actor goes. Called with the lock held."""
        actor_id = self._scopes.pop(oid, None)
        if actor_id is not None:
            self._process.agent.cast("actor_scope_ended", actor_id.hex(), ends.OUT_OF_SCOPE)

    # Looking up and ending

    def find(self, name: str, namespace: str) -> tuple[bytes, bytes] | None:
        """The id of a live named actor, and what its creator left for those who look it up."""
        answer = self._process.ask(
            "actor_get", {"name": name, "namespace": namespace, "actor_id": "", "subscribe": False}
        )
        return (bytes.fromhex(answer["update"][0]), answer["handle"]) if answer["found"] else None

    def kill(self, actor_id: bytes, *, no_restart: bool) -> None:
        """End an actor at once."""
        self._process.ask("actor_kill", actor_id.hex(), no_restart)

    # Calls

    def submit(
        self,
        actor_id: bytes,
        class_name: str,
        method: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result_count: int,
        max_task_retries: int,
        scope: ObjectRef[Any] | None,
    ) -> list[ObjectRef[Any]]:
        """Call a method; returns references to its results. The call keeps ``scope``, and so the actor, to its end."""
        process = self._process
        process.settle_dropped()
        call = Call(process.ids.task(), method, f"{class_name}.{method.name}", result_count)
        call.actor_id = actor_id
        call.scope = scope
        calls.prepare(process, call, args, kwargs)
        queued = QueuedCall(call.task_id, retries_left=max_task_retries)
        with process.lock:
            link = self._links.get(actor_id)
            if link is None:
                link = self._links[actor_id] = ActorLink(actor_id, class_name)
                self._subscribe(link)
            refs = calls.own_results(process, call)
            if link.queue.state == DEAD:
                self._fail(call, link)
                return refs
            link.sequence += 1
            call.sequence = link.sequence
            self._calls[call.task_id] = call
            link.queue.add(queued)
            calls.when_dependencies_resolve(process, call, lambda ready: self._ready(link, ready, queued))
        return refs

    def _ready(self, link: ActorLink, call: Call, queued: QueuedCall) -> None:
        failed = calls.failed_dependency(self._process, call)
        if failed is not None:
            link.queue.drop(call.task_id)
            self._end_failed(call, failed.data)
        queued.ready = True
        self._pump(link)

    def _pump(self, link: ActorLink) -> None:
        sendable = link.queue.sendable()
        if not sendable or link.address is None:
            return
        encoded = [calls.encode(self._process, self._calls[item.task_id]) for item in sendable]
        try:
            connection = self._process.peers.connect(link.address)
            send_functions(connection, {})
            connection.send((messages.PUSH, "", encoded))
        except ConnectionClosedError as error:
            reason, worker = str(error), link.address[0]
            self._process.reactor.call_soon(lambda: self.process_lost(worker, reason))

    def outcome(self, task_id: bytes, status: int, results: list[Any], contained: list[Any]) -> None:
        """The answer to a call; with the lock held."""
        call = self._calls.get(task_id)
        if call is None:
            return
        link = self._links[call.actor_id]
        if status == messages.LOST:
            for oid, node_ids in results:
                self._process.copies_lost(oid, tuple(node_ids))
            queued = link.queue.in_flight.pop(task_id, None) or QueuedCall(task_id)
            queued.ready = False
            link.queue.waiting.appendleft(queued)
            calls.when_dependencies_resolve(self._process, call, lambda ready: self._ready(link, ready, queued))
            return
        link.queue.drop(task_id)
        if status == messages.OK:
            del self._calls[task_id]
            call.done = True
            calls.take_results(self._process, call, results, contained)
            self._no_lineage(call)
            calls.release_arguments(self._process, call, keep_lineage=False)
        else:
            self._end_failed(call, results[0])

    def _no_lineage(self, call: Call) -> None:
        # An actor's state has moved on: its results are not made again (Ray: only with max_task_retries).
        for oid in call.result_ids():
            entry = self._process.table.entries.get(oid)
            if entry is not None:
                entry.task = None

    # The actor's state

    def _subscribe(self, link: ActorLink) -> None:
        process = self._process

        def answered(error: Any, value: Any, _payload: bytes, _fds: list[int]) -> None:
            with process.lock:
                if error is not None and error[0] == UNAVAILABLE:
                    again = partial(self._subscribe, link)
                    process.reactor.call_later(ASK_AGAIN_SECONDS, partial(self._unless_dead, link, again))
                    return
                link.subscribed = True
                if error is not None:
                    self._died(link, error[1], None)
                elif not value["found"]:
                    self._died(
                        link,
                        "no such actor is known to the head (it ended long ago, or another session's)",
                        None,
                    )
                elif value["update"] is not None:
                    self.updated(*value["update"])

        wanted = {"actor_id": link.actor_id.hex(), "name": "", "namespace": "", "subscribe": True}
        process.agent.call("actor_get", wanted, on_reply=answered)

    def _unless_dead(self, link: ActorLink, action: Callable[[], None]) -> None:
        with self._process.lock:
            if link.queue.state != DEAD:
                action()

    def updated(
        self,
        actor_id: str,
        state: str,
        address: Any,
        reason: str,
        message: str,
        error: bytes,
        restarts: int = 0,
    ) -> None:
        """The head's word on an actor."""
        with self._process.lock:
            link = self._links.get(bytes.fromhex(actor_id))
            if link is None or link.queue.state == DEAD:
                return
            link.reason = f"{reason}: {message}" if message else reason
            self._hear_out(link)
            if state == DEAD:
                self._died(link, link.reason, _unpickled(error))
                return
            moved = link.address is not None and (address is None or address[0] != link.address[0])
            if moved:
                self._lose_in_flight(link, restarting=True)
            link.address = tuple(address) if address is not None else None
            link.queue.state = state
            self._pump(link)

    def _hear_out(self, link: ActorLink) -> None:
        """The head's word may overtake answers that lie in our socket already: those calls did not fail."""
        if link.queue.in_flight and link.address is not None:
            connection = self._process.peers.known(link.address[0])
            if connection is not None:
                connection.take_arrived()

    def process_lost(self, process_id: str, reason: str) -> None:
        """The connection to a process broke; its actors' fate follows from the head."""
        with self._process.lock:
            for link in self._links.values():
                if link.address is not None and link.address[0] == process_id and link.queue.state == ALIVE:
                    link.queue.state = UNKNOWN
                    link.reason = f"the connection to its process broke ({reason})"
                    self._process.reactor.call_later(STATE_WAIT_SECONDS, partial(self._gave_up, link))

    def _gave_up(self, link: ActorLink) -> None:
        with self._process.lock:
            if link.queue.state == UNKNOWN:
                self._lose_in_flight(link, restarting=False)
                link.subscribed = False
                self._subscribe(link)

    def _lose_in_flight(self, link: ActorLink, *, restarting: bool) -> None:
        for task_id in link.queue.connection_lost().failed:
            call = self._calls[task_id]
            text = "it is restarting" if restarting else link.reason
            error = ActorUnavailableError(
                f"{call.name}() failed because its actor is not available: {text}",
                actor_id=link.actor_id.hex(),
            )
            self._end_failed(call, serialize(error).to_bytes())

    def _died(self, link: ActorLink, reason: str, error: BaseException | None) -> None:
        link.reason = reason
        link.error = link.error or error
        for task_id in link.queue.died().failed:
            self._fail(self._calls[task_id], link)
        self._dead[link.actor_id] = None
        while len(self._dead) > DEAD_KEPT_MAX:
            oldest = next(iter(self._dead))
            del self._dead[oldest]
            self._links.pop(oldest, None)

    def _fail(self, call: Call, link: ActorLink) -> None:
        text = f"{call.name}() failed: the actor {link.class_name} is dead. {link.reason}"
        if isinstance(link.error, TaskError):
            text += f"\nThere was an error raised in its creation task:\n{link.error.traceback_str}"
        kind = _ERRORS.get(link.reason.partition(":")[0], ActorDiedError)
        died = kind(text, actor_id=link.actor_id.hex())
        self._end_failed(call, serialize(died).to_bytes())

    def _end_failed(self, call: Call, error: bytes) -> None:
        call.done = True
        self._calls.pop(call.task_id, None)
        table = self._process.table
        for oid in call.result_ids():
            entry = table.entries.get(oid)
            if entry is not None:
                entry.task = None
                self._process.run_waiters(table.resolve_failed(entry, error))
        calls.release_arguments(self._process, call, keep_lineage=False)


def _job_of(job: dict[str, Any], actor_id: str, *, detached: bool) -> dict[str, Any]:
    return {**job, "id": lasting_job(job["id"], actor_id)} if detached else job


def _unpickled(error: bytes) -> BaseException | None:
    if not error:
        return None
    try:
        value = deserialize(error)
    except Exception as problem:  # noqa: BLE001  # its class may exist only where it was raised
        return TaskError("__init__", f"(the error cannot be read here: {problem!r})")
    return value if isinstance(value, BaseException) else None
