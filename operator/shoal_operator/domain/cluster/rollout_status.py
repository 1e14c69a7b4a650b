"""What to say about a rollout: the condition UpToDate, with counts.

Invariant: it is True only when every pod was made from the present templates, and else says what is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator

from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.assessment import Assessment, pod_text
from shoal_operator.domain.cluster.rollout import GroupRollout
from shoal_operator.domain.conditions import FALSE, TRUE, UNKNOWN, Fact
from shoal_operator.domain.plan import EventRecord
from shoal_operator.domain.reasons import Action, ConditionType, Reason


def up_to_date(assessment: Assessment) -> Fact:
    """The condition UpToDate."""
    kind, rollout = ConditionType.UP_TO_DATE, assessment.rollout
    if assessment.problems:
        return Fact(kind, UNKNOWN, Reason.INVALID_SPEC, "nothing is done with an invalid spec")
    open_groups = [group for group in rollout.groups if not group.is_done]
    if not open_groups and not rollout.head_is_outdated:
        return Fact(kind, TRUE, Reason.ALL_UP_TO_DATE, "all pods were made from the present templates")
    text = "; ".join(_texts(assessment, open_groups))
    if assessment.cluster.spec.update_strategy.type == "OnDelete":
        hint = "spec.updateStrategy.type is OnDelete: delete the pods to have them made anew"
        return Fact(kind, FALSE, Reason.WAITING_FOR_DELETION, f"{text}; {hint}")
    stuck = next((group.stuck for group in open_groups if group.stuck), None)
    if stuck is not None:
        trouble = f"the update stops there: pod {stuck.name} of the present template does not start: {pod_text(stuck)}"
        return Fact(kind, FALSE, Reason.ROLLOUT_STUCK, f"{text}; {trouble}")
    refusal = next((assessment.refused[item.group] for item in open_groups if item.group in assessment.refused), None)
    if refusal is not None:
        return Fact(kind, FALSE, Reason.ROLLOUT_STUCK, f"{text}; the update stops there: {refusal.message}")
    if open_groups and assessment.head is None:
        return Fact(kind, FALSE, Reason.HEAD_UNREACHABLE, f"{text}; workers are drained only while the head answers")
    if not open_groups and rollout.head_waits_for:
        return Fact(kind, FALSE, Reason.HEAD_WAITS, text)
    return Fact(kind, FALSE, Reason.ROLLING_OUT, text)


def rollout_events(assessment: Assessment) -> Iterator[EventRecord]:
    """An Event when an update begins, and one when it gets stuck."""
    fact = up_to_date(assessment)
    before = conditions.find(assessment.cluster.status.conditions, ConditionType.UP_TO_DATE)
    if before is None or before.reason == fact.reason or fact.status != FALSE:
        return
    if fact.reason == Reason.ROLLOUT_STUCK:
        yield EventRecord("Warning", Reason.ROLLOUT_STUCK, conditions.shorten(fact.message), Action.UPDATE)
    elif before.status == TRUE:
        waits = fact.reason == Reason.WAITING_FOR_DELETION
        reason = Reason.WAITING_FOR_DELETION if waits else Reason.ROLLING_OUT
        yield EventRecord("Normal", reason, conditions.shorten(fact.message), Action.UPDATE)


def outdated_pods(assessment: Assessment, group: str) -> int:
    """Workers of a group that were made from an earlier template."""
    return sum(len(item.workers) for item in assessment.replicas if item.group == group and item.is_outdated)


def _texts(assessment: Assessment, open_groups: list[GroupRollout]) -> Iterator[str]:
    for group in open_groups:
        replicas = [item for item in assessment.replicas if item.group == group.group]
        total = sum(len(item.workers) for item in replicas)
        fresh = [worker for item in replicas if not item.is_outdated for worker in item.workers]
        running = sum(worker.node is not None or worker.pod.ready for worker in fresh)
        starting = f", {len(fresh) - running} starting" if running < len(fresh) else ""
        yield f"{running} of {total} workers of group `{group.group}` run the present template{starting}"
    rollout = assessment.rollout
    if rollout.head_is_outdated:
        yield f"the head runs an earlier template{f': {rollout.head_waits_for}' if rollout.head_waits_for else ''}"
