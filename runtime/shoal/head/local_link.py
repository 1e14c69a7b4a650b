"""The link between the head and the agent of its own process: direct calls, no network, no grpc import.

Invariant: as with the remote link, the agent hears everything on its reactor and in order, and no method
blocks for long.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from shoal.head.node_session import NodeSession
from shoal.head.service import HeadService
from shoal.protocol.link import CALL_TIMEOUT_SECONDS, LinkEvents, Method

if TYPE_CHECKING:
    from shoal.protocol import node_pb2


class LocalLink:
    """A ``HeadLink`` to a head in this process.

    Args:
        service: the head.
        events: the agent's side.
        call_soon: hops to the agent's reactor (``Reactor.call_soon``).
    """

    def __init__(
        self, service: HeadService, events: LinkEvents, call_soon: Callable[[Callable[[], None]], Any]
    ) -> None:
        self._service, self._events, self._call_soon = service, events, call_soon
        self._session: NodeSession | None = None

    @property
    def connected(self) -> bool:
        """Whether a session is open now."""
        return self._session is not None

    def start(self) -> None:
        """Register with the head at once."""
        self._session = self._service.open_session(self._events.registration(), self._deliver, self._ended)
        self._call_soon(lambda: self._events.on_connected(True))

    def send(self, message: node_pb2.NodeMessage) -> None:
        """Hand a message to the head; ignored before ``start`` and after ``close``."""
        if self._session is not None:
            self._session.receive(message)

    def call(self, method: Method, request: Any, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> Future[Any]:
        """Call the head; the future is done when this returns, unless something has to be on disk first."""
        return self._service.calls.durably(method, request)

    def close(self) -> None:
        """Say goodbye. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            session.left("it was stopped")

    def _deliver(self, message: node_pb2.HeadMessage) -> None:
        self._call_soon(lambda: self._events.on_message(message))

    def _ended(self, reason: str) -> None:
        self._session = None
        self._call_soon(lambda: self._events.on_refused(reason))
