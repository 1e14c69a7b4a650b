"""Parts of a ComputeCluster that say how it lives: updates of its pods, the head's memory, the head's address.

Invariant: every default keeps running pods: what takes pods away, or keeps data, is asked for by a name.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from shoal_operator.api.meta import DnsSubdomain, LabelMap, Model, Quantity, with_rules

SECONDS_MAX: Final = 31_536_000
SURGE_MAX: Final = 10_000
HOSTS_MAX: Final = 1024

Seconds = Annotated[int, Field(ge=0, le=SECONDS_MAX)]


def _count_or_percent(value: Any) -> Any:
    text = value.removesuffix("%") if isinstance(value, str) and value.endswith("%") else ""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= SURGE_MAX:
        return value
    if text.isascii() and text.isdigit() and int(text) <= 100 and text == str(int(text)):
        return value
    raise ValueError(f'must be a whole number from 0 to {SURGE_MAX} or a percentage from "0%" to "100%", is {value!r}')


CountOrPercent = Annotated[
    int | str,
    BeforeValidator(_count_or_percent),
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": SURGE_MAX,
            "maxLength": 4,
            "pattern": "^([0-9]|[1-9][0-9]|100)%$",
        }
    ),
]
"""A number of replicas, or a share of a group: 1, "25%"."""

Hosts = Annotated[
    int,
    Field(
        ge=1,
        le=HOSTS_MAX,
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self == oldSelf",
                    "message": "spec.workerGroups[].hostsPerReplica must not change; add a group with another name",
                }
            ]
        },
    ),
]


class UpdateStrategy(Model):
    """How pods follow a change of what they are made from: image, pod template, resources, labels."""

    model_config = with_rules(
        (
            "!(string(self.maxSurge) in ['0', '0%'] && string(self.maxUnavailable) in ['0', '0%'])",
            "spec.updateStrategy.maxSurge and maxUnavailable must not both be 0",
        )
    )

    type: Literal["RollingUpdate", "Recreate", "OnDelete"] = "RollingUpdate"
    """RollingUpdate replaces workers group by group and drains each first; the head comes last. Recreate deletes
    all outdated pods at once. OnDelete changes nothing: a pod follows when somebody deletes it."""
    max_surge: CountOrPercent = 1
    """Replicas that may be there beyond a group's number during a rolling update: a number or a percentage of
    the group, rounded up."""
    max_unavailable: CountOrPercent = 0
    """Replicas of a group that may be missing during a rolling update: a number or a percentage of the group,
    rounded down. Not 0 together with maxSurge."""
    drain_timeout_seconds: Seconds = 300
    """Seconds an outdated worker gets to finish its work and hand over what it holds before its pod is deleted
    all the same."""


class IdlePolicy(Model):
    """What becomes of a cluster without driver, job and detached actor, and which no ComputeJob wants."""

    timeout_seconds: Annotated[int, Field(ge=1, le=SECONDS_MAX)]
    """Seconds without use after which the policy acts; a new head counts from its start, an edit of the spec from the
    edit. The condition Idle says when that is."""
    action: Literal["Suspend", "Delete"] = "Suspend"
    """Suspend deletes the pods and keeps the objects; they come back for a ComputeJob with a clusterRef to the
    cluster, or when its spec is edited. Delete deletes the ComputeCluster."""


class StateVolume(Model):
    """The volume that the head keeps its tables on."""

    model_config = with_rules(
        (
            "!(has(self.claimName) && has(self.storageClassName))",
            "spec.state.volume must not have both claimName (a claim that is there) and storageClassName (a new one)",
        )
    )

    size: Quantity = "1Gi"
    """Size of the claim that is made. It may grow where the storage class allows it."""
    storage_class_name: DnsSubdomain | None = None
    """Storage class of the claim that is made. Default: the cluster's own default class."""
    claim_name: DnsSubdomain | None = None
    """Name of a PersistentVolumeClaim of yours to use instead. It is never changed and never deleted."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """Whether the claim that was made goes with the cluster. Retain keeps it, and a cluster of the same name
    finds it again."""


class SecretKey(Model):
    """One key of a Secret in the cluster's namespace."""

    name: DnsSubdomain
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "password"
    """Key in it."""


class StateRedis(Model):
    """The Redis server that the head keeps its tables in. Every cluster has keys of its own there, by its UID."""

    url: Annotated[
        str, Field(max_length=512, pattern=r"^rediss?://([^:@/\s]+@)?[^:@/?#\s]+(:[0-9]{1,5})?(/[0-9]{1,4})?$")
    ]
    """redis://[USER@]HOST[:PORT][/DATABASE], or rediss:// for TLS. Passwords come from passwordSecret."""
    password_secret: SecretKey | None = None
    """Where the password is."""
    retention_seconds: Annotated[int, Field(ge=3600, le=SECONDS_MAX)] = 2_592_000
    """The cluster's keys go when no head has touched them for so long: what deleted clusters leave behind, and
    what a cluster that is suspended for longer loses."""


class StateSpec(Model):
    """Where the head keeps its tables: nodes, actors, jobs, key-value pairs."""

    model_config = with_rules(
        (
            "!has(self.volume) || self.backend == 'PersistentVolume'",
            "spec.state.volume must be absent unless spec.state.backend is `PersistentVolume`",
        ),
        (
            "has(self.redis) == (self.backend == 'Redis')",
            "spec.state.redis must be there when spec.state.backend is `Redis`, and absent otherwise",
        ),
    )

    backend: Literal["Memory", "PersistentVolume", "Redis"] = "Memory"
    """Memory: a new head pod begins anew, running jobs are lost with the old one. PersistentVolume and Redis: it goes
    on where the old one stopped, workers stay."""
    volume: StateVolume | None = None
    """The volume for backend PersistentVolume. Default: a claim of 1Gi of the default storage class."""
    redis: StateRedis | None = None
    """The server for backend Redis."""


class HeadService(Model):
    """The Service in front of the head."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of the Service. Whoever reaches the head still needs the cluster's token."""
    annotations: Annotated[
        dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=4096)]], Field(max_length=32)
    ] = {}
    """Annotations of the Service, for load balancers and the like."""
    labels: LabelMap = {}
    """Labels of the Service, beside those of Shoal."""
