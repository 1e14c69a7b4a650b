"""What a head is told to run for an attempt.

Invariant: a function of the job's spec and the attempt's number alone, so that a submission that is repeated is the
same one.
"""

from __future__ import annotations

from typing import Final

from shoal_operator.api.job import ComputeJob
from shoal_operator.domain.job.progress import Progress, submission_id
from shoal_operator.domain.labels import JOB
from shoal_operator.domain.plan import SubmitJob
from shoal_operator.domain.quantities import resource_set
from shoal_operator.engines import shoal

_PLACES: Final = ("name", "namespace", "uid", "attempt")


def submit_command(job: ComputeJob, progress: Progress) -> SubmitJob:
    """The submission of the current attempt."""
    directory, in_place = _working_directory(job)
    spec, output = job.spec, job.spec.output
    has_secret = output is not None and output.secret_ref is not None
    return SubmitJob(
        cluster=spec.cluster_ref.name if spec.cluster_ref else job.metadata.name,
        submission_id=submission_id(job, progress.attempt),
        entrypoint=spec.entrypoint,
        working_directory=directory,
        run_in_place=in_place,
        environment={variable.name: variable.value for variable in spec.env},
        metadata={**spec.metadata, JOB: f"{job.metadata.namespace}/{job.metadata.name}"},
        resources=resource_set(spec.entrypoint_resources),
        output_url=output_url(job, progress.attempt),
        output_secret_directory=shoal.OUTPUT_SECRET_DIRECTORY if has_secret else "",
    )


def output_url(job: ComputeJob, attempt: int) -> str:
    """``spec.output.url`` with its places filled in; empty without an output.

    Example: ``s3://logs/{namespace}/{name}-{attempt}.log`` becomes ``s3://logs/default/census-1.log``.
    """
    if job.spec.output is None:
        return ""
    metadata = job.metadata
    values = (metadata.name, metadata.namespace, metadata.uid, str(attempt))
    url = job.spec.output.url
    for place, value in zip(_PLACES, values, strict=True):
        url = url.replace(f"{{{place}}}", value)
    return url


def _working_directory(job: ComputeJob) -> tuple[str, bool]:
    source = job.spec.source
    if source is None:
        return "", False
    if source.directory is not None:
        return source.directory, True
    if source.uri is not None:
        return source.uri, False
    if source.path is not None:
        return source.path, False
    return shoal.SOURCE_DIRECTORY, False
