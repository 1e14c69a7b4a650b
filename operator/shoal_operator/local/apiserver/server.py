"""The server itself: assembles the parts, listens, stops.

Invariant: after `stop` returns nothing of it is left: no socket, no task, no thread. It listens on a loopback
address only, with TLS, and answers nobody without the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from shoal_operator.local.apiserver import certificates, crd, kubeconfig, quota, writes
from shoal_operator.local.apiserver.context import AddressPool, Context, WriteOptions
from shoal_operator.local.apiserver.gc import Collector
from shoal_operator.local.apiserver.handlers import Dispatcher
from shoal_operator.local.apiserver.kinds import CRD_COLLECTION, Registry
from shoal_operator.local.apiserver.logs import LogSource
from shoal_operator.local.apiserver.requests import BODY_LIMIT_BYTES, Request
from shoal_operator.local.apiserver.store import Change, Store
from shoal_operator.local.apiserver.values import Document, dig
from shoal_operator.local.apiserver.watch import Hub

__all__ = ["ApiServer", "LogSource", "build_context"]

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_EVENT_SWEEP_SECONDS = 60.0
_STOP_SECONDS = 2.0


def build_context(
    addresses: AddressPool,
    *,
    clock: Callable[[], datetime],
    new_uid: Callable[[], str],
    new_suffix: Callable[[], str],
    first_version: int = 1,
    history_limit: int | None = None,
) -> Context:
    """An API without a network: what tests drive, and what the server serves."""
    store = Store(first_version=first_version, **({} if history_limit is None else {"history_limit": history_limit}))
    context = Context(store, Registry(), addresses, clock, new_uid, new_suffix)
    store.subscribe(lambda change: _follow(context, change))
    namespaces = context.registry.find("", "v1", "namespaces")
    assert namespaces is not None
    for name in SYSTEM_NAMESPACES:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        writes.create(context, namespaces, None, body, WriteOptions(field_manager="shoal-apiserver"))
    return context


def _follow(context: Context, change: Change) -> None:
    """What a change means for the server itself: kinds come and go, addresses are given back."""
    if change.key.collection == CRD_COLLECTION:
        if change.type == "DELETED":
            context.registry.uninstall(change.key.name)
        else:
            context.registry.install(change.key.name, crd.resources_of(change.document))
    elif change.key.collection == "services" and change.type == "DELETED":
        address = dig(change.document, "spec", "clusterIP")
        if address and address != "None":
            context.addresses.release(address)


class ApiServer:
    """An embedded Kubernetes API server.

    Args:
        addresses: where the cluster IPs of Services come from; the owner closes it.

    Example:
        >>> server = ApiServer(LoopbackPool(seed=7))  # doctest: +SKIP
        >>> await server.start(directory=path, token=token)  # doctest: +SKIP
        >>> json.dumps(server.kubeconfig())  # doctest: +SKIP
    """

    def __init__(self, addresses: AddressPool) -> None:
        self._addresses = addresses
        self._runner: web.ServerRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._dispatcher: Dispatcher | None = None
        self._hub: Hub | None = None
        self._token = ""
        self.url = ""
        self.ca_pem = b""

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, directory: Path, token: str) -> None:
        """Listen; `port` 0 takes a free one. The certificate's files go into `directory` (0600).

        Raises ValueError for a host that is no loopback address or an empty token, OSError for a port in use.
        """
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the embedded API server listens on loopback only, not on {host}")
        if len(token) < 16:
            raise ValueError("the embedded API server needs a token of at least 16 characters")
        context = build_context(
            self._addresses,
            clock=lambda: datetime.now(UTC),
            new_uid=lambda: str(uuid.uuid4()),
            new_suffix=lambda: "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5)),
            # Above every version of a server that ran before, so that its watchers find out they are stale.
            first_version=int(time.time() * 1000),
        )
        certificate = certificates.issue(host, context.clock())
        hub = self._hub = Hub(context)
        self._dispatcher = Dispatcher(context, hub, token)
        self._token, self.ca_pem = token, certificate.authority_pem
        server = web.Server(
            self._dispatcher, request_factory=_limited_request, handler_cancellation=True, access_log=None
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_STOP_SECONDS)
        await self._runner.setup()
        try:
            site = web.TCPSite(
                self._runner,
                host,
                port,
                ssl_context=certificate.ssl_context(directory),
            )
            await site.start()
        except BaseException:
            await self._runner.cleanup()
            raise
        bound = self._runner.addresses[0][1]
        self.url = f"https://{host}:{bound}"
        collector = Collector(context)
        self._tasks = [asyncio.create_task(_collect(context, collector), name="apiserver-gc")]

    async def stop(self) -> None:
        """End every watch, close the socket, wait for the tasks; safe to call twice."""
        if self._dispatcher is not None and self._hub is not None:
            self._dispatcher.closing = True
            self._hub.wake_all()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def kubeconfig(self) -> Document:
        """A kubeconfig for this server; it contains the token, write it with mode 0600."""
        return kubeconfig.render(self.url, self.ca_pem, self._token)

    def register_log_source(self, source: LogSource) -> None:
        """From now on `kubectl logs` is answered from `source`."""
        if self._dispatcher is None:
            raise RuntimeError("start the server before registering a log source")
        self._dispatcher.log_source = source


def _limited_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """A request whose body may not exceed the limit."""
    loop = asyncio.get_running_loop()
    return Request(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT_BYTES)


async def _collect(context: Context, collector: Collector) -> None:
    """Run the garbage collector whenever something happened that may concern it."""
    wake = asyncio.Event()
    unsubscribe = context.store.subscribe(lambda _change: wake.set())
    next_sweep = time.monotonic() + _EVENT_SWEEP_SECONDS
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), max(0.0, next_sweep - time.monotonic()))
            wake.clear()
            quota.refresh(context)
            if collector.run():
                # More is waiting; requests are served in between.
                wake.set()
                await asyncio.sleep(0)
            if time.monotonic() >= next_sweep:
                collector.expire_events()
                next_sweep = time.monotonic() + _EVENT_SWEEP_SECONDS
    finally:
        unsubscribe()
