"""The ``Cluster`` service: sessions and calls of node agents on other machines.

Invariant: a session that the servicer opened is closed exactly once, as a goodbye when the agent ended
its stream, at once when the agent's process is known to be gone, and with grace otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import traceback
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import grpc.aio

from shoal.head.node_session import NodeSession, SessionRefused
from shoal.head.outbox import Outbox, OutboxEnded
from shoal.head.service import HeadService
from shoal.protocol import node_pb2, node_pb2_grpc
from shoal.protocol.link import HeadCallError, Method

REGISTER_SECONDS: Final = 10.0
PROBE_SECONDS: Final = 0.3
PROBES_REFUSED: Final = 2
CHUNK_BYTES: Final = 1024 * 1024
STATUS_OF: Final = {
    "InvalidArgument": grpc.StatusCode.INVALID_ARGUMENT,
    "BadHash": grpc.StatusCode.INVALID_ARGUMENT,
    "NotFound": grpc.StatusCode.NOT_FOUND,
    "Unavailable": grpc.StatusCode.UNAVAILABLE,
    "TooLarge": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "Refused": grpc.StatusCode.FAILED_PRECONDITION,
}
_REFUSAL_STATUS: Final = {
    "Dead": grpc.StatusCode.FAILED_PRECONDITION,
    "Version": grpc.StatusCode.FAILED_PRECONDITION,
    "Full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "Invalid": grpc.StatusCode.INVALID_ARGUMENT,
}


class ClusterServicer(node_pb2_grpc.ClusterServicer):
    """Runs in the control plane's loop."""

    def __init__(self, service: HeadService) -> None:
        self._service = service
        self._probes: set[asyncio.Task[None]] = set()
        self._outboxes: set[Outbox] = set()
        self._closed = False

    def close(self) -> None:
        """End every session, so that the server can stop; agents will look for the next head."""
        self._closed = True
        for outbox in self._outboxes:
            outbox.end("the head is shutting down")
        for probe in self._probes:
            probe.cancel()

    async def Session(
        self, requests: AsyncIterator[node_pb2.NodeMessage], context: Any
    ) -> AsyncIterator[node_pb2.HeadMessage]:
        """See node.proto."""
        register = await self._registration(requests, context)
        if self._closed:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the head is shutting down")
        outbox = Outbox(asyncio.get_running_loop())
        try:
            session = self._service.open_session(register, outbox.put, outbox.end)
        except SessionRefused as refused:
            await context.abort(_REFUSAL_STATUS[refused.kind], str(refused))
            raise
        reader = asyncio.create_task(self._read(session, requests, outbox))
        self._outboxes.add(outbox)
        try:
            while True:
                yield await outbox.get()
        except OutboxEnded as ended:
            await context.abort(grpc.StatusCode.ABORTED, str(ended))
        finally:
            reader.cancel()
            self._outboxes.discard(outbox)
            self._session_closed(session, register.address)

    async def _registration(self, requests: AsyncIterator[node_pb2.NodeMessage], context: Any) -> node_pb2.RegisterNode:
        try:
            first = await asyncio.wait_for(anext(aiter(requests), None), REGISTER_SECONDS)
        except TimeoutError:
            first = None
        if first is None or not first.HasField("register"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a session begins with a registration")
            raise ValueError("no registration")
        return first.register

    async def _read(self, session: NodeSession, requests: AsyncIterator[node_pb2.NodeMessage], outbox: Outbox) -> None:
        try:
            async for message in requests:
                if message.HasField("goodbye"):
                    session.left(message.goodbye.reason or "it was stopped")
                    break
                session.receive(message)
        except ValueError as error:
            outbox.end(f"malformed message: {error}")
            return
        except grpc.aio.BaseError:
            return  # the stream was ended from this side meanwhile
        except Exception as error:  # noqa: BLE001 - a session that nobody reads any more must not look alive
            traceback.print_exc()
            outbox.end(f"the head failed on a message: {type(error).__name__}: {error}")
            return
        outbox.end("goodbye")  # also when the stream just ends: a cancelled one looks the same here

    def _session_closed(self, session: NodeSession, address: node_pb2.NodeAddress) -> None:
        session.broke()
        if address.port and not self._closed:
            task = asyncio.create_task(self._probe(session, address.ip, address.port))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)

    async def _probe(self, session: NodeSession, ip: str, port: int) -> None:
        """A node whose own port refuses connections twice has no process any more:

        no need to wait out the grace.
        """
        for _ in range(PROBES_REFUSED):
            await asyncio.sleep(PROBE_SECONDS)
            if not await _refuses(ip, port):
                return
        session.left("its process ended")

    async def _call(self, method: Method, request: Any, context: Any) -> Any:
        future = self._service.calls.durably(method, request)
        try:
            return future.result() if future.done() else await asyncio.wrap_future(future)
        except HeadCallError as error:
            await context.abort(STATUS_OF.get(error.kind, grpc.StatusCode.INTERNAL), error.message)

    async def CreateActor(self, request: node_pb2.CreateActorRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("CreateActor", request, context)

    async def GetActor(self, request: node_pb2.GetActorRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("GetActor", request, context)

    async def KillActor(self, request: node_pb2.KillActorRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("KillActor", request, context)

    async def PutPackage(self, request: node_pb2.PutPackageRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("PutPackage", request, context)

    async def Kv(self, request: node_pb2.KvRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("Kv", request, context)

    async def ListNodes(self, request: node_pb2.ListNodesRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("ListNodes", request, context)

    async def RequestResources(self, request: node_pb2.RequestResourcesRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("RequestResources", request, context)

    async def CreatePlacementGroup(self, request: node_pb2.CreatePlacementGroupRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("CreatePlacementGroup", request, context)

    async def RemovePlacementGroup(self, request: node_pb2.RemovePlacementGroupRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("RemovePlacementGroup", request, context)

    async def ListPlacementGroups(self, request: node_pb2.ListPlacementGroupsRequest, context: Any) -> Any:
        """See node.proto."""
        return await self._call("ListPlacementGroups", request, context)

    async def FetchPackage(
        self, request: node_pb2.FetchPackageRequest, context: Any
    ) -> AsyncIterator[node_pb2.PackageChunk]:
        """See node.proto."""
        package = await self._call("FetchPackage", request, context)
        for start in range(0, len(package.data), CHUNK_BYTES):
            yield node_pb2.PackageChunk(data=package.data[start : start + CHUNK_BYTES])


async def _refuses(ip: str, port: int) -> bool:
    """Whether nobody listens there; a silent host is no answer."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(loop.sock_connect(probe, (ip, port)), PROBE_SECONDS)
        except OSError as error:  # TimeoutError is one too
            return error.errno == errno.ECONNREFUSED
    return False
