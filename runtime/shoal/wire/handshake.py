"""Mutual challenge at the start of every TCP connection, sans I/O.

    client -> server   MAGIC, client nonce
    server -> client   server nonce, HMAC(token, "server", both nonces)
    client -> server   HMAC(token, "client", both nonces)

Invariant: the token is never sent, either side can prove that it knows it, and no frame is decoded before both have.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, Protocol

from shoal.exceptions import AuthenticationError, TlsError

MAGIC: Final = b"SHOAL/1\n"
NONCE_BYTES: Final = 32
_MAC_BYTES: Final = 32
NEEDS_TLS: Final = b"SHOAL/1 needs TLS\n"
"""What a server with TLS answers to a peer without, so that this one can say what is wrong."""
HAS_NO_TLS: Final = b"SHOAL/1 has no TLS\n"
"""What a server without TLS answers to a peer that begins with it."""
_TLS_RECORD: Final = b"\x16\x03"


class Handshake(Protocol):
    """One side of the challenge."""

    done: bool
    limit_seconds: float

    @property
    def farewell(self) -> bytes:
        """After an error: what the peer should be sent before the connection closes; may be empty."""

    def start(self) -> bytes:
        """The bytes to send first; may be empty."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes of the peer; give (bytes to send, bytes that belong to what follows the handshake).

        Raises:
            AuthenticationError: the peer does not know the token, or speaks something else.
        """


def _mac(token: bytes, side: bytes, client_nonce: bytes, server_nonce: bytes) -> bytes:
    return hmac.new(token, b"shoal frames " + side + b"\0" + client_nonce + server_nonce, hashlib.sha256).digest()


class ServerHandshake:
    """The side that accepted the connection. A stranger is not waited for long."""

    limit_seconds: float = 5.0

    def __init__(self, token: bytes, nonce: bytes) -> None:
        _check(token, nonce)
        self.done = False
        self.farewell = b""
        self._token = token
        self._nonce = nonce
        self._buffer = b""
        self._client_nonce = b""

    def start(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        self._buffer += data
        reply = b""
        if not self._client_nonce:
            if self._buffer.startswith(_TLS_RECORD):
                self.farewell = HAS_NO_TLS
                raise TlsError("the peer speaks TLS, which this process has not", fault="ThisSideWithoutTls")
            if not MAGIC.startswith(self._buffer[: len(MAGIC)]):
                raise AuthenticationError("the peer does not speak Shoal's frame protocol")
            if len(self._buffer) < len(MAGIC) + NONCE_BYTES:
                return b"", b""
            self._client_nonce = self._buffer[len(MAGIC) : len(MAGIC) + NONCE_BYTES]
            self._buffer = self._buffer[len(MAGIC) + NONCE_BYTES :]
            reply = self._nonce + _mac(self._token, b"server", self._client_nonce, self._nonce)
        if len(self._buffer) < _MAC_BYTES:
            return reply, b""
        expected = _mac(self._token, b"client", self._client_nonce, self._nonce)
        if not hmac.compare_digest(self._buffer[:_MAC_BYTES], expected):
            raise AuthenticationError("the peer does not know the cluster's token")
        self.done = True
        return reply, self._buffer[_MAC_BYTES:]


class ClientHandshake:
    """The side that opened the connection. The other may be computing with the interpreter's lock held."""

    limit_seconds: float = 30.0
    farewell: bytes = b""

    def __init__(self, token: bytes, nonce: bytes) -> None:
        _check(token, nonce)
        self.done = False
        self._token = token
        self._nonce = nonce
        self._buffer = b""

    def start(self) -> bytes:
        return MAGIC + self._nonce

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        self._buffer += data
        if self._buffer.startswith(NEEDS_TLS):
            raise TlsError("the peer needs TLS, which this process has not", fault="ThisSideWithoutTls")
        if len(self._buffer) < NONCE_BYTES + _MAC_BYTES:
            return b"", b""
        server_nonce = self._buffer[:NONCE_BYTES]
        mac = self._buffer[NONCE_BYTES : NONCE_BYTES + _MAC_BYTES]
        if not hmac.compare_digest(mac, _mac(self._token, b"server", self._nonce, server_nonce)):
            raise AuthenticationError("the server does not know the cluster's token")
        self.done = True
        rest = self._buffer[NONCE_BYTES + _MAC_BYTES :]
        return _mac(self._token, b"client", self._nonce, server_nonce), rest


def _check(token: bytes, nonce: bytes) -> None:
    if len(token) < 16:
        raise ValueError("a cluster token must have at least 16 bytes")
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce must have {NONCE_BYTES} bytes")
