"""Which worker pods are made now: what the autoscaler adds, hosts that are missing, replacements of outdated ones.

Invariants: a name or replica index that a pod of the cluster has is not used again; pods on their way out do not
count as workers, but at most one group's worth of them is made up for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from shoal_operator.api.cluster import WorkerGroup
from shoal_operator.autoscaler.model import Addition
from shoal_operator.domain.cluster.assessment import Assessment, missing_hosts
from shoal_operator.domain.cluster.explanation import purpose
from shoal_operator.domain.cluster.groups import replica_bounds
from shoal_operator.domain.cluster.observed import ClusterObservation
from shoal_operator.domain.cluster.workers import Replica
from shoal_operator.domain.manifests.pods import WorkerBuilder
from shoal_operator.domain.manifests.template_hash import group_hash, is_outdated
from shoal_operator.domain.names import worker_pod_name
from shoal_operator.domain.plan import Manifest
from shoal_operator.domain.reasons import Reason


def new_workers(observed: ClusterObservation, assessment: Assessment) -> Iterator[Manifest]:
    """The worker pods to create in this pass."""
    wanted = defaultdict[str, list[Addition]](list)
    for addition in assessment.scaling.add:
        wanted[addition.group].append(addition)
    victims = {item.group: item.replace for item in assessment.rollout.groups}
    for group in observed.cluster.spec.worker_groups:
        incomplete = [item for item in assessment.replicas if item.group == group.name and item.missing]
        if group.name in wanted or victims.get(group.name) or incomplete:
            growth = _Growth(observed, assessment, group)
            yield from growth.missing(incomplete)
            yield from growth.replacements(victims.get(group.name, ()))
            yield from growth.additions(wanted.get(group.name, ()))


class _Growth:
    """New pods of one group."""

    def __init__(self, observed: ClusterObservation, assessment: Assessment, group: WorkerGroup) -> None:
        self._cluster = observed.cluster
        self._assessment = assessment
        self._group = group
        self._build = WorkerBuilder(observed.cluster, group)
        self._names = {pod.name for pod in observed.pods}
        uid = observed.cluster.metadata.uid
        self._indices = {pod.index for pod in observed.pods if pod.group == group.name and pod.owner_uid == uid}

    def missing(self, incomplete: list[Replica]) -> Iterator[Manifest]:
        """The hosts that replicas lack which have not run yet; the hosts that are there stay."""
        for replica in incomplete:
            if replica.is_outdated:
                continue
            for name, host in missing_hosts(self._cluster, replica).items():
                if name not in self._names:
                    yield self._build(
                        replica.index, host, purpose=f"MissingHost: host {host} of replica {replica.index}"
                    )

    def replacements(self, victims: tuple[Replica, ...]) -> Iterator[Manifest]:
        """One new replica for each outdated one."""
        for victim in victims:
            pod = victim.workers[0].pod
            yield from self._replica(f"{Reason.OUTDATED_POD}: in place of {pod.name}", replaces=pod.uid)

    def additions(self, wanted: Sequence[Addition]) -> Iterator[Manifest]:
        """What the autoscaler asks for, as far as pods on their way out leave room."""
        hosts = self._group.hosts_per_replica
        purposes = [purpose(addition) for addition in wanted for _ in range(addition.count // hosts)]
        for text in purposes[: room_of(self._assessment, self._group) // hosts]:
            yield from self._replica(text)

    def _replica(self, text: str, replaces: str = "") -> Iterator[Manifest]:
        index = self._free_index()
        for host in range(self._group.hosts_per_replica):
            yield self._build(index, host, replaces, text)

    def _free_index(self) -> int:
        several = self._group.hosts_per_replica > 1
        index = 0
        while (
            index in self._indices
            or worker_pod_name(self._cluster.metadata.name, self._group.name, index, 0 if several else None)
            in self._names
        ):
            index += 1
        self._indices.add(index)
        return index


def room_of(assessment: Assessment, group: WorkerGroup) -> int:
    """Pods that may be made in a group while others are on their way out, perhaps for ever (a dead node)."""
    cluster = assessment.cluster
    leaving = [pod for pod in assessment.leaving if pod.group == group.name]
    ending = [pod for pod in leaving if pod.name not in assessment.hanging]
    strategy, present = cluster.spec.update_strategy.type, group_hash(cluster, group)
    if strategy == "Recreate" and any(is_outdated(pod.template_hash, present) for pod in ending):
        return 0
    _, replicas = replica_bounds(cluster.spec, group)
    most = replicas * group.hosts_per_replica
    staying = sum(worker.pod.group == group.name for worker in assessment.workers)
    return max(0, 2 * most - staying - len(leaving))
