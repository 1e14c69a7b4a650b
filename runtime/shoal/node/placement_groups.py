"""Placement groups on a node: the bundles that it holds, and what it knows of groups that its processes use.

Invariants: the bundles of one order are all held or none is; every request that waits for a group is sent on as soon as
the group has a place for it, or told that there will be none; a process that waits for a group gets one answer.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from shoal.core.bundle_routes import Elsewhere, Here, Later, Never, Seen, route
from shoal.core.scheduler import LeaseRequest, Refuse, Spill
from shoal.node.clients import Client
from shoal.node.context import NodeContext
from shoal.resources import ResourceSet, describe
from shoal.wire.rpc import reply

if TYPE_CHECKING:
    from shoal.protocol import node_pb2

ASK_AGAIN_SECONDS = 0.5
UNKNOWN_TO_HEAD = "the head does not know it: it was removed, or the head was started again without its state"


class PlacementGroups:
    """See the module; all methods run in the reactor's thread.

    Args:
        context: of this node.
        reported: called when the next report has to be sent in any case.
    """

    def __init__(self, context: NodeContext, reported: Callable[[], None]) -> None:
        self._reactor, self._scheduler, self._leases = context.reactor, context.scheduler, context.leases
        self._link, self._inquiries, self._node_id = context.link, context.inquiries, context.node_id
        self._reported = reported
        self._known: dict[str, Seen | None] = {}  # None: the head has been asked
        self._versions: dict[str, int] = {}
        self._requests: dict[str, dict[str, LeaseRequest]] = {}
        self._waiters: dict[str, list[tuple[Client, int]]] = {}
        self._turns = itertools.count()
        self._leases.route, self._leases.unroute = self.route, self._withdraw

    # The head's orders

    def take_order(self, message: node_pb2.HeadMessage) -> None:
        """One of ``reserve_bundles``, ``return_bundles`` and ``placement_group``."""
        match message.WhichOneof("body"):
            case "reserve_bundles":
                self.reserve(message.reserve_bundles)
            case "return_bundles":
                self.take_back(message.return_bundles)
            case _:
                self.update(message.placement_group)

    def reserve(self, order: node_pb2.ReserveBundles) -> None:
        """Hold bundles, all of them or none; those that are here already stay."""
        taken: list[int] = []
        refusal = ""
        for bundle in order.bundles:
            if self._scheduler.bundles.has(order.group_id, bundle.index):
                continue
            shape = ResourceSet(bundle.shape.amounts)
            lacking = self._scheduler.hold_bundle(order.group_id, bundle.index, shape, order.total)
            if lacking:
                why = "it is being drained" if self._scheduler.draining else f"{describe(lacking)} more would be needed"
                refusal = f"node {self._node_id[:8]} has no room for bundle {bundle.index} now: {why}"
                break
            taken.append(bundle.index)
        if refusal:
            for index in taken:
                decisions, _holders = self._scheduler.drop_bundle(order.group_id, index, time.monotonic())
                self._leases.carry_out(decisions)
        self._answer(order, refusal)
        self._reported()

    def _answer(self, order: node_pb2.ReserveBundles, refusal: str) -> None:
        from shoal.protocol import node_pb2

        answer = node_pb2.BundlesAnswer(
            group_id=order.group_id, attempt=order.attempt, accepted=not refusal, message=refusal
        )
        self._link().send(node_pb2.NodeMessage(bundles_answer=answer))

    def take_back(self, order: node_pb2.ReturnBundles) -> None:
        """Let go of bundles: what runs in them ends at once, or is asked to finish."""
        for index in order.indexes:
            decisions, holders = self._scheduler.drop_bundle(order.group_id, index, time.monotonic())
            self._leases.carry_out(decisions)
            self._leases.lost_bundle(holders, order.reason, kill=order.kill)
        self._reported()

    # What is known of groups

    def update(self, message: node_pb2.PlacementGroup) -> None:
        """The head's word on a group; an answer may come after newer news."""
        if message.version < self._versions.get(message.group_id, 0):
            return
        self._versions[message.group_id] = message.version
        bundles = tuple(
            (
                ResourceSet(bundle.shape.amounts),
                (bundle.node.node_id, bundle.node.ip, bundle.node.port) if bundle.HasField("node") else None,
            )
            for bundle in message.bundles
        )
        self._learn(message.group_id, Seen(message.state, message.message, bundles))

    def _learn(self, group_id: str, seen: Seen) -> None:
        self._known[group_id] = seen
        for request in list(self._requests.pop(group_id, {}).values()):
            self.route(request)
        if seen.state in ("CREATED", "REMOVED"):
            for client, call_id in self._waiters.pop(group_id, []):
                reply(client.connection, call_id, (seen.state, seen.message))
        if seen.state == "REMOVED":
            del self._known[group_id]
            self._versions.pop(group_id, None)

    def _ask(self, group_id: str, *, urgent: bool = True) -> None:
        from shoal.protocol import node_pb2

        self._known.setdefault(group_id, None)
        request = node_pb2.ListPlacementGroupsRequest(group_id=group_id, subscriber_node_id=self._node_id)
        self._inquiries.ask("ListPlacementGroups", group_id, request, partial(self._heard, group_id), urgent=urgent)

    def _heard(self, group_id: str, future: Future[node_pb2.ListPlacementGroupsReply]) -> None:
        from shoal.protocol.link import HeadCallError

        try:
            groups = future.result().groups
        except HeadCallError:
            self._reactor.call_later(ASK_AGAIN_SECONDS, partial(self._ask_again, group_id))
            return
        if groups:
            self.update(groups[0])
        else:
            self._learn(group_id, Seen("REMOVED", UNKNOWN_TO_HEAD, ()))

    def _ask_again(self, group_id: str) -> None:
        if group_id in self._known:
            self._ask(group_id, urgent=False)

    def subscribe_again(self, *, is_new_head: bool) -> None:
        """A session began: news may have been lost. A new head does not know what is wanted here, and counts anew."""
        if is_new_head:
            self._versions.clear()
        for group_id in list(self._known):
            self._ask(group_id, urgent=group_id in self._requests or group_id in self._waiters)

    # Requests for room

    def route(self, request: LeaseRequest) -> None:
        """A request of a process here for room in a group's bundle: grant it here, or say where to ask, or wait."""
        assert request.bundle is not None
        group_id, index = request.bundle
        seen = self._known.get(group_id)
        if seen is None:
            self._wait(group_id, request)
            if group_id not in self._known:
                self._ask(group_id)
            return
        has_room = self._scheduler.bundles.has_room(group_id, index, request.shape)
        turn = 0 if has_room else next(self._turns)
        way = route(seen, index, request.shape, self._node_id, has_room=has_room, turn=turn)
        match way:
            case Here():
                self._leases.carry_out(self._scheduler.submit(request, time.monotonic()))
            case Elsewhere(node=node):
                self._leases.carry_out([Spill(request.request_id, node)])
            case Later():
                self._wait(group_id, request)
            case Never(kind=kind, message=message):
                self._leases.carry_out([Refuse(request.request_id, kind, message)])

    def _wait(self, group_id: str, request: LeaseRequest) -> None:
        self._requests.setdefault(group_id, {})[request.request_id] = request

    def _withdraw(self, request: LeaseRequest) -> None:
        assert request.bundle is not None
        waiting = self._requests.get(request.bundle[0])
        if waiting is not None:
            waiting.pop(request.request_id, None)
            if not waiting:
                del self._requests[request.bundle[0]]

    def wait(self, client: Client, call_id: int, args: tuple[Any, ...]) -> None:
        """``group_wait(group id)``; answered with state and words when the group is CREATED or REMOVED."""
        (group_id,) = args
        seen = self._known.get(group_id)
        if seen is not None and seen.state == "CREATED":
            reply(client.connection, call_id, (seen.state, seen.message))
            return
        self._waiters.setdefault(group_id, []).append((client, call_id))
        if group_id not in self._known:
            self._ask(group_id)

    def client_gone(self, client: Client) -> None:
        """A process that may have waited is gone."""
        for group_id in list(self._waiters):
            kept = [waiter for waiter in self._waiters[group_id] if waiter[0] is not client]
            if kept:
                self._waiters[group_id] = kept
            else:
                del self._waiters[group_id]
