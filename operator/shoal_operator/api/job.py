"""ComputeJob: one program that runs to its end on a cluster of its own (or on one that is there).

Invariant: the result of a job comes only from the head's job table; ``status`` keeps what survives the head.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from shoal_operator.api.cluster import ComputeClusterSpec, ManagedBy
from shoal_operator.api.job_rules import CLEANUP_RULES, JOB_RULES
from shoal_operator.api.lifecycle import SECONDS_MAX, Seconds
from shoal_operator.api.meta import (
    API_VERSION,
    MANAGED_BY_SHOAL,
    CamelReason,
    ConditionList,
    Message,
    Model,
    ObjectMeta,
    ResourceMap,
    Timestamp,
    with_rules,
)

DirectoryPath = Annotated[str, Field(min_length=1, max_length=4096)]
EnvironmentName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
EnvironmentValue = Annotated[str, Field(max_length=32_768)]
OutputTail = Annotated[str, Field(max_length=4096)]
Url = Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^[a-z][a-z0-9+.-]*://[^\s]+$")]
SubmissionId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
CleanupAction = Literal["DeleteWorkers", "DeleteCluster", "DeleteJob", "KeepCluster"]
TaskCount = Annotated[int, Field(ge=0)]
Deadline = Annotated[int, Field(ge=1, le=SECONDS_MAX)]
GracePeriod = Annotated[int, Field(ge=0, le=86_400)]


class LocalObjectReference(Model):
    """An object of the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the object."""


class JobSource(Model):
    """Where the program's files come from. Exactly one member must be given."""

    model_config = with_rules(
        (
            "[has(self.directory), has(self.configMap), has(self.path), has(self.uri)].exists_one(given, given)",
            "spec.source must have exactly one of `directory`, `configMap`, `path` and `uri`",
        )
    )

    directory: DirectoryPath | None = None
    """A directory of this machine, for `shoal local run` only; the program runs in it.

    A relative path starts at the folder of the manifest.
    """
    config_map: LocalObjectReference | None = None
    """A ConfigMap whose keys are the files."""
    path: DirectoryPath | None = None
    """A directory in the image."""
    uri: Url | None = None
    """A zip or tar archive that the head fetches: `https://`, `file://`, or any scheme that fsspec knows there."""


class EnvironmentVariable(Model):
    """One environment variable of the program."""

    name: EnvironmentName
    """Name of the variable."""
    value: EnvironmentValue = ""
    """Its value."""


class CleanupRule(Model):
    """One thing that happens some time after one outcome."""

    outcome: Literal["Complete", "Failed"]
    """The outcome that this rule is for."""
    action: CleanupAction = "DeleteCluster"
    """DeleteWorkers leaves the head for a look inside, DeleteCluster removes the job's own cluster, DeleteJob the
    job object with all it owns. KeepCluster leaves the cluster running; it goes with the job object."""
    after_seconds: Seconds = 0
    """Seconds between the end of the job and the action."""


class RetryPolicy(Model):
    """How a failed attempt is repeated; `backoffLimit` says how often."""

    cluster: Literal["Same", "New"] = "Same"
    """Same runs the next attempt on the same cluster. New deletes the job's own cluster and makes it again."""


class JobOutput(Model):
    """Where the whole output of the program goes at its end."""

    url: Url
    """A file for fsspec, such as `s3://bucket/logs/{name}-{attempt}.log`; `{name}`, `{namespace}`, `{uid}` and
    `{attempt}` are replaced."""
    secret_ref: LocalObjectReference | None = None
    """A Secret whose keys are environment variables for the upload, such as AWS_ACCESS_KEY_ID."""


