"""Commands to heads: sent outside of any reconcile, once at a time each, with deadlines and back-off.

A plan repeats a command in every pass until the world shows its effect. This module makes that harmless: a
command that is under way, was answered a moment ago, or failed a moment ago is not sent again; when its pause
is over, the key is looked at again, and the plan decides anew.

Invariants: at most one call per cluster and command is under way, and at most ``PARALLEL_MAX`` calls altogether;
what became of a command is forgotten ``KEEP_SECONDS`` after it could be sent again, however long its cluster lives.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from shoal.protocol import head_pb2
from shoal_operator.control.backoff import BackoffPolicy
from shoal_operator.domain.names import Key
from shoal_operator.domain.plan import DrainNode, HeadCommand, StopJob, SubmitJob

logger = logging.getLogger(__name__)

PARALLEL_MAX: Final = 64
SETTLE_SECONDS: Final = 3.0
"""After an answer: time for its effect to show in a snapshot (the head sends one within 0.1 s)."""
DEADLINE_SECONDS: Final = {SubmitJob: 30.0, StopJob: 10.0, DrainNode: 10.0}
KEEP_SECONDS: Final = 600.0
"""A plan that still wants a failed command repeats it every few seconds, so by then nobody does."""
LEAST_GRACE_SECONDS: Final = 0.001
"""A grace of 0 would mean the head's default in the protocol."""
RETRY: Final = BackoffPolicy(base_seconds=0.2, cap_seconds=10.0)


@dataclass(frozen=True)
class CommandFailure:
    """A command that a head refused or did not answer.

    Attributes:
        key: the cluster.
        command: what was asked.
        message: why it failed, for people.
        is_final: the head refused the command itself: sending it again changes nothing.
        is_repeated: the same words as to the last try: it was told already.
        fetches_failed: how often running the head could not fetch the program of a submission.
    """

    key: Key
    command: HeadCommand
    message: str
    is_final: bool
    is_repeated: bool = False
    fetches_failed: int = 0


@dataclass
class _Progress:
    incarnation: str
    task: asyncio.Task[None] | None = None
    not_before: float = 0.0
    failures: int = 0
    last_failure: CommandFailure | None = None
    wake: asyncio.TimerHandle | None = None


