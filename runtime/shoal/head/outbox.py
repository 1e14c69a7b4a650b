"""What waits to be sent on one session's stream.

Invariant: it never grows without bound: only the newest view waits, log lines are dropped (and counted)
when the peer is slow, and a peer so slow that ``MAX_WAITING`` other messages wait has its session ended.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Final

from shoal.protocol import node_pb2

MAX_WAITING: Final = 100_000
MAX_WAITING_LOGS: Final = 1000


class Outbox:
    """``put`` from any thread; iterate in ``loop``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready = asyncio.Event()
        self._messages: collections.deque[node_pb2.HeadMessage] = collections.deque()
        self._logs = 0
        self._dropped_lines = 0
        self._end_reason = ""

    def put(self, message: node_pb2.HeadMessage) -> None:
        """Queue a message; keeps the order of calls."""
        self._call(lambda: self._put(message))

    def end(self, reason: str) -> None:
        """End the iteration with ``OutboxEnded`` before anything else is sent."""
        self._call(lambda: self._end(reason))

    def _call(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            return  # the loop is closed: the head is going down and the session with it

    def _put(self, message: node_pb2.HeadMessage) -> None:
        kind = message.WhichOneof("body")
        if kind == "log_lines":
            if self._logs >= MAX_WAITING_LOGS:
                self._dropped_lines += len(message.log_lines.lines)
                return
            self._logs += 1
        elif kind == "view":
            self._messages = collections.deque(m for m in self._messages if not m.HasField("view"))
        self._messages.append(message)
        if len(self._messages) > MAX_WAITING:
            self._end("the node does not read its messages")
        self._ready.set()

    def _end(self, reason: str) -> None:
        self._end_reason = reason
        self._ready.set()

    async def get(self) -> node_pb2.HeadMessage:
        """The next message. Raises OutboxEnded."""
        while True:
            if self._end_reason:
                raise OutboxEnded(self._end_reason)
            if self._messages:
                return self._take()
            self._ready.clear()
            await self._ready.wait()

    def _take(self) -> node_pb2.HeadMessage:
        message = self._messages.popleft()
        if message.HasField("log_lines"):
            self._logs -= 1
            if self._dropped_lines:
                message.log_lines.lines.append(f"[shoal] {self._dropped_lines} lines were dropped here")
                self._dropped_lines = 0
        return message


class OutboxEnded(Exception):
    """The head ended the session."""