class ComputeJobSpec(Model):
    """What shall run, where, and for how long at most."""

    model_config = with_rules(*JOB_RULES)

    entrypoint: Annotated[str, Field(max_length=8192)] = ""
    """The command line that starts the program, for example `python main.py`; a shell runs it.

    Required, but with mode Interactive.
    """
    mode: Literal["Managed", "Interactive"] = "Managed"
    """Managed: the operator submits the program. Interactive: it makes the cluster and waits for `submissionId`."""
    submission_id: SubmissionId | None = None
    """With mode Interactive: the submission that you made yourself and that is to be this job, for example with
    `shoal job submit --submission-id`."""
    entrypoint_resources: ResourceMap = {}
    """Logical resources of the program itself, for example {CPU: 1}: it then runs on a worker that has them.

    Default: none, and the program runs on the head.
    """
    source: JobSource | None = None
    """Where the program's files come from. Default: the image alone."""
    env: Annotated[
        tuple[EnvironmentVariable, ...],
        Field(
            max_length=256,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Environment variables of the program."""
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=128)], Annotated[str, Field(max_length=1024)]],
        Field(max_length=32),
    ] = {}
    """Free text kept with the job in the cluster."""
    cluster_spec: ComputeClusterSpec | None = None
    """The cluster to make for this job. Default: one with all defaults. Not with clusterRef."""
    cluster_ref: LocalObjectReference | None = None
    """An existing ComputeCluster to run on; it is left as it is when the job ends."""
    suspend: bool = False
    """True stops the program and deletes the job's own cluster; false runs the program from its beginning."""
    managed_by: ManagedBy = MANAGED_BY_SHOAL
    """The controller that runs this object. Anything but the default makes the operator leave it alone."""
    start_deadline_seconds: Deadline | None = None
    """Seconds from the job's creation until its program must have started; else the job fails."""
    active_deadline_seconds: Deadline | None = None
    """Seconds that the program may run, all attempts together; then it is stopped and the job fails."""
    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 0
    """How often the program is started again after it failed or its head was lost.

    Before each the job waits, from 10 seconds up to 6 minutes.
    """
    retry_policy: RetryPolicy = RetryPolicy()
    """How a failed attempt is repeated."""
    grace_period_seconds: GracePeriod = 30
    """Seconds between SIGTERM and SIGKILL when the program is stopped (suspend, deadline, delete)."""
    output: JobOutput | None = None
    """Where the whole output of the program goes at its end. Default: the head's log and `status.outputTail`."""
    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after its end until the job object itself is deleted. Default: it stays."""
    cleanup_policy: Annotated[
        tuple[CleanupRule, ...],
        Field(
            max_length=8,
            json_schema_extra={"x-kubernetes-validations": [{"rule": r, "message": m} for r, m in CLEANUP_RULES]},
        ),
    ] = ()
    """What happens at the end, and when. The job's own cluster is deleted at once unless a rule for the outcome
    says something else about it (DeleteWorkers, DeleteCluster, KeepCluster)."""


class TaskCounts(Model):
    """Tasks of the program so far."""

    submitted: TaskCount = 0
    """Tasks that the program has asked for."""
    finished: TaskCount = 0
    """Tasks that returned."""
    failed: TaskCount = 0
    """Tasks that raised or were lost."""


class UnmetDemand(Model):
    """Work of the program that waits for resources."""

    shape: Annotated[str, Field(max_length=512)]
    """What one unit of it asks for."""
    count: TaskCount = 0
    """How many units wait."""
    kind: Annotated[str, Field(max_length=64)] = ""
    """What asks: task, actor or job."""


class PodExit(Model):
    """A pod of the job's cluster that did not do well."""

    name: Annotated[str, Field(max_length=253)]
    """Name of the pod."""
    reason: Annotated[str, Field(max_length=128)]
    """Kubernetes' word for it: OOMKilled, Evicted, ErrImagePull, ..."""
    message: Message = ""
    """Kubernetes' sentence for it."""


class JobFailure(Model):
    """What is known about the end of a job that failed; it stays when the cluster has gone."""

    reason: Annotated[str, Field(max_length=128)] | None = None
    """Why the attempt failed, in one word, also while the next one waits or runs."""
    exit_code: Annotated[int, Field(ge=-255, le=255)] | None = None
    """Exit code of the program, as a shell has it; absent when it has none."""
    signal: Annotated[int, Field(ge=1, le=64)] | None = None
    """The signal that ended the program."""
    demand_verdict: Message | None = None
    """Why work of the program never ran, in the autoscaler's words."""
    unmet_demand: Annotated[tuple[UnmetDemand, ...], Field(max_length=5)] = ()
    """Work of the program that still waited."""
    pods: Annotated[tuple[PodExit, ...], Field(max_length=5)] = ()
    """Pods of the cluster that ended badly or could not start."""


class ComputeJobStatus(Model):
    """Where the job stands, as the operator last saw it."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation this status speaks about."""
    conditions: ConditionList = ()
    """Running, HeadReachable, Stopping and Suspended say where the job stands, InvalidSpec what to correct; Complete
    and Failed are final; OutputSaved says whether the whole output is at `spec.output.url`."""
    summary: CamelReason | None = None
    """One word computed from the conditions, for `kubectl get`; programs read the conditions."""
    reason: CamelReason | None = None
    """Why the job waits or failed, in one word; absent when nothing holds it up."""
    message: Message | None = None
    """The same for people."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """Number of the current attempt, from 1; part of the submission id."""
    failed_attempts: Annotated[int, Field(ge=0)] = 0
    """Attempts that count against backoffLimit."""
    submission_id: Annotated[str, Field(max_length=128)] | None = None
    """Id of the current attempt in the head's job table."""
    head_incarnation: Annotated[str, Field(max_length=128)] | None = None
    """The head process that took the current attempt."""
    cluster_name: Annotated[str, Field(max_length=253)] | None = None
    """The ComputeCluster that the job runs on."""
    head_address: Annotated[str, Field(max_length=512)] | None = None
    """Where the head listens, while an interactive job waits for `spec.submissionId`."""
    discarded_cluster_uid: Annotated[str, Field(max_length=128)] | None = None
    """The cluster of an earlier attempt that goes before the next one begins (retryPolicy New)."""
    last_failure_time: Timestamp | None = None
    """When the last attempt failed; the delay of the next one counts from here."""
    start_time: Timestamp | None = None
    """When the program first started."""
    completion_time: Timestamp | None = None
    """When the job became Complete or Failed."""
    tasks: TaskCounts | None = None
    """Tasks of the program so far."""
    failure: JobFailure | None = None
    """What is known about the end of the last attempt that failed."""
    output_tail: OutputTail | None = None
    """The last lines of the program's output, at most 4 KiB."""
    progress_time: Timestamp | None = None
    """When tasks and outputTail were last brought up to date."""


class ComputeJob(Model):
    """A program that runs to its end; its cluster is made for it and grows with its tasks."""

    api_version: str = API_VERSION
    kind: Literal["ComputeJob"] = "ComputeJob"
    metadata: ObjectMeta
    spec: ComputeJobSpec
    status: ComputeJobStatus = ComputeJobStatus()

    @classmethod
    def parse(cls, document: dict[str, Any]) -> ComputeJob:
        """Read an object from the API server.

        Raises:
            shoal_operator.api.problems.InvalidObjectError: with one Problem per fault and its path.
        """
        from shoal_operator.api.problems import parse_as

        return parse_as(cls, document)
