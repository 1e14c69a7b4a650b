"""What a node knows of the others: the head's views, and which nodes are lost.

Invariant: a node is said to be lost once, and never because a head that was restarted has not heard of it yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from shoal.core.scheduler import NodeView
from shoal.wire.reactor import Reactor

if TYPE_CHECKING:
    from shoal.protocol import node_pb2

NEW_HEAD_SECONDS: Final = 15.0
"""How long nodes have to come back to a head that was restarted."""


class ClusterWatch:
    """See the module.

    Args:
        reactor: the agent's.
        on_view: called with each view.
        on_lost: called with the id of each node that is lost.
    """

    def __init__(
        self, reactor: Reactor, on_view: Callable[[list[NodeView]], None], on_lost: Callable[[str], None]
    ) -> None:
        self._reactor = reactor
        self._on_view = on_view
        self._on_lost = on_lost
        self._known: set[str] = set()
        self._alive: set[str] = set()
        self._head_session = ""
        self._trust_views_at = 0.0

    def welcomed(self, session: str) -> bool:
        """The head opened a session; ``session`` is its incarnation. True when another one was there before."""
        is_new = bool(self._head_session) and session != self._head_session
        if is_new:
            self._trust_views_at = time.monotonic() + NEW_HEAD_SECONDS
            self._reactor.call_later(NEW_HEAD_SECONDS + 0.01, self._find_lost)
        self._head_session = session
        return is_new

    def take_view(self, message: node_pb2.ClusterView) -> None:
        """The head's view, whole."""
        from shoal.node.head_messages import views

        nodes = views(message)
        self._alive = {view.node[0] for view in nodes if view.alive}
        self._find_lost()
        self._on_view(nodes)

    def _find_lost(self) -> None:
        if time.monotonic() >= self._trust_views_at:
            for node_id in self._known - self._alive:
                self._known.discard(node_id)
                self._on_lost(node_id)
        self._known |= self._alive
