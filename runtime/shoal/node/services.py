"""What the agent serves: the table of methods, who may call them, and what is only passed on to the head.

Invariants: before its hello a client can call nothing else; over the network only the methods in
``NETWORK_METHODS`` exist; a call that fails in any way is answered with an error, never left without an
answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from shoal.node.clients import LOCAL_KINDS, NETWORK_KINDS, Client
from shoal.node.shortfall import Shortfall
from shoal.wire.frames import Message
from shoal.wire.rpc import CALL, CAST, REPLY, reply

if TYPE_CHECKING:
    from shoal.node.agent import NodeAgent
    from shoal.protocol import node_pb2

NETWORK_METHODS: Final = frozenset(
    {"hello", "lease", "lease_backlog", "lease_return", "worker_end", "pull", "store_free"}
)
Method = Callable[[Client, int, tuple[Any, ...], bytes], None]


class Services:
    """The methods of one agent. ``call id`` is 0 for casts.

    Args:
        agent: whose parts are called.
    """

    def __init__(self, agent: NodeAgent) -> None:
        self._agent = agent
        leases, store = agent.leases, agent.store
        single = agent.config.frames_port is None
        self._shortfall = Shortfall(agent.config.total if single else None, agent.tell_drivers)
        self._methods: dict[str, Method] = {
            "hello": self._hello,
            "lease": self._lease,
            "lease_backlog": lambda c, _i, a, _p: leases.set_backlog(c, *a),
            "lease_return": lambda c, _i, a, _p: leases.give_back(c, *a),
            "worker_end": lambda c, i, a, _p: agent.obituaries.ask(c, i, a),
            "blocked": self._blocked,
            "owned": self._owned,
            "task_counts": self._task_counts,
            "actor_create": self._actor_create,
            "actor_get": self._actor_get,
            "actor_kill": self._actor_kill,
            "actor_scope_ended": self._actor_scope_ended,
            "actor_started": self._actor_started,
            "actor_failed": self._actor_failed,
            "kv": self._kv,
            "group_create": self._group_create,
            "group_remove": self._group_remove,
            "group_list": self._group_list,
            "group_wait": lambda c, i, a, _p: agent.groups.wait(c, i, a),
            "nodes": self._nodes,
            "request_resources": self._request_resources,
            "put_package": self._put_package,
            "drain_output": self._drain_output,
            "store_reserve": lambda c, i, a, _p: store.reserve(c, i, *a),
            "store_fetch": lambda c, i, a, _p: store.fetch(c, i, *a),
            "store_released": lambda c, _i, a, _p: store.released(c, *a),
            "store_free": lambda _c, _i, a, _p: store.free(*a),
            "store_give_up": lambda c, _i, a, _p: store.give_up(c, *a),
            "store_forget": lambda c, _i, a, _p: store.forget(c, *a),
            "pull": lambda c, i, a, _p: store.serve_pull(c, i, *a),
        }

    def receive(self, client: Client, message: Message, payload: bytes, fds: list[int]) -> None:
        """One frame of a client."""
        kind = message[0]
        if kind == CAST and message[1] == "store_seal" and client.kind in LOCAL_KINDS:
            self._agent.store.seal(client, message[2], fds)
            return
        for fd in fds:
            os.close(fd)  # nothing else takes descriptors
        if kind == REPLY:
            client.caller.handle_reply(message, payload, [])
        elif kind == CALL:
            self._run(client, message[1], message[2], message[3], payload)
        elif kind == CAST:
            self._run(client, 0, message[1], message[2], payload)

    def _run(self, client: Client, call_id: int, method: str, args: tuple[Any, ...], payload: bytes) -> None:
        handler = self._methods.get(method)
        refusal = ""
        if handler is None or (client.network and method not in NETWORK_METHODS):
            refusal = f"the agent has no method {method!r} for you"
        elif not client.kind and method != "hello":
            refusal = f"say hello before {method!r}"
        if handler is None or refusal:
            if call_id:
                reply(client.connection, call_id, error=("Refused", refusal, {}))
            return
        try:
            handler(client, call_id, args, payload)
        except Exception as error:
            # Arguments of a wrong form (a client of another version) or a bug here: the caller has to hear of it.
            if call_id:
                words = f"{method}: {type(error).__name__}: {error}"
                reply(client.connection, call_id, error=("BadRequest", words, {}))
            raise

    # Introductions

    def _hello(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        kind, info = args
        allowed = NETWORK_KINDS if client.network else LOCAL_KINDS
        if kind not in allowed or (client.kind and client.kind != kind):
            words = f"a {kind} cannot say hello here: one of {', '.join(sorted(allowed))} can"
            reply(client.connection, call_id, error=("Refused", words, {}))
            return
        reply(client.connection, call_id, self._agent.introduce(client, kind, info))

    # Workers

    def _blocked(self, client: Client, _call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        worker = self._agent.pool.workers.get(client.process_id)
        if worker is not None:
            self._agent.leases.set_blocked(worker, bool(args[0]))

    def _lease(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        self._agent.leases.request(client, call_id, args)
        description = args[4]
        if description.get("name"):
            kind = description.get("kind", "task")
            self._shortfall.check(client.job_id, f"{kind} `{description['name']}`", args[0])

    def _drain_output(self, client: Client, call_id: int, _args: tuple[Any, ...], _payload: bytes) -> None:
        self._agent.pool.drain_output(client.job_id)
        reply(client.connection, call_id)

    def _owned(self, client: Client, _call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        worker = self._agent.pool.workers.get(client.process_id)
        if worker is not None:
            worker.owned = int(args[0])
            self._agent.changed()

    def _task_counts(self, client: Client, _call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        submitted, finished, failed = args
        self._agent.counts.told(client, (submitted, finished, failed))

    # Actors

    def _actor_create(self, client: Client, call_id: int, args: tuple[Any, ...], payload: bytes) -> None:
        from shoal.node import head_messages

        self._shortfall.check(client.job_id, f"actor `{args[0]['class_name']}`", args[0]["placement"])
        request = head_messages.create_actor(args[0], payload, self._agent.config.node_id)
        self._ask_head(client, call_id, "CreateActor", request, lambda r: {"created": r.created, "message": r.message})

    def _actor_get(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.node import head_messages
        from shoal.protocol import node_pb2

        wanted = args[0]
        subscribe = bool(wanted.get("subscribe"))
        request = node_pb2.GetActorRequest(
            actor_id=wanted.get("actor_id") or "",
            name=wanted.get("name") or "",
            namespace=wanted.get("namespace") or "",
            subscriber_node_id=self._agent.config.node_id if subscribe else "",
        )
        if subscribe and request.actor_id:
            # Before asking, so that no update can fall between the answer and the subscription.
            self._agent.actors.subscribe(client, request.actor_id)

        def answer(found: node_pb2.GetActorReply) -> dict[str, Any]:
            if not found.found:
                return {"found": False, "update": None, "handle": b""}
            if subscribe:
                self._agent.actors.subscribe(client, found.actor.actor_id)
            return {"found": True, "update": head_messages.actor_update(found.actor), "handle": found.handle}

        self._ask_head(client, call_id, "GetActor", request, answer)

    def _actor_kill(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.protocol import node_pb2

        request = node_pb2.KillActorRequest(actor_id=args[0], no_restart=bool(args[1]), reason="Killed")
        self._ask_head(client, call_id, "KillActor", request, lambda r: {"found": r.found})

    def _actor_scope_ended(self, _client: Client, _call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.protocol import node_pb2

        ended = node_pb2.ActorScopeEnded(actor_id=args[0], reason=args[1])
        self._agent.link.send(node_pb2.NodeMessage(actor_scope_ended=ended))

    def _actor_started(self, client: Client, _call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        worker = self._agent.pool.workers.get(client.process_id)
        if worker is not None:
            self._agent.actors.said_started(worker, args[0])

    def _actor_failed(self, client: Client, _call_id: int, args: tuple[Any, ...], payload: bytes) -> None:
        worker = self._agent.pool.workers.get(client.process_id)
        if worker is not None:
            actor_id, reason, message = args
            self._agent.actors.said_failed(worker, actor_id, reason, message, payload)

    # Placement groups

    def _group_create(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.node import head_messages
        from shoal.protocol import node_pb2

        for shape, _labels in args[0]["bundles"]:
            self._shortfall.check(client.job_id, "a bundle of a placement group", shape)
        request = node_pb2.CreatePlacementGroupRequest(group=head_messages.placement_group(args[0]))
        self._ask_head(client, call_id, "CreatePlacementGroup", request, lambda r: (r.created, r.message))

    def _group_remove(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.protocol import node_pb2

        request = node_pb2.RemovePlacementGroupRequest(group_id=args[0])
        self._ask_head(client, call_id, "RemovePlacementGroup", request, lambda r: r.found)

    def _group_list(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.node import head_messages
        from shoal.protocol import node_pb2

        group_id, name, namespace = args
        request = node_pb2.ListPlacementGroupsRequest(group_id=group_id, name=name, namespace=namespace)
        dicts = head_messages.placement_group_dict
        self._ask_head(client, call_id, "ListPlacementGroups", request, lambda r: [dicts(g) for g in r.groups])

    # Passed on to the head

    def _kv(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.protocol import node_pb2

        operation, namespace, key, value, overwrite = args
        request = node_pb2.KvRequest(
            operation=operation, namespace=namespace, key=key, value=value or b"", overwrite=bool(overwrite)
        )
        self._ask_head(
            client,
            call_id,
            "Kv",
            request,
            lambda r: {"found": r.found, "value": r.value, "keys": list(r.keys)},
        )

    def _nodes(self, client: Client, call_id: int, _args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.node import head_messages
        from shoal.protocol import node_pb2

        # The head's own node reports first, so that a node that just took something says so.
        self._agent.reporter.send(always=False)
        self._ask_head(
            client,
            call_id,
            "ListNodes",
            node_pb2.ListNodesRequest(),
            lambda r: [head_messages.node_dict(node) for node in r.nodes],
        )

    def _request_resources(self, client: Client, call_id: int, args: tuple[Any, ...], _payload: bytes) -> None:
        from shoal.node import head_messages

        self._ask_head(client, call_id, "RequestResources", head_messages.floors(args[0]), lambda _r: True)

    def _put_package(self, client: Client, call_id: int, args: tuple[Any, ...], payload: bytes) -> None:
        from shoal.protocol import node_pb2

        request = node_pb2.PutPackageRequest(hash=args[0], data=payload)
        self._ask_head(client, call_id, "PutPackage", request, lambda _r: True)

    def _ask_head(self, client: Client, call_id: int, method: Any, request: Any, convert: Callable[[Any], Any]) -> None:
        from shoal.protocol.link import HeadCallError

        def answer(future: Future[Any]) -> None:
            try:
                value = convert(future.result())
            except HeadCallError as error:
                reply(client.connection, call_id, error=(error.kind, error.message, {}))
                return
            reply(client.connection, call_id, value)

        future = self._agent.link.call(method, request)
        if future.done():
            answer(future)
        else:
            future.add_done_callback(lambda done: self._agent.reactor.call_soon(lambda: answer(done)))


class TaskCounts:
    """The counters of a job's processes on this node, summed; totals, so that nothing is lost with a message.

    Args:
        send: tells the head (job id, submitted, finished, failed).
    """

    def __init__(self, send: Callable[[str, tuple[int, int, int]], None]) -> None:
        self._send = send
        self._counts: dict[str, dict[str, tuple[int, int, int]]] = {}

    def told(self, client: Client, counts: tuple[int, int, int]) -> None:
        """A process said how many tasks it has submitted and how many of them have ended."""
        of_job = self._counts.setdefault(client.job_id, {})
        of_job[client.process_id] = counts
        submitted, finished, failed = (sum(column) for column in zip(*of_job.values(), strict=True))
        self._send(client.job_id, (submitted, finished, failed))

    def job_ended(self, job_id: str) -> None:
        """Forget a job."""
        self._counts.pop(job_id, None)
