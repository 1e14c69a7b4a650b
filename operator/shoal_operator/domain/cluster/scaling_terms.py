"""What a cluster's spec means to the planner: groups, limits and pace in the planner's words.

Invariant: whoever asks the planner about a cluster (the operator, the what-if simulator) takes the terms from here, so
that both ask the same question.
"""

from __future__ import annotations

from shoal_operator.api.cluster import ComputeClusterSpec, WorkerGroup
from shoal_operator.autoscaler.model import Group, Limits, ScalingRequest, Upscaling, UpscalingMode
from shoal_operator.domain.cluster.groups import is_suspended, number_field, replica_bounds
from shoal_operator.domain.quantities import group_resources, resource_set


def scaling_terms(spec: ComputeClusterSpec) -> ScalingRequest:
    """The question as far as the spec decides it; work, nodes and pods on their way are to be filled in."""
    return ScalingRequest(
        groups=tuple(_group(spec, group) for group in spec.worker_groups),
        limits=_limits(spec),
        upscaling=Upscaling(UpscalingMode(spec.autoscaling.upscaling.mode)),
        unschedulable_seconds=spec.autoscaling.unschedulable_timeout_seconds,
        consolidation=spec.autoscaling.consolidation,
    )


def _group(spec: ComputeClusterSpec, group: WorkerGroup) -> Group:
    autoscaling = spec.autoscaling
    idle = group.idle_timeout_seconds
    least, most = replica_bounds(spec, group)
    return Group(
        name=group.name,
        resources=group_resources(group.resources, group.template),
        min_nodes=least * group.hosts_per_replica,
        max_nodes=most * group.hosts_per_replica,
        priority=group.priority,
        idle_timeout_seconds=autoscaling.idle_timeout_seconds if idle is None else idle,
        labels=tuple(sorted(group.labels.items())),
        hosts=group.hosts_per_replica,
        suspended=is_suspended(group),
        fixed_by=number_field(spec, group),
    )


def _limits(spec: ComputeClusterSpec) -> Limits:
    """Over all groups; numbers that somebody writes (`replicas`, without autoscaling) are not bounded by them."""
    limits = spec.autoscaling.limits
    if not spec.autoscaling.enabled:
        return Limits()
    return Limits(limits.max_workers, resource_set(limits.resources) if limits.resources else None)