class CommandRunner:
    """Sends commands in the background.

    Args:
        stub_of: the connection to a cluster's head; None while there is none.
        on_settled: called when a key should be looked at again.
        on_failed: called for every failure.
    """

    def __init__(
        self,
        stub_of: Callable[[Key], Any | None],
        *,
        on_settled: Callable[[Key], None],
        on_failed: Callable[[CommandFailure], None],
        rng: random.Random,
    ) -> None:
        self._stub_of = stub_of
        self._on_settled = on_settled
        self._on_failed = on_failed
        self._rng = rng
        self._slots = asyncio.Semaphore(PARALLEL_MAX)
        self._progress: dict[tuple[Key, str], _Progress] = {}

    def submit(self, key: Key, command: HeadCommand, incarnation: str) -> None:
        """Send the command soon, unless that was done a moment ago. Returns at once.

        Args:
            key: the cluster.
            command: what to send.
            incarnation: the head process that the plan was made for: a new one has heard nothing yet.
        """
        loop = asyncio.get_running_loop()
        identity = (key, command_identity(command))
        progress = self._progress.get(identity)
        if progress is not None and progress.task is not None:
            return
        if progress is None or progress.incarnation != incarnation:
            self._cancel_wake(progress)
            self._forget_old(key, loop.time())
            progress = self._progress[identity] = _Progress(incarnation, not_before=loop.time())
        if progress.not_before > loop.time():
            if progress.wake is None:
                progress.wake = loop.call_at(progress.not_before, self._on_pause_over, identity)
            return
        progress.task = loop.create_task(self._run(identity, progress, command), name=f"head command {identity[1]}")

    def failures(self, key: Key) -> tuple[CommandFailure, ...]:
        """What was not taken and has not been taken since, the newest first."""
        mine = [progress for (owner, _), progress in self._progress.items() if owner == key]
        mine.sort(key=lambda progress: progress.not_before, reverse=True)
        return tuple(progress.last_failure for progress in mine if progress.last_failure is not None)

    def forget(self, key: Key) -> None:
        """The cluster is gone: stop what is under way for it."""
        for identity in [identity for identity in self._progress if identity[0] == key]:
            progress = self._progress.pop(identity)
            self._cancel_wake(progress)
            if progress.task is not None:
                progress.task.cancel()

    async def close(self) -> None:
        """Stop everything."""
        tasks = [progress.task for progress in self._progress.values() if progress.task is not None]
        for key in {key for key, _ in self._progress}:
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_old(self, key: Key, now: float) -> None:
        for identity, progress in list(self._progress.items()):
            is_idle = progress.task is None and progress.wake is None
            if identity[0] == key and is_idle and now - progress.not_before > KEEP_SECONDS:
                del self._progress[identity]

    async def _run(self, identity: tuple[Key, str], progress: _Progress, command: HeadCommand) -> None:
        key = identity[0]
        try:
            async with self._slots:
                failure = await self._send(key, command)
        finally:
            progress.task = None
        now = asyncio.get_running_loop().time()
        if failure is None:
            progress.failures = 0
            progress.last_failure = None
            progress.not_before = now + SETTLE_SECONDS
        else:
            progress.not_before = now + RETRY.delay(progress.failures, self._rng)
            progress.failures += 1
            before = progress.last_failure
            if failure.fetches_failed and before is not None:
                failure = dataclasses.replace(failure, fetches_failed=before.fetches_failed + 1)
            progress.last_failure = failure
            is_repeated = before is not None and before.message == failure.message
            self._on_failed(dataclasses.replace(failure, is_repeated=is_repeated))
        self._on_settled(key)

    async def _send(self, key: Key, command: HeadCommand) -> CommandFailure | None:
        stub = self._stub_of(key)
        if stub is None:
            return CommandFailure(key, command, "there is no connection to the head", is_final=False)
        try:
            await call(stub, command)
        except grpc.aio.AioRpcError as error:
            is_final = error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
            message = f"{error.code().name}: {str(error.details())[:500]}"
            # The head says ABORTED of one thing only: a program that it could not fetch, for now.
            fetches_failed = 1 if error.code() is grpc.StatusCode.ABORTED else 0
            return CommandFailure(key, command, message, is_final, fetches_failed=fetches_failed)
        except grpc.aio.UsageError:
            return CommandFailure(key, command, "the connection to the head was closed", is_final=False)
        return None

    def _on_pause_over(self, identity: tuple[Key, str]) -> None:
        progress = self._progress.get(identity)
        if progress is not None:
            progress.wake = None
            self._on_settled(identity[0])

    @staticmethod
    def _cancel_wake(progress: _Progress | None) -> None:
        if progress is not None and progress.wake is not None:
            progress.wake.cancel()
            progress.wake = None


def command_identity(command: HeadCommand) -> str:
    """What makes two commands the same one."""
    match command:
        case SubmitJob():
            return f"submit {command.submission_id}"
        case StopJob():
            return f"stop {command.submission_id}"
        case DrainNode():
            return f"drain {command.node_id}"


async def call(stub: Any, command: HeadCommand) -> None:
    """One call with its deadline.

    Raises:
        grpc.aio.AioRpcError: the head refused or did not answer in time.
    """
    timeout = DEADLINE_SECONDS[type(command)]
    match command:
        case SubmitJob():
            await stub.SubmitJob(_submission(command), timeout=timeout)
        case StopJob():
            request = head_pb2.StopJobRequest(
                submission_id=command.submission_id,
                reason=command.reason,
                grace_seconds=max(LEAST_GRACE_SECONDS, command.grace_seconds),
            )
            await stub.StopJob(request, timeout=timeout)
        case DrainNode():
            drain = head_pb2.DrainNodeRequest(
                node_id=command.node_id,
                reason=command.reason,
                deadline_seconds=command.deadline_seconds,
                only_if_idle=command.only_if_idle,
            )
            reply = await stub.DrainNode(drain, timeout=timeout)
            if not reply.accepted:
                logger.info("the head keeps node of pod %s: %s", command.pod_name, reply.message)


def _submission(command: SubmitJob) -> head_pb2.SubmitJobRequest:
    return head_pb2.SubmitJobRequest(
        submission_id=command.submission_id,
        entrypoint=command.entrypoint,
        working_directory=command.working_directory,
        run_in_place=command.run_in_place,
        environment=dict(command.environment),
        metadata=dict(command.metadata),
        resources=head_pb2.Resources(amounts=dict(command.resources)),
        output_url=command.output_url,
        output_secret_directory=command.output_secret_directory,
    )
