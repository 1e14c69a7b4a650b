"""What may be submitted: every refusal of a submission, in words for who submitted it.

Invariant: a request that was checked has a submission id that is a safe name of a directory, and an entrypoint that
a shell can be given.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from shoal.core.jobs import JobSpec
from shoal.core.shapes import received
from shoal.resources import ResourceSet

if TYPE_CHECKING:
    from shoal.protocol import head_pb2

SUBMISSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_ENTRYPOINT_LENGTH: Final = 100_000
MOUNTS: Final = {
    "/var/run/shoal/source": "SHOAL_SOURCE_DIRECTORY",
    "/var/run/shoal/output-secret": "SHOAL_OUTPUT_SECRET_DIRECTORY",
}
"""Where the operator mounts a job's ConfigMap and Secret in the head pod, and the variables that say where that is."""


class SubmitError(ValueError):
    """A submission was refused.

    ``kind``: Invalid, Unreadable, TooLarge, NoSource, NotFetched, Full, Closing, Unwritten.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def check(submission_id: str, entrypoint: str) -> None:
    """Raises SubmitError (Invalid)."""
    if not SUBMISSION_ID.fullmatch(submission_id):
        raise SubmitError(
            "Invalid",
            f"submission id {submission_id[:200]!r} must be 1 to 128 letters, digits, '.', '_' or '-', "
            "and begin with a letter or digit",
        )
    if not entrypoint.strip():
        raise SubmitError("Invalid", "the job has no entrypoint: give a shell command, such as `python main.py`")
    if len(entrypoint) > MAX_ENTRYPOINT_LENGTH or "\0" in entrypoint:
        raise SubmitError("Invalid", f"the entrypoint must be at most {MAX_ENTRYPOINT_LENGTH} characters, without NUL")


def driver_need(request: head_pb2.SubmitJobRequest) -> ResourceSet:
    """What the driver itself needs; nothing: it runs on the head. Raises SubmitError (Invalid)."""
    try:
        return received("resources", request.resources.amounts, may_be_empty=True)
    except ValueError as error:
        raise SubmitError("Invalid", str(error)) from error


def specification(
    request: head_pb2.SubmitJobRequest, submission_id: str, job_id: str, directory: str, package: str
) -> JobSpec:
    """What is to be run.

    Args:
        request: was checked.
        submission_id: the request's, or the one that was made for it.
        job_id: its runtime job id.
        directory: the working directory as this head sees it; empty: none.
        package: the hash of what is in it.
    """
    return JobSpec(
        submission_id=submission_id,
        job_id=job_id,
        entrypoint=request.entrypoint,
        working_directory=directory,
        run_in_place=request.run_in_place,
        environment=dict(request.environment),
        metadata=dict(request.metadata),
        package=package,
        resources=driver_need(request),
        output_url=request.output_url,
        output_secret_directory=as_seen_here(request.output_secret_directory),
    )


def as_seen_here(directory: str) -> str:
    """Processes without a mount namespace (``shoal local``) learn by environment where the mount really is."""
    return os.environ.get(MOUNTS[directory], directory) if directory in MOUNTS else directory
