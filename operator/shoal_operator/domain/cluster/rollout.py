"""How pods follow a changed template: which outdated replicas go now, and which get a replacement first.

A replacement carries the UID of the pod it was made to replace (an annotation). While both are there, only the
outdated one counts for the autoscaler; once the new one has joined, the outdated one is drained and only the new
one counts. The state of a rollout is thus in the pods alone, and the number of workers stays the autoscaler's.

Invariants:
- never more than maxSurge replacements and maxUnavailable missing replicas at a time in a group, and nothing new while
  maxReplicas + maxSurge are there, those that drain included, however often the template changes meanwhile;
- nothing that works is given up while a pod of the present template does not start;
- the head comes last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shoal_operator.api.cluster import ComputeCluster, WorkerGroup
from shoal_operator.domain.cluster.groups import live_groups, replica_bounds
from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.cluster.workers import Replica
from shoal_operator.domain.head import HeadView
from shoal_operator.domain.labels import HEAD_GROUP

UNREADY_HEAD_SECONDS: Final = 60.0
"""An outdated head that has not been ready for so long is replaced at once: nothing runs through it."""


@dataclass(frozen=True, slots=True)
class GroupRollout:
    """What the rollout does in one group now."""

    group: str
    discard: tuple[Replica, ...] = ()
    """Outdated and holding nothing: deleted without a drain."""
    retire: tuple[Replica, ...] = ()
    """Outdated ones to drain, those that drain already included."""
    replace: tuple[Replica, ...] = ()
    """Outdated ones that get a replacement now, before they go."""
    hidden: frozenset[str] = frozenset()
    """Names of replacements' pods that do not count while the pods that they replace do."""
    stuck: PodView | None = None
    """A pod of the present template that does not start; nothing more is given up for it."""
    waiting: int = 0
    """Outdated replicas that are left for later."""

    @property
    def is_done(self) -> bool:
        """Whether no outdated replica is left in the group."""
        return not (self.discard or self.retire or self.replace or self.waiting)


@dataclass(frozen=True, slots=True)
class Rollout:
    """What the rollout does now."""

    groups: tuple[GroupRollout, ...] = ()
    replace_head: bool = False
    head_is_outdated: bool = False
    head_waits_for: str = ""
    """Why the outdated head is not replaced yet, for people."""

    @property
    def hidden(self) -> frozenset[str]:
        """Over all groups."""
        return frozenset().union(*(group.hidden for group in self.groups))


@dataclass(frozen=True, slots=True)
class HeadState:
    """The head as a rollout looks at it."""

    is_outdated: bool
    is_broken: bool
    """It does not start, or has not been ready for a while."""
    keeps_state: bool
    """Whether a new head goes on where the old one stopped."""
    view: HeadView | None
    """Its word; None while it does not answer."""


def plan_rollout(cluster: ComputeCluster, replicas: Sequence[Replica], head: HeadState) -> Rollout:
    """Decide which outdated pods go now.

    Args:
        cluster: the object, without problems and not suspended.
        replicas: all of the cluster's.
        head: the head.
    """
    kind = cluster.spec.update_strategy.type
    names = [group.name for group in live_groups(cluster.spec)]
    of = {name: [replica for replica in replicas if replica.group == name] for name in names}
    if kind == "OnDelete":
        groups = [GroupRollout(name, waiting=sum(r.is_outdated for r in of[name])) for name in names]
        return Rollout(tuple(groups), head_is_outdated=head.is_outdated)
    if kind == "Recreate":
        groups = [GroupRollout(name, discard=tuple(r for r in of[name] if r.is_outdated)) for name in names]
        return Rollout(tuple(groups), replace_head=head.is_outdated, head_is_outdated=head.is_outdated)
    groups = [
        _Group(cluster, of[group.name], group, head_answers=head.view is not None).plan()
        for group in live_groups(cluster.spec)
    ]
    waits_for = _head_waits_for(groups, [r for name in names for r in of[name]], head) if head.is_outdated else ""
    return Rollout(
        tuple(groups),
        replace_head=head.is_outdated and not waits_for,
        head_is_outdated=head.is_outdated,
        head_waits_for=waits_for,
    )


def hold(rollout: Rollout, refused: Collection[str]) -> Rollout:
    """The rollout while the API server takes no pods of some groups: what drains goes on, nothing else is given up.

    Args:
        rollout: as it would be.
        refused: groups, or ``head``.
    """
    groups = tuple(_held(group) if group.group in refused else group for group in rollout.groups)
    if HEAD_GROUP not in refused or not rollout.head_is_outdated:
        return replace(rollout, groups=groups)
    waits = rollout.head_waits_for or "the API server does not take the new head"
    return replace(rollout, groups=groups, replace_head=False, head_waits_for=waits)


def _held(group: GroupRollout) -> GroupRollout:
    leaving = tuple(replica for replica in group.retire if replica.is_draining)
    left = len(group.discard) + len(group.replace) + len(group.retire) - len(leaving)
    return replace(group, discard=(), retire=leaving, replace=(), waiting=group.waiting + left)


