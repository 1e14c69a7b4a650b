"""Why work gets no node: one refusal for each group, one verdict for the shape.

Invariant: ``Infeasible`` is said only when no empty node of any group, and no node that is there, could take
one unit, and no number of them a whole placement group; everything else may yet run and says what it waits for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

from shoal.core.labels import matches
from shoal.resources import ResourceSet, amount_text, describe
from shoal_operator.autoscaler.ceilings import AND, Ceiling, Ceilings, GangCeilings
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
from shoal_operator.autoscaler.problem import Item, Space
from shoal_operator.autoscaler.standing import Room
from shoal_operator.autoscaler.wording import with_article

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

    def __init__(
        self,
        request: ScalingRequest,
        space: Space,
        room: Room,
        closed: Mapping[str, Closure],
        added: Mapping[str, int],
        gang_ceilings: GangCeilings,
    ) -> None:
        """Begin.

        Args:
            room: what the answer left.
            closed: groups that get no nodes now.
            added: new nodes by group, of the answer.
            gang_ceilings: of the question that the answer is to.
        """
        self._request = request
        self._space = space
        self._room = room
        self._closed = closed
        self._groups = sorted(request.groups, key=lambda group: (-group.priority, group.name))
        self._labels = {group.name: dict(group.labels) for group in request.groups}
        self._ceilings = Ceilings(request, space, room, added)
        self._gang_ceilings = gang_ceilings
        self._tried_now = {pod.group for pod in request.coming if pod.exists and not pod.blocked_reason}
        self._tried_now |= {name for name, nodes in added.items() if nodes > 0}
        self._limits: dict[str, GroupRefusal] = {}

    @cached_property
    def _standing(self) -> dict[tuple[ResourceSet, int], str]:
        """What the nodes that are there have in all, and their labels, with a pod of each; those alike once."""
        nodes = sorted(self._request.nodes, key=lambda node: node.pod_name, reverse=True)
        return {(node.total, self._space.labels_of(node)): node.pod_name for node in nodes}

    def demand(self, demand: Demand, count: int) -> Unmet:
        """The verdict on units of one shape that found no capacity."""
        tried = tuple(self._refusal(demand, group) for group in self._groups)
        holder = self._holder(demand)
        verdict = _verdict(tried, is_held=bool(holder))
        reasons = _reasons(tried, verdict)
        if verdict is Verdict.LIMIT_REACHED and all(part.verdict is Verdict.INFEASIBLE for part in tried):
            reasons = f"pod {holder} has no room for it now, {reasons}"
        text = f"{_subject(demand)} needs {_need(demand)}, {reasons}"
        return Unmet(demand, count, verdict, text, tried[:TRIED_MAX])

    def gang(self, band: Band) -> Unmet:
        """The verdict on a placement group: that on the bundle, or on all of them as one, which is worst off."""
        gang = band.gang
        one = gang.strategy is GangStrategy.STRICT_PACK
        units = sum(item.count for item in band.bundles)
        items = [band.whole] if one else list(band.bundles)
        worst, tried = self._worst(band, items)
        reasons = _reasons(tried, worst.verdict)
        subject = f"{PLACEMENT_GROUP} `{gang.name or gang.gang_id}`"
        if one and gang.occupied_nodes and worst.verdict is Verdict.LIMIT_REACHED:
            text = (
                f"{subject} needs {_need(worst.demand)} on the node of its other bundles, which has no room for it now"
            )
        elif one or units == 1:
            text = f"{subject} needs {_need(worst.demand)} on one node, {reasons}"
        else:
            how = _STRATEGIES.get(gang.strategy, "")
            bundles = f"{units} bundles{f' {how}' if how else ''}"
            text = f"{subject} needs {bundles}, of them {_need(worst.demand)}, {reasons}"
        return Unmet(worst.demand, worst.count, worst.verdict, text, tried, gang)

    def _worst(self, band: Band, items: Sequence[Item]) -> tuple[Unmet, tuple[GroupRefusal, ...]]:
        """The part that is worst off, and what each group says to it; limits that would help come first."""
        parts = [self.demand(item.demand, item.count) for item in items]
        worst = min(parts, key=lambda part: _WORST.index(part.verdict))
        if worst.verdict is not Verdict.LIMIT_REACHED or band.gang.strategy is GangStrategy.STRICT_PACK:
            return worst, worst.tried
        helping = self._gang_ceilings.helping(band)
        named = {ceiling.group for ceilings in helping for ceiling in ceilings if ceiling.group}
        able = [{self._space.kinds[index].group.name for index in item.groups} for item in items]
        worst = next((part for part, groups in zip(parts, able, strict=True) if named & groups), worst)
        changed = [self._with_ceilings(refusal, helping) for refusal in worst.tried]
        changed.sort(key=lambda pair: not pair[1])
        return worst, tuple(refusal for refusal, _ in changed)

    def _with_ceilings(
        self, refusal: GroupRefusal, helping: Sequence[tuple[Ceiling, ...]]
    ) -> tuple[GroupRefusal, bool]:
        """A group's refusal with limits that would help a placement group, if they are its own or of all groups."""
        if refusal.verdict is not Verdict.LIMIT_REACHED:
            return refusal, False
        own = [ceilings for ceilings in helping if any(ceiling.group == refusal.group for ceiling in ceilings)]
        shared = [ceilings for ceilings in helping if not any(ceiling.group for ceiling in ceilings)]
        together = [ceilings for ceilings in helping if len(ceilings) > 1]
        for ceilings in (*own, *shared, *together):
            return replace(refusal, message=self._ceilings.text(ceilings)), True
        return refusal, False

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
        """What keeps one that could take the work from getting a replica for it."""
        name, closure = group.name, self._closed.get(group.name)
        if group.suspended:
            return GroupRefusal(name, Verdict.LIMIT_REACHED, f"group `{name}` is suspended")
        if closure is not None and closure.pod_name:
            return GroupRefusal(name, Verdict.BLOCKED, _blocked(closure))
        is_probing = self._space.kind_of[name] in self._room.probing
        if is_probing and name in self._tried_now:
            text = f"group `{name}` tries one replica first, because its pods did not start"
            return GroupRefusal(name, Verdict.BLOCKED, text)
        binding = self._ceilings.binding(group)
        limits = self._ceilings.text(binding or self._ceilings.concerning(group))
        if closure is None and not is_probing:
            return GroupRefusal(name, Verdict.LIMIT_REACHED, limits)
        if binding:
            text = f"group `{name}`, whose pods did not start, cannot be tried again: {limits}"
            return GroupRefusal(name, Verdict.LIMIT_REACHED, text)
        if closure is not None:
            return GroupRefusal(name, Verdict.BLOCKED, _blocked(closure))
        text = f"group `{name}` may have one replica until that has started, because its pods did not"
        return GroupRefusal(name, Verdict.BLOCKED, text)

    def _holder(self, demand: Demand) -> str:
        """A pod whose node could hold one unit if nothing else ran there; empty when there is none."""
        allows = self._space.labelling.allows
        able = (
            pod
            for (total, labels), pod in self._standing.items()
            if demand.shape.fits(total) and allows(demand.label_selector, labels)
        )
        return min(able, default="")


