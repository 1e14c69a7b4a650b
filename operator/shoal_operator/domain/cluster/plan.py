"""What to do about one ComputeCluster now.

Invariant: the function is pure and level-triggered; carrying its plan out and planning again gives the
empty plan. An intent (the drain annotation) is durable before a head hears of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from shoal_operator.api.meta import MESSAGE_MAX
from shoal_operator.autoscaler.model import Verdict
from shoal_operator.domain import conditions, labels
from shoal_operator.domain.cluster.assessment import (
    ENDED_POD_RETRY_SECONDS,
    Assessment,
    Worker,
    age_seconds,
    assess,
    pod_text,
)
from shoal_operator.domain.cluster.drains import Drain, start_drain
from shoal_operator.domain.cluster.observed import ClusterObservation, PodView
from shoal_operator.domain.cluster.protection import protect
from shoal_operator.domain.head import DrainState, NodeView
from shoal_operator.domain.manifests.owners import applied_hash
from shoal_operator.domain.manifests.pods import build_head_pod, worker_builder
from shoal_operator.domain.manifests.secrets import build_token_secret
from shoal_operator.domain.manifests.services import build_head_service
from shoal_operator.domain.names import token_secret_name, worker_pod_name
from shoal_operator.domain.plan import (
    DrainNode,
    EventRecord,
    HeadCommand,
    Manifest,
    Plan,
    PodAnnotation,
    PodDeletion,
)
from shoal_operator.domain.reasons import Action, ConditionType, Reason

DRAIN_RETRY_SECONDS: Final = 2.0
"""A node that was asked to drain and has not answered by its state is asked again after this time."""
REQUEUE_SECONDS_MIN: Final = 0.2


def plan_cluster(observed: ClusterObservation, now: datetime, *, new_token: Callable[[], str]) -> Plan:
    """Decide.

    Args:
        observed: the world.
        now: the current time, timezone-aware.
        new_token: makes the cluster's token; called only when the token Secret is missing. The shell passes
            ``functools.partial(secrets.token_urlsafe, 32)``.

    Returns:
        Everything to do in this pass; the empty plan when the cluster is as it shall be, is being deleted, or
        is managed by another controller.
    """
    assessment = assess(observed, now)
    if not assessment.is_ours:
        return Plan()
    if assessment.problems:
        return Plan(events=tuple(_invalid_events(assessment)))
    protection = protect(observed)
    if observed.cluster.spec.suspend:
        return replace(_suspend(assessment), delete=protection.delete)
    draft = _Draft(assessment, now)
    draft.replace_ended()
    draft.drain_workers()
    draft.cancel_workers()
    return Plan(
        create=tuple(_missing_secret(observed, new_token)),
        apply=(*_outdated_services(observed), *protection.apply),
        create_pods=(*_missing_head(assessment), *_new_workers(observed, assessment)),
        delete_pods=tuple(draft.deletions.values()),
        delete=protection.delete,
        annotate_pods=tuple(draft.annotations),
        head_commands=tuple(draft.commands),
        events=(*draft.events, *_scaling_events(assessment)),
        requeue_after_seconds=draft.requeue_after(),
    )


def _suspend(assessment: Assessment) -> Plan:
    pods = [worker.pod for worker in assessment.workers] + list(assessment.ended)
    if assessment.head_pod and not assessment.head_pod.is_deleting:
        pods.append(assessment.head_pod)
    return Plan(delete_pods=tuple(PodDeletion(pod.name, pod.uid, Reason.SUSPENDED) for pod in pods))


def _missing_secret(observed: ClusterObservation, new_token: Callable[[], str]) -> Iterator[Manifest]:
    if token_secret_name(observed.cluster.metadata.name) not in observed.secrets:
        yield build_token_secret(observed.cluster, new_token())


def _outdated_services(observed: ClusterObservation) -> Iterator[Manifest]:
    service = build_head_service(observed.cluster)
    existing = {child.name: child for child in observed.services}.get(service["metadata"]["name"])
    if existing is None or existing.applied_hash != applied_hash(service):
        yield service


def _missing_head(assessment: Assessment) -> Iterator[Manifest]:
    if not assessment.head_name_taken:
        yield build_head_pod(assessment.cluster)


def _new_workers(observed: ClusterObservation, assessment: Assessment) -> Iterator[Manifest]:
    taken = {pod.name for pod in observed.pods}
    wanted = Counter[str]()
    for addition in assessment.scaling.add:
        wanted[addition.group] += addition.count
    for group in observed.cluster.spec.worker_groups:
        if wanted[group.name]:
            build = worker_builder(observed.cluster, group)
            for index in _free_indices(observed.cluster.metadata.name, group.name, taken, wanted[group.name]):
                yield build(index)


def _free_indices(cluster: str, group: str, taken: set[str], count: int) -> Iterator[int]:
    """The lowest indices whose pod name no pod has."""
    index = 0
    while count:
        if worker_pod_name(cluster, group, index) not in taken:
            count -= 1
            yield index
        index += 1


@dataclass(slots=True)
class _Draft:
    """A plan in the making: what happens to pods that exist."""

    assessment: Assessment
    now: datetime
    deletions: dict[str, PodDeletion] = field(default_factory=dict)
    annotations: list[PodAnnotation] = field(default_factory=list)
    commands: list[HeadCommand] = field(default_factory=list)
    events: list[EventRecord] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)

    def requeue_after(self) -> float | None:
        """The earliest time at which the passing of time alone changes the decision."""
        later = self.assessment.scaling.next_check_seconds
        if later is not None and self.assessment.head is not None:
            self.wakes.append(later)
        return max(REQUEUE_SECONDS_MIN, min(self.wakes)) if self.wakes else None

    def replace_ended(self) -> None:
        """Delete pods that will never run again; what they were for is created anew."""
        for pod in self.assessment.ended:
            wait = ENDED_POD_RETRY_SECONDS - age_seconds(pod, self.now)
            if wait > 0:
                self.wakes.append(wait)
                continue
            self._delete(pod, Reason.FAILED_POD)
            action = Action.REPLACE_HEAD if pod.role == labels.ROLE_HEAD else Action.SCALE_UP
            reason = Reason.RECREATING_HEAD if pod.role == labels.ROLE_HEAD else Reason.FAILED_POD
            text = conditions.shorten(f"pod {pod.name} ended and is replaced: {pod_text(pod)}")
            self.events.append(EventRecord("Warning", reason, text, action))

    def drain_workers(self) -> None:
        """Carry every drain one step further; without a head that answers, none moves."""
        if self.assessment.head is None:
            return
        chosen = {removal.pod_name: removal.reason for removal in self.assessment.scaling.drain}
        started: list[str] = []
        for worker in self.assessment.workers:
            if worker.node is None:
                if worker.drain is not None:
                    self._delete(worker.pod, Reason.NODE_GONE)
            elif worker.node.drain_state is DrainState.DRAINED:
                self._delete(worker.pod, Reason.DRAINED)
            elif worker.drain is None:
                self._begin(worker, worker.node, chosen.get(worker.pod.name, ""), started)
            elif worker.node.drain_state is DrainState.DRAINING or worker.pod.name in chosen:
                self._continue(worker, worker.node, worker.drain)
            else:
                # The node has work again: the head refused, or would; the intent is taken back.
                self._annotate(worker.pod, None)
        if started:
            text = f"draining idle workers: {_some(started)}"
            self.events.append(EventRecord("Normal", Reason.DRAINING_WORKERS, text, Action.SCALE_DOWN))

    def cancel_workers(self) -> None:
        """Give up pods that have not joined and are no longer wanted."""
        if self.assessment.head is None:
            return
        by_name = {worker.pod.name: worker.pod for worker in self.assessment.workers}
        for removal in self.assessment.scaling.cancel:
            if removal.pod_name in by_name:
                self._delete(by_name[removal.pod_name], removal.reason)

    def _begin(self, worker: Worker, node: NodeView, reason: str, started: list[str]) -> None:
        if node.drain_state is DrainState.DRAINING:
            # The head drains already (an intent whose annotation was lost): take it over.
            self._annotate(worker.pod, self._new_drain(Reason.DRAINED))
        elif reason:
            started.append(worker.pod.name)
            self._annotate(worker.pod, self._new_drain(reason))

    def _continue(self, worker: Worker, node: NodeView, drain: Drain) -> None:
        left = (drain.deadline - self.now) / timedelta(seconds=1)
        if left <= 0:
            self._delete(worker.pod, Reason.DRAIN_TIMED_OUT)
            return
        self.wakes.append(left)
        if node.drain_state is DrainState.ACTIVE:
            self.wakes.append(DRAIN_RETRY_SECONDS)
            cluster = self.assessment.cluster.metadata.name
            self.commands.append(DrainNode(cluster, node.node_id, worker.pod.name, drain.reason, left))

    def _new_drain(self, reason: str) -> Drain:
        return start_drain(reason, self.now, self.assessment.cluster.spec.autoscaling.drain_timeout_seconds)

    def _annotate(self, pod: PodView, drain: Drain | None) -> None:
        value = drain.encode() if drain else None
        self.annotations.append(PodAnnotation(pod.name, pod.uid, {labels.DRAIN: value}))

    def _delete(self, pod: PodView, reason: str) -> None:
        self.deletions.setdefault(pod.name, PodDeletion(pod.name, pod.uid, str(reason)))


def _invalid_events(assessment: Assessment) -> Iterator[EventRecord]:
    text = problems_text(assessment)
    before = conditions.find(assessment.cluster.status.conditions, ConditionType.INVALID_SPEC)
    if before is None or before.status != conditions.TRUE or before.message != text:
        yield EventRecord("Warning", Reason.INVALID_SPEC, text, Action.VALIDATE)


def problems_text(assessment: Assessment) -> str:
    """All problems of the spec in one message."""
    return conditions.shorten("; ".join(str(problem) for problem in assessment.problems), MESSAGE_MAX)


def _scaling_events(assessment: Assessment) -> Iterable[EventRecord]:
    for addition in assessment.scaling.add:
        if addition.reason == "Demand":
            noun = "worker" if addition.count == 1 else "workers"
            text = f"adding {addition.count} {noun} to group `{addition.group}` for work that waits"
            yield EventRecord("Normal", Reason.CREATED_WORKERS, text, Action.SCALE_UP)
    before = conditions.find(assessment.cluster.status.conditions, ConditionType.DEMAND_SATISFIED)
    infeasible = [unmet for unmet in assessment.scaling.unmet if unmet.verdict is Verdict.INFEASIBLE]
    if infeasible and (before is None or before.reason != Reason.INFEASIBLE):
        text = conditions.shorten(infeasible[0].message)
        yield EventRecord("Warning", Reason.INFEASIBLE_DEMAND, text, Action.PLAN)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
