"""Which nodes go: those beyond a limit, idle ones after their time, and pods that nobody needs any more.

Invariants: whole replicas; never below a group's minimum, where pods that do not start make up for no node that has
joined; never a node that waiting work, a placement group or a requested capacity would use; never one that its head
does not call idle, but for limits that were lowered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from shoal_operator.autoscaler import reasons
from shoal_operator.autoscaler.model import Group, Limits, Removal, ScalingRequest
from shoal_operator.autoscaler.replicas import Replica, find_replicas, nodes_by_group
from shoal_operator.autoscaler.wording import count_of_replicas, maximum, resource_bound, worker_bound

COMING_SECONDS_MIN: Final = 10.0
"""A pod that has not joined is given up at this age at the earliest, however short the idle timeout: a head that does
not say what waited a moment ago (``Demand.recent_count``) reports what waits and the room that others have apart, so
that a pod may seem superfluous for a moment. It can be 0 once every head in use says so."""


@dataclass(slots=True)
class Departures:
    """What goes."""

    drain: list[Removal] = field(default_factory=list)
    cancel: list[Removal] = field(default_factory=list)

    def take(self, replica: Replica, reason: str, text: str, rule: str = "") -> None:
        """Let a replica go."""
        for removal in replica.removals(reason, text, rule):
            (self.drain if removal.node_id else self.cancel).append(removal)

    @property
    def names(self) -> set[str]:
        """Of all pods that go."""
        return {removal.pod_name for removal in (*self.drain, *self.cancel)}


def over_limits(request: ScalingRequest) -> Departures:
    """Nodes beyond what the limits allow: not joined ones first, the longest idle, then the youngest busy ones."""
    departures = Departures()
    replicas = [replica for replica in find_replicas(request) if not replica.leaving]
    replicas.sort(key=_least_loss)
    staying = nodes_by_group(replicas)
    excess = Excess(request.limits, replicas)
    kept = []
    for replica in replicas:
        most = replica.group.max_nodes if replica.group else 0
        if staying[replica.group_name] > most:
            staying[replica.group_name] -= len(replica.members)
            excess.give(replica)
            departures.take(replica, reasons.OVER_LIMIT, _maximum_text(replica))
        else:
            kept.append(replica)
    for replica in sorted(kept, key=lambda item: item.priority):
        group = replica.group
        if group and (text := excess.of(replica)) and staying[group.name] - len(replica.members) >= group.min_nodes:
            staying[group.name] -= len(replica.members)
            excess.give(replica)
            departures.take(replica, reasons.OVER_LIMIT, text)
    return departures


def without(request: ScalingRequest, departures: Departures) -> ScalingRequest:
    """The question in a world in which these are on their way out."""
    gone = departures.names
    if not gone:
        return request
    return replace(
        request,
        nodes=tuple(replace(node, draining=True) if node.pod_name in gone else node for node in request.nodes),
        coming=tuple(pod for pod in request.coming if pod.pod_name not in gone),
    )


class Idle:
    """Chooses what is not needed any more; the time until more is, is in ``later``."""

    def __init__(self, request: ScalingRequest, used: set[str], fixed: set[str]) -> None:
        """Begin.

        Args:
            used: pods that work would land on.
            fixed: pods that stay whether work fits elsewhere or not: requested capacity, places of a placement group
                that waits for the rest, and pods that do not start and would be used if they did.
        """
        self._used = used | fixed
        self._fixed = fixed
        self._replicas = [replica for replica in find_replicas(request) if not replica.leaving and replica.group]
        self._staying = nodes_by_group(self._replicas)
        self._stuck = nodes_by_group(self._replicas, stuck=True)
        self.later: list[float] = []
        self.departures = Departures()

    def choose(self, fits_elsewhere: Callable[[Collection[str]], bool] | None = None) -> Departures:
        """Pods that have not joined, youngest first; then joined nodes, longest idle first.

        Args:
            fits_elsewhere: says whether all work fits without these pods (consolidation); None: they stay.
        """
        shared: list[Replica] = []
        for replica in sorted(self._replicas, key=_first_to_go):
            if not self._used.isdisjoint(replica.names):
                shared.append(replica)
            else:
                self._consider(replica)
        for replica in sorted(shared, key=lambda item: (item.priority, _first_to_go(item))):
            is_due = replica.joined and self._waits_seconds(replica) <= 0 and self._may_go(replica)
            may_move = self._fixed.isdisjoint(replica.names)
            if is_due and may_move and fits_elsewhere and fits_elsewhere({*self.departures.names, *replica.names}):
                self._take(replica, "its work fits on other nodes")
        return self.departures

    def _consider(self, replica: Replica) -> None:
        if not self._may_go(replica):
            return
        waits = self._waits_seconds(replica)
        if waits > 0:
            self.later.append(waits)
        elif replica.joined:
            group = replica.group
            timeout = group.idle_timeout_seconds if group else 0.0
            rule = f"its timeout is {timeout:g} s"
            self._take(replica, f"idle for {replica.idle_seconds:.0f} s, {rule}", rule)
        else:
            self._take(replica, "nothing needs it any more")

    def _may_go(self, replica: Replica) -> bool:
        group = replica.group
        if group is None or (replica.joined and replica.idle_seconds <= 0):
            return False
        staying = self._staying[group.name] - (self._stuck[group.name] if replica.joined else 0)
        return staying - len(replica.members) >= group.min_nodes

    def _waits_seconds(self, replica: Replica) -> float:
        assert replica.group is not None
        if replica.stuck == len(replica.members):
            return 0.0
        if replica.joined:
            return replica.group.idle_timeout_seconds - replica.idle_seconds
        return _patience_seconds(replica.group) - replica.idle_seconds

    def _take(self, replica: Replica, text: str, rule: str = "") -> None:
        self._staying[replica.group_name] -= len(replica.members)
        self._stuck[replica.group_name] -= replica.stuck
        self.departures.take(replica, reasons.IDLE if replica.joined else reasons.NOT_NEEDED, text, rule)


class Excess:
    """By how much the cluster is beyond its limits."""

    def __init__(self, limits: Limits, replicas: Iterable[Replica]) -> None:
        self._limits = limits
        self._nodes = 0
        self._resources = Counter[str]()
        for replica in replicas:
            self._count(replica, 1)

    def give(self, replica: Replica) -> None:
        """Count a replica as gone."""
        self._count(replica, -1)

    def add(self, group: Group, nodes: int) -> None:
        """Count new nodes."""
        self._nodes += nodes
        for name in self._limits.max_resources or {}:
            self._resources[name] += nodes * group.resources[name]

    def of(self, replica: Replica) -> str:
        """The limit that its end would help to keep, for people; empty when there is none."""
        most = self._limits.max_nodes
        if most is not None and self._nodes > most:
            return worker_bound(most)
        for name, amount in (self._limits.max_resources or {}).items():
            if self._resources[name] > amount and replica.group and replica.group.resources[name]:
                return resource_bound(name, amount)
        return ""

    def _count(self, replica: Replica, sign: int) -> None:
        self._nodes += sign * len(replica.members)
        if self._limits.max_resources and replica.group:
            for name, amount in replica.group.resources.items():
                self._resources[name] += sign * amount * len(replica.members)


def _least_loss(replica: Replica) -> tuple[object, ...]:
    """Not joined before joined, stuck and young ones first; idle before busy, the longest idle first."""
    if not replica.joined:
        return 0, -replica.stuck, replica.age_seconds, replica.names
    if replica.idle_seconds > 0:
        return 1, 0, -replica.idle_seconds, replica.names
    return 2, 0, replica.age_seconds, replica.names


def _first_to_go(replica: Replica) -> tuple[object, ...]:
    if not replica.joined:
        return 0, replica.age_seconds, replica.names
    return 1, -replica.idle_seconds, replica.names


def _maximum_text(replica: Replica) -> str:
    if replica.group is None:
        return f"there is no group `{replica.group_name}` any more"
    if replica.group.suspended:
        return f"group `{replica.group.name}` is suspended"
    most = count_of_replicas(maximum(replica.group))
    if replica.group.fixed_by:
        return f"group `{replica.group.name}` has {most}, autoscaling is off"
    return f"group `{replica.group.name}` may have {most} (maxReplicas)"


def _patience_seconds(group: Group) -> float:
    """Age at which a pod that has not joined and seems superfluous is given up."""
    return max(group.idle_timeout_seconds, COMING_SECONDS_MIN)
