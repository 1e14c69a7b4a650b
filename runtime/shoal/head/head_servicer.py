"""The ``Head`` service: what the operator and the command line see of a cluster.

Invariant: a watcher gets the current snapshot at once, then one within ``COALESCE_SECONDS`` of any change
and at least one every ``HEARTBEAT_SECONDS``; nothing here ever waits while it holds the head's lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from shoal.head.decisions import DecisionLog
from shoal.head.service import HeadService
from shoal.jobs.submission import SubmitError
from shoal.protocol import head_pb2, head_pb2_grpc

COALESCE_SECONDS: Final = 0.1
HEARTBEAT_SECONDS = 8.0
MAX_STREAMS: Final = 200
READ_BYTES: Final = 256 * 1024
_SUBMIT_STATUS: Final = {
    "Invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "Unreadable": grpc.StatusCode.FAILED_PRECONDITION,
    "NoSource": grpc.StatusCode.FAILED_PRECONDITION,
    "NotFetched": grpc.StatusCode.ABORTED,
    "TooLarge": grpc.StatusCode.FAILED_PRECONDITION,
    "Full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "Closing": grpc.StatusCode.UNAVAILABLE,
    "Unwritten": grpc.StatusCode.UNAVAILABLE,
}
_ENDED: Final = frozenset({head_pb2.JOB_STATE_SUCCEEDED, head_pb2.JOB_STATE_FAILED, head_pb2.JOB_STATE_STOPPED})


class _Changes:
    """Lets a coroutine wait for changes of the head."""

    def __init__(self, service: HeadService) -> None:
        self._news, self._urgent = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._end = service.watch(self._changed)

    def _changed(self, urgent: bool) -> None:
        try:
            self._loop.call_soon_threadsafe(self.wake if urgent else self._news.set)
        except RuntimeError:
            return  # the loop is closed: so is every stream that could wait here

    def wake(self) -> None:
        """End all waiting."""
        self._news.set()
        self._urgent.set()

    def clear(self) -> None:
        """Forget changes so far: what is read from now on has them."""
        self._news.clear()
        self._urgent.clear()

    async def wait(self, timeout_seconds: float) -> None:
        """Return at the next change, or when the time is over."""
        await _wait(self._news, timeout_seconds)

    async def settle(self, timeout_seconds: float) -> None:
        """Let further changes come for a while; an urgent one ends that."""
        await _wait(self._urgent, timeout_seconds)

    def close(self) -> None:
        """Stop listening."""
        self._end()


async def _wait(event: asyncio.Event, timeout_seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_seconds)
    except TimeoutError:
        return


class HeadServicer(head_pb2_grpc.HeadServicer):
    """Runs in the control plane's loop."""

    def __init__(self, service: HeadService) -> None:
        self._service = service
        self._decisions = DecisionLog()
        self._streams: set[_Changes] = set()
        self._closed = False

    def close(self) -> None:
        """Let every stream send its last and end, so that the server can stop."""
        self._closed = True
        for changes in self._streams:
            changes.wake()

    async def Watch(self, request: head_pb2.WatchRequest, context: Any) -> AsyncIterator[head_pb2.HeadSnapshot]:
        """See head.proto."""
        changes = await self._admit(context)
        try:
            while True:
                last = self._closed
                changes.clear()
                sent_at = time.monotonic()
                yield self._service.snapshot()
                if last:
                    return
                if not self._closed:
                    await changes.wait(HEARTBEAT_SECONDS)
                    await changes.settle(sent_at + COALESCE_SECONDS - time.monotonic())
        finally:
            self._release(changes)

    async def _admit(self, context: Any) -> _Changes:
        if len(self._streams) >= MAX_STREAMS:
            words = f"{MAX_STREAMS} streams are open already, the most a head serves"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, words)
        changes = _Changes(self._service)
        self._streams.add(changes)
        return changes

    def _release(self, changes: _Changes) -> None:
        self._streams.discard(changes)
        changes.close()

    async def SubmitJob(self, request: head_pb2.SubmitJobRequest, context: Any) -> Any:
        """See head.proto."""
        jobs = self._service.jobs
        try:
            job, created = await asyncio.to_thread(jobs.submit, request)
        except SubmitError as error:
            await context.abort(_SUBMIT_STATUS[error.kind], str(error))
            raise
        return head_pb2.SubmitJobReply(job=job, created=created)

    async def StopJob(self, request: head_pb2.StopJobRequest, context: Any) -> Any:
        """See head.proto."""
        found = self._service.jobs.stop(request.submission_id, request.reason, request.grace_seconds)
        return head_pb2.StopJobReply(found=found)

    async def ListJobs(self, request: head_pb2.ListJobsRequest, context: Any) -> Any:
        """See head.proto."""
        return head_pb2.ListJobsReply(jobs=self._service.jobs.snapshots())

    async def ReadJobOutput(
        self, request: head_pb2.ReadJobOutputRequest, context: Any
    ) -> AsyncIterator[head_pb2.JobOutput]:
        """See head.proto."""
        jobs = self._service.jobs
        if jobs.snapshot(request.submission_id) is None:
            words = f"there is no job {request.submission_id[:200]}"
            await context.abort(grpc.StatusCode.NOT_FOUND, words)
        changes, offset = await self._admit(context), max(0, request.offset)
        path = jobs.log_path(request.submission_id)
        try:
            while True:
                changes.clear()
                job = jobs.snapshot(request.submission_id)
                ended = job is None or job.state in _ENDED  # looked up before the read: nothing is missed
                while data := _read(path, offset):
                    yield head_pb2.JobOutput(offset=offset, data=data)
                    offset += len(data)
                if ended or not request.follow:
                    return
                if self._closed:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the head is shutting down")
                await changes.wait(HEARTBEAT_SECONDS)
        finally:
            self._release(changes)

    async def DrainNode(self, request: head_pb2.DrainNodeRequest, context: Any) -> Any:
        """See head.proto."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[bool, str]] = loop.create_future()

        def done(accepted: bool, message: str) -> None:
            loop.call_soon_threadsafe(_resolve, answer, (accepted, message))

        self._service.drains.request(request, done)
        accepted, message = await answer
        return head_pb2.DrainNodeReply(accepted=accepted, message=message)

    async def RecordDecisions(self, request: head_pb2.RecordDecisionsRequest, context: Any) -> Any:
        """See head.proto."""
        self._decisions.record(request.decisions)
        return head_pb2.RecordDecisionsReply()

    async def ListDecisions(self, request: head_pb2.ListDecisionsRequest, context: Any) -> Any:
        """See head.proto."""
        return head_pb2.ListDecisionsReply(decisions=self._decisions.listed())


def _resolve(future: asyncio.Future[tuple[bool, str]], value: tuple[bool, str]) -> None:
    if not future.done():
        future.set_result(value)


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(READ_BYTES)
    except FileNotFoundError:
        return b""
