"""ComputeJob: gather -> plan -> execute -> status.

Invariant: the job's cluster and head are read from the stores; the ComputeCluster controller alone talks to
pods and keeps (or drops) the link to the head.
"""

from __future__ import annotations

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.api.meta import MANAGED_BY_SHOAL
from shoal_operator.api.problems import InvalidObjectError
from shoal_operator.control.controller import Result
from shoal_operator.controllers.executor import Executor, Json, retry_seconds
from shoal_operator.controllers.head_link import SETTLE_SECONDS, link_head
from shoal_operator.domain import conditions
from shoal_operator.domain.job.observed import (
    JobObservation,
    Rival,
    SubmissionRefusal,
    cluster_name_of,
    read_rival,
)
from shoal_operator.domain.job.plan import plan_job
from shoal_operator.domain.job.status import invalid_job_status, job_status
from shoal_operator.domain.names import Key
from shoal_operator.domain.plan import EventRecord, SubmitJob
from shoal_operator.domain.reasons import Action, Reason


class JobController:
    """Brings one ComputeJob closer to its end."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def reconcile(self, key: Key) -> Result:
        """One pass over the job of that namespace and name."""
        shell = self._executor
        document = shell.world.jobs.get(*key)
        if document is None:
            shell.expectations.forget(key)
            return Result()
        unseen_seconds = shell.expectations.remaining_seconds(key, shell.clock.monotonic())
        if unseen_seconds > 0:
            return Result(requeue_after_seconds=unseen_seconds)
        try:
            job = ComputeJob.parse(document)
        except InvalidObjectError as error:
            await shell.apply_status(document, invalid_job_status(document, error.problems, shell.clock.now()))
            return Result()
        if job.spec.managed_by != MANAGED_BY_SHOAL:
            return Result()
        return await self._pass(document, job)

    async def _pass(self, document: Json, job: ComputeJob) -> Result:
        shell = self._executor
        key = (job.metadata.namespace, cluster_name_of(job))
        cluster = _parsed(shell.world.clusters.get(*key))
        if cluster is not None and not link_head(shell, key, cluster):
            return Result(requeue_after_seconds=SETTLE_SECONDS)
        observed = JobObservation(
            job=job,
            cluster=cluster,
            head=shell.heads.view(key),
            refusal=_last_refusal(shell, key, job),
            pods=shell.world.pods_of(key),
            rivals=_rivals(shell, key, job, cluster),
        )
        now = shell.clock.now()
        plan = plan_job(observed, now)
        execution = await shell.execute(plan, document)
        for refusal in execution.refusals:
            if job.status.message != conditions.shorten(refusal):
                shell.record(document, EventRecord("Warning", Reason.WRITE_REFUSED, refusal, Action.PLAN))
        if job.metadata.deletion_timestamp is None:
            await shell.apply_status(document, job_status(observed, now, refusals=execution.refusals))
        return Result(retry_seconds(execution, plan.requeue_after_seconds), retry=execution.retry)


def _rivals(shell: Executor, key: Key, job: ComputeJob, cluster: ComputeCluster | None) -> tuple[Rival, ...]:
    """The other jobs that want the places of a shared cluster; nothing is read where there is no limit."""
    if job.spec.cluster_ref is None or cluster is None or cluster.spec.job_concurrency is None:
        return ()
    found = (read_rival(document) for document in shell.world.jobs_by_reference(key))
    return tuple(rival for rival in found if rival is not None and rival.name != job.metadata.name)


def _last_refusal(shell: Executor, key: Key, job: ComputeJob) -> SubmissionRefusal | None:
    """The job's last submission that the head did not take, while no later one was taken."""
    for failure in shell.heads.failures(key):
        if isinstance(failure.command, SubmitJob) and failure.command.submission_id.startswith(f"{job.metadata.uid}-"):
            identity, tries = failure.command.submission_id, failure.fetches_failed
            return SubmissionRefusal(identity, failure.message, failure.is_final, tries)
    return None


def _parsed(document: Json | None) -> ComputeCluster | None:
    """The cluster, or None; an unreadable one counts as absent here, its own status says why."""
    if document is None:
        return None
    try:
        return ComputeCluster.parse(document)
    except InvalidObjectError:
        return None
