"""What to say about one ComputeCluster: conditions, counts, the first blocking reason.

Invariant: the same world gives the same status; a condition's lastTransitionTime changes only when it flips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from shoal.resources import describe
from shoal_operator.api.autoscaling import GroupBlockage
from shoal_operator.api.cluster import (
    ComputeClusterStatus,
    HeadStatus,
    WorkerGroupStatus,
    WorkersStatus,
)
from shoal_operator.api.meta import Condition, Model
from shoal_operator.api.problems import Problem
from shoal_operator.autoscaler.model import Verdict
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.assessment import (
    STALE_SECONDS,
    Assessment,
    age_seconds,
    assess,
    hanging_text,
    has_pods,
    missing_hosts,
    pod_text,
)
from shoal_operator.domain.cluster.blocking import group_blockage, invalid_template, pod_blockage, workers_ready
from shoal_operator.domain.cluster.certificates import with_certificate_facts
from shoal_operator.domain.cluster.cooldowns import blockages
from shoal_operator.domain.cluster.explanation import demand_status
from shoal_operator.domain.cluster.groups import least_workers
from shoal_operator.domain.cluster.head_life import failures, loop_text
from shoal_operator.domain.cluster.idleness import BEGUN, Suspension, suspension_facts
from shoal_operator.domain.cluster.observed import ClusterObservation, PodView
from shoal_operator.domain.cluster.rollout_status import outdated_pods, up_to_date
from shoal_operator.domain.conditions import FALSE, TRUE, UNKNOWN, Fact
from shoal_operator.domain.head import DrainState, HeadView
from shoal_operator.domain.labels import HEAD_GROUP, ROLE_HEAD
from shoal_operator.domain.names import head_pod_name, head_service_name
from shoal_operator.domain.plan import Plan
from shoal_operator.domain.reasons import ConditionType, Reason

MESSAGES_MAX = 3
"""Shapes of work that one condition message explains."""

_MADE_OF_PODS = frozenset({ConditionType.READY, ConditionType.PROGRESSING})

_VERDICTS = {
    Verdict.INFEASIBLE: Reason.INFEASIBLE,
    Verdict.BLOCKED: Reason.WORKERS_BLOCKED,
    Verdict.LIMIT_REACHED: Reason.LIMIT_REACHED,
}


def cluster_status(
    observed: ClusterObservation,
    plan: Plan,
    now: datetime,
    *,
    refusals: Sequence[str] = (),
    assessment: Assessment | None = None,
) -> dict[str, Any]:
    """The whole ``status`` of the cluster as camelCase JSON.

    Args:
        observed: the world that ``plan`` was made from.
        plan: what this pass does; pods it creates count as pending already.
        now: the current time, timezone-aware.
        refusals: what the API server refused of this plan for good (a bad template, a quota), in its words.
        assessment: ``assess(observed, now)``, for those who need it more than once.

    Returns:
        The value of ``status``. Write it only when it differs from what the object has.
    """
    assessment = assessment or assess(observed, now)
    old = observed.cluster.status
    if not assessment.is_ours:
        return dump(old)
    groups = tuple(_group_counts(assessment, now))
    facts = _facts(observed, assessment, plan, groups)
    facts = with_certificate_facts(observed.cluster, facts, observed.certificates)
    if refusals:
        facts = [_refused(fact, refusals[0]) if fact.type in _MADE_OF_PODS else fact for fact in facts]
    merged = conditions.merge(old.conditions, facts, now, observed.cluster.metadata.generation)
    blocking = first_blocking(merged)
    name = observed.cluster.metadata.name
    return dump(
        ComputeClusterStatus(
            observed_generation=observed.cluster.metadata.generation,
            conditions=merged,
            workers=WorkersStatus(
                desired=sum(group.desired for group in groups),
                ready=sum(group.ready for group in groups),
                pending=sum(group.pending for group in groups),
                draining=sum(group.draining for group in groups),
            ),
            worker_groups=groups,
            demand=demand_status(assessment.scaling.unmet, old.demand or ()),
            idle_since=assessment.idleness.since if assessment.idleness else None,
            head=HeadStatus(
                pod_name=head_pod_name(name),
                service_name=head_service_name(name),
                incarnation=observed.head.incarnation if observed.head else old.head.incarnation,
                failures=_head_failures(assessment, old.head.failures, now),
            ),
            reason=blocking.reason if blocking else None,
            message=blocking.message if blocking else None,
        )
    )


def invalid_cluster_status(document: dict[str, Any], problems: Sequence[Problem], now: datetime) -> dict[str, Any]:
    """The ``status`` of an object that cannot even be read (``ComputeCluster.parse`` raised)."""
    return invalid_status(ComputeClusterStatus, document, problems, now)


def invalid_status(
    model: type[Model], document: dict[str, Any], problems: Sequence[Problem], now: datetime
) -> dict[str, Any]:
    """The least that can be said of an unreadable object: the condition InvalidSpec, in its own words."""
    metadata = document.get("metadata") or {}
    generation = int(metadata.get("generation") or 0)
    text = "; ".join(str(problem) for problem in problems)
    before = ComputeClusterStatus.model_validate({"conditions": (document.get("status") or {}).get("conditions") or []})
    facts = [
        Fact(ConditionType.INVALID_SPEC, TRUE, Reason.INVALID_SPEC, text),
    ]
    merged = conditions.merge(before.conditions, facts, now, generation)
    status = model.model_validate(
        {
            "observedGeneration": generation,
            "conditions": merged,
            "reason": Reason.INVALID_SPEC.value,
            "message": conditions.shorten(text),
        }
    )
    return dump(status)


def dump(status: Model) -> dict[str, Any]:
    """A status as the JSON that the API server stores."""
    document = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    for condition in document.get("conditions", []):
        if not condition.get("message"):
            condition["message"] = ""
    return document


def first_blocking(facts: Sequence[Condition]) -> Condition | None:
    """The condition that holds the cluster up most, if one does."""
    invalid = conditions.find(facts, ConditionType.INVALID_SPEC)
    if invalid and invalid.status == TRUE:
        return invalid
    suspended = conditions.find(facts, ConditionType.SUSPENDED)
    if suspended and suspended.reason in BEGUN:
        return suspended
    progressing = conditions.find(facts, ConditionType.PROGRESSING)
    if progressing and progressing.reason == Reason.WRITE_REFUSED:
        return progressing
    for kind in (ConditionType.HEAD_READY, ConditionType.HEAD_REACHABLE):
        condition = conditions.find(facts, kind)
        if condition and condition.status != TRUE:
            return condition
    update = conditions.find(facts, ConditionType.UP_TO_DATE)
    if update and update.reason == Reason.ROLLOUT_STUCK:
        return update
    workers = conditions.find(facts, ConditionType.WORKERS_READY)
    if workers and workers.status == FALSE and workers.reason != Reason.WAITING_FOR_WORKERS:
        return workers
    demand = conditions.find(facts, ConditionType.DEMAND_SATISFIED)
    if demand and demand.status == FALSE:
        return demand
    return update if update and update.reason == Reason.WAITING_FOR_DELETION else None


def _refused(fact: Fact, message: str) -> Fact:
    """``fact`` in the light of a write that the API server refuses: what is not there will not come."""
    if fact.type is ConditionType.PROGRESSING or fact.status == FALSE:
        return Fact(fact.type, FALSE, Reason.WRITE_REFUSED, message)
    return fact


def _group_counts(assessment: Assessment, now: datetime) -> Iterator[WorkerGroupStatus]:
    coming = Counter[str]()
    for addition in assessment.scaling.add:
        coming[addition.group] += addition.count
    hosts = {group.name: group.hosts_per_replica for group in assessment.cluster.spec.worker_groups}
    for change in assessment.rollout.groups:
        coming[change.group] += len(change.replace) * hosts[change.group]
    if not assessment.problems and not assessment.suspension:
        for replica in assessment.replicas:
            coming[replica.group] += len(missing_hosts(assessment.cluster, replica))
    given_up = {removal.pod_name for removal in assessment.scaling.cancel} if assessment.head else set()
    named = [group.name for group in assessment.cluster.spec.worker_groups]
    ready, draining, pending = Counter[str](), Counter[str](), coming.copy()
    for worker in assessment.workers:
        group, node = worker.pod.group, worker.node
        if worker.drain or (node and node.drain_state is not DrainState.ACTIVE):
            draining[group] += 1
        elif node or (assessment.head is None and worker.pod.ready):
            ready[group] += 1
        elif worker.pod.name not in given_up:
            pending[group] += 1
    avoided = _avoided(assessment, now)
    for group in named:
        yield WorkerGroupStatus(
            name=group,
            desired=ready[group] + pending[group],
            ready=ready[group],
            pending=pending[group],
            draining=draining[group],
            outdated=outdated_pods(assessment, group),
            blocked=avoided.get(group),
        )


def _avoided(assessment: Assessment, now: datetime) -> dict[str, GroupBlockage]:
    """Groups that get no workers now, with why."""
    cooldowns = assessment.scaling.cooldowns
    found = {item.group: group_blockage(assessment, item.group) for item in cooldowns}
    messages = {name: blockage.message for name, blockage in found.items() if blockage is not None}
    return blockages(assessment.cluster, cooldowns, messages, now)


def _facts(
    observed: ClusterObservation, assessment: Assessment, plan: Plan, groups: Sequence[WorkerGroupStatus]
) -> list[Fact]:
    cluster = observed.cluster
    head_ready = _head_ready(assessment)
    reachable = _head_reachable(observed, assessment.suspension)
    facts = [
        _ready(assessment, head_ready, reachable, groups),
        head_ready,
        reachable,
        workers_ready(assessment, groups),
        _demand_satisfied(assessment),
        up_to_date(assessment),
        _progressing(assessment, plan, groups),
    ]
    known = {condition.type for condition in cluster.status.conditions}
    if assessment.problems:
        text = "; ".join(str(problem) for problem in assessment.problems)
        facts.append(Fact(ConditionType.INVALID_SPEC, TRUE, Reason.INVALID_SPEC, text))
    elif template := invalid_template(assessment):
        facts.append(Fact(ConditionType.INVALID_SPEC, TRUE, template.reason, template.message))
    elif ConditionType.INVALID_SPEC in known:
        facts.append(Fact(ConditionType.INVALID_SPEC, FALSE, Reason.VALID))
    facts += suspension_facts(assessment.cluster, assessment.suspension, assessment.idleness, _pods_left(assessment))
    return facts


def _pods_left(assessment: Assessment) -> str | None:
    """What is to be said of the pods that a suspension has not taken away yet; None when there are none."""
    if not has_pods(assessment):
        return None
    pods = [*assessment.leaving, *([assessment.head_pod] if assessment.head_pod else [])]
    stuck = next((f"; {hanging_text(pod)}" for pod in pods if pod.name in assessment.hanging), "")
    return f"pods are being deleted; all go before new ones come{stuck}"


def _ready(assessment: Assessment, head_ready: Fact, reachable: Fact, groups: Sequence[WorkerGroupStatus]) -> Fact:
    kind = ConditionType.READY
    if assessment.problems:
        text = "; ".join(str(problem) for problem in assessment.problems)
        return Fact(kind, FALSE, Reason.INVALID_SPEC, text)
    if assessment.suspension:
        return Fact(kind, FALSE, Reason.SUSPENDED, assessment.suspension.text)
    fact, template = _ready_by_pods(assessment, head_ready, reachable, groups), invalid_template(assessment)
    if template is not None and (fact.status != TRUE or _has_no_pod_of_refused(assessment, groups)):
        return Fact(kind, FALSE, template.reason, template.message)
    return fact


def _has_no_pod_of_refused(assessment: Assessment, groups: Sequence[WorkerGroupStatus]) -> bool:
    """Whether a refused group has no worker of an earlier template: what runs goes on without the new one."""
    return any(group.name in assessment.refused and not group.ready for group in groups)


def _ready_by_pods(
    assessment: Assessment, head_ready: Fact, reachable: Fact, groups: Sequence[WorkerGroupStatus]
) -> Fact:
    kind = ConditionType.READY
    for fact in (head_ready, reachable):
        if fact.status != TRUE:
            return Fact(kind, FALSE, fact.reason, fact.message)
    counts = {group.name: group for group in groups}
    for group in assessment.cluster.spec.worker_groups:
        ready = counts[group.name].ready
        least = least_workers(group)
        if ready < least:
            text = f"group `{group.name}` has {ready} of at least {least} workers"
            blockage = group_blockage(assessment, group.name)
            if blockage is not None:
                return Fact(kind, FALSE, blockage.reason, f"{text}: {blockage.message}")
            return Fact(kind, FALSE, Reason.WAITING_FOR_WORKERS, text)
    return Fact(kind, TRUE, Reason.ALL_READY, "the head answers and every group has its least number of workers")


def _head_ready(assessment: Assessment) -> Fact:
    pod = assessment.head_pod
    if pod is None or pod.name not in assessment.hanging:
        return _head_fact(assessment)
    text = f"there is no new head before the old one is gone: {hanging_text(pod)}"
    return Fact(ConditionType.HEAD_READY, FALSE, Reason.HEAD_NODE_LOST, text)


def _head_fact(assessment: Assessment) -> Fact:
    kind, pod = ConditionType.HEAD_READY, assessment.head_pod
    name = head_pod_name(assessment.cluster.metadata.name)
    if assessment.problems and pod is None:
        return Fact(kind, FALSE, Reason.INVALID_SPEC, "no head is started from an invalid spec")
    if assessment.suspension and pod is None:
        return Fact(kind, FALSE, Reason.SUSPENDED, assessment.suspension.text)
    ended = next((item for item in assessment.ended if item.name == name), None)
    if pod is None and ended is not None and ended.head_attempt > 1:
        return Fact(kind, FALSE, Reason.HEAD_CRASH_LOOP, loop_text(ended, pod_text(ended)))
    blockage = group_blockage(assessment, HEAD_GROUP) if pod is None else pod_blockage(pod)
    if blockage is not None:
        loops = blockage.reason == Reason.CRASH_LOOP
        return Fact(kind, FALSE, Reason.HEAD_CRASH_LOOP if loops else blockage.reason, blockage.message)
    if pod is None:
        return _head_missing(assessment, name)
    if pod.is_deleting:
        return Fact(kind, FALSE, Reason.HEAD_STOPPED, f"pod {name} is being deleted")
    if pod.ready or _answers(assessment.head, pod):
        return Fact(kind, TRUE, Reason.HEAD_RUNNING, f"the head runs in pod {name}")
    text = f"pod {name}: {pod_text(pod)}" if pod.reasons else f"pod {name} is starting"
    return Fact(kind, FALSE, Reason.HEAD_STARTING, text)


def _answers(head: HeadView | None, pod: PodView) -> bool:
    """Whether the head itself has said that it is ready, a probe earlier; where nothing beside it has to be, too."""
    if head is None or not head.reachable or not pod.is_bare or pod.created is None:
        return False
    return head.received_at >= pod.created  # else it is the word of the head before


def _head_failures(assessment: Assessment, before: int, now: datetime) -> int:
    ended = next((pod for pod in assessment.ended if pod.role == ROLE_HEAD), None)
    pod = assessment.head_pod or ended
    return failures(assessment.head_pod, ended, age_seconds(pod, now) if pod else 0.0, before)


def _head_missing(assessment: Assessment, name: str) -> Fact:
    kind = ConditionType.HEAD_READY
    ended = next((item for item in assessment.ended if item.name == name), None)
    if ended is not None:
        return Fact(kind, FALSE, Reason.HEAD_STOPPED, f"pod {name} ended: {pod_text(ended)}")
    if assessment.head_name_taken:
        text = f"a pod {name} that belongs to something else is there; waiting for it to go"
        return Fact(kind, FALSE, Reason.HEAD_MISSING, text)
    return Fact(kind, FALSE, Reason.HEAD_STARTING, f"pod {name} is being created")


def _head_reachable(observed: ClusterObservation, suspension: Suspension | None) -> Fact:
    kind, head = ConditionType.HEAD_REACHABLE, observed.head
    if suspension:
        return Fact(kind, UNKNOWN, Reason.SUSPENDED, suspension.text)
    if head is None and observed.head_problem:
        text = f"the head does not answer: {observed.head_problem}"
        return Fact(kind, FALSE, Reason.HEAD_UNREACHABLE, text)
    if head is None:
        # An operator that has just started knows less than the one before: that is no news.
        before = conditions.find(observed.cluster.status.conditions, kind)
        if before is not None and before.reason == Reason.HEAD_UNREACHABLE:
            return Fact(kind, FALSE, Reason.HEAD_UNREACHABLE, before.message)
        return Fact(kind, UNKNOWN, Reason.HEAD_NOT_YET_REACHED, "the head has not answered yet")
    if not head.reachable:
        text = f"the head does not answer: {head.unreachable_message or 'connection lost'}"
        return Fact(kind, FALSE, Reason.HEAD_UNREACHABLE, text)
    return Fact(kind, TRUE, Reason.HEAD_ANSWERS, "the head answers")


def _demand_satisfied(assessment: Assessment) -> Fact:
    kind, scaling = ConditionType.DEMAND_SATISFIED, assessment.scaling
    if assessment.head is None:
        return Fact(kind, UNKNOWN, Reason.NO_DEMAND_KNOWN, "what waits is not known while the head does not answer")
    if assessment.is_stale:
        text = f"the head has said nothing for more than {STALE_SECONDS:g} s; no worker is taken away meanwhile"
        return Fact(kind, UNKNOWN, Reason.NO_DEMAND_KNOWN, text)
    for verdict, reason in _VERDICTS.items():
        if verdict is Verdict.LIMIT_REACHED and scaling.waiting:
            break  # a limit is the answer only when the workers that it allows are there
        texts = [unmet.message for unmet in scaling.unmet if unmet.verdict is verdict]
        if texts:
            return Fact(kind, FALSE, reason, "; ".join(dict.fromkeys(texts[:MESSAGES_MAX])))
    if scaling.waiting:
        shapes = dict.fromkeys(describe(item.demand.shape) for item in scaling.waiting[:MESSAGES_MAX])
        text = f"work that needs {' or '.join(shapes)} waits for workers that are starting"
        return Fact(kind, FALSE, Reason.WAITING_FOR_WORKERS, text)
    return Fact(kind, TRUE, Reason.NOTHING_WAITS, "nothing waits for workers")


def _progressing(assessment: Assessment, plan: Plan, groups: Sequence[WorkerGroupStatus]) -> Fact:
    kind = ConditionType.PROGRESSING
    if assessment.problems:
        return Fact(kind, FALSE, Reason.INVALID_SPEC, "nothing is done with an invalid spec")
    if assessment.suspension:
        left = len(plan.delete_pods) + len(assessment.leaving) + (assessment.head_pod is not None)
        if left:
            return Fact(kind, TRUE, Reason.SUSPENDING, "pods are being deleted")
        return Fact(kind, FALSE, Reason.SUSPENDED, assessment.suspension.text)
    pending = {group.name: group.pending for group in groups if group.pending}
    if pending:
        text = "starting " + ", ".join(f"{count} of group `{name}`" for name, count in pending.items())
        return Fact(kind, TRUE, Reason.SCALING_UP, text)
    leaving = sum(group.draining for group in groups) + len(assessment.leaving)
    if leaving:
        return Fact(kind, TRUE, Reason.SCALING_DOWN, f"{leaving} worker(s) are leaving")
    if assessment.head_pod is None or not assessment.head_pod.ready:
        return Fact(kind, TRUE, Reason.STARTING, "the head is starting")
    return Fact(kind, FALSE, Reason.SETTLED, "there are as many workers as there shall be")
