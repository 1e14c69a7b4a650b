"""Nodes as the planner moves them: asked for, joined, drained, gone.

Invariants: what the planner wants is carried out as the operator would (lowest free names, whole replicas, idle nodes
only where the reason is that they idle); a pod for which there is no machine waits, and the planner is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from shoal_operator.autoscaler.model import Addition, ComingNode, Group, Node, Removal
from shoal_operator.domain.reasons import Reason
from shoal_operator.whatif.nodes import SimNode
from shoal_operator.whatif.startup import Machines, StartModels
from shoal_operator.whatif.world import World

NO_MACHINE: Final = "no machine has room for it"


class Fleet:
    """The pods of all groups.

    Args:
        groups: of the cluster.
        models: how pods start.
        world: where nodes are added and removed.
    """

    def __init__(self, groups: tuple[Group, ...], models: StartModels, world: World) -> None:
        self._groups = {group.name: group for group in groups}
        self._models = models
        self._world = world
        self._machines = {group.name: Machines(group.name, models) for group in groups}
        self._replicas: Counter[str] = Counter()
        self._by_pod: dict[str, SimNode] = {}
        self._serial = 0

    def add(self, addition: Addition, now: float) -> list[SimNode]:
        """Ask for pods; those that have a machine, with the times at which they will join."""
        group = self._groups[addition.group]
        index, made = 0, []
        for _ in range(addition.count // group.hosts):
            while f"{group.name}-{index}" in self._replicas:
                index += 1
            replica = f"{group.name}-{index}"
            self._replicas[replica] = group.hosts
            for host in range(group.hosts):
                name = f"{replica}-{host}" if group.hosts > 1 else replica
                made.append(self._pod(group, name, replica, now))
        return [node for node in made if node.machine is not None]

    def _pod(self, group: Group, name: str, replica: str, now: float) -> SimNode:
        self._serial += 1
        labels = dict(group.labels)
        node = SimNode(f"{name}.{self._serial}", name, group.name, group.resources, labels, now, replica)
        self._world.add(node)
        self._by_pod[name] = node
        self._world.ledger.asked[group.name] += 1
        self._start(node, now)
        return node

    def _start(self, node: SimNode, now: float) -> bool:
        most = self._models.model(node.group).pods_max
        if most is not None and self._with_machine(node.group) >= most:
            return False
        node.joins_at, node.machine = self._machines[node.group].start(now)
        return True

    def _with_machine(self, group: str) -> int:
        return sum(1 for node in self._by_pod.values() if node.group == group and node.machine is not None)

    def remove(self, node: SimNode, now: float) -> list[SimNode]:
        """A pod has gone; those that waited for its machine and start now."""
        if node.gone:
            return []
        self._world.remove(node, now)
        del self._by_pod[node.pod_name]
        self._replicas[node.replica] -= 1
        if not self._replicas[node.replica]:
            del self._replicas[node.replica]
        if node.machine is None:
            return []
        self._machines[node.group].stop(node.machine, now)
        if self._models.model(node.group).pods_max is None:
            return []
        waiting = [other for other in self._by_pod.values() if other.group == node.group and other.machine is None]
        return [other for other in waiting[:1] if self._start(other, now)]

    def by_pod(self, removal: Removal) -> SimNode | None:
        """The pod that is meant, if it is there."""
        return self._by_pod.get(removal.pod_name)

    def may_drain(self, node: SimNode, removal: Removal) -> bool:
        """Whether the head agrees: it refuses to drain a node for being idle that is not."""
        if not node.takes_work:
            return False
        return not node.busy or removal.reason != Reason.IDLE

    def nodes(self, now: float) -> Iterator[Node]:
        """Those that have joined, as the planner sees them."""
        for node in self._world.nodes.values():
            if node.joined:
                yield Node(
                    node_id=node.node_id,
                    pod_name=node.pod_name,
                    group=node.group,
                    total=node.total,
                    available=node.free,
                    idle_seconds=0.0 if node.busy else round(now - node.idle_since, 6),
                    draining=node.draining,
                    removable=node.removable,
                    age_seconds=round(now - node.asked_at, 6),
                    replica=node.replica,
                )

    def coming(self, now: float) -> Iterator[ComingNode]:
        """Those that have not."""
        for node in self._world.nodes.values():
            if not node.joined:
                blocked = node.machine is None
                yield ComingNode(
                    node.pod_name,
                    node.group,
                    round(now - node.asked_at, 6),
                    Reason.UNSCHEDULABLE if blocked else "",
                    NO_MACHINE if blocked else "",
                    node.replica,
                )

    def machines_made(self) -> Counter[str]:
        """How many machines each group has had."""
        return Counter({name: machines.made for name, machines in self._machines.items()})
