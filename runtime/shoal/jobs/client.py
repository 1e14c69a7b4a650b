"""Submits jobs to a head over gRPC and reads what they say: what ``shoal job`` and ``shoal local`` use.

Invariant: every call has a deadline or is a stream that the head keeps alive; a failure comes as
``JobClientError`` with the head's own words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import grpc

from shoal.protocol import auth, head_pb2, head_pb2_grpc, reasons
from shoal.protocol.tls import Certificates, explain_unavailable
from shoal.resources import ResourceSet

CALL_SECONDS: Final = 30.0
TERMINAL_STATES: Final = frozenset(
    {head_pb2.JOB_STATE_SUCCEEDED, head_pb2.JOB_STATE_FAILED, head_pb2.JOB_STATE_STOPPED}
)


class JobClientError(Exception):
    """A call to the head failed. ``code`` is gRPC's name of it, such as ``UNAUTHENTICATED``."""

    def __init__(self, address: str, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})" if address in message else f"head {address}: {message} ({code})")
        self.address, self.code, self.message = address, code, message


class JobClient:
    """A connection to a head.

    Example:
        >>> with JobClient("127.0.0.1:7380", token) as client:  # doctest: +SKIP
        ...     job = client.submit("python main.py", working_directory="/src")
        ...     for data in client.read_output(job.submission_id, follow=True):
        ...         sys.stdout.buffer.write(data)

    Args:
        address: ``host:port`` of the head's control port.
        token: the cluster's token.
        certificates: of a cluster with TLS.
    """

    def __init__(self, address: str, token: bytes, certificates: Certificates | None = None) -> None:
        self._address = address
        self._with_tls = certificates is not None
        self._channel = auth.channel(address, token, certificates)
        self._head: Any = head_pb2_grpc.HeadStub(self._channel)

    def __enter__(self) -> JobClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; streams end with an error."""
        self._channel.close()

    def submit(
        self,
        entrypoint: str,
        *,
        submission_id: str = "",
        working_directory: str = "",
        run_in_place: bool = False,
        environment: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
        output_url: str = "",
    ) -> head_pb2.JobSnapshot:
        """Submit a job; the same submission id again returns the job that is there.

        Args:
            entrypoint: a shell command line.
            submission_id: chosen by the head when empty.
            working_directory: a directory that the head can read, or the URI of a zip or tar archive.
            run_in_place: run in that directory itself, not in a copy.
            environment: added to the driver's environment.
            metadata: kept with the job.
            resources: what the driver itself needs, in units: it then runs on a node that has it.
            output_url: where the whole output is saved at the end.
        """
        request = head_pb2.SubmitJobRequest(
            submission_id=submission_id,
            entrypoint=entrypoint,
            working_directory=working_directory,
            run_in_place=run_in_place,
            environment=environment or {},
            metadata=metadata or {},
            resources=head_pb2.Resources(amounts=dict(ResourceSet.from_units(resources or {}))),
            output_url=output_url,
        )
        reply: head_pb2.SubmitJobReply = self._call("SubmitJob", request, CALL_SECONDS * 4)
        return reply.job

    def list(self) -> list[head_pb2.JobSnapshot]:
        """All jobs that the head remembers, oldest first."""
        return list(self._call("ListJobs", head_pb2.ListJobsRequest()).jobs)

    def get(self, submission_id: str) -> head_pb2.JobSnapshot | None:
        """One job, or None."""
        return next((job for job in self.list() if job.submission_id == submission_id), None)

    def stop(self, submission_id: str, reason: str = reasons.STOPPED_BY_REQUEST, grace_seconds: float = 0.0) -> bool:
        """End a job; False when the head knows no such job. A grace of 0 seconds means the head's default."""
        request = head_pb2.StopJobRequest(submission_id=submission_id, reason=reason, grace_seconds=grace_seconds)
        return bool(self._call("StopJob", request).found)

    def read_output(self, submission_id: str, follow: bool = False, offset: int = 0) -> Iterator[bytes]:
        """What the driver wrote, from byte ``offset``; with ``follow`` until the job has ended."""
        request = head_pb2.ReadJobOutputRequest(submission_id=submission_id, offset=offset, follow=follow)
        try:
            for part in self._head.ReadJobOutput(request, timeout=None if follow else CALL_SECONDS):
                yield part.data
        except grpc.RpcError as error:
            raise self._error(error) from error

    def snapshot(self) -> head_pb2.HeadSnapshot:
        """The whole cluster's state now."""
        return next(self.watch(CALL_SECONDS))

    def watch(self, timeout_seconds: float | None = None) -> Iterator[head_pb2.HeadSnapshot]:
        """Every change of the cluster's state, coalesced by the head."""
        stream = self._head.Watch(head_pb2.WatchRequest(client="cli"), timeout=timeout_seconds)
        try:
            yield from stream
        except grpc.RpcError as error:
            raise self._error(error) from error
        finally:
            stream.cancel()

    def decisions(self) -> Sequence[head_pb2.Decision]:
        """What the operator decided about the cluster's workers, oldest first; nothing from a head without a log."""
        try:
            return tuple(self._head.ListDecisions(head_pb2.ListDecisionsRequest(), timeout=CALL_SECONDS).decisions)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return ()
            raise self._error(error) from error

    def wait(self, submission_id: str, timeout_seconds: float) -> head_pb2.JobSnapshot:
        """Wait for a job's end. Raises TimeoutError, or JobClientError (NOT_FOUND)."""
        deadline = time.monotonic() + timeout_seconds
        try:
            for snapshot in self.watch(timeout_seconds):
                job = next((job for job in snapshot.jobs if job.submission_id == submission_id), None)
                if job is None:
                    raise JobClientError(self._address, "NOT_FOUND", f"there is no job {submission_id}")
                if job.state in TERMINAL_STATES:
                    return job
        except JobClientError as error:
            if error.code != "DEADLINE_EXCEEDED":
                raise
        if time.monotonic() < deadline:
            raise JobClientError(self._address, "UNAVAILABLE", "the head ended the stream")
        raise TimeoutError(f"job {submission_id} did not end within {timeout_seconds:g} s")

    def _call(self, method: str, request: Any, timeout_seconds: float = CALL_SECONDS) -> Any:
        try:
            return getattr(self._head, method)(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _error(self, error: Any) -> JobClientError:
        words = error.details() or "no details"
        if error.code() is grpc.StatusCode.UNAVAILABLE and not words.startswith("the head "):  # gRPC's own words
            explained = explain_unavailable(self._address, words, with_tls=self._with_tls)
            words = explained if explained != words else f"the head at {self._address} does not answer: {words}"
        return JobClientError(self._address, error.code().name, words)
