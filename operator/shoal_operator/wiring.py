"""Which change wakes which key: the edges between stores, heads and queues.

Invariant: every change that a plan could depend on wakes the key of that plan; a change that cannot wakes
nobody.
"""

from __future__ import annotations

from shoal_operator.control.expectations import Expectations
from shoal_operator.control.workqueue import WorkQueue
from shoal_operator.controllers.world import World, cluster_key_of
from shoal_operator.domain.job.observed import read_rival
from shoal_operator.domain.names import Key
from shoal_operator.domain.reasons import Reason
from shoal_operator.heads.pool import News
from shoal_operator.kube.resources import COMPUTE_CLUSTERS, Resource
from shoal_operator.kube.store import Change, ChangeType, uid_of


class Wiring:
    """Two queues, one for clusters and one for jobs, with their expectations."""

    def __init__(self, world: World, clusters: WorkQueue[Key], jobs: WorkQueue[Key]) -> None:
        self.cluster_expectations: Expectations[Key] = Expectations()
        self.job_expectations: Expectations[Key] = Expectations()
        self._world = world
        self._clusters = clusters
        self._jobs = jobs
        world.clusters.subscribe(self._on_cluster)
        world.jobs.subscribe(self._on_job)
        world.pods.subscribe(self._on_pod)
        world.services.subscribe(lambda change: self._on_child("Service", change))
        world.policies.subscribe(lambda change: self._on_child("NetworkPolicy", change))
        world.budgets.subscribe(lambda change: self._on_child("PodDisruptionBudget", change))
        world.claims.subscribe(lambda change: self._on_child("PersistentVolumeClaim", change))

    def enqueue(self, resource: Resource, namespace: str, name: str) -> None:
        """Somebody saw an event of one of our kinds."""
        queue = self._clusters if resource == COMPUTE_CLUSTERS else self._jobs
        queue.add((namespace, name))

    def on_head_news(self, key: Key, news: News) -> None:
        """The head of that cluster said something new."""
        if News.CLUSTER in news:
            self._clusters.add(key)
        for job in self._world.jobs_on(key):
            self._jobs.add(job)

    def _on_cluster(self, change: Change) -> None:
        self._clusters.add(change.name)
        for job in self._world.jobs_on(change.name):
            if change.type is not ChangeType.DELETED:
                self.job_expectations.saw(job, f"ComputeCluster/{change.name[1]}")
            self._jobs.add(job)

    def _on_job(self, change: Change) -> None:
        self._jobs.add(change.name)
        self._wake_idle_cluster(change)
        reference = (change.obj.get("spec") or {}).get("clusterRef") or {}
        if reference and frees_place(change):
            for job in self._world.jobs_by_reference((change.name[0], reference["name"])):
                if (job.get("status") or {}).get("reason") == Reason.CONCURRENCY_LIMIT:
                    self._jobs.add((change.name[0], job["metadata"]["name"]))

    def _wake_idle_cluster(self, change: Change) -> None:
        """A job that comes, or ends, is news for the cluster where an idle policy counts."""
        before = None if change.old is None else read_rival(change.old)
        after = None if change.type is ChangeType.DELETED else read_rival(change.obj)
        if (before is None) == (after is None):
            return
        namespace, name = change.name
        key = (namespace, ((change.obj.get("spec") or {}).get("clusterRef") or {}).get("name") or name)
        cluster = self._world.clusters.get(*key)
        if cluster is not None and (cluster.get("spec") or {}).get("idlePolicy"):
            self._clusters.add(key)

    def _on_pod(self, change: Change) -> None:
        key = cluster_key_of(change.obj)
        if key is None:
            return
        view = change.obj["view"]
        if change.type is ChangeType.DELETED or view.is_deleting:
            self.cluster_expectations.saw_gone(key, uid_of(change.obj))
        if change.type is not ChangeType.DELETED:
            self.cluster_expectations.saw(key, f"Pod/{change.name[1]}")
        if _is_news(change):
            self._clusters.add(key)

    def _on_child(self, kind: str, change: Change) -> None:
        key = cluster_key_of(change.obj)
        if key is None:
            return
        if change.type is not ChangeType.DELETED:
            self.cluster_expectations.saw(key, f"{kind}/{change.name[1]}")
        if _is_news(change):
            self._clusters.add(key)


def frees_place(change: Change) -> bool:
    """Whether a job has given its place on a shared cluster to the next one."""
    if change.type is ChangeType.DELETED:
        return True
    before = None if change.old is None else read_rival(change.old)
    return before is not None and read_rival(change.obj) != before


def _is_news(change: Change) -> bool:
    """Whether decisions could read anything new (the counts in a budget's status are none of it)."""
    return change.type is not ChangeType.MODIFIED or change.old is None or change.old["view"] != change.obj["view"]
