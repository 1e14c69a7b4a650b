"""Why work gets no node: one refusal for each group, one verdict for the shape.

Invariant: ``Infeasible`` is said only when no empty node of any group, and no node that is there, could take
one unit; everything else may yet run and says what it waits for.
"""

from __future__ import annotations

from shoal.resources import ResourceSet, describe
from shoal_operator.autoscaler.model import (
    ComingNode,
    Demand,
    Group,
    GroupRefusal,
    ScalingRequest,
    Unmet,
    Verdict,
)
from shoal_operator.autoscaler.packing import matches
from shoal_operator.autoscaler.simulation import stuck_groups

GROUPS_NAMED_MAX = 4
"""Groups that one message names; ``tried`` has them all."""


def explain_unmet(request: ScalingRequest, demand: Demand, count: int) -> Unmet:
    """The verdict on ``count`` units of ``demand`` that found no capacity."""
    stuck = stuck_groups(request.coming)
    groups = sorted(request.groups, key=lambda group: (-group.priority, group.name))
    tried = tuple(_refusal(demand, group, stuck.get(group.name), request) for group in groups)
    verdict = _verdict(request, demand, tried)
    parts = _relevant(tried, verdict)
    named = ", ".join(part.message for part in parts[:GROUPS_NAMED_MAX])
    more = f" and {len(parts) - GROUPS_NAMED_MAX} more groups" if len(parts) > GROUPS_NAMED_MAX else ""
    reasons = named + more or "there is no worker group"
    return Unmet(demand, count, verdict, f"{_subject(demand)} needs {_need(demand)}, {reasons}", tried)


def _subject(demand: Demand) -> str:
    return f"{demand.kind} `{demand.examples[0]}`" if demand.examples else f"a {demand.kind}"


def _need(demand: Demand) -> str:
    selector = ", ".join(f"{key}={value}" for key, value in demand.label_selector)
    return f"{describe(demand.shape)} on a node with {selector}" if selector else describe(demand.shape)


def _refusal(demand: Demand, group: Group, stuck: ComingNode | None, request: ScalingRequest) -> GroupRefusal:
    if not matches(demand.label_selector, group.labels):
        absent = ", ".join(f"{k}={v}" for k, v in demand.label_selector if (k, v) not in group.labels)
        return GroupRefusal(group.name, Verdict.INFEASIBLE, f"group `{group.name}` has no label {absent}")
    lacking = demand.shape.lacks(group.resources)
    if lacking:
        suspended = " (suspended)" if group.suspended else ""
        offer = _offer(lacking, group.resources, len(demand.shape))
        return GroupRefusal(group.name, Verdict.INFEASIBLE, f"group `{group.name}`{suspended} offers {offer}")
    if stuck is not None:
        detail = f": {stuck.blocked_message}" if stuck.blocked_message else ""
        message = f"pod {stuck.pod_name} of group `{group.name}` does not start: {stuck.blocked_reason}{detail}"
        return GroupRefusal(group.name, Verdict.BLOCKED, message)
    return GroupRefusal(group.name, Verdict.LIMIT_REACHED, _limit_text(group, request))


def _offer(lacking: dict[str, int], offered: ResourceSet, dimensions: int) -> str:
    """Such as "at most 2" for a shape of one dimension, "at most 2 CPU" else, "no GPU" for nothing."""
    texts = []
    for name in sorted(lacking):
        if offered[name] == 0:
            texts.append(f"no {name}")
        elif dimensions == 1:
            texts.append(f"at most {offered[name] / 10_000:g}")
        else:
            texts.append("at most " + describe({name: offered[name]}))
    return " and ".join(texts)


def _limit_text(group: Group, request: ScalingRequest) -> str:
    if group.suspended:
        return f"group `{group.name}` is suspended"
    present = sum(1 for node in request.nodes if node.group == group.name)
    present += sum(1 for node in request.coming if node.group == group.name)
    if present < group.max_nodes and request.limits.max_nodes is not None:
        return f"the cluster may have no more than {request.limits.max_nodes} workers"
    return f"group `{group.name}` is at its maxReplicas ({group.max_nodes // group.hosts})"


def _verdict(request: ScalingRequest, demand: Demand, tried: tuple[GroupRefusal, ...]) -> Verdict:
    verdicts = {refusal.verdict for refusal in tried}
    if Verdict.BLOCKED in verdicts:
        return Verdict.BLOCKED
    if Verdict.LIMIT_REACHED in verdicts:
        return Verdict.LIMIT_REACHED
    known = {group.name: group.labels for group in request.groups}
    for node in request.nodes:
        if demand.shape.fits(node.total) and matches(demand.label_selector, known.get(node.group, ())):
            return Verdict.LIMIT_REACHED
    return Verdict.INFEASIBLE


def _relevant(tried: tuple[GroupRefusal, ...], verdict: Verdict) -> list[GroupRefusal]:
    matching = [refusal for refusal in tried if refusal.verdict == verdict]
    return matching or list(tried)
