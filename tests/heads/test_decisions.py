"""Lines for a head that is slow: one call at a time, and the last lines only."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from shoal.protocol import head_pb2
from shoal_operator.domain.plan import Decision
from shoal_operator.heads.decisions import WAITING_MAX, DecisionSender

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = ("ml", "demo")


class SlowHead:
    """Answers when ``goes_on`` is set."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        self.goes_on = asyncio.Event()
        self.is_done = asyncio.Event()

    async def RecordDecisions(self, request: head_pb2.RecordDecisionsRequest, **_options: Any) -> None:
        self.heard.append([line.decision_id for line in request.decisions])
        await self.goes_on.wait()
        if len(self.heard) == 2:
            self.is_done.set()


def line(number: int) -> Decision:
    return Decision(str(number), NOON, "what", "why")


async def test_a_slow_head_gets_the_last_lines_in_one_call_more() -> None:
    head = SlowHead()
    sender = DecisionSender(lambda _key: head)
    sender.send(KEY, [line(0)])
    async with asyncio.timeout(10):
        while not head.heard:
            await asyncio.sleep(0)
        for number in range(1, WAITING_MAX + 51):
            sender.send(KEY, [line(number)])
            await asyncio.sleep(0)
        assert head.heard == [["0"]]
        head.goes_on.set()
        await head.is_done.wait()
    assert head.heard[1] == [str(number) for number in range(51, WAITING_MAX + 51)]
    await sender.close()
