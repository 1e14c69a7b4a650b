"""Lines for the heads' logs of decisions: sent in the background, once, and lost where a head does not take them.

Invariant: nobody waits for it and nobody hears of it; at most one call a cluster is under way, and at most
``WAITING_MAX`` lines wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from shoal.protocol import head_pb2
from shoal_operator.domain.names import Key
from shoal_operator.domain.plan import Decision

logger = logging.getLogger(__name__)

WAITING_MAX: Final = 200
DEADLINE_SECONDS: Final = 5.0


class DecisionSender:
    """Sends lines.

    Args:
        stub_of: the connection to a cluster's head; None while there is none, or we do not lead.
    """

    def __init__(self, stub_of: Callable[[Key], Any | None]) -> None:
        self._stub_of = stub_of
        self._waiting: dict[Key, deque[Decision]] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def send(self, key: Key, decisions: Sequence[Decision]) -> None:
        """Send them soon. Returns at once."""
        self._waiting.setdefault(key, deque(maxlen=WAITING_MAX)).extend(decisions)
        if key not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._run(key), name=f"decisions of {'/'.join(key)}")
            self._tasks[key] = task

    async def close(self) -> None:
        """Stop everything."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key) -> None:
        try:
            while self._waiting.get(key):
                lines = self._waiting.pop(key)
                stub = self._stub_of(key)
                if stub is not None:
                    await _tell(stub, lines)
        finally:
            self._waiting.pop(key, None)
            del self._tasks[key]


async def _tell(stub: Any, lines: Sequence[Decision]) -> None:
    request = head_pb2.RecordDecisionsRequest(
        decisions=[
            head_pb2.Decision(
                decision_id=line.decision_id, time_seconds=line.at.timestamp(), what=line.what, why=line.why
            )
            for line in lines
        ]
    )
    try:
        await stub.RecordDecisions(request, timeout=DEADLINE_SECONDS)
    except (grpc.aio.AioRpcError, grpc.aio.UsageError) as error:
        logger.debug("a head did not take %d lines of its log", len(lines), exc_info=error)
