"""What a worker group may have: whether it has pods at all, and how many replicas.

Invariant: nobody else reads a group's ``suspend``, or tells a removed group from one that is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from shoal_operator.api.cluster import ComputeClusterSpec, WorkerGroup
from shoal_operator.domain.reasons import Reason


def is_suspended(group: WorkerGroup) -> bool:
    """Whether somebody has suspended the group."""
    return group.suspend


def live_groups(spec: ComputeClusterSpec) -> Iterator[WorkerGroup]:
    """Groups that may have pods."""
    return (group for group in spec.worker_groups if not is_suspended(group))


def find_group(spec: ComputeClusterSpec, name: str) -> WorkerGroup | None:
    """The group of that name; None where it was removed."""
    return next((group for group in spec.worker_groups if group.name == name), None)


def retirement(spec: ComputeClusterSpec, name: str) -> Reason | None:
    """Why a group gets no pods and gives up those that it has; None while it is alive.

    Example:
        >>> spec = ComputeClusterSpec(worker_groups=(WorkerGroup(name="a"), WorkerGroup(name="b", suspend=True)))
        >>> [str(retirement(spec, name)) for name in ("a", "b", "c")]
        ['None', 'GroupSuspended', 'GroupRemoved']
    """
    group = find_group(spec, name)
    if group is None:
        return Reason.GROUP_REMOVED
    return Reason.GROUP_SUSPENDED if is_suspended(group) else None


def is_retired(spec: ComputeClusterSpec, name: str) -> bool:
    """Whether the group was removed from the spec, or is suspended."""
    return retirement(spec, name) is not None


def replica_bounds(spec: ComputeClusterSpec, group: WorkerGroup) -> tuple[int, int]:
    """The least and the most replicas of a group, replacements of a rollout left aside; none while it is suspended."""
    return (0, 0) if is_suspended(group) else written_bounds(spec, group)


def written_bounds(spec: ComputeClusterSpec, group: WorkerGroup) -> tuple[int, int]:
    """The same as the spec says it, suspended or not: ``replicas`` is both while autoscaling is off."""
    if spec.autoscaling.enabled:
        return group.min_replicas, group.max_replicas
    fixed = group.min_replicas if group.replicas is None else group.replicas
    return fixed, fixed


def number_field(spec: ComputeClusterSpec, group: WorkerGroup) -> str:
    """The field that is the number of replicas while autoscaling is off; empty while it is on."""
    if spec.autoscaling.enabled:
        return ""
    return "minReplicas" if group.replicas is None else "replicas"


def least_workers(group: WorkerGroup) -> int:
    """Workers without which the cluster is not ready."""
    return 0 if is_suspended(group) else group.min_replicas * group.hosts_per_replica
