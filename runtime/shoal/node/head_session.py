"""The agent's link to a head on another machine: one gRPC session that comes back by itself.

Invariant: at most one session is open; the head's messages reach the agent's reactor in order; the link
never gives up on an absent head (who runs the node decides when it is too long), but does on one that
refuses the node.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from shoal.node.head_backlog import Backlog
from shoal.protocol import auth, node_pb2, node_pb2_grpc
from shoal.protocol.link import CALL_TIMEOUT_SECONDS, HeadCallError, LinkEvents, Method
from shoal.protocol.tls import CertificateDirectory, Certificates, explain_unavailable

T = TypeVar("T")

FIRST_PAUSE_SECONDS: Final = 0.05
LAST_PAUSE_SECONDS: Final = 2.0
WELCOME_SECONDS: Final = 10.0
GOODBYE_SECONDS: Final = 1.0
TOKEN_TRIES: Final = 5
"""A wrong token may be a Secret that was just replaced, or a head that just started:

worth a few tries, not more.
"""
_KINDS: Final = {
    grpc.StatusCode.UNAVAILABLE: "Unavailable",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Unavailable",
    grpc.StatusCode.INVALID_ARGUMENT: "InvalidArgument",
    grpc.StatusCode.NOT_FOUND: "NotFound",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "TooLarge",
}


class _Refused(Exception):
    """The head will not take this node."""


class HeadSession:
    """A ``HeadLink`` over gRPC.

    Args:
        target: ``host:port`` of the head's control port.
        token: the cluster's token.
        events: the agent's side.
        call_soon: hops to the agent's reactor (``Reactor.call_soon``).
        certificates: for a cluster with TLS.
    """

    def __init__(
        self,
        target: str,
        token: bytes,
        events: LinkEvents,
        call_soon: Callable[[Callable[[], None]], Any],
        certificates: CertificateDirectory | None = None,
    ) -> None:
        self._target, self._token, self._events, self._call_soon = target, token, events, call_soon
        self._certificates = certificates
        self._shown: Certificates | None = None
        self._channel: grpc.aio.Channel | None = None
        self._backlog = Backlog()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stub: Any = None
        self._news = self._closing = asyncio.Event()
        self._connected = False
        self._incarnation = ""
        self._session_number = 0
        self._explained = ""
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shoal-head-session", daemon=True)
        self.last_error = ""

    @property
    def connected(self) -> bool:
        """Whether a session is open now."""
        return self._connected

    def start(self) -> None:
        """Begin to connect, in a thread of its own."""
        self._thread.start()
        self._started.wait()

    def send(self, message: node_pb2.NodeMessage) -> None:
        """Queue a message for the head."""
        self._in_loop(lambda: self._put(message))

    def call(self, method: Method, request: Any, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> Future[Any]:
        """Call the head, waiting for it to come back up to the timeout."""
        deadline = time.monotonic() + timeout_seconds
        if self._loop is not None and not self._loop.is_closed():
            try:
                return asyncio.run_coroutine_threadsafe(self._call(method, request, deadline), self._loop)
            except RuntimeError:
                pass  # closed in between: the same as closed before
        future: Future[Any] = Future()
        future.set_exception(HeadCallError(method, "Unavailable", "the link to the head is closed"))
        return future

    def close(self) -> None:
        """Say goodbye; waits at most ``GOODBYE_SECONDS`` for the head to hear it. Idempotent."""
        self._in_loop(self._set_closing)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(GOODBYE_SECONDS * 3)

    def _set_closing(self) -> None:
        self._closing.set()

    def _in_loop(self, action: Callable[[], None]) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            return  # closed

    def _put(self, message: node_pb2.NodeMessage) -> None:
        self._backlog.put(message, self._connected)
        self._news.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - a node whose link is broken for good has to end, whatever broke it
            traceback.print_exc()
            words = f"the link to head {self._target} failed: {type(error).__name__}: {error}"
            self._connected = False
            self._started.set()
            self._call_soon(lambda: self._events.on_refused(words))

    async def _main(self) -> None:
        self._news, self._closing = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        await self._open_channel()
        self._started.set()
        sessions = asyncio.create_task(self._sessions())
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({sessions, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not sessions.done():
                await asyncio.wait({sessions}, timeout=GOODBYE_SECONDS if self._connected else 0)
            if sessions.done():
                sessions.result()
            await closing
        except _Refused as refused:
            words = str(refused)
            self._call_soon(lambda: self._events.on_refused(words))
            await closing
        finally:
            sessions.cancel()
            await asyncio.wait({sessions}, timeout=1)
            if self._channel is not None:
                await self._channel.close(None)

    async def _open_channel(self) -> None:
        """A channel keeps the certificate that it was made with, so a renewed one needs a new channel."""
        shown = self._certificates.current() if self._certificates is not None else None
        if self._channel is not None:
            if shown is self._shown:
                return
            await self._channel.close(None)
        self._shown = shown
        self._channel = auth.aio_channel(self._target, self._token, shown)
        self._stub = node_pb2_grpc.ClusterStub(self._channel)

    async def _sessions(self) -> None:
        pause, unauthenticated = FIRST_PAUSE_SECONDS, 0
        while not self._closing.is_set():
            try:
                await self._open_channel()
                await self._session()
                unauthenticated = 0
            except grpc.aio.AioRpcError as error:
                unauthenticated = await self._judge(await self._true_error(error), unauthenticated)
            except (grpc.aio.UsageError, grpc.aio.InternalError) as error:
                self.last_error = f"{type(error).__name__}: {error}"
            pause = FIRST_PAUSE_SECONDS if self._connected else min(LAST_PAUSE_SECONDS, pause * 2)
            self._set_connected(False)
            if not self._closing.is_set():
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _true_error(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """A stream refused while its first message is being written ends as INTERNAL; a plain call has the reason."""
        if error.code() == grpc.StatusCode.INTERNAL:
            try:
                await self._call_once("ListNodes", node_pb2.ListNodesRequest(), WELCOME_SECONDS)
            except grpc.aio.AioRpcError as true_error:
                return true_error
        return error

    async def _words(self, error: grpc.aio.AioRpcError) -> str:
        words = error.details() or "no details"
        if error.code() != grpc.StatusCode.UNAVAILABLE or words == self._explained:
            return words
        self._explained = words  # the same words again have the same cause: one look is enough
        with_tls = self._certificates is not None
        explained = await asyncio.to_thread(explain_unavailable, self._target, words, with_tls=with_tls)
        if explained != words:
            sys.stderr.write(f"shoal node: {explained}\n")
        return explained

    async def _judge(self, error: grpc.aio.AioRpcError, unauthenticated: int) -> int:
        self.last_error = f"{await self._words(error)} ({error.code().name})"
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            if unauthenticated + 1 >= TOKEN_TRIES:
                raise _Refused(f"head {self._target} refuses this node's token: {error.details()}") from error
            return unauthenticated + 1
        if error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT):
            raise _Refused(f"head {self._target} refuses this node: {error.details()}") from error
        return 0

    async def _session(self) -> None:
        register = await self._on_reactor(self._events.registration)
        self._backlog.complete(register, time.monotonic())
        self._session_number += 1
        call = self._stub.Session(self._requests(register, self._session_number))
        try:
            async with asyncio.timeout(WELCOME_SECONDS) as limit:
                async for message in call:
                    limit.reschedule(None)
                    if message.HasField("welcome"):
                        self._welcomed(message.welcome)
                    self._hand_over(message)
        except TimeoutError:
            self.last_error = f"head {self._target} did not answer within {WELCOME_SECONDS:g} s"
        finally:
            call.cancel()

    def _welcomed(self, welcome: node_pb2.Welcome) -> None:
        if self._incarnation and self._incarnation != welcome.session and not welcome.knows_drivers:
            self._backlog.new_head()
        self._incarnation = welcome.session
        self._set_connected(True)
        self._news.set()

    def _hand_over(self, message: node_pb2.HeadMessage) -> None:
        self._call_soon(lambda: self._events.on_message(message))

    def _set_connected(self, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            self._call_soon(lambda: self._events.on_connected(connected))

    async def _requests(self, register: node_pb2.RegisterNode, number: int) -> AsyncIterator[node_pb2.NodeMessage]:
        """What is sent in one session. grpc may still read it when that is over: it must take nothing then."""
        yield node_pb2.NodeMessage(register=register)
        closing = asyncio.create_task(self._closing.wait())
        try:
            while number == self._session_number:
                self._news.clear()
                while self._is_open(number) and (message := self._backlog.take(time.monotonic())) is not None:
                    yield message
                if self._closing.is_set():
                    yield node_pb2.NodeMessage(goodbye=node_pb2.Goodbye(reason="it was stopped"))
                    return
                news = asyncio.create_task(self._news.wait())
                try:
                    await asyncio.wait({news, closing}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    news.cancel()
        finally:
            closing.cancel()

    def _is_open(self, number: int) -> bool:
        return self._connected and number == self._session_number

    async def _on_reactor(self, function: Callable[[], T]) -> T:
        result: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                result.set_result(function())
            except Exception as error:  # noqa: BLE001 - whatever it is, the waiting loop has to hear it
                result.set_exception(error)

        self._call_soon(run)
        return await asyncio.wrap_future(result)

    async def _call(self, method: Method, request: Any, deadline: float) -> Any:
        pause = FIRST_PAUSE_SECONDS
        while True:
            left = deadline - time.monotonic()
            try:
                return await self._call_once(method, request, max(0.001, left))
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or left <= pause:
                    kind = _KINDS.get(error.code(), "Refused")
                    raise HeadCallError(method, kind, error.details() or error.code().name) from error
            await asyncio.sleep(pause)
            pause = min(LAST_PAUSE_SECONDS, pause * 2)

    async def _call_once(self, method: Method, request: Any, timeout_seconds: float) -> Any:
        if method != "FetchPackage":
            return await getattr(self._stub, method)(request, timeout=timeout_seconds)
        chunks = [chunk.data async for chunk in self._stub.FetchPackage(request, timeout=timeout_seconds)]
        return node_pb2.PackageChunk(data=b"".join(chunks))
