"""Why work gets no node: one refusal for each group, one verdict for the shape.

Invariant: ``Infeasible`` is said only when no empty node of any group, and no node that is there, could take
one unit, and no number of them a whole placement group; everything else may yet run and says what it waits for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from shoal.core.labels import matches
from shoal.resources import ResourceSet, amount_text, describe
from shoal_operator.autoscaler.cooldown import Closure
from shoal_operator.autoscaler.gangs import Band
from shoal_operator.autoscaler.model import (
    PLACEMENT_GROUP,
    Demand,
    GangStrategy,
    Group,
    GroupRefusal,
    ScalingRequest,
    Unmet,
    Verdict,
)
from shoal_operator.autoscaler.problem import Space
from shoal_operator.autoscaler.standing import Room

GROUPS_NAMED_MAX: Final = 4
"""Groups that one message names."""
TRIED_MAX: Final = 50
"""Groups that ``tried`` lists."""
_STRATEGIES: Final = {
    GangStrategy.STRICT_PACK: "all on one node",
    GangStrategy.STRICT_SPREAD: "each on a node of its own",
}


class Explainer:
    """Says why, for one question and what its best answer left of the room."""

    def __init__(self, request: ScalingRequest, space: Space, room: Room, closed: Mapping[str, Closure]) -> None:
        self._request = request
        self._space = space
        self._room = room
        self._closed = closed
        self._groups = sorted(request.groups, key=lambda group: (-group.priority, group.name))
        self._labels = {group.name: dict(group.labels) for group in request.groups}
        self._present = Counter(node.group for node in request.nodes if node.removable)
        self._present.update(node.group for node in request.coming)
        self._limits: dict[str, GroupRefusal] = {}

    @cached_property
    def _standing(self) -> set[tuple[ResourceSet, int]]:
        """What the nodes that are there have in all, and their labels; those alike once."""
        return {(node.total, self._space.labels_of(node)) for node in self._request.nodes}

    def demand(self, demand: Demand, count: int) -> Unmet:
        """The verdict on units of one shape that found no capacity."""
        tried = tuple(self._refusal(demand, group) for group in self._groups)
        verdict = self._verdict(demand, tried)
        text = f"{_subject(demand)} needs {_need(demand)}, {_reasons(tried, verdict)}"
        return Unmet(demand, count, verdict, text, tried[:TRIED_MAX])

    def gang(self, band: Band) -> Unmet:
        """The verdict on a placement group: that on the bundle, or on all of them as one, which is worst off."""
        gang = band.gang
        one = gang.strategy is GangStrategy.STRICT_PACK
        parts = [self.demand(item.demand, item.count) for item in ([band.whole] if one else band.bundles)]
        worst = min(parts, key=lambda part: _WORST.index(part.verdict))
        units = sum(item.count for item in band.bundles)
        how = _STRATEGIES.get(gang.strategy, "")
        bundles = f"{units} bundles{f' {how}' if how and units > 1 else ''}" if units != 1 else "1 bundle"
        reasons = _reasons(worst.tried, worst.verdict)
        subject = f"{PLACEMENT_GROUP} `{gang.name or gang.gang_id}`"
        text = f"{subject} needs {bundles}, of them {_need(worst.demand)}, {reasons}"
        if one or units == 1:
            text = f"{subject} needs {_need(worst.demand)} on one node, {reasons}"
        return Unmet(worst.demand, units, worst.verdict, text, worst.tried, gang)

    def _refusal(self, demand: Demand, group: Group) -> GroupRefusal:
        labels = self._labels[group.name]
        if not matches(demand.label_selector, labels):
            failing = [pair for pair in demand.label_selector if not matches((pair,), labels)]
            absent = ", ".join(f"{key}={expression}" for key, expression in failing)
            return GroupRefusal(group.name, Verdict.INFEASIBLE, f"group `{group.name}` has no label {absent}")
        lacking = demand.shape.lacks(group.resources)
        if lacking:
            suspended = " (suspended)" if group.suspended else ""
            offer = _offer(lacking, group.resources, len(demand.shape))
            return GroupRefusal(group.name, Verdict.INFEASIBLE, f"group `{group.name}`{suspended} offers {offer}")
        found = self._limits.get(group.name)
        if found is None:
            found = self._limits[group.name] = self._limit(group)
        return found

    def _limit(self, group: Group) -> GroupRefusal:
        closure = self._closed.get(group.name)
        if closure is not None and not group.suspended:
            return GroupRefusal(group.name, Verdict.BLOCKED, _blocked(closure))
        hosts = max(1, group.hosts)
        index = self._space.kind_of[group.name]
        if group.suspended:
            text = f"group `{group.name}` is suspended"
        elif index in self._room.probing:
            text = f"group `{group.name}` tries one replica first, because its pods did not start"
            return GroupRefusal(group.name, Verdict.BLOCKED, text)
        elif self._room.nodes_by_kind[index] < hosts:
            text = f"group `{group.name}` is at its maxReplicas ({group.max_nodes // hosts})"
        elif self._room.nodes < hosts:
            text = f"the cluster may have no more than {self._request.limits.max_nodes} workers"
        else:
            text = self._resource_limit(group, hosts)
        return GroupRefusal(group.name, Verdict.LIMIT_REACHED, text)

    def _resource_limit(self, group: Group, hosts: int) -> str:
        most = self._request.limits.max_resources or ResourceSet()
        for name, left in self._room.resources.items():
            if group.resources[name] and left < group.resources[name] * hosts:
                return f"the cluster may have no more than {describe({name: most[name]})}"
        return f"group `{group.name}` may have no more than {group.max_nodes // hosts} replicas (maxReplicas)"

    def _verdict(self, demand: Demand, tried: tuple[GroupRefusal, ...]) -> Verdict:
        verdicts = {refusal.verdict for refusal in tried}
        if Verdict.BLOCKED in verdicts:
            return Verdict.BLOCKED
        if Verdict.LIMIT_REACHED in verdicts:
            return Verdict.LIMIT_REACHED
        allows = self._space.labelling.allows
        if any(demand.shape.fits(total) and allows(demand.label_selector, labels) for total, labels in self._standing):
            return Verdict.LIMIT_REACHED
        return Verdict.INFEASIBLE


_WORST: Final = (Verdict.INFEASIBLE, Verdict.BLOCKED, Verdict.LIMIT_REACHED)


def _subject(demand: Demand) -> str:
    return f"{demand.kind} `{demand.examples[0]}`" if demand.examples else f"a {demand.kind}"


def _need(demand: Demand) -> str:
    selector = ", ".join(f"{key}={value}" for key, value in demand.label_selector)
    return f"{describe(demand.shape)} on a node with {selector}" if selector else describe(demand.shape)


def _blocked(closure: Closure) -> str:
    detail = f": {closure.message}" if closure.message else ""
    if closure.pod_name:
        return f"pod {closure.pod_name} of group `{closure.group}` does not start: {closure.reason}{detail}"
    # Without the seconds that are left: the message stands in a status, which is not written because time passes.
    return f"pods of group `{closure.group}` did not start: {closure.reason}; it is tried again by itself"


def _reasons(tried: tuple[GroupRefusal, ...], verdict: Verdict) -> str:
    """Of all groups, those whose reason is the verdict's first."""
    parts = sorted(tried, key=lambda refusal: refusal.verdict != verdict)
    named = ", ".join(dict.fromkeys(part.message for part in parts[:GROUPS_NAMED_MAX]))
    more = f" and {len(parts) - GROUPS_NAMED_MAX} more groups" if len(parts) > GROUPS_NAMED_MAX else ""
    return named + more or "there is no worker group"


def _offer(lacking: Mapping[str, int], offered: ResourceSet, dimensions: int) -> str:
    """Such as "at most 2" for a shape of one dimension, "at most 2 CPU" else, "no GPU" for nothing."""
    texts = []
    for name in sorted(lacking):
        if offered[name] == 0:
            texts.append(f"no {name}")
        elif dimensions == 1:
            texts.append(f"at most {amount_text(name, offered[name])}")
        else:
            texts.append("at most " + describe({name: offered[name]}))
    return " and ".join(texts)
