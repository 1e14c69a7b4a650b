"""ComputeCluster: gather -> plan -> execute -> status.

Invariant: one pass looks before it decides and writes only what its plan says. It reads the stores and the last view of
the head, never the head itself; of the API server it asks for no more than the cluster's two Secrets (and the
Certificate of one) by name and a dry run of new templates; it writes the status at most once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.meta import MANAGED_BY_SHOAL
from shoal_operator.api.problems import InvalidObjectError
from shoal_operator.control.controller import Result
from shoal_operator.controllers.executor import Executor, Json, retry_seconds
from shoal_operator.controllers.head_link import SETTLE_SECONDS, link_head
from shoal_operator.controllers.obstacles import Obstacles
from shoal_operator.domain.cluster.assessment import assess
from shoal_operator.domain.cluster.blocking import transition_events
from shoal_operator.domain.cluster.counts import only_counts_differ
from shoal_operator.domain.cluster.observed import ClusterObservation
from shoal_operator.domain.cluster.plan import plan_cluster
from shoal_operator.domain.cluster.status import cluster_status, invalid_cluster_status
from shoal_operator.domain.job.observed import read_rival
from shoal_operator.domain.manifests.network import ELSEWHERE, OperatorPlace
from shoal_operator.domain.names import Key, token_secret_name

COUNTS_SECONDS: Final = 1.0
"""Counts of workers are told so often at most while nothing else changes."""


class ClusterController:
    """Brings one ComputeCluster closer to what it should be.

    Args:
        executor: does what plans say; has the stores, the heads and the tokens.
        new_token: makes a cluster's token.
        operator: where the operator's own pods are.
        obstacles: knows what keeps pods from running and stands in no store.
    """

    def __init__(
        self,
        executor: Executor,
        new_token: Callable[[], str],
        operator: OperatorPlace = ELSEWHERE,
        *,
        obstacles: Obstacles,
    ) -> None:
        self._obstacles = obstacles
        self._executor = executor
        self._new_token = new_token
        self._operator = operator
        self._told_at: dict[Key, float] = {}

    async def reconcile(self, key: Key) -> Result:
        """One pass over the cluster of that namespace and name."""
        shell = self._executor
        document = shell.world.clusters.get(*key)
        if document is None:
            self._forget(key)
            return Result()
        unseen_seconds = shell.expectations.remaining_seconds(key, shell.clock.monotonic())
        if unseen_seconds > 0:
            return Result(requeue_after_seconds=unseen_seconds)
        try:
            cluster = ComputeCluster.parse(document)
        except InvalidObjectError as error:
            status = invalid_cluster_status(document, error.problems, shell.clock.now())
            await shell.apply_status(document, status)
            return Result()
        if cluster.spec.managed_by != MANAGED_BY_SHOAL:
            self._forget(key)
            return Result()
        return await self._pass(key, document, cluster)

    async def _pass(self, key: Key, document: Json, cluster: ComputeCluster) -> Result:
        shell = self._executor
        if not link_head(shell, key, cluster):
            return Result(requeue_after_seconds=SETTLE_SECONDS)
        observed, look_again = await self._obstacles.add_to(key, await self._gather(key, cluster))
        now = shell.clock.now()
        began = shell.clock.monotonic()
        assessment = assess(observed, now)
        plan = plan_cluster(observed, now, new_token=self._new_token, assessment=assessment)
        shell.metrics.observe_decision(shell.clock.monotonic() - began)
        execution = await shell.execute(plan, document)
        waits = [plan.requeue_after_seconds]
        if execution.certificates is not None:
            waits.append(execution.certificates.next_check_seconds)
        if cluster.metadata.deletion_timestamp is None:
            seen, try_again = self._obstacles.note(key, observed, plan, execution)
            if execution.certificates is not None:
                seen = replace(seen, certificates=execution.certificates)
            known = assessment if seen is observed else assess(seen, now)
            status = cluster_status(seen, plan, now, refusals=execution.refusals, assessment=known)
            patience = self._patience_seconds(key, document.get("status") or {}, status)
            if patience is None and await shell.apply_status(document, status):
                self._told_at[key] = shell.clock.monotonic()
                for event in transition_events(cluster.status, status):
                    shell.record(document, event)
            waits += [look_again, try_again, patience]
        wait = min((seconds for seconds in waits if seconds is not None), default=None)
        return Result(retry_seconds(execution, wait), retry=execution.retry)

    def _patience_seconds(self, key: Key, before: Json, after: Json) -> float | None:
        """In how many seconds the status is to be written; None: now, if it differs at all."""
        left = self._told_at.get(key, -COUNTS_SECONDS) + COUNTS_SECONDS - self._executor.clock.monotonic()
        can_wait = left > 0 and before != after and only_counts_differ(before, after)
        return left if can_wait else None

    async def _gather(self, key: Key, cluster: ComputeCluster) -> ClusterObservation:
        shell = self._executor
        secret = token_secret_name(key[1])
        has_token = await shell.tokens.exists(key[0], secret, cluster.metadata.uid)
        return ClusterObservation(
            cluster=cluster,
            pods=shell.world.pods_of(key),
            services=shell.world.services_of(key),
            secrets=frozenset({secret} if has_token else ()),
            head=shell.heads.view(key),
            policies=shell.world.policies_of(key),
            budgets=shell.world.budgets_of(key),
            claims=shell.world.claims_of(key),
            operator=self._operator,
            certificates=await shell.certificates.look(cluster),
            wanted_by=self._wanted_by(key, cluster),
            head_problem=shell.heads.problem(key),
        )

    def _wanted_by(self, key: Key, cluster: ComputeCluster) -> tuple[str, ...]:
        """Names of ComputeJobs that run on the cluster or want to; nobody asks where no idle policy counts."""
        if cluster.spec.idle_policy is None:
            return ()
        jobs = (self._executor.world.jobs.get(*job) for job in self._executor.world.jobs_on(key))
        return tuple(sorted(rival.name for job in jobs if job is not None and (rival := read_rival(job)) is not None))

    def _forget(self, key: Key) -> None:
        self._executor.heads.drop(key)
        self._executor.expectations.forget(key)
        self._executor.tokens.forget(key[0], token_secret_name(key[1]))
        self._executor.certificates.forget(*key)
        self._obstacles.forget(key)
        self._told_at.pop(key, None)
