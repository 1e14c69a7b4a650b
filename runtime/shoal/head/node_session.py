"""An agent's session as its link holds it, whether the agent is in this process or across the network.

Invariant: a session says nothing to the head but through the one that opened it, with its number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoal.head.service import HeadService
    from shoal.protocol import node_pb2


class SessionRefused(Exception):
    """A node may not join. ``kind``: Dead, Full, Version or Invalid."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NodeSession:
    """An agent's session as its link holds it."""

    def __init__(self, service: HeadService, node_id: str, number: int) -> None:
        self._service, self.node_id, self.number = service, node_id, number

    def receive(self, message: node_pb2.NodeMessage) -> None:
        """Take one message of the agent. Raises ValueError when it is malformed."""
        self._service.received(self.node_id, self.number, message)

    def broke(self) -> None:
        """The connection is gone; the node has a grace period to come back."""
        self._service.session_ended(self.node_id, self.number, "")

    def left(self, reason: str) -> None:
        """The agent said goodbye, or its process is known to be gone: no grace."""
        self._service.session_ended(self.node_id, self.number, reason)
