"""Calls with an answer, and casts without one, over a connection.

Messages: ``(CALL, request id, method, args)``, ``(REPLY, request id, error, value)``, ``(CAST, method, args)``. An
error is None or ``(kind, message, fields)``.

Invariant: every call gets exactly one ``on_reply``: the answer, or an error of kind ``Disconnected`` from ``fail_all``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

from shoal.wire.connection import Connection, ConnectionClosedError
from shoal.wire.frames import Message

CALL: Final = 10
REPLY: Final = 11
CAST: Final = 12

Error = tuple[str, str, dict[str, Any]]
OnReply = Callable[[Error | None, Any, bytes, list[int]], None]


class Caller:
    """The calling side of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)
        self._waiting: dict[int, OnReply] = {}
        self._failed: str | None = None

    def call(
        self,
        method: str,
        *args: Any,
        on_reply: OnReply,
        payload: bytes | memoryview = b"",
        fds: Sequence[int] = (),
    ) -> int:
        """Ask; ``on_reply(error, value, payload, descriptors)`` runs in the leading thread. Returns the request id.

        When the connection is closed already, the error comes through ``on_reply`` too (before ``call`` returns).
        """
        request_id = next(self._ids)
        self._waiting[request_id] = on_reply
        try:
            if self._failed is not None:
                raise ConnectionClosedError(self._failed)
            self.connection.send((CALL, request_id, method, args), payload, fds)
        except ConnectionClosedError as error:
            waiting = self._waiting.pop(request_id, None)
            if waiting is not None:
                waiting(("Disconnected", str(error), {}), None, b"", [])
        return request_id

    def cast(self, method: str, *args: Any, payload: bytes | memoryview = b"", fds: Sequence[int] = ()) -> bool:
        """Tell, without an answer. Returns False when the connection is closed."""
        try:
            self.connection.send((CAST, method, args), payload, fds)
        except ConnectionClosedError:
            return False
        return True

    def handle_reply(self, message: Message, payload: bytes, fds: list[int]) -> None:
        """Give a REPLY frame to whoever asked; an answer that nobody waits for is dropped."""
        on_reply = self._waiting.pop(message[1], None)
        if on_reply is not None:
            on_reply(message[2], message[3], payload, fds)

    def forget(self, request_id: int) -> None:
        """Drop a call: its answer will be ignored."""
        self._waiting.pop(request_id, None)

    def fail_all(self, reason: str) -> None:
        """Answer every waiting call, and every later one, with the error ``Disconnected``."""
        self._failed = reason
        while self._waiting:
            _request_id, on_reply = self._waiting.popitem()
            on_reply(("Disconnected", reason, {}), None, b"", [])


def reply(
    connection: Connection,
    request_id: int,
    value: Any = None,
    *,
    error: Error | None = None,
    payload: bytes | memoryview = b"",
    fds: Sequence[int] = (),
) -> bool:
    """Answer a CALL. Returns False when the caller is gone, which needs no more action."""
    try:
        connection.send((REPLY, request_id, error, value), payload, fds)
    except ConnectionClosedError:
        return False
    return True
