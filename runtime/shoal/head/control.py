"""The head's gRPC server: one asyncio loop on one thread, every call authenticated.

Invariant: the port is this server's alone (a port in use is an error at start), and no servicer is
reachable without the interceptor that checks the token.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio

from shoal.head.cluster_servicer import ClusterServicer
from shoal.head.head_servicer import HeadServicer
from shoal.head.service import HeadService
from shoal.protocol import auth, head_pb2_grpc, node_pb2_grpc
from shoal.protocol.tls import CertificateDirectory

START_SECONDS: Final = 120.0
"""On a machine that is busy with other work a start takes its time; it shall still fail with words, before the pod's
startup probe gives it up without any."""
STOP_GRACE_SECONDS: Final = 0.5


class ControlPortError(OSError):
    """The server does not serve; the text names the address and what to do."""


class ControlPlane:
    """The server of one head.

    Args:
        service: the head.
        ip: the address to listen on.
        port: 0 lets the kernel choose.
        token: the cluster's token.
        certificates: with them every connection is TLS, and callers show a certificate of the cluster too.
    """

    def __init__(
        self,
        service: HeadService,
        ip: str,
        port: int,
        token: bytes,
        certificates: CertificateDirectory | None = None,
    ) -> None:
        self._service, self._ip, self._wanted_port, self._token = service, ip, port, token
        self._certificates = certificates
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    def start(self, timeout_seconds: float = START_SECONDS) -> int:
        """Listen; returns the port.

        Raises:
            ControlPortError: the address cannot be used, or it took longer than ``timeout_seconds``.
        """
        ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        _check_free(self._ip, self._wanted_port)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="shoal-control-plane", daemon=True
        )
        self._thread.start()
        try:
            self.port = ready.result(timeout_seconds)
        except TimeoutError:
            if ready.cancel():  # what comes later serves nobody
                words = f"has not begun within {timeout_seconds:g} s: give the head more CPU"
                raise ControlPortError(f"the head's server at {self._where} {words}") from None
            self.port = ready.result()
        return self.port

    def close(self) -> None:
        """Stop serving: open streams get ``STOP_GRACE_SECONDS`` to end. Idempotent."""
        if self._loop is None or self._stop is None or self._thread is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._stop.set)
        except RuntimeError:
            return  # closed before
        self._thread.join(10)

    async def _serve(self, ready: concurrent.futures.Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server: grpc.aio.Server | None = None
        try:
            credentials = None if self._certificates is None else self._certificates.for_server()
            server, closers = self._build()
            port = self._listen(server, credentials)
            await server.start()
        except Exception as error:  # noqa: BLE001 - who waits for the start is told of all that prevents it, at once
            if server is not None:
                await server.stop(None)
            if ready.set_running_or_notify_cancel():
                ready.set_exception(self._not_begun(error))
            return
        if not ready.set_running_or_notify_cancel():
            await server.stop(None)
            return
        ready.set_result(port)
        await self._stop.wait()
        for close in closers:
            close()
        await server.stop(STOP_GRACE_SECONDS)

    def _build(self) -> tuple[grpc.aio.Server, tuple[Callable[[], None], ...]]:
        """The server, and what lets its streams end."""
        server = grpc.aio.server(interceptors=[auth.aio_server_interceptor(self._token)], options=auth.SERVER_OPTIONS)
        head, cluster = HeadServicer(self._service), ClusterServicer(self._service)
        head_pb2_grpc.add_HeadServicer_to_server(head, server)
        node_pb2_grpc.add_ClusterServicer_to_server(cluster, server)
        return server, (head.close, cluster.close)

    def _listen(self, server: grpc.aio.Server, credentials: grpc.ServerCredentials | None) -> int:
        if credentials is None:
            return int(server.add_insecure_port(self._where))
        return int(server.add_secure_port(self._where, credentials))

    @property
    def _where(self) -> str:
        host = f"[{self._ip}]" if ":" in self._ip else self._ip
        return f"{host}:{self._wanted_port}"

    def _not_begun(self, error: Exception) -> ControlPortError:
        if isinstance(error, RuntimeError):  # all that grpc says of a port
            return ControlPortError(f"cannot listen on {self._where}; choose another --node-ip or --control-port")
        why = str(error) or type(error).__name__
        return ControlPortError(f"the head's server at {self._where} cannot begin: {why}")


def _check_free(ip: str, port: int) -> None:
    """Bind once without grpc, which would only print what is wrong."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            raise ControlPortError(
                f"cannot listen on {ip}:{port}: {error.strerror}; choose another --node-ip or --control-port"
            ) from error
