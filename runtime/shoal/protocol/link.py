"""How a node agent talks to the head, whether the head is in the same process or across the network.

Two implementations: ``shoal.head.local_link.LocalLink`` (same process, no grpc import) and
``shoal.node.head_session.HeadSession`` (gRPC, reconnects by itself).

Invariant: an agent hears messages only through ``LinkEvents.on_message``, one at a time, in the order in
which the head sent them, on the agent's own reactor; nothing here ever blocks the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from shoal.protocol import node_pb2

Method = Literal[
    "CreateActor",
    "GetActor",
    "KillActor",
    "FetchPackage",
    "PutPackage",
    "Kv",
    "ListNodes",
    "RequestResources",
    "CreatePlacementGroup",
    "RemovePlacementGroup",
    "ListPlacementGroups",
]

CALL_TIMEOUT_SECONDS = 30.0
"""The default deadline of ``HeadLink.call``, waiting for the head to come back included."""


class HeadCallError(Exception):
    """A call to the head failed.

    Attributes:
        method: what was called.
        kind: ``Unavailable`` (no head within the deadline), ``InvalidArgument``, ``NotFound``,
            ``TooLarge``, ``Refused``.
    """

    def __init__(self, method: str, kind: str, message: str) -> None:
        super().__init__(f"{method}: {message}")
        self.method = method
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class LinkEvents:
    """What the agent gives to its link.

    Args:
        registration: makes the first message of a session; called at every (re)connect, on the reactor.
            It carries the
            actors that live on the node at that moment.
        on_message: takes one message of the head, on the reactor.
        on_connected: called on the reactor with True when a session is open, False when it broke.
        on_refused: the head will never take this node (wrong token or version, declared dead): words for
            people. The
            process should end with a non-zero code.
    """

    registration: Callable[[], node_pb2.RegisterNode]
    on_message: Callable[[node_pb2.HeadMessage], None]
    on_connected: Callable[[bool], None] = field(default=lambda _connected: None)
    on_refused: Callable[[str], None] = field(default=lambda _reason: None)


class HeadLink(Protocol):
    """The agent's side. All methods are thread-safe and return at once."""

    @property
    def connected(self) -> bool:
        """Whether a session is open now."""
        ...

    def start(self) -> None:
        """Begin to connect; events come from now on."""
        ...

    def send(self, message: node_pb2.NodeMessage) -> None:
        """Queue a message for the head (never a ``register``: the link makes those).

        While there is no session, only the newest report is kept, log lines are dropped, and everything
        else waits.
        """
        ...

    def call(self, method: Method, request: Any, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> Future[Any]:
        """Call a unary method of the ``Cluster`` service.

        The future gets the reply message or ``HeadCallError``; ``FetchPackage`` gets one ``PackageChunk``
        with the whole package. Its callbacks may run on any thread: hop to the reactor with
        ``call_soon``.
        """
        ...

    def close(self) -> None:
        """Say goodbye: the head takes the node out at once, without grace. Idempotent."""
        ...
