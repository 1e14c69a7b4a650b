"""Connections to other owners and workers, and to agents of other nodes.

Invariant: at most one connection is opened to a process, by its Unix socket on the same node and by TCP with the mutual
challenge elsewhere; a connection that closes is reported once as the loss of that process; nobody waits on a node
that the head has given up, however silent its sockets are.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shoal.exceptions import SystemFailureError
from shoal.wire import messages
from shoal.wire.address import RawAddress, RawNode
from shoal.wire.connection import Connection, ConnectionClosedError
from shoal.wire.frames import Message
from shoal.wire.network import Network
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import CAST, REPLY, Caller
from shoal.wire.sockets import connect_tcp, connect_unix, listen_tcp, listen_unix

OnPeerMessage = Callable[[Connection, Message, bytes], None]
OnPeerLost = Callable[[str, str], None]


@dataclass(slots=True)
class Peer:
    """What a connection's ``attachment`` holds."""

    process_id: str = ""
    node_id: str = ""
    functions: set[bytes] = field(default_factory=set)  # function ids that the peer has


class Peers:
    """All connections of one process to others."""

    def __init__(
        self,
        reactor: Reactor,
        process_id: str,
        node_id: str,
        network: Network,
        on_message: OnPeerMessage,
        on_lost: OnPeerLost,
    ) -> None:
        self._reactor = reactor
        self._process_id = process_id
        self._node_id = node_id
        self._network = network
        self._on_message = on_message
        self._on_lost = on_lost
        self._by_process: dict[str, Connection] = {}
        self._all: set[Connection] = set()
        self._agents: dict[str, Caller] = {}
        self._listeners: list[socket.socket] = []
        self._path = ""
        self.on_lease_retired: Callable[[str], None] = lambda _lease_id: None  # said by agents of other nodes
        self.on_lease_removed: Callable[[str, str], None] = lambda _lease_id, _words: None  # likewise
        self.hello: dict[str, Any] = {"process_id": process_id, "pid": os.getpid()}  # what agents are told

    # Listening

    def listen(self, path: str, ip: str, multi_node: bool) -> RawAddress:
        """Open this process to others; returns its address."""
        self._path = path
        listener = listen_unix(path)
        self._reactor.add_listener(listener, lambda sock: self._accept(sock, trusted=True))
        self._listeners.append(listener)
        port = 0
        if multi_node:
            tcp = listen_tcp(ip, 0)
            port = tcp.getsockname()[1]
            self._reactor.add_listener(tcp, lambda sock: self._accept(sock, trusted=False))
            self._listeners.append(tcp)
        return (self._process_id, self._node_id, ip if multi_node else "", port, path)

    def _accept(self, sock: socket.socket, *, trusted: bool) -> None:
        if trusted:
            connection = Connection(self._reactor, sock, self._receive, self._closed, descriptors=False)
        else:
            made = self._network.accept(self._reactor, sock, self._receive, self._closed)
            if made is None:
                return
            connection = made
        connection.attachment = Peer()
        self._all.add(connection)

    # Connecting

    def connect(self, address: RawAddress) -> Connection:
        """The connection to a process; opened when there is none. Does not wait.

        Raises:
            ConnectionClosedError: the process cannot be reached.
        """
        connection = self._by_process.get(address[0])
        if connection is not None:
            if connection.closed:  # its loss is about to be reported; a new one now would hide it
                raise ConnectionClosedError(f"the connection to process {address[0][:8]} has just broken")
            return connection
        _process_id, node_id, ip, port, path = address
        try:
            if node_id == self._node_id:
                connection = Connection(
                    self._reactor, connect_unix(path), self._receive, self._closed, descriptors=False
                )
            elif port:
                connection = self._network.connect(self._reactor, connect_tcp(ip, port), self._receive, self._closed)
            else:
                raise ConnectionClosedError(f"process {address[0][:8]} on node {node_id[:8]} listens on no network")
        except OSError as error:
            raise ConnectionClosedError(f"process {address[0][:8]} cannot be reached: {error}") from None
        connection.attachment = Peer(address[0], node_id)
        self._by_process[address[0]] = connection
        self._all.add(connection)
        connection.send((messages.HELLO, self._process_id, self._node_id))
        return connection

    def known(self, process_id: str) -> Connection | None:
        """The open connection to a process, if there is one."""
        return self._by_process.get(process_id)

    def agent(self, node: RawNode) -> Caller:
        """The calling side of a connection to the agent of another node.

        Raises:
            ConnectionClosedError: it cannot be reached.
        """
        node_id, ip, port = node
        caller = self._agents.get(node_id)
        if caller is not None and not caller.connection.closed:
            return caller
        if not self._network.token:
            raise SystemFailureError("this session has a single node; it speaks to no other")

        def receive(_connection: Connection, message: Message, payload: bytes, fds: list[int]) -> None:
            if message[0] == REPLY:
                made.handle_reply(message, payload, fds)
            elif message[0] == CAST and message[1] == "lease_retire":
                self.on_lease_retired(*message[2])
            elif message[0] == CAST and message[1] == "lease_removed":
                self.on_lease_removed(*message[2])

        def closed(_connection: Connection, reason: str) -> None:
            self._agents.pop(node_id, None)
            self._all.discard(connection)
            made.fail_all(reason)

        try:
            connection = self._network.connect(self._reactor, connect_tcp(ip, port), receive, closed)
        except OSError as error:
            raise ConnectionClosedError(f"the agent of node {node_id[:8]} cannot be reached: {error}") from None
        made = Caller(connection)
        self._agents[node_id] = made
        self._all.add(connection)
        made.call("hello", "remote", self.hello, on_reply=lambda *_: None)
        return made

    @property
    def unsent(self) -> bool:
        """Whether something waits in this process for others to read."""
        return any(connection.unsent for connection in list(self._all))

    def drop_node(self, node_id: str, reason: str) -> None:
        """A node is gone, perhaps without a word: close every connection there, so that nobody waits on it."""
        for connection in list(self._all):
            peer = connection.attachment
            if isinstance(peer, Peer) and peer.node_id == node_id:
                connection.close(reason)
        agent = self._agents.get(node_id)
        if agent is not None:
            agent.connection.close(reason)

    # Events

    def _receive(self, connection: Connection, message: Message, payload: bytes, _fds: list[int]) -> None:
        if message[0] == messages.HELLO:
            peer: Peer = connection.attachment
            peer.process_id, peer.node_id = message[1], message[2]
            self._by_process.setdefault(message[1], connection)
            return
        self._on_message(connection, message, payload)

    def _closed(self, connection: Connection, reason: str) -> None:
        self._all.discard(connection)
        process_id = connection.attachment.process_id
        if self._by_process.pop(process_id, None) is None:
            return  # it had not said who it is, or its loss has been reported
        # Two processes may have connected to each other at once. Either connection's end is the end of both: what one
        # side counts as lost, the other must not wait for.
        for other in list(self._all):
            if isinstance(other.attachment, Peer) and other.attachment.process_id == process_id:
                other.close(reason)
        self._on_lost(process_id, reason)

    def close(self) -> None:
        """Close every socket at once; nobody is told."""
        for connection in list(self._all):
            connection.abandon()
        for listener in self._listeners:
            self._reactor.unregister(listener.fileno())
            listener.close()
        if self._path:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                self._path = ""
