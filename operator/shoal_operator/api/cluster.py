"""ComputeCluster: a head pod and groups of worker pods that grow from waiting work.

Invariant: ``spec`` belongs to people (the operator never writes it); ``status`` can be rebuilt by looking.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from shoal_operator import __version__
from shoal_operator.api.autoscaling import LIMIT_RULE, AutoscalingSpec, DemandList, GroupBlockage
from shoal_operator.api.lifecycle import (
    HOSTS_MAX,
    HeadService,
    Hosts,
    IdlePolicy,
    Seconds,
    StateSpec,
    UpdateStrategy,
)
from shoal_operator.api.meta import (
    API_VERSION,
    MANAGED_BY_SHOAL,
    CamelReason,
    ConditionList,
    DnsLabel,
    LabelMap,
    Message,
    Model,
    ObjectMeta,
    PodTemplate,
    ResourceMap,
    Timestamp,
    with_rules,
)
from shoal_operator.api.security import DisruptionPolicy, SecuritySpec
from shoal_operator.api.tls import MODE_RULE

DEFAULT_IMAGE: Final = f"shoal/runtime:{__version__}"
REPLICAS_MAX: Final = 10_000
WORKER_GROUPS_MAX: Final = 64

Replicas = Annotated[int, Field(ge=0, le=REPLICAS_MAX)]
Image = Annotated[str, Field(min_length=1, max_length=512)]
GroupName = Annotated[str, Field(min_length=1, max_length=30, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ManagedBy = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        json_schema_extra={
            "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "spec.managedBy must not change after creation"}
            ]
        },
    ),
]


class HeadSpec(Model):
    """The one head pod: it keeps the tables of the cluster and, by default, runs no tasks."""

    resources: ResourceMap = {}
    """Logical resources of the head for tasks and actors. Default: CPU 0, so that work goes to workers."""
    labels: LabelMap = {}
    """Labels of the head's node, for label selectors of tasks and actors, and of its pod."""
    service: HeadService = HeadService()
    """The Service in front of the head."""
    template: PodTemplate | None = None
    """Pod template of the head. Changes for the runtime go into a container named `shoal`."""


class WorkerGroup(Model):
    """Workers that are all alike; the autoscaler chooses how many there are."""

    model_config = with_rules(
        (
            "self.minReplicas <= self.maxReplicas",
            "spec.workerGroups[].minReplicas must be less than or equal to maxReplicas",
        ),
        (
            "self.name != 'head'",
            "spec.workerGroups[].name must not be `head`, the name of the head's own group",
        ),
    )

    name: GroupName
    """Name of the group, part of its pods' names. `head` is taken."""
    replicas: Replicas | None = None
    """Number of workers while autoscaling is off. Default: minReplicas."""
    min_replicas: Replicas = 0
    """Workers that stay even when nothing waits."""
    max_replicas: Replicas = 10
    """Most workers that the autoscaler may start in this group (replicas, where those have several hosts)."""
    hosts_per_replica: Hosts = 1
    """Pods that one replica is made of, for programs that need several hosts at once (a TPU slice, a training
    run). They are made, counted and removed together; replicas, minReplicas and maxReplicas count replicas."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Groups of higher priority are filled first; equal ones by least waste."""
    resources: ResourceMap = {}
    """Logical resources of one worker, for example {CPU: 2, GPU: 1, memory: 4Gi}.

    Default: the requests of the template's container `shoal` (cpu becomes CPU; devices named *gpu and MIG slices GPU,
    google.com/tpu TPU, aws.amazon.com/neuroncore neuron_cores), else CPU 1. Devices of resource claims: name them here.
    """
    labels: LabelMap = {}
    """Labels of the group's nodes, for label selectors of tasks and actors, and of their pods."""
    suspend: bool = False
    """True drains and removes the group's workers and starts no new ones; other groups go on."""
    idle_timeout_seconds: Seconds | None = None
    """Seconds after which an idle worker is drained and removed. Default: autoscaling.idleTimeoutSeconds."""
    template: PodTemplate | None = None
    """Pod template of the workers. Put changes for the runtime into a container named `shoal`."""


