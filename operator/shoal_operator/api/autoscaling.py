"""The autoscaler's part of a ComputeCluster: what people set, and what it says of its decisions.

Invariant: every default leaves clusters as they were without the field; lists of a status have a bound.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from shoal_operator.api.lifecycle import Seconds
from shoal_operator.api.meta import CamelReason, Message, Model, ResourceMap, Timestamp

WORKERS_MAX: Final = 1_000_000
DEMANDS_MAX: Final = 10
"""Shapes of waiting work that a status lists; ``shoal explain cluster`` reads them."""
FAILURES_MAX: Final = 1_000
UNITS_MAX: Final = 2**53 - 1
LIMIT_RULE: Final = (
    (
        "!has(self.spec) || !has(self.spec.autoscaling) || !has(self.spec.autoscaling.limits)"
        " || !has(self.spec.autoscaling.limits.maxWorkers) || !has(self.spec.workerGroups)"
        " || self.spec.workerGroups.all(g,"
        " g.minReplicas * g.hostsPerReplica <= self.spec.autoscaling.limits.maxWorkers)"
    ),
    "spec.autoscaling.limits.maxWorkers must not be less than the minReplicas of a group",
)
"""Of a ComputeCluster."""


class Upscaling(Model):
    """How fast the cluster grows for work that waits; minReplicas are not held back."""

    mode: Literal["Aggressive", "Conservative"] = "Aggressive"
    """Aggressive asks for all workers at once. Conservative has at most so many on their way as have joined, and 5 at
    least."""


class ScalingLimits(Model):
    """Bounds over all worker groups together; the head counts for none of them."""

    max_workers: Annotated[int, Field(ge=0, le=WORKERS_MAX)] | None = None
    """Most worker pods of all groups together. Default: no limit beside the groups' own maxReplicas."""
    resources: ResourceMap = {}
    """Most logical resources of all worker groups together, for example {CPU: 100, GPU: 8}; resources that are not
    named are not limited."""


class AutoscalingSpec(Model):
    """How worker groups follow the work that waits."""

    enabled: bool = True
    """Whether the number of workers follows the demand. When false, `replicas` counts."""
    idle_timeout_seconds: Seconds = 60
    """Seconds after which an idle worker is drained and removed."""
    drain_timeout_seconds: Seconds = 60
    """Seconds a worker gets to hand over what it holds before its pod is deleted all the same."""
    upscaling: Upscaling = Upscaling()
    """How fast the cluster grows."""
    limits: ScalingLimits = ScalingLimits()
    """Bounds over all worker groups together."""
    unschedulable_timeout_seconds: Seconds = 5
    """Seconds for which a pod that no machine takes still counts as coming; then the next group is tried. Where
    machines are made on demand (a cluster autoscaler), as long as that takes."""
    consolidation: bool = False
    """Whether idle workers go although waiting work would land on them, where it fits on others."""


class GroupBlockage(Model):
    """A group gets no new workers for a while, because its last ones did not start."""

    reason: CamelReason
    """Why they did not, in one word."""
    message: Message = ""
    """The same for people."""
    since: Timestamp
    """Since when the group is avoided."""
    retry_at: Timestamp
    """When it is tried again, with one replica; all come when that one has joined."""
    failures: Annotated[int, Field(ge=1, le=FAILURES_MAX)] = 1
    """How often in a row; the wait doubles with each."""
    probe: Annotated[str, Field(max_length=63)] | None = None
    """The pod that stays to show when the reason has gone; absent when there is none."""


class DemandStatus(Model):
    """Work of one shape that gets no worker."""

    shape: Annotated[str, Field(max_length=256)]
    """What one unit needs: "2 CPU and 1 GPU"."""
    kind: Annotated[str, Field(max_length=64)] = "task"
    """What waits: task, actor, placement group, driver."""
    count: Annotated[int, Field(ge=0, le=UNITS_MAX)] = 0
    """How many units wait."""
    verdict: CamelReason
    """Infeasible: no group could ever take it. LimitReached: it runs when others have finished. Blocked: pods of the
    groups that could take it do not start."""
    message: Message = ""
    """Each group that was tried, and what is missing there."""


DemandList = Annotated[
    tuple[DemandStatus, ...], Field(max_length=DEMANDS_MAX, json_schema_extra={"x-kubernetes-list-type": "atomic"})
]
