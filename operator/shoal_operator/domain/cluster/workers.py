"""Workers and the replicas that they form.

Invariant: every worker is in exactly one replica. A replica has one pod, or, in a group of several hosts, all pods
of one replica index; nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from shoal_operator.api.cluster import ComputeCluster, WorkerGroup
from shoal_operator.domain.cluster.drains import Drain
from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.head import DrainState, NodeView
from shoal_operator.domain.manifests.template_hash import group_hash, is_outdated

NODE_DEAD_SECONDS: Final = 60.0
"""A node that is dead in a living pod may come back (its container is started again) for so long."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker pod of ours that is not on its way out, with what the head says about it."""

    pod: PodView
    node: NodeView | None
    """Its live node; None when it has not joined (or has left)."""
    drain: Drain | None
    age_seconds: float
    blocked: bool = False
    """Whether something keeps its pod from starting until somebody acts."""
    node_died: bool = False
    """Whether the head calls its node dead, although the pod lives."""
    node_dead_seconds: float = 0.0
    """For how long that has been known; 0 when the node lives."""

    @property
    def is_draining(self) -> bool:
        """Whether it takes no more work, or is about to."""
        return self.drain is not None or (self.node is not None and self.node.drain_state is not DrainState.ACTIVE)


@dataclass(frozen=True, slots=True)
class Replica:
    """Workers that come and go together."""

    group: str
    index: int
    hosts: int
    """Pods that it should have."""
    workers: tuple[Worker, ...]
    """By host index; never empty."""
    is_outdated: bool
    """Whether a pod of it was made from something else than the group's present template."""
    has_hanging_host: bool = False
    """Whether another pod of it hangs in Terminating: nobody knows when its name will be free."""

    @property
    def key(self) -> str:
        """Tells it from other replicas."""
        return f"{self.group}/{self.index}" if self.hosts > 1 else self.workers[0].pod.name

    @property
    def missing(self) -> tuple[int, ...]:
        """Host indexes without a pod."""
        there = {worker.pod.host for worker in self.workers}
        return tuple(host for host in range(self.hosts) if host not in there) if self.hosts > 1 else ()

    @property
    def has_joined(self) -> bool:
        """Whether all its hosts are there and the head knows them."""
        return not self.missing and all(worker.node for worker in self.workers)

    @property
    def holds_nothing(self) -> bool:
        """Whether no pod of it is ready or known to the head: it never ran, or runs no more."""
        return not any(worker.node or worker.pod.ready for worker in self.workers)

    @property
    def ran(self) -> bool:
        """Whether all its hosts had joined once (only known of several hosts)."""
        return any(worker.pod.replica_ran for worker in self.workers)

    @property
    def is_draining(self) -> bool:
        """Whether one of its workers is on its way out."""
        return any(worker.is_draining for worker in self.workers)

    @property
    def has_lost_a_host(self) -> bool:
        """Whether a host of it is gone for another reason than its own end, so that all of it is replaced.

        Before it ran, a host that is gone is made again instead, if its name is free.
        """
        gone = (self.ran and bool(self.missing)) or self.has_hanging_host
        return (gone or bool(self.dead_hosts)) and not self.is_draining

    @property
    def dead_hosts(self) -> tuple[int, ...]:
        """Host indexes of living pods whose nodes have been dead for so long that they will not come back."""
        return tuple(w.pod.host for w in self.workers if w.node_dead_seconds >= NODE_DEAD_SECONDS)

    @property
    def idle_seconds(self) -> float:
        """As idle as its busiest host; 0 while one is busy or has not joined."""
        return min(worker.node.idle_seconds if worker.node else 0.0 for worker in self.workers)

    @property
    def age_seconds(self) -> float:
        """Since its youngest pod was made."""
        return min(worker.age_seconds for worker in self.workers)

    @property
    def uids(self) -> frozenset[str]:
        """Of its pods."""
        return frozenset(worker.pod.uid for worker in self.workers)

    @property
    def replaces(self) -> frozenset[str]:
        """UIDs of the outdated pods that it was made to replace."""
        return frozenset(worker.pod.replaces for worker in self.workers if worker.pod.replaces)


def form_replicas(
    cluster: ComputeCluster, workers: Iterable[Worker], hanging: Iterable[PodView] = (), *, is_valid: bool = True
) -> tuple[Replica, ...]:
    """The replicas of all groups, by group and index. Pods of a removed group stand for themselves.

    Args:
        cluster: the object.
        workers: its workers.
        hanging: pods of it that hang in Terminating.
        is_valid: False when the spec has problems: then no pod counts as outdated.
    """
    groups: Mapping[str, WorkerGroup] = {group.name: group for group in cluster.spec.worker_groups}
    present = {name: group_hash(cluster, group) for name, group in groups.items()} if is_valid else {}
    broken = {(pod.group, pod.index) for pod in hanging}
    found: dict[tuple[str, int, str], list[Worker]] = {}
    for worker in workers:
        pod = worker.pod
        several = pod.group in groups and groups[pod.group].hosts_per_replica > 1 and pod.index >= 0
        found.setdefault((pod.group, pod.index, "" if several else pod.name), []).append(worker)
    return tuple(
        Replica(
            group=name,
            index=index,
            hosts=groups[name].hosts_per_replica if name in groups else 1,
            workers=tuple(sorted(members, key=lambda worker: (worker.pod.host, worker.pod.name))),
            is_outdated=name in present
            and any(is_outdated(worker.pod.template_hash, present[name]) for worker in members),
            has_hanging_host=not alone and (name, index) in broken,
        )
        for (name, index, alone), members in sorted(found.items())
    )