WorkerGroups = Annotated[
    tuple[WorkerGroup, ...],
    Field(
        max_length=WORKER_GROUPS_MAX,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]


class ComputeClusterSpec(Model):
    """What the cluster shall be."""

    engine: Literal["Shoal"] = "Shoal"
    """The runtime in the pods."""
    image: Image = DEFAULT_IMAGE
    """Container image of head and workers, unless a template's `shoal` container names one."""
    head: HeadSpec = HeadSpec()
    """The head pod."""
    worker_groups: WorkerGroups = (WorkerGroup(name="workers"),)
    """Groups of worker pods. Default: one group `workers` of 0 to 10 workers with one CPU each."""
    autoscaling: AutoscalingSpec = AutoscalingSpec()
    """How worker groups follow the work that waits."""
    update_strategy: UpdateStrategy = UpdateStrategy()
    """How pods follow a change of what they are made from."""
    state: StateSpec = StateSpec()
    """Where the head keeps its tables."""
    job_concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Most ComputeJobs with a clusterRef to this cluster that run at once; others wait. Default: no limit."""
    security: SecuritySpec = SecuritySpec()
    """What protects the cluster's pods from others."""
    disruption_policy: DisruptionPolicy = "WhileBusy"
    """When the head is kept from evictions (node drains): while a job waits or runs, always, or never."""
    idle_policy: IdlePolicy | None = None
    """What becomes of the cluster when nobody uses it. Default: nothing."""
    suspend: bool = False
    """True deletes all pods of the cluster and keeps its objects; false brings the pods back."""
    managed_by: ManagedBy = MANAGED_BY_SHOAL
    """The controller that runs this object. Anything but the default makes the operator leave it alone."""


Count = Annotated[int, Field(ge=0, le=WORKER_GROUPS_MAX * REPLICAS_MAX * HOSTS_MAX)]


class WorkerGroupStatus(Model):
    """Counts of one group."""

    name: GroupName
    """Name of the group."""
    desired: Count = 0
    """Workers that the group shall have now."""
    ready: Count = 0
    """Workers that joined the cluster and take work."""
    pending: Count = 0
    """Workers that were asked for and have not joined yet."""
    draining: Count = 0
    """Workers that finish what they hold before they go."""
    outdated: Count = 0
    """Workers made from an earlier template than the present one."""
    blocked: GroupBlockage | None = None
    """Why the autoscaler asks for no workers of the group now; absent while it may."""


class WorkersStatus(Model):
    """Counts over all groups."""

    desired: Count = 0
    """Workers that the cluster shall have now."""
    ready: Count = 0
    """Workers that joined the cluster and take work."""
    pending: Count = 0
    """Workers that were asked for and have not joined yet."""
    draining: Count = 0
    """Workers that finish what they hold before they go."""


class HeadStatus(Model):
    """Where the head is."""

    pod_name: DnsLabel | None = None
    """Name of the head pod."""
    service_name: DnsLabel | None = None
    """Name of the Service in front of the head."""
    incarnation: Annotated[str, Field(max_length=128)] | None = None
    """Identity of the head process; a new one means that the head started anew."""
    failures: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Head pods in a row that have soon ended; the next one waits the longer, the more there were."""


GroupStatuses = Annotated[
    tuple[WorkerGroupStatus, ...],
    Field(
        max_length=WORKER_GROUPS_MAX,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]


class ComputeClusterStatus(Model):
    """What the cluster is, as the operator last saw it."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation this status speaks about."""
    conditions: ConditionList = ()
    """Ready sums up; HeadReady, HeadReachable, WorkersReady, DemandSatisfied, UpToDate and CertificatesReady say what
    is missing, Progressing what goes on, InvalidSpec what to correct, Suspended whether all pods are gone, Idle until
    when spec.idlePolicy waits."""
    workers: WorkersStatus = WorkersStatus()
    """Counts over all groups."""
    worker_groups: GroupStatuses = ()
    """Counts of each group."""
    head: HeadStatus = HeadStatus()
    """Where the head is."""
    demand: DemandList | None = None
    """Waiting work that gets no worker, the shapes that were looked at first; absent while there is none."""
    idle_since: Timestamp | None = None
    """Since when nobody uses the cluster, while spec.idlePolicy counts; absent while somebody does."""
    reason: CamelReason | None = None
    """The first thing that holds the cluster up, in one word; absent when nothing does."""
    message: Message | None = None
    """The same for people."""


class ComputeCluster(Model):
    """A head and worker pods that run tasks, actors and jobs; workers come and go with the waiting work."""

    model_config = with_rules(MODE_RULE, LIMIT_RULE)

    api_version: str = API_VERSION
    kind: Literal["ComputeCluster"] = "ComputeCluster"
    metadata: ObjectMeta
    spec: ComputeClusterSpec = ComputeClusterSpec()
    status: ComputeClusterStatus = ComputeClusterStatus()

    @classmethod
    def parse(cls, document: dict[str, Any]) -> ComputeCluster:
        """Read an object from the API server.

        Raises:
            shoal_operator.api.problems.InvalidObjectError: with one Problem per fault and its path.
        """
        from shoal_operator.api.problems import parse_as

        return parse_as(cls, document)