def _verdict(tried: Sequence[GroupRefusal], *, is_held: bool) -> Verdict:
    """``is_held``: whether a node that is there could take one unit if nothing else ran there."""
    verdicts = {refusal.verdict for refusal in tried}
    if Verdict.BLOCKED in verdicts:
        return Verdict.BLOCKED
    return Verdict.LIMIT_REACHED if Verdict.LIMIT_REACHED in verdicts or is_held else Verdict.INFEASIBLE


_WORST: Final = (Verdict.INFEASIBLE, Verdict.BLOCKED, Verdict.LIMIT_REACHED)


def _subject(demand: Demand) -> str:
    return f"{demand.kind} `{demand.examples[0]}`" if demand.examples else with_article(demand.kind)


def _need(demand: Demand) -> str:
    selector = ", ".join(f"{key}={value}" for key, value in demand.label_selector)
    return f"{describe(demand.shape)} on a node with {selector}" if selector else describe(demand.shape)


def _blocked(closure: Closure) -> str:
    if closure.pod_name:
        said = closure.message if closure.message.startswith(f"{closure.reason}:") else ""
        said = said or closure.reason + (f": {closure.message}" if closure.message else "")
        return f"pod {closure.pod_name} of group `{closure.group}` does not start: {said}"
    # Without the seconds that are left: the message stands in a status, which is not written because time passes.
    return f"pods of group `{closure.group}` did not start: {closure.reason}; it is tried again by itself"


def _reasons(tried: tuple[GroupRefusal, ...], verdict: Verdict) -> str:
    """Of all groups, those whose reason is the verdict's first."""
    said = dict.fromkeys(part.message for part in sorted(tried, key=lambda refusal: refusal.verdict != verdict))
    # Where one limit is enough for another group, it is not told of again with a second one.
    texts = [text for text in said if not any(other in said for other in text.split(AND) if other != text)]
    unnamed = set(texts[GROUPS_NAMED_MAX:])
    others = sum(part.message in unnamed for part in tried)
    more = f" and {others} more group{'' if others == 1 else 's'}" if others else ""
    return ", ".join(texts[:GROUPS_NAMED_MAX]) + more or "there is no worker group"


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
