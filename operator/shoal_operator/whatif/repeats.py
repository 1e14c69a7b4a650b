"""A planner that is not asked again what it has just answered.

Invariant: the answers are those that the planner would give. One is used again only where no unit of anything that
waits found a place, nothing was to be done and nothing but counts has changed: what has no room for one unit has none
for several, whatever else waits for none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.intake import SHAPES_MAX
from shoal_operator.autoscaler.model import Demand, Labels, Node, ScalingPlan, ScalingRequest, Unmet, Verdict

_Key: TypeAlias = tuple[ResourceSet, Labels, str, tuple[str, ...]]
_FINAL: Final = frozenset({Verdict.LIMIT_REACHED, Verdict.INFEASIBLE})
"""Verdicts that time alone does not change."""


class Repeats:
    """See the module; a planner itself.

    Args:
        planner: answers what is new.
    """

    def __init__(self, planner: Callable[[ScalingRequest], ScalingPlan]) -> None:
        self._planner = planner
        self._asked: ScalingRequest | None = None
        self._verdicts: dict[_Key, Unmet] = {}

    def __call__(self, request: ScalingRequest) -> ScalingPlan:
        """The plan for a request."""
        if self._asked is not None and self._is_as_before(self._asked, request):
            return ScalingPlan(unmet=tuple(map(self._again, request.demands)))
        plan = self._planner(request)
        self._verdicts = _verdicts(request, plan)
        self._asked = request if self._verdicts else None
        return plan

    def _again(self, demand: Demand) -> Unmet:
        return replace(self._verdicts[_key(demand)], demand=demand, count=demand.count)

    def _is_as_before(self, before: ScalingRequest, now: ScalingRequest) -> bool:
        return (
            replace(now, demands=(), nodes=()) == replace(before, demands=(), nodes=())
            and len(now.nodes) == len(before.nodes)
            and all(map(_is_same, now.nodes, before.nodes))
            and all(_key(demand) in self._verdicts for demand in now.demands)
        )


def _key(demand: Demand) -> _Key:
    return demand.shape, demand.label_selector, demand.kind, demand.examples


def _is_same(one: Node, other: Node) -> bool:
    """Whether a node is as it was but for its age; one that idles gets on with that."""
    return (
        (one.node_id, one.draining, one.recently_available) == (other.node_id, other.draining, other.recently_available)
        and one.available == other.available
        and (not one.removable or one.idle_seconds == other.idle_seconds == 0)
    )


def _verdicts(request: ScalingRequest, plan: ScalingPlan) -> dict[_Key, Unmet]:
    """What each demand was told, if nothing had room and only a change of the cluster changes that; else nothing."""
    is_done = not (plan.add or plan.drain or plan.cancel or plan.waiting or plan.cooldowns or plan.held_back)
    is_plain = not (request.coming or request.gangs or request.floors or request.cooldowns)
    if not (is_done and is_plain) or plan.next_check_seconds is not None or len(request.demands) > SHAPES_MAX:
        return {}
    found = {_key(each.demand): each for each in plan.unmet if each.verdict in _FINAL and each.gang is None}
    if len(found) != len(request.demands):
        return {}
    whole = (each is not None and each.count == d.count for d in request.demands for each in [found.get(_key(d))])
    return found if all(whole) else {}
