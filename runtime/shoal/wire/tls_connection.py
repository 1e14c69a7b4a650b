"""A connection whose frames travel in TLS.

Invariants: those of ``Connection``; every use of the stream is under the connection's lock (OpenSSL bears one thread
at a time), and what was encrypted is sent in the order of encryption.

The end of a TLS stream need not be announced: a frame says how long it is, and a connection that ends is the loss of
the process behind it, announced or not.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

from shoal.wire.connection import READ_BYTES, Connection, ConnectionClosedError, OnClose, OnMessage
from shoal.wire.handshake import Handshake
from shoal.wire.reactor import Reactor
from shoal.wire.tls import TlsHandshake, TlsStream

SMALL_BYTES: Final = 1 << 13
"""Payloads up to this size share a record with their header: a copy is cheaper than one more record."""
BATCH_BYTES: Final = 1 << 18
"""Large payloads are encrypted, and taken from the socket, in pieces of this size."""


class TlsConnection(Connection):
    """See the module.

    Args:
        stream: fresh; the other arguments are those of ``Connection``.
        challenge: what follows TLS, inside of it.
    """

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        on_message: OnMessage,
        on_close: OnClose,
        *,
        stream: TlsStream,
        challenge: Handshake,
    ) -> None:
        self._stream = stream
        self._buffer: memoryview | None = None
        handshake = TlsHandshake(stream, challenge)
        super().__init__(reactor, sock, on_message, on_close, handshake, descriptors=False)

    # Sending

    def _send_now(self, head: bytes, payload: bytes | memoryview, size: int, fds: Sequence[int]) -> None:
        if fds:
            raise ValueError("descriptors cannot travel over a network")
        if size <= SMALL_BYTES:
            self._encrypt(head + bytes(payload))
        else:
            self._encrypt(head)
            view = memoryview(payload).cast("B")
            for offset in range(0, size, BATCH_BYTES):
                self._encrypt(view[offset : offset + BATCH_BYTES])

    def _encrypt(self, data: bytes | memoryview) -> None:
        """What was encrypted goes at once, so that the peer decrypts while this side encrypts the next batch."""
        piece = self._stream.encrypt(data)
        self._append(self._queue, memoryview(piece), ())
        if not self._writing:
            try:
                is_sent = self._send_queue()
            except OSError as error:
                self._fail_soon(f"{type(error).__name__}: {error}")
                raise ConnectionClosedError(f"connection to {self.peer} is closed: {error}") from None
            if not is_sent:
                self._want_write()

    def _enqueue(
        self,
        queue: deque[tuple[memoryview, tuple[int, ...]]],
        head: bytes,
        payload: bytes | memoryview,
        size: int,
        fds: Sequence[int],
    ) -> None:
        if queue is self._held:
            super()._enqueue(queue, head, payload, size, fds)
        else:
            self._check_room(size)
            self._send_now(head, payload, size, fds)

    def _release_held(self) -> None:
        while self._held:
            view, _fds = self._held.popleft()
            self._queued_bytes -= view.nbytes
            self._append(self._queue, memoryview(self._stream.encrypt(view)), ())

    # Receiving

    def _receive(self) -> bytes:
        if self._handshake is not None:
            return super()._receive()
        while not self._stream.ended:
            data = self._receive_encrypted()
            if not data:
                break
            with self._lock:
                reply, pieces = self._stream.feed(data)
                if reply:
                    self._append(self._queue, memoryview(reply), ())
                    self._want_write()
            taken = 0
            while taken < len(pieces) and len(pieces[taken]) < self._decoder.missing_bytes:
                self._decoder.feed(pieces[taken])  # in the middle of a large frame: no need to join here
                taken += 1
            if taken < len(pieces):
                return pieces[taken] if taken + 1 == len(pieces) else b"".join(pieces[taken:])
        return b""

    def _receive_encrypted(self) -> bytes | memoryview:
        if self._decoder.missing_bytes < READ_BYTES:
            return self._sock.recv(READ_BYTES)
        if self._buffer is None:
            self._buffer = memoryview(bytearray(BATCH_BYTES))
        return self._buffer[: self._sock.recv_into(self._buffer)]
