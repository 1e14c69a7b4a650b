"""ComputeJob: one program that runs to its end on a cluster of its own (or on one that is there).

Invariant: the result of a job comes only from the head's job table; ``status`` keeps what survives the head.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from shoal_operator.api.cluster import ComputeClusterSpec, ManagedBy, Seconds
from shoal_operator.api.meta import (
    API_VERSION,
    MANAGED_BY_SHOAL,
    CamelReason,
    ConditionList,
    Message,
    Model,
    ObjectMeta,
    Timestamp,
    with_rules,
)

DirectoryPath = Annotated[str, Field(min_length=1, max_length=4096)]
EnvironmentName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
EnvironmentValue = Annotated[str, Field(max_length=32_768)]
OutputTail = Annotated[str, Field(max_length=4096)]
TaskCount = Annotated[int, Field(ge=0)]


class LocalObjectReference(Model):
    """An object of the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the object."""


class JobSource(Model):
    """Where the program's files come from. Exactly one member must be given."""

    model_config = with_rules(
        (
            "[has(self.directory), has(self.configMap), has(self.path)].exists_one(given, given)",
            "spec.source must have exactly one of `directory`, `configMap` and `path`",
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


class EnvironmentVariable(Model):
    """One environment variable of the program."""

    name: EnvironmentName
    """Name of the variable."""
    value: EnvironmentValue = ""
    """Its value."""


class CleanupRule(Model):
    """What happens to the job's own cluster after one outcome."""

    outcome: Literal["Complete", "Failed"]
    """The outcome that this rule is for."""
    action: Literal["DeleteCluster", "KeepCluster"] = "DeleteCluster"
    """KeepCluster leaves the cluster running, for a look inside; it goes with the job object."""
    after_seconds: Seconds = 0
    """Seconds between the end of the job and the action."""


class ComputeJobSpec(Model):
    """What shall run, where, and for how long at most."""

    model_config = with_rules(
        (
            "!(has(self.clusterSpec) && has(self.clusterRef))",
            "spec must not have both `clusterSpec` and `clusterRef`",
        ),
        (
            "self.entrypoint == oldSelf.entrypoint",
            "spec.entrypoint must not change; delete the job and create it again",
        ),
    )

    entrypoint: Annotated[str, Field(min_length=1, max_length=8192)]
    """The command line that starts the program, for example `python main.py`; a shell runs it."""
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
    start_deadline_seconds: Seconds | None = None
    """Seconds from the job's creation until its program must have started; else the job fails."""
    active_deadline_seconds: Seconds | None = None
    """Seconds that the program may run, all attempts together; then it is stopped and the job fails."""
    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 0
    """How often the program is started again after it failed or its head was lost."""
    ttl_seconds_after_finished: Seconds | None = None
    """Seconds after its end until the job object itself is deleted. Default: it stays."""
    cleanup_policy: Annotated[
        tuple[CleanupRule, ...],
        Field(
            max_length=2,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["outcome"]},
        ),
    ] = ()
    """What happens to the job's own cluster at the end. Default: it is deleted at once."""


class TaskCounts(Model):
    """Tasks of the program so far."""

    submitted: TaskCount = 0
    """Tasks that the program has asked for."""
    finished: TaskCount = 0
    """Tasks that returned."""
    failed: TaskCount = 0
    """Tasks that raised or were lost."""


class ComputeJobStatus(Model):
    """Where the job stands, as the operator last saw it."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation this status speaks about."""
    conditions: ConditionList = ()
    """Running, Complete, Failed and Suspended; Complete and Failed are final."""
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
    start_time: Timestamp | None = None
    """When the program first started."""
    completion_time: Timestamp | None = None
    """When the job became Complete or Failed."""
    tasks: TaskCounts | None = None
    """Tasks of the program so far."""
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
