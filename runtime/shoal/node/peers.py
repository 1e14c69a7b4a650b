"""Connections from this agent to other agents: opened on demand, proven by the token, closed when idle.

Invariant: there is at most one outgoing connection to a node, and everything that waits on it is answered
when it closes.
"""

from __future__ import annotations

import socket
import time
from typing import Any, Final

from shoal.wire.address import RawNode
from shoal.wire.connection import Connection
from shoal.wire.frames import Message
from shoal.wire.network import Network
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import REPLY, Caller
from shoal.wire.sockets import connect_tcp

CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 60.0


class PeerUnreachableError(OSError):
    """No connection to another agent can be opened; the text says why."""


class Peers:
    """See the module.

    Args:
        reactor: the agent's.
        network: how others are spoken with; None when this node is on no network.
        hello: what this agent says of itself: process_id, pid, node (RawNode), job.
    """

    def __init__(self, reactor: Reactor, network: Network | None, hello: dict[str, Any]) -> None:
        self.hello = hello
        self._reactor = reactor
        self._network = network
        self._callers: dict[str, Caller] = {}
        self._used: dict[str, float] = {}

    def caller(self, node: RawNode) -> Caller:
        """The calling side of the connection to a node; opened when there is none. Does not wait.

        Raises:
            PeerUnreachableError: there is no way to that node.
        """
        node_id, ip, port = node
        self._used[node_id] = time.monotonic()
        known = self._callers.get(node_id)
        if known is not None and not known.connection.closed:
            return known
        if self._network is None or not port:
            raise PeerUnreachableError(f"node {node_id[:8]} cannot be reached: it or this node is on no network")
        try:
            return self._open(node_id, connect_tcp(ip, port), self._network)
        except OSError as error:
            raise PeerUnreachableError(f"node {node_id[:8]} at {ip}:{port} cannot be reached: {error}") from None

    def _open(self, node_id: str, sock: socket.socket, network: Network) -> Caller:
        made: Caller

        def receive(_connection: Connection, message: Message, payload: bytes, fds: list[int]) -> None:
            if message[0] == REPLY:
                made.handle_reply(message, payload, fds)

        def closed(_connection: Connection, reason: str) -> None:
            if self._callers.get(node_id) is made:
                del self._callers[node_id]
            made.fail_all(reason)

        made = Caller(network.connect(self._reactor, sock, receive, closed))
        self._callers[node_id] = made
        made.call("hello", "agent", self.hello, on_reply=lambda *_: None)
        self._reactor.call_later(IDLE_SECONDS, lambda: self._close_idle(node_id, made))
        return made

    def _close_idle(self, node_id: str, caller: Caller) -> None:
        if self._callers.get(node_id) is not caller:
            return
        left = IDLE_SECONDS - (time.monotonic() - self._used[node_id])
        if left <= 0:
            caller.connection.close("it was idle")
        else:
            self._reactor.call_later(left, lambda: self._close_idle(node_id, caller))

    def drop(self, node_id: str) -> None:
        """A node is dead: close the connection, so that what waits on it fails now."""
        caller = self._callers.get(node_id)
        if caller is not None:
            caller.connection.close("the node is dead")

    def close(self) -> None:
        """Close every connection."""
        for caller in list(self._callers.values()):
            caller.connection.close("the node stops")