def resolve(amount: int | str, size: int, *, up: bool) -> int:
    """A number of replicas, or a percentage of ``size``.

    Example:
        >>> resolve("25%", 5, up=True), resolve("25%", 5, up=False), resolve(3, 5, up=True)
        (2, 1, 3)
    """
    if isinstance(amount, int):
        return amount
    share = int(amount.removesuffix("%")) * size
    return -(-share // 100) if up else share // 100


class _Group:
    """A rolling update of one group."""

    def __init__(
        self, cluster: ComputeCluster, replicas: Sequence[Replica], group: WorkerGroup, *, head_answers: bool
    ) -> None:
        self._strategy = cluster.spec.update_strategy
        self._name = group.name
        self._least, self._most = replica_bounds(cluster.spec, group)
        self._head_answers = head_answers
        self._outdated = [replica for replica in replicas if replica.is_outdated]
        self._fresh = [replica for replica in replicas if not replica.is_outdated]
        # A template that changes again finds pairs of which both are outdated; they are pairs all the same.
        middle = [replica for replica in self._outdated if replica.has_joined and not replica.is_draining]
        victims = {uid: victim.key for victim in self._outdated for uid in victim.uids}
        self._links = {victims[uid]: new for new in (*middle, *self._fresh) for uid in new.replaces if uid in victims}
        """By the key of an outdated replica: the one that was made to replace it."""
        self._linked = {new.key for new in self._links.values()}

    def plan(self) -> GroupRollout:
        leaving = [replica for replica in self._outdated if replica.is_draining]
        there = [replica for replica in self._outdated if not replica.is_draining]
        discard = [replica for replica in there if self._is_useless(replica)]
        staying = [replica for replica in there if not self._is_useless(replica)]
        stuck = next(self._stuck(), None)
        needless = [replica for replica in staying if self._is_needless(replica)]
        retire = [replica for replica in staying if self._is_replaced(replica) or replica in needless]
        rest = [replica for replica in staying if replica.key not in self._links and replica not in needless]
        replace: list[Replica] = []
        if self._head_answers and stuck is None:
            replace, more = self._choose(rest, leaving, staying)
            retire += more
        hidden = [self._links[victim.key] for victim in staying if victim.key in self._links]
        return GroupRollout(
            group=self._name,
            discard=tuple(discard),
            retire=(*leaving, *retire),
            replace=tuple(replace),
            hidden=frozenset(worker.pod.name for replica in (*hidden, *needless) for worker in replica.workers),
            stuck=stuck,
            waiting=len(staying) - len(retire) - len(replace),
        )

    def _choose(
        self, rest: list[Replica], leaving: list[Replica], staying: list[Replica]
    ) -> tuple[list[Replica], list[Replica]]:
        """Which of ``rest`` get a replacement, and which are drained without one."""
        alone = [replica for replica in leaving if replica.key not in self._links]
        successors = {self._links[victim.key].key for victim in staying if victim.key in self._links}
        starting = [fresh for fresh in self._fresh if not fresh.has_joined and fresh.key not in self._linked]
        size = len([replica for replica in staying if replica.key not in successors]) + len(alone)
        size += len([fresh for fresh in self._fresh if fresh.key not in self._linked])
        missing = max(0, self._least - size) + len(alone) + len(starting)
        size = max(size, self._least)
        surge = resolve(self._strategy.max_surge, size, up=True)
        unavailable = resolve(self._strategy.max_unavailable, size, up=False)
        if surge == unavailable == 0:
            unavailable = 1
        room = self._most + surge - len(self._outdated) - len(self._fresh)
        surge = max(0, min(surge - len(self._links), room))
        unavailable = max(0, unavailable - missing)
        ordered = sorted(rest, key=lambda r: (-r.idle_seconds, r.age_seconds, r.key))
        return ordered[:surge], ordered[surge : surge + unavailable]

    def _is_replaced(self, victim: Replica) -> bool:
        return self._head_answers and victim.key in self._links and self._links[victim.key].has_joined

    def _is_needless(self, replica: Replica) -> bool:
        """It was made to replace one that is of the present template again: the change was taken back."""
        return any(replica.replaces & fresh.uids and not fresh.is_draining for fresh in self._fresh)

    def _is_useless(self, replica: Replica) -> bool:
        """It holds nothing, and either the head says so or it cannot start."""
        blocked = any(worker.blocked for worker in replica.workers)
        return replica.holds_nothing and not replica.ran and (self._head_answers or blocked)

    def _stuck(self) -> Iterator[PodView]:
        for fresh in self._fresh:
            for worker in fresh.workers:
                if worker.blocked and worker.node is None:
                    yield worker.pod


def _head_waits_for(groups: Sequence[GroupRollout], replicas: Sequence[Replica], head: HeadState) -> str:
    """Why the outdated head stays for now; empty when it may go."""
    if head.is_broken:
        return ""
    if head.view is None:
        return "the head is replaced last, and it does not answer now"
    if not all(group.is_done for group in groups) or not all(replica.has_joined for replica in replicas):
        return "the head is replaced last"
    if head.keeps_state:
        return ""
    if head.view.is_busy or any(_is_busy(node.group, node.alive, node.idle_seconds) for node in head.view.nodes):
        return (
            "the head keeps its state in memory, so its replacement would end what runs; it is replaced when nothing "
            "runs (set spec.updateStrategy.type to Recreate to replace it now, or keep its state on a volume)"
        )
    return ""


def _is_busy(group: str, alive: bool, idle_seconds: float) -> bool:
    return alive and group != HEAD_GROUP and idle_seconds <= 0
