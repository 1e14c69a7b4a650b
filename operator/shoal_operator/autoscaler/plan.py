"""The autoscaler's decision: one plan for the whole gap, with a reason for everything it leaves undone.

Invariants: a plan never exceeds a group's maximum, never goes below its minimum, where pods that do not start count
for nothing, never drains a node that waiting work would land on, and planning again in the world it leads to adds
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

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
from shoal_operator.domain.reasons import Reason

COMING_SECONDS_MIN: Final = 10.0
"""A pod that has not joined is given up at this age at the earliest, however short the idle timeout: what waits for
it and the room that others have are reported apart, so that it may seem superfluous for a moment."""


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
    state = simulate(request, recent=True)
    # What is not needed now may be needed where a moment ago there was still room: removals count without it.
    is_settled = all(node.recently_available is None for node in request.nodes)
    removal = _Removals(request, state if is_settled else simulate(request, recent=False))
    cancel = removal.cancel()
    drain = removal.drain()
    for replica in removal.replicas():
        (cancel if not replica.node_id else drain).append(replica)
    drain += removal.drain_busy()
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


@dataclass(frozen=True, slots=True)
class _Replica:
    """Nodes of one replica, joined or coming."""

    group: Group
    members: tuple[Node | ComingNode, ...]

    @property
    def joined(self) -> bool:
        return all(isinstance(node, Node) for node in self.members)

    @property
    def stuck(self) -> int:
        """Its pods that do not start."""
        return sum(isinstance(node, ComingNode) and bool(node.blocked_reason) for node in self.members)

    @property
    def idle_seconds(self) -> float:
        """It is as idle as its busiest node; one that has not joined idles since it was asked for."""
        return min(node.idle_seconds if isinstance(node, Node) else node.age_seconds for node in self.members)

    @property
    def order(self) -> tuple[object, ...]:
        age = min(node.age_seconds for node in self.members)
        return self.joined, -self.idle_seconds if self.joined else 0.0, age, self.members[0].pod_name


def _replicas(request: ScalingRequest, state: Simulation) -> list[_Replica]:
    found: dict[tuple[str, str], list[Node | ComingNode]] = {}
    members: list[Node | ComingNode] = [*request.nodes, *request.coming]
    for node in sorted(members, key=lambda item: item.pod_name):
        group = state.groups.get(node.group)
        if group is not None and group.hosts > 1:
            found.setdefault((node.group, node.replica or node.pod_name), []).append(node)
    return [_Replica(state.groups[group], tuple(nodes)) for (group, _), nodes in found.items()]


class _Removals:
    """Chooses pods that may go: those that have not joined first, then the longest idle."""

    def __init__(self, request: ScalingRequest, state: Simulation) -> None:
        self._request = request
        self._state = state
        self._used = state.used_members()
        self._staying = Counter(n.group for n in request.nodes if n.removable and not n.draining)
        self._staying.update(node.group for node in request.coming)
        self._stuck = Counter(node.group for node in request.coming if node.blocked_reason)
        """Those of the staying that do not start: they make up for no node that has joined."""
        self._gone: set[str] = set()
        self.later: list[float] = []
        """Seconds until each pod that is idle now may go."""

    def cancel(self) -> list[Removal]:
        """Pods that have not joined, youngest first."""
        chosen = []
        for node in sorted(self._request.coming, key=lambda item: (item.age_seconds, item.pod_name)):
            reason = "" if self._hosts(node) > 1 else self._surplus(node)
            if reason:
                self._staying[node.group] -= 1
                self._stuck[node.group] -= bool(node.blocked_reason)
                chosen.append(Removal(node.pod_name, node.group, "", reason))
        return chosen

    def drain(self) -> list[Removal]:
        """Joined nodes, longest idle first."""
        chosen = []
        for node in sorted(self._request.nodes, key=lambda item: (-item.idle_seconds, item.pod_name)):
            reason = "" if self._hosts(node) > 1 else self._idle(node)
            if reason:
                self._staying[node.group] -= 1
                self._gone.add(node.pod_name)
                chosen.append(Removal(node.pod_name, node.group, node.node_id, reason))
        return chosen

    def drain_busy(self) -> list[Removal]:
        """Nodes beyond their group's maximum that are not idle, youngest first: they finish what they hold."""
        chosen = []
        for node in sorted(self._request.nodes, key=lambda item: (item.age_seconds, item.pod_name)):
            group = self._state.groups.get(node.group)
            free = node.removable and not node.draining and node.pod_name not in self._gone | self._used
            if free and self._hosts(node) == 1 and self._over_maximum(node.group, group):
                self._staying[node.group] -= 1
                chosen.append(Removal(node.pod_name, node.group, node.node_id, "OverLimit"))
        return chosen

    def replicas(self) -> list[Removal]:
        """Whole replicas of groups with several hosts: not joined ones first, then the longest idle."""
        chosen: list[Removal] = []
        for replica in sorted(_replicas(self._request, self._state), key=lambda item: item.order):
            reason = self._not_wanted(replica)
            if reason:
                self._staying[replica.group.name] -= len(replica.members)
                self._stuck[replica.group.name] -= replica.stuck
                chosen += [
                    Removal(node.pod_name, node.group, node.node_id if isinstance(node, Node) else "", reason)
                    for node in replica.members
                ]
        return chosen

    def _not_wanted(self, replica: _Replica) -> str:
        group = replica.group
        if any(isinstance(node, Node) and (node.draining or not node.removable) for node in replica.members):
            return ""
        if self._over_maximum(group.name, group):
            return Reason.OVER_LIMIT
        names = {node.pod_name for node in replica.members}
        left = self._staying[group.name] - (self._stuck[group.name] if replica.joined else 0) - len(names)
        if left < group.min_nodes or names & self._used or replica.idle_seconds <= 0:
            return ""
        waiting = any(demand.shape.fits(group.resources) for demand, _ in self._state.unmet)
        if waiting and any(isinstance(node, ComingNode) for node in replica.members):
            return ""
        if replica.joined:
            return self._after(group.idle_timeout_seconds - replica.idle_seconds, Reason.IDLE)
        return self._after(_patience_seconds(group) - replica.idle_seconds, Reason.NOT_NEEDED)

    def _hosts(self, node: Node | ComingNode) -> int:
        group = self._state.groups.get(node.group)
        return group.hosts if group else 1

    def _surplus(self, node: ComingNode) -> str:
        group = self._state.groups.get(node.group)
        if self._over_maximum(node.group, group):
            return Reason.OVER_LIMIT
        if group is None or self._staying[node.group] <= group.min_nodes or self._wanted(node, group):
            return ""
        return self._after(_patience_seconds(group) - node.age_seconds, Reason.NOT_NEEDED)

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
            return Reason.OVER_LIMIT
        if group is None or self._staying[node.group] - self._stuck[node.group] <= group.min_nodes:
            return ""
        return self._after(group.idle_timeout_seconds - node.idle_seconds, Reason.IDLE)

    def _over_maximum(self, name: str, group: Group | None) -> bool:
        return self._staying[name] > (group.max_nodes if group else 0)

    def _after(self, seconds: float, reason: str) -> str:
        if seconds <= 0:
            return reason
        self.later.append(seconds)
        return ""


def _patience_seconds(group: Group) -> float:
    """Age at which a pod that has not joined and seems superfluous is given up."""
    return max(group.idle_timeout_seconds, COMING_SECONDS_MIN)
