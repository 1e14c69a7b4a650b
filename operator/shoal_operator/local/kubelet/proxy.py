"""What kube-proxy does: connections to a Service's address reach a ready pod.

Invariant: a listener exists exactly for the TCP ports of the Services that have an address; a connection is
either joined to one ready pod or closed at once; both directions close on their own (half-close), and no more
than ``MAX_CONNECTIONS`` are open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shoal_operator.domain.names import Key
from shoal_operator.local.client import ApiClient, ApiError, Change, key_of
from shoal_operator.local.loopback import LoopbackPool

Object = Mapping[str, Any]

_log = logging.getLogger("shoal.proxy")
MAX_CONNECTIONS: Final = 1024
_CHUNK_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0


def is_ready(pod: Object) -> bool:
    """Whether a pod takes connections: Ready and not on its way out."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def target_port(pod: Object, port: Object) -> int | None:
    """The port of a pod that a Service's port leads to; None when the pod has no port of that name."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    for container in pod["spec"].get("containers") or []:
        for declared in container.get("ports") or []:
            if declared.get("name") == target:
                return int(declared["containerPort"])
    return int(target) if str(target).isdigit() else None


def endpoints(service: Object, port: Object, pods: Iterable[Object]) -> list[tuple[str, int]]:
    """Where connections to one port of a Service can go, in a stable order."""
    spec = service["spec"]
    selector = spec.get("selector") or {}
    if not selector:
        return []
    found: list[tuple[str, int]] = []
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        same = pod["metadata"].get("namespace") == service["metadata"].get("namespace")
        if not same or any(labels.get(key) != value for key, value in selector.items()):
            continue
        address = (pod.get("status") or {}).get("podIP")
        number = target_port(pod, port)
        if address and number and (spec.get("publishNotReadyAddresses") or is_ready(pod)):
            found.append((address, number))
    return sorted(found)


@dataclass
class _Listener:
    server: asyncio.Server
    port: Object
    turn: int = 0


@dataclass
class _Served:
    address: str
    service: Object
    listeners: dict[int, _Listener] = field(default_factory=dict)


class ServiceAddresses:
    """Gives every Service one address, before anybody asks the API server to remember it."""

    def __init__(self, pool: LoopbackPool) -> None:
        self._pool = pool
        self._given: dict[str, str] = {}

    def of(self, service: Object) -> str | None:
        """The Service's address; None when it wants none (headless, ExternalName)."""
        spec = service["spec"]
        written = spec.get("clusterIP") or ""
        if written == "None" or spec.get("type") == "ExternalName":
            return None
        if written:
            return str(written)
        uid = service["metadata"]["uid"]
        if uid not in self._given:
            self._given[uid] = self._pool.allocate()
        return self._given[uid]

    def forget(self, service: Object) -> None:
        """The Service is gone; its address rests and comes back later."""
        address = self._given.pop(service["metadata"]["uid"], None)
        if address is not None:
            self._pool.release(address)


class ServiceProxy:
    """Listens for Services. ``on_service`` tells it of changes, ``run`` carries them out.

    Args:
        addresses: gives addresses to Services that the API server left without one.
        pods: the pods as they are now.
    """

    def __init__(self, client: ApiClient, addresses: ServiceAddresses, pods: Callable[[], Iterable[Object]]) -> None:
        self._client = client
        self._addresses = addresses
        self._pods = pods
        self._wanted: dict[Key, Object] = {}
        self._served: dict[Key, _Served] = {}
        self._changed = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    def on_service(self, change: Change, service: Object) -> None:
        """A Service is there, is different, or is gone."""
        if change == "DELETED":
            self._wanted.pop(key_of(service), None)
        else:
            self._wanted[key_of(service)] = service
        self._changed.set()

    async def run(self) -> None:
        """Follow the Services until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for key in [key for key in self._served if key not in self._wanted]:
                await self._withdraw(key)
            for key, service in list(self._wanted.items()):
                try:
                    await self._serve(key, service)
                except (OSError, ApiError) as error:
                    _log.warning("service %s: %s", key[1], error)
                    asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._changed.set)

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        for key in list(self._served):
            await self._withdraw(key)
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, key: Key, service: Object) -> None:
        address = self._addresses.of(service)
        if address is None:
            return
        if not service["spec"].get("clusterIP"):
            path = f"/api/v1/namespaces/{key[0]}/services/{key[1]}"
            body = {"spec": {"clusterIP": address, "clusterIPs": [address]}}
            await self._client.patch(path, body)
        served = self._served.get(key)
        if served is not None and served.address != address:
            await self._withdraw(key)
            served = None
        if served is None:
            served = self._served[key] = _Served(address, service)
        served.service = service
        ports = {
            port["port"]: port for port in service["spec"].get("ports") or [] if port.get("protocol", "TCP") == "TCP"
        }
        for number in [number for number in served.listeners if number not in ports]:
            served.listeners.pop(number).server.close()
        for number, port in ports.items():
            if number in served.listeners:
                served.listeners[number].port = port
            else:
                await self._listen(served, number, port)

    async def _listen(self, served: _Served, number: int, port: Object) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None or len(self._connections) >= MAX_CONNECTIONS:
                writer.close()
                return
            self._connections.add(task)
            try:
                await self._join(served, number, reader, writer)
            finally:
                self._connections.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, served.address, number, limit=_CHUNK_BYTES)
        served.listeners[number] = _Listener(server, port)

    async def _withdraw(self, key: Key) -> None:
        served = self._served.pop(key)
        for listener in served.listeners.values():
            listener.server.close()
        self._addresses.forget(served.service)

    async def _join(
        self, served: _Served, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect to the next endpoint that answers and copy both ways until both have ended."""
        listener = served.listeners.get(number)
        if listener is None:
            return
        choices = endpoints(served.service, listener.port, self._pods())
        listener.turn += 1
        for step in range(len(choices)):
            host, port = choices[(listener.turn + step) % len(choices)]
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    far_reader, far_writer = await asyncio.open_connection(host, port, limit=_CHUNK_BYTES)
            except (OSError, TimeoutError):
                continue
            try:
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            finally:
                far_writer.close()
            return


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then close this direction only."""
    try:
        while data := await source.read(_CHUNK_BYTES):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
    except (ConnectionError, TimeoutError):
        # One side was reset: the other must not wait for it.
        target.transport.abort()
