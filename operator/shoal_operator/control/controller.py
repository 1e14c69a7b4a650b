"""The loop of a controller: take a key, reconcile it, decide when to look again.

Invariants:
- one key is reconciled by one worker at a time, and by one within ``deadline_seconds`` (then it is cancelled
  and tried again after a back-off), so a hanging call can slow a key but never stop the controller;
- an error never ends a worker; cancellation always does.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from shoal_operator.control.backoff import KeyedBackoff
from shoal_operator.control.clock import Clock
from shoal_operator.control.passes import under_way
from shoal_operator.control.workqueue import QueueClosedError, WorkQueue

KeyT = TypeVar("KeyT", bound=Hashable)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a reconcile asks for next.

    Attributes:
        requeue_after_seconds: look again after so long; None: only when something changes.
        retry: look again after the key's back-off, quietly (a conflict, a write that was skipped).
    """

    requeue_after_seconds: float | None = None
    retry: bool = False


class Severity(enum.Enum):
    """How an error of a reconcile is treated. Values are the ``result`` label of the metric."""

    EXPECTED = "conflict"  # normal life of a cluster: retried without a word
    TRANSIENT = "unavailable"  # the server is away or busy: one line, retried
    UNEXPECTED = "error"  # a defect, ours or the server's: stack trace, retried


@dataclass(frozen=True)
class Limits:
    """What a controller may use.

    Attributes:
        workers: how many keys are reconciled at once.
        deadline_seconds: after so long a reconcile is cancelled and retried.
    """

    workers: int = 16
    deadline_seconds: float = 120.0


@dataclass(frozen=True)
class Verdict:
    """The judgement of an error: how loud, and when to try again at the earliest."""

    severity: Severity
    retry_after_seconds: float = 0.0


class ControllerMetrics(Protocol):
    """What a controller reports. ``telemetry.metrics`` implements it."""

    def observe_reconcile(self, controller: str, result: str, seconds: float, waited_seconds: float) -> None:
        """One reconcile ended."""
        ...


class Controller(Generic[KeyT]):
    """Workers over one queue.

    Args:
        name: for logs and metrics: ``computecluster``.
        reconcile: brings the object behind a key one step closer to what it should be.
        judge: how to treat an error of ``reconcile``.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[KeyT], Awaitable[Result]],
        *,
        queue: WorkQueue[KeyT],
        backoff: KeyedBackoff[KeyT],
        judge: Callable[[Exception], Verdict],
        clock: Clock,
        metrics: ControllerMetrics,
        limits: Limits = Limits(),
    ) -> None:
        self.name = name
        self.queue = queue
        self._reconcile = reconcile
        self._backoff = backoff
        self._judge = judge
        self._clock = clock
        self._metrics = metrics
        self._limits = limits

    async def run(self) -> None:
        """Work until the queue is closed (reconciles in flight are finished) or the task is cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._limits.workers):
                group.create_task(self._work(), name=f"{self.name}-{number}")

    async def _work(self) -> None:
        while True:
            try:
                key, waited_seconds = await self.queue.get()
            except QueueClosedError:
                return
            try:
                await self._process(key, waited_seconds)
            finally:
                self.queue.done(key)

    async def _process(self, key: KeyT, waited_seconds: float) -> None:
        started = self._clock.monotonic()
        with under_way(self.name, key):
            try:
                async with asyncio.timeout(self._limits.deadline_seconds):
                    result = await self._reconcile(key)
            except Exception as error:  # noqa: BLE001  (judged below: no error may end a worker)
                outcome = self._after_error(key, error)
            else:
                outcome = self._after_result(key, result)
        seconds = self._clock.monotonic() - started
        self._metrics.observe_reconcile(self.name, outcome, seconds, waited_seconds)

    def _after_result(self, key: KeyT, result: Result) -> str:
        if result.retry:
            self.queue.add_after(key, self._backoff.next_delay(key))
            return "requeue"
        self._backoff.forget(key)
        if result.requeue_after_seconds is not None:
            self.queue.add_after(key, result.requeue_after_seconds)
            return "requeue_after"
        return "success"

    def _after_error(self, key: KeyT, error: Exception) -> str:
        verdict = self._judge(error)
        delay = max(self._backoff.next_delay(key), verdict.retry_after_seconds)
        self.queue.add_after(key, delay)
        if verdict.severity is Severity.TRANSIENT:
            logger.warning("%s %s: %s; trying again in %.1f s", self.name, key, error, delay)
        elif verdict.severity is Severity.UNEXPECTED:
            logger.error("%s %s failed; trying again in %.1f s", self.name, key, delay, exc_info=error)
        return verdict.severity.value
