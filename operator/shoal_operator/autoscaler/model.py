"""The words of the autoscaler: what it is asked and what it answers.

Invariant: values only; amounts are ``ResourceSet`` (ten-thousandths), times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from shoal.resources import ResourceSet

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Sorted pairs of label and value."""
PLACEMENT_GROUP: Final = "placement group"
"""What people call a gang; it stands in place of "task" where bundles are told."""


@dataclass(frozen=True, slots=True)
class Demand:
    """``count`` units of waiting work, each of which needs ``shape`` on one node."""

    shape: ResourceSet
    count: int
    label_selector: Labels = ()
    """Sorted pairs of label and expression: ``v``, ``!v``, ``in(a,b)``, ``!in(a,b)``."""
    kind: str = "task"
    examples: tuple[str, ...] = ()
    recent_count: int = 0
    """The largest count of a moment ago where that was more: nodes are added for ``count``, and none are removed that
    ``recent_count`` would take. Less than ``count`` means nothing; ``count`` may be 0."""


class GangStrategy(StrEnum):
    """How the bundles of a gang are spread over nodes; Ray's words."""

    PACK = "PACK"
    """On few nodes, where that is possible."""
    SPREAD = "SPREAD"
    """On many nodes, where that is possible."""
    STRICT_PACK = "STRICT_PACK"
    """On one node."""
    STRICT_SPREAD = "STRICT_SPREAD"
    """Each on a node of its own."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """``count`` equal bundles of a gang, each of which needs ``shape`` on one node."""

    shape: ResourceSet
    label_selector: Labels = ()
    """As of a demand."""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Gang:
    """A placement group that waits: all of its bundles get a place, or none."""

    gang_id: str
    name: str
    strategy: GangStrategy
    bundles: tuple[Bundle, ...]
    """Those that have no place yet."""
    occupied_nodes: tuple[str, ...] = ()
    """Ids of nodes that hold bundles of it already."""


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
    """For the words only: whether ``max_nodes`` is 0 because somebody has suspended the group."""
    fixed_by: str = ""
    """For the words only: the field that says how many replicas there are while autoscaling is off, ``replicas`` or
    ``minReplicas``; empty while it is on."""


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
    labels: Labels = ()
    """Its own, beside those of its group; they win where both name one label."""


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
    exists: bool = True
    """False for one that was refused: it shows that its group gets none, and takes nobody's place."""
    closes_group: bool = True
    """False where its trouble is that of its machine alone: it offers nothing, and its group stays open."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds over all groups. The head counts for neither."""

    max_nodes: int | None = None
    max_resources: ResourceSet | None = None
    """Of each resource that is named, so much in all groups together; others are not bounded."""


class UpscalingMode(StrEnum):
    """How fast a cluster grows."""

    AGGRESSIVE = "Aggressive"
    """The whole gap at once."""
    CONSERVATIVE = "Conservative"
    """As many nodes on their way as have joined, and ``Upscaling.step_nodes`` at least."""


@dataclass(frozen=True, slots=True)
class Upscaling:
    """The pace of growth that waiting work asks for; minimums are not held back by it."""

    mode: UpscalingMode = UpscalingMode.AGGRESSIVE
    step_nodes: int = 5


@dataclass(frozen=True, slots=True)
class Cooldown:
    """A group gets no new nodes for a while, because its pods did not start. The shell remembers it."""

    group: str
    reason: str
    until_seconds_from_now: float
    """0 or less when it is over: then one replica is tried, and all of them when that one has joined."""
    failures: int = 1
    """How often in a row; the time doubles with each."""
    probe: str = ""
    """The pod that stays to show when the reason has gone; empty when there is none."""


@dataclass(frozen=True, slots=True)
class ScalingRequest:
    """The whole question."""

    demands: tuple[Demand, ...] = ()
    groups: tuple[Group, ...] = ()
    nodes: tuple[Node, ...] = ()
    coming: tuple[ComingNode, ...] = ()
    limits: Limits = Limits()
    gangs: tuple[Gang, ...] = ()
    floors: tuple[Demand, ...] = ()
    """What programs asked the cluster to hold in all, used or not (``request_resources``)."""
    upscaling: Upscaling = Upscaling()
    cooldowns: tuple[Cooldown, ...] = ()
    """As remembered from ``ScalingPlan.cooldowns``, with the time that has passed taken off."""
    unschedulable_seconds: float = 5.0
    """Age up to which a pod that no machine takes is counted on."""
    consolidation: bool = False
    """Whether idle nodes go although waiting work would land there, if it fits elsewhere."""
    gangs_left_out: int = 0
    """Placement groups that wait beside ``gangs``; what they need is not known, so no node goes for being idle."""
    turn: int = 0
    """Which of the gangs come first among those that a plan may not get to: another number, others. Where all are
    looked at it changes nothing."""


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
    gang: Gang | None = None
    """The placement group that waits; ``demand`` is then the bundle that found no place, and ``count`` how many of it
    there are. Of STRICT_PACK it is one unit: all bundles together."""
    sums_up: bool = False
    """Whether it is the one line about all the work that a plan did not look at."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that will run on nodes that are coming or about to be asked for."""

    demand: Demand
    count: int
    gang: Gang | None = None
    """As of ``Unmet``."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What made the planner ask for a node: a rule, and the work behind it."""

    rule: str
    """As ``Addition.reason``."""
    text: str
    """For people: "12 tasks of 1 CPU"."""
    units: int = 0
    """How many units of that work the added nodes take."""


@dataclass(frozen=True, slots=True)
class Addition:
    """Ask for ``count`` more nodes of a group."""

    group: str
    count: int
    reason: str
    """MinReplicas (Replicas, where that field is the number), Demand, PlacementGroup or RequestedResources."""
    origins: tuple[Origin, ...] = ()
    """What caused it, the most of it first; bounded."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Drain a node, or give up a pod that has not joined (then ``node_id`` is empty)."""

    pod_name: str
    group: str
    node_id: str
    reason: str
    """Idle, OverLimit, NotNeeded."""
    text: str = ""
    """For people: the rule with its figures, "idle for 61 s of 60 s"."""
    rule: str = ""
    """The same without the figures of this node: what goes by one rule is told together."""


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
    """When to ask again if nothing else happens: a node will have been idle long enough, a grace or a cool-down is
    over, or the next step of a slow growth is due."""
    cooldowns: tuple[Cooldown, ...] = ()
    """What to remember for the next request."""
    held_back: int = 0
    """Nodes that ``Upscaling`` puts off to a later plan; work for them counts as waiting."""
