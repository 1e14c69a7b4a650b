"""The words of the autoscaler: what it is asked and what it answers.

Invariant: values only; amounts are ``ResourceSet`` (ten-thousandths), times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from shoal.resources import ResourceSet

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Sorted pairs of label and value."""


@dataclass(frozen=True, slots=True)
class Demand:
    """``count`` units of waiting work, each of which needs ``shape`` on one node."""

    shape: ResourceSet
    count: int
    label_selector: Labels = ()
    kind: str = "task"
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that are all alike, and how many there may be."""

    name: str
    resources: ResourceSet
    """What one empty node offers."""
    min_nodes: int = 0
    max_nodes: int = 10
    priority: int = 0
    """Higher ones are filled first."""
    idle_timeout_seconds: float = 60.0
    labels: Labels = ()
    hosts: int = 1
    """Nodes come and go in replicas of so many; ``min_nodes`` and ``max_nodes`` are multiples of it."""
    suspended: bool = False
    """Whether somebody has suspended the group; ``max_nodes`` is 0 then."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that has joined."""

    node_id: str
    pod_name: str
    group: str
    total: ResourceSet
    available: ResourceSet
    idle_seconds: float = 0.0
    """0 while busy."""
    draining: bool = False
    """Takes no work any more, and will be gone."""
    removable: bool = True
    """False for the head: its capacity counts, but it is never drained."""
    recently_available: ResourceSet | None = None
    """What was available a moment ago, where that was more. Work may have been placed there that still counts as
    waiting: so it counts as room when nodes are added, and not when nodes are removed."""
    age_seconds: float = 0.0
    replica: str = ""
    """Which replica of its group the node is part of, in groups of several hosts."""


@dataclass(frozen=True, slots=True)
class ComingNode:
    """A pod that was asked for and has not joined yet; its whole capacity counts as coming."""

    pod_name: str
    group: str
    age_seconds: float = 0.0
    blocked_reason: str = ""
    """Why it will not join on its own (Unschedulable, ImagePullBackOff, ...); it is not counted on."""
    blocked_message: str = ""
    replica: str = ""
    """As of a node."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds over all groups."""

    max_nodes: int | None = None


@dataclass(frozen=True, slots=True)
class ScalingRequest:
    """The whole question."""

    demands: tuple[Demand, ...] = ()
    groups: tuple[Group, ...] = ()
    nodes: tuple[Node, ...] = ()
    coming: tuple[ComingNode, ...] = ()
    limits: Limits = Limits()


class Verdict(StrEnum):
    """Why work does not get a node."""

    INFEASIBLE = "Infeasible"
    """No empty node of any group could take one unit: waiting does not help, a change of the spec does."""
    LIMIT_REACHED = "LimitReached"
    """Groups that could take it are as large as they may be: it runs when others have finished."""
    BLOCKED = "Blocked"
    """Pods of the groups that could take it do not start."""


@dataclass(frozen=True, slots=True)
class GroupRefusal:
    """Why one group does not take one shape."""

    group: str
    verdict: Verdict
    message: str
    """For people: "group `small` offers at most 2 CPU"."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """Work for which there is no capacity, neither now nor coming."""

    demand: Demand
    count: int
    verdict: Verdict
    message: str
    """For people: "needs 8 CPU, group `small` offers at most 2"."""
    tried: tuple[GroupRefusal, ...]
    """Every group, in the order in which they were tried."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that will run on nodes that are coming or about to be asked for."""

    demand: Demand
    count: int


@dataclass(frozen=True, slots=True)
class Addition:
    """Ask for ``count`` more nodes of a group."""

    group: str
    count: int
    reason: str
    """MinReplicas or Demand."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Drain a node, or give up a pod that has not joined (then ``node_id`` is empty)."""

    pod_name: str
    group: str
    node_id: str
    reason: str
    """Idle, OverLimit, NotNeeded."""


@dataclass(frozen=True, slots=True)
class ScalingPlan:
    """The whole answer."""

    add: tuple[Addition, ...] = ()
    drain: tuple[Removal, ...] = ()
    """Joined nodes to drain, longest idle first."""
    cancel: tuple[Removal, ...] = ()
    """Pods that have not joined and are no longer wanted."""
    unmet: tuple[Unmet, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    next_check_seconds: float | None = None
    """When a node or pod will have been idle long enough, if nothing else happens."""
