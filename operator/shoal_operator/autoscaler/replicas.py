"""Nodes as they come and go: alone, or in replicas of several hosts.

Invariant: every worker that is there or coming is in exactly one replica; the head is in none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from shoal_operator.autoscaler.model import ComingNode, Group, Node, Removal, ScalingRequest


@dataclass(slots=True)
class Replica:
    """Nodes that go together."""

    group: Group | None
    """None when the group is gone."""
    group_name: str
    members: tuple[Node | ComingNode, ...]
    """By name of their pods."""
    joined: bool = field(init=False)
    """Whether all of them have."""
    leaving: bool = field(init=False)
    stuck: int = field(init=False)
    """Its pods that do not start."""
    age_seconds: float = field(init=False)
    """Of its youngest node."""
    idle_seconds: float = field(init=False)
    """It is as idle as its busiest node; one that has not joined idles since it was asked for."""

    def __post_init__(self) -> None:
        self.joined, self.leaving, self.stuck = True, False, 0
        self.age_seconds = self.idle_seconds = inf
        for node in self.members:  # one loop: it runs for every node of every plan
            age = max(0.0, node.age_seconds)
            if isinstance(node, Node):
                idle = max(0.0, node.idle_seconds)
                self.leaving = self.leaving or node.draining
            else:
                idle = age
                self.joined = False
                self.stuck += bool(node.blocked_reason)
            self.age_seconds = min(self.age_seconds, age)
            self.idle_seconds = min(self.idle_seconds, idle)

    @property
    def names(self) -> list[str]:
        """Of its pods."""
        return [node.pod_name for node in self.members]

    @property
    def exists(self) -> bool:
        """Whether its pods are there, and were not refused."""
        return all(isinstance(node, Node) or node.exists for node in self.members)

    @property
    def priority(self) -> int:
        """Of its group; that of a group that is gone is the lowest."""
        return self.group.priority if self.group else -(10**9)

    def removals(self, reason: str, text: str, rule: str = "") -> list[Removal]:
        """All of it goes."""
        return [
            Removal(
                node.pod_name, node.group, node.node_id if isinstance(node, Node) else "", reason, text, rule or text
            )
            for node in self.members
        ]


def nodes_by_group(replicas: Iterable[Replica], *, stuck: bool = False) -> Counter[str]:
    """How many nodes of each group these are; with ``stuck``, those of them that do not start."""
    nodes = Counter[str]()
    for replica in replicas:
        nodes[replica.group_name] += replica.stuck if stuck else len(replica.members)
    return nodes


def find_replicas(request: ScalingRequest) -> list[Replica]:
    """All workers, sorted by name of their first pod."""
    groups = {group.name: group for group in request.groups}
    found: dict[tuple[str, str], list[Node | ComingNode]] = {}
    members: list[Node | ComingNode] = [node for node in request.nodes if node.removable]
    members += request.coming
    members.sort(key=lambda node: (node.pod_name, node.age_seconds))
    for node in members:
        group = groups.get(node.group)
        several = group is not None and group.hosts > 1
        found.setdefault((node.group, (several and node.replica) or node.pod_name), []).append(node)
    return [Replica(groups.get(name), name, tuple(nodes)) for (name, _), nodes in found.items()]
