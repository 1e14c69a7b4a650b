"""What a job needs before it may start, as sets of alike pods: what a queue such as Kueue counts and admits.

Invariant: a pure function of the spec: the head first, then each group with the pods that it has from the start;
what the autoscaler may add later is not part of the admission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shoal_operator.api.cluster import ComputeClusterSpec, WorkerGroup
from shoal_operator.api.job import ComputeJob
from shoal_operator.domain.cluster.groups import replica_bounds
from shoal_operator.domain.labels import HEAD_GROUP


@dataclass(frozen=True, slots=True)
class PodSet:
    """Pods of one kind.

    Attributes:
        name: ``head`` or the group's name.
        count: how many there are before anything runs.
        path: where the template stands in the job's spec.
        template: the pod template as the user wrote it; empty for none.
        resources: logical resources of one pod, where they are given.
    """

    name: str
    count: int
    path: str
    template: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)


def pod_sets(job: ComputeJob) -> tuple[PodSet, ...]:
    """The pod sets of a job; none for a job on a cluster that is there already.

    Example:
        >>> job = ComputeJob.parse({"metadata": {"name": "x"}, "spec": {"entrypoint": "true"}})
        >>> [(one.name, one.count) for one in pod_sets(job)]
        [('head', 1), ('workers', 0)]
    """
    if job.spec.cluster_ref is not None:
        return ()
    spec = job.spec.cluster_spec or ComputeClusterSpec()
    head = PodSet(HEAD_GROUP, 1, "spec.clusterSpec.head.template", spec.head.template or {}, spec.head.resources)
    groups = (_group(group, index, spec) for index, group in enumerate(spec.worker_groups))
    return (head, *groups)


def _group(group: WorkerGroup, index: int, spec: ComputeClusterSpec) -> PodSet:
    replicas, _ = replica_bounds(spec, group)
    return PodSet(
        group.name,
        replicas * group.hosts_per_replica,
        f"spec.clusterSpec.workerGroups[{index}].template",
        group.template or {},
        group.resources,
    )
