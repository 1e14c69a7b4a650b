"""How a process speaks with others over the network: it proves the cluster's token, in TLS where the cluster has it.

Invariant: there is no other way to make a connection of a TCP socket, so none is open without the challenge, and none
without TLS in a cluster that has it.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

from shoal.wire.connection import Connection, OnClose, OnMessage
from shoal.wire.handshake import ClientHandshake, Handshake, ServerHandshake
from shoal.wire.reactor import Reactor

if TYPE_CHECKING:
    from shoal.wire.tls import TlsIdentity


class Network:
    """What is needed to open connections to others and to take theirs.

    Args:
        token: the cluster's; empty for a process that is on no network.
        tls_directory: where the cluster's certificates are; empty: connections are not encrypted.

    Example:
        >>> network = Network(token, "/var/run/shoal/tls")
        >>> connection = network.connect(reactor, connect_tcp(ip, port), on_message, on_close)
    """

    def __init__(self, token: bytes, tls_directory: str = "") -> None:
        self.token = token
        self.tls_directory = tls_directory
        self._identity: TlsIdentity | None = None

    @property
    def identity(self) -> TlsIdentity | None:
        """The certificates; None without TLS."""
        if self._identity is None and self.tls_directory:
            from shoal.wire.tls import TlsIdentity  # several milliseconds that a process without TLS does not need

            self._identity = TlsIdentity(self.tls_directory)
        return self._identity

    def check(self) -> None:
        """Read the certificates, to know at the start whether they can be used.

        Raises:
            shoal.wire.tls.TlsFilesError: they cannot.
        """
        if self.identity is not None:
            self.identity.check()

    def connect(self, reactor: Reactor, sock: socket.socket, on_message: OnMessage, on_close: OnClose) -> Connection:
        """A connection that this process opens; ``sock`` is connected or connecting.

        Raises:
            OSError: the certificates cannot be used; the socket is closed.
        """
        challenge = ClientHandshake(self.token, os.urandom(32))
        return self._open(reactor, sock, on_message, on_close, challenge, server_side=False)

    def accept(
        self, reactor: Reactor, sock: socket.socket, on_message: OnMessage, on_close: OnClose
    ) -> Connection | None:
        """A connection that a peer has opened; None when this process cannot take any (it says why on stderr)."""
        challenge = ServerHandshake(self.token, os.urandom(32))
        try:
            return self._open(reactor, sock, on_message, on_close, challenge, server_side=True)
        except OSError as error:
            sys.stderr.write(f"shoal: a connection cannot be taken: {error}\n")
            return None

    def _open(
        self,
        reactor: Reactor,
        sock: socket.socket,
        on_message: OnMessage,
        on_close: OnClose,
        challenge: Handshake,
        *,
        server_side: bool,
    ) -> Connection:
        if self.identity is None:
            return Connection(reactor, sock, on_message, on_close, challenge)
        from shoal.wire.tls import TlsStream
        from shoal.wire.tls_connection import TlsConnection

        try:
            stream = TlsStream(self.identity, server_side=server_side)
        except BaseException:
            sock.close()
            raise
        return TlsConnection(reactor, sock, on_message, on_close, stream=stream, challenge=challenge)
