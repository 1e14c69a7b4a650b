"""What to do about one ComputeCluster now.

Invariant: the function is pure and level-triggered; carrying its plan out and planning again gives the
empty plan. An intent (the drain annotation) is durable before a head hears of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from shoal_operator.api.meta import API_VERSION, MESSAGE_MAX
from shoal_operator.autoscaler.model import Verdict
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.assessment import Assessment, assess, has_pods
from shoal_operator.domain.cluster.certificates import with_certificates
from shoal_operator.domain.cluster.changes import Changes, waits_for_hanging
from shoal_operator.domain.cluster.decisions import decisions
from shoal_operator.domain.cluster.explanation import addition_events
from shoal_operator.domain.cluster.growth import new_workers
from shoal_operator.domain.cluster.idleness import BEGUN
from shoal_operator.domain.cluster.observed import ClusterObservation
from shoal_operator.domain.cluster.protection import protect
from shoal_operator.domain.cluster.rollout_status import rollout_events
from shoal_operator.domain.labels import GROUP
from shoal_operator.domain.manifests.claims import build_claim
from shoal_operator.domain.manifests.owners import applied_hash
from shoal_operator.domain.manifests.pods import build_head_pod
from shoal_operator.domain.manifests.secrets import build_token_secret
from shoal_operator.domain.manifests.services import build_services
from shoal_operator.domain.names import token_secret_name
from shoal_operator.domain.plan import REQUEUE_SECONDS_MIN, EventRecord, Manifest, ObjectRef, Plan, PodDeletion
from shoal_operator.domain.reasons import Action, ConditionType, Reason


def plan_cluster(
    observed: ClusterObservation,
    now: datetime,
    *,
    new_token: Callable[[], str],
    assessment: Assessment | None = None,
) -> Plan:
    """Decide.

    Args:
        observed: the world.
        now: the current time, timezone-aware.
        new_token: makes the cluster's token; called only when the token Secret is missing. The shell passes
            ``functools.partial(secrets.token_urlsafe, 32)``.
        assessment: ``assess(observed, now)``, for those who need it more than once.

    Returns:
        Everything to do in this pass; the empty plan when the cluster is as it shall be, is being deleted, or
        is managed by another controller.
    """
    assessment = assessment or assess(observed, now)
    return with_certificates(_decide(observed, assessment, now, new_token), observed.certificates)


def _decide(observed: ClusterObservation, assessment: Assessment, now: datetime, new_token: Callable[[], str]) -> Plan:
    """The plan as it is where certificates are no matter."""
    if not assessment.is_ours:
        return Plan()
    if assessment.problems:
        return Plan(events=tuple(_invalid_events(assessment)))
    protection = protect(observed)
    if assessment.suspension:
        return replace(_suspend(assessment, now), delete=protection.delete)
    if _is_to_be_deleted(assessment):
        return Plan(delete=(_itself(observed),), events=(_deletion_event(assessment),))
    draft = Changes(assessment, now)
    draft.decide()
    return Plan(
        create=tuple(_missing_secret(observed, new_token)),
        apply=(*_outdated_objects(observed), *protection.apply),
        create_pods=tuple(_let_in(assessment, (*_missing_head(assessment), *new_workers(observed, assessment)))),
        delete_pods=tuple(draft.deletions.values()),
        delete=(*protection.delete, *_removed_services(observed)),
        annotate_pods=tuple(mark for mark in draft.annotations if mark.name not in draft.deletions),
        head_commands=tuple(draft.commands),
        events=(*draft.events, *rollout_events(assessment), *_scaling_events(assessment)),
        decisions=decisions(assessment, draft.begun(), now),
        requeue_after_seconds=_sooner(draft.requeue_after(), _idle_wait(assessment)),
    )


def _is_to_be_deleted(assessment: Assessment) -> bool:
    """Whether the idle policy deletes the cluster now: it is told in the status first, and still so."""
    cluster, idleness = assessment.cluster, assessment.idleness
    policy = cluster.spec.idle_policy
    if policy is None or policy.action != "Delete" or idleness is None or not idleness.is_due:
        return False
    told = conditions.find(cluster.status.conditions, ConditionType.IDLE)
    return told is not None and told.reason == Reason.IDLE_TIMEOUT


def _itself(observed: ClusterObservation) -> ObjectRef:
    metadata = observed.cluster.metadata
    return ObjectRef(API_VERSION, observed.cluster.kind, metadata.name, metadata.uid)


def _deletion_event(assessment: Assessment) -> EventRecord:
    text = assessment.idleness.fact.message if assessment.idleness else ""
    return EventRecord("Normal", Reason.IDLE_TIMEOUT, text, Action.SCALE_DOWN)


def _idle_wait(assessment: Assessment) -> float | None:
    """When the idle policy has to be looked at again."""
    left = assessment.idleness.ends_in_seconds if assessment.idleness else None
    return None if left is None else max(REQUEUE_SECONDS_MIN, left)


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((wait for wait in (one, other) if wait is not None), default=None)


def _suspend(assessment: Assessment, now: datetime) -> Plan:
    """Give all pods up. That it has begun is in the status first, so that it is finished whatever comes between."""
    suspended = conditions.find(assessment.cluster.status.conditions, ConditionType.SUSPENDED)
    if suspended is None or suspended.reason not in BEGUN:
        return Plan(requeue_after_seconds=REQUEUE_SECONDS_MIN)
    pods = [worker.pod for worker in assessment.workers] + list(assessment.ended)
    if assessment.head_pod and not assessment.head_pod.is_deleting:
        pods.append(assessment.head_pod)
    waits = waits_for_hanging(assessment, now)
    if suspended.reason in (Reason.SUSPENDING, Reason.SUSPENDING_IDLE) and not has_pods(assessment):
        waits.append(REQUEUE_SECONDS_MIN)
    return Plan(
        delete_pods=tuple(PodDeletion(pod.name, pod.uid, Reason.SUSPENDED) for pod in pods),
        requeue_after_seconds=max(REQUEUE_SECONDS_MIN, min(waits)) if waits else None,
    )


def _missing_secret(observed: ClusterObservation, new_token: Callable[[], str]) -> Iterator[Manifest]:
    if token_secret_name(observed.cluster.metadata.name) not in observed.secrets:
        yield build_token_secret(observed.cluster, new_token())


def _outdated_objects(observed: ClusterObservation) -> Iterator[Manifest]:
    """Services and the claim, where they are missing or another was applied."""
    claim = build_claim(observed.cluster)
    known = {(child.kind, child.name): child for child in (*observed.services, *observed.claims)}
    for manifest in (*build_services(observed.cluster), *([claim] if claim else [])):
        existing = known.get((manifest["kind"], manifest["metadata"]["name"]))
        if existing is None or existing.applied_hash != applied_hash(manifest):
            yield manifest


def _removed_services(observed: ClusterObservation) -> Iterator[ObjectRef]:
    """Services of groups that are gone."""
    wanted = {manifest["metadata"]["name"] for manifest in build_services(observed.cluster)}
    for child in observed.services:
        if child.name not in wanted and child.owner_uid == observed.cluster.metadata.uid:
            yield ObjectRef("v1", "Service", child.name, child.uid)


def _missing_head(assessment: Assessment) -> Iterator[Manifest]:
    if not assessment.head_name_taken:
        yield build_head_pod(assessment.cluster, assessment.cluster.status.head.failures + 1)


def _let_in(assessment: Assessment, pods: Iterable[Manifest]) -> Iterator[Manifest]:
    """Without those that the API server would refuse now; they are tried again when their refusal is lifted."""
    return (pod for pod in pods if pod["metadata"]["labels"][GROUP] not in assessment.refused)


def _invalid_events(assessment: Assessment) -> Iterator[EventRecord]:
    text = problems_text(assessment)
    before = conditions.find(assessment.cluster.status.conditions, ConditionType.INVALID_SPEC)
    if before is None or before.status != conditions.TRUE or before.message != text:
        yield EventRecord("Warning", Reason.INVALID_SPEC, text, Action.VALIDATE)


def problems_text(assessment: Assessment) -> str:
    """All problems of the spec in one message."""
    return conditions.shorten("; ".join(str(problem) for problem in assessment.problems), MESSAGE_MAX)


def _scaling_events(assessment: Assessment) -> Iterable[EventRecord]:
    yield from addition_events(assessment.scaling.add)
    before = conditions.find(assessment.cluster.status.conditions, ConditionType.DEMAND_SATISFIED)
    infeasible = [unmet for unmet in assessment.scaling.unmet if unmet.verdict is Verdict.INFEASIBLE]
    if infeasible and (before is None or before.reason != Reason.INFEASIBLE):
        text = conditions.shorten(infeasible[0].message)
        yield EventRecord("Warning", Reason.INFEASIBLE_DEMAND, text, Action.PLAN)
