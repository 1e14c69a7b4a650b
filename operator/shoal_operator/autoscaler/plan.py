"""The autoscaler's decision: one plan for the whole gap, with a reason for everything it leaves undone.

Invariants: a plan never exceeds a group's maximum, never goes below its minimum, never drains a node that
waiting work would land on, and planning again in the world it leads to adds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from shoal_operator.autoscaler.model import (
    Addition,
    ComingNode,
    Group,
    Node,
    Removal,
    ScalingPlan,
    ScalingRequest,
    Waiting,
)
from shoal_operator.autoscaler.simulation import Simulation, simulate
from shoal_operator.autoscaler.verdicts import explain_unmet


def plan_workers(request: ScalingRequest) -> ScalingPlan:
    """Decide how many workers of which group to add, which to remove, and why some work waits.

    Args:
        request: the whole question; the order of its members does not matter.

    Example:
        >>> from shoal.resources import ResourceSet
        >>> from shoal_operator.autoscaler.model import Demand, Group
        >>> cpu = ResourceSet.from_units({"CPU": 1})
        >>> question = ScalingRequest((Demand(cpu, 3),), (Group("small", cpu, max_nodes=4),))
        >>> plan_workers(question).add
        (Addition(group='small', count=3, reason='Demand'),)
    """
    state = simulate(request)
    removal = _Removals(request, state)
    cancel = removal.cancel()
    drain = removal.drain()
    return ScalingPlan(
        add=tuple(_additions(state)),
        drain=tuple(drain),
        cancel=tuple(cancel),
        unmet=tuple(explain_unmet(request, demand, count) for demand, count in state.unmet),
        waiting=tuple(Waiting(demand, count) for demand, count in state.waiting),
        next_check_seconds=min(removal.later, default=None),
    )


def _additions(state: Simulation) -> Iterable[Addition]:
    for name in sorted(state.groups):
        if state.added_for_minimum[name]:
            yield Addition(name, state.added_for_minimum[name], "MinReplicas")
        if state.added_for_demand[name]:
            yield Addition(name, state.added_for_demand[name], "Demand")


class _Removals:
    """Chooses pods that may go: those that have not joined first, then the longest idle."""

    def __init__(self, request: ScalingRequest, state: Simulation) -> None:
        self._request = request
        self._state = state
        self._used = state.used_members()
        self._staying = Counter(n.group for n in request.nodes if n.removable and not n.draining)
        self._staying.update(node.group for node in request.coming)
        self.later: list[float] = []
        """Seconds until each pod that is idle now may go."""

    def cancel(self) -> list[Removal]:
        """Pods that have not joined, youngest first."""
        chosen = []
        for node in sorted(self._request.coming, key=lambda item: (item.age_seconds, item.pod_name)):
            reason = self._surplus(node)
            if reason:
                self._staying[node.group] -= 1
                chosen.append(Removal(node.pod_name, node.group, "", reason))
        return chosen

    def drain(self) -> list[Removal]:
        """Joined nodes, longest idle first."""
        chosen = []
        for node in sorted(self._request.nodes, key=lambda item: (-item.idle_seconds, item.pod_name)):
            reason = self._idle(node)
            if reason:
                self._staying[node.group] -= 1
                chosen.append(Removal(node.pod_name, node.group, node.node_id, reason))
        return chosen

    def _surplus(self, node: ComingNode) -> str:
        group = self._state.groups.get(node.group)
        if self._over_maximum(node.group, group):
            return "OverLimit"
        if group is None or self._staying[node.group] <= group.min_nodes or self._wanted(node, group):
            return ""
        return self._after(group.idle_timeout_seconds - node.age_seconds, "NotNeeded")

    def _wanted(self, node: ComingNode, group: Group) -> bool:
        if not node.blocked_reason:
            return node.pod_name in self._used
        # A pod that does not start stays as long as work waits for one like it: it may yet start, and
        # while it is there its group is not tried again.
        return any(demand.shape.fits(group.resources) for demand, _ in self._state.unmet)

    def _idle(self, node: Node) -> str:
        if not node.removable or node.draining or node.idle_seconds <= 0 or node.pod_name in self._used:
            return ""
        group = self._state.groups.get(node.group)
        if self._over_maximum(node.group, group):
            return "OverLimit"
        if group is None or self._staying[node.group] <= group.min_nodes:
            return ""
        return self._after(group.idle_timeout_seconds - node.idle_seconds, "Idle")

    def _over_maximum(self, name: str, group: Group | None) -> bool:
        return self._staying[name] > (group.max_nodes if group else 0)

    def _after(self, seconds: float, reason: str) -> str:
        if seconds <= 0:
            return reason
        self.later.append(seconds)
        return ""
