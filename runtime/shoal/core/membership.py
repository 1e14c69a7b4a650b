"""Which nodes the cluster has, as the head believes it: a pure state machine over sessions, reports and time.

A node is a member from its registration until its session said goodbye or stayed broken for the grace period. A session
is broken also when nothing was heard on it for the time of silence: a frozen process keeps its connections.
A node id that died is never a member again: its actors may live elsewhere by now, so the process has to end.
There is no grace for a node whose pod runs a newer one: a pod runs one at a time, and that one will not come back.

Invariant: messages of a session that was replaced change nothing; a dead node stays dead; a drain never
goes back to active within one node's life unless the node itself says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from shoal.core.demand import NodeDemand
from shoal.resources import ResourceSet

DrainState = Literal["active", "draining", "drained"]

GRACE_SECONDS: Final = 10.0
"""How long a node may be without a session before it counts as dead."""
SILENCE_SECONDS: Final = 30.0
"""A session on which nothing was heard for so long is broken, whatever the network says of it."""
REPORTS_IN_SILENCE: Final = 6
"""Reports that a node has to miss until then."""
RESTORE_GRACE_SECONDS: Final = 60.0
"""The same for nodes that a restarted head knows from its state file: they have to find the new head first."""
IDLE_TOLERANCE_SECONDS: Final = 0.5
DEAD_KEPT_SECONDS: Final = 300.0
MAX_DEAD: Final = 1000
MAX_SESSIONS: Final = 2000


@dataclass(frozen=True)
class NodeInfo:
    """What a node says of itself once, at registration."""

    node_id: str
    ip: str
    port: int
    total: ResourceSet
    labels: Mapping[str, str] = field(default_factory=dict)
    pod_name: str = ""
    group: str = ""
    is_head: bool = False

    @property
    def name(self) -> str:
        """What people know it by: the name of its pod, or the beginning of its id."""
        return self.pod_name or self.node_id[:8]


@dataclass(frozen=True)
class NodeStatus:
    """What a node says of itself again and again."""

    available: ResourceSet
    demands: tuple[NodeDemand, ...] = ()
    idle_seconds: float = 0.0
    activity: str = ""
    drain_state: DrainState = "active"


@dataclass
class Member:
    """One node. ``lost_at`` is when its session broke; ``died_at`` when it was declared dead.

    ``heard_at``: when anything came from it last. ``silent``: that was too long ago, which is why its session broke.
    ``awaited``: it is known from an earlier head process and has not reported to this one yet.
    """

    info: NodeInfo
    session: int
    status: NodeStatus
    reported_at: float
    heard_at: float
    lost_at: float | None = None
    died_at: float | None = None
    reason: str = ""
    drain_requested: bool = False
    awaited: bool = False
    silent: bool = False

    @property
    def alive(self) -> bool:
        """Whether it is a member; true also while a broken session may still come back."""
        return self.died_at is None

    @property
    def takes_work(self) -> bool:
        """Whether new work may be placed on it."""
        connected = self.died_at is None and self.lost_at is None and not self.awaited
        return connected and not self.drain_requested and self.status.drain_state == "active"

    def idle_seconds(self, now: float) -> float:
        """For how long it has been idle at ``now``; 0 while busy or out of touch."""
        if self.status.idle_seconds <= 0 or self.lost_at is not None or not self.alive:
            return 0.0
        return self.status.idle_seconds + max(0.0, now - self.reported_at)

    def goes_on(self, status: NodeStatus, now: float) -> bool:
        """Whether a report that comes now is no news: the same state, and busy or idle all the time since the last.

        Reports are late by more or less, so how long it has been idle is not compared with what was expected.
        """
        if self.awaited or replace(self.status, idle_seconds=status.idle_seconds) != status:
            return False
        if not (status.idle_seconds > 0 and self.idle_seconds(now) > 0):
            return status.idle_seconds == self.status.idle_seconds and self.lost_at is None
        return status.idle_seconds >= now - self.reported_at - IDLE_TOLERANCE_SECONDS


class MembershipError(Exception):
    """A node cannot join. ``kind``: ``Dead`` (its id was declared dead) or ``Full``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Membership:
    """All nodes that are or were members.

    Time is an argument: seconds of any clock that only goes forward.

    Args:
        grace_seconds: how long a node may be without a session before it counts as dead.
        max_sessions: the most nodes.
        silence_seconds: see ``SILENCE_SECONDS``.
    """

    def __init__(
        self,
        grace_seconds: float = GRACE_SECONDS,
        max_sessions: int = MAX_SESSIONS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._members: dict[str, Member] = {}
        self._grace = grace_seconds
        self._silence = silence_seconds
        self._silence_due: float | None = None
        self._max_sessions = max_sessions
        self._sessions = 0
        self._forgotten: list[str] = []
        self._newest: dict[str, str] = {}  # pod name to the node that joined last

    def __iter__(self) -> Iterator[Member]:
        """Members alive and recently dead, in the order in which they joined."""
        return iter(list(self._members.values()))

    def get(self, node_id: str) -> Member | None:
        """The member with that id, dead or alive."""
        return self._members.get(node_id)

    def alive(self) -> list[Member]:
        """Members in the order in which they joined."""
        return [member for member in self._members.values() if member.alive]

    def reports_every_seconds(self, info: NodeInfo) -> float:
        """How often a node has to report, news or not; 0: only news. A head's own node lives and ends with the head."""
        return 0.0 if info.is_head else self._silence / REPORTS_IN_SILENCE

    def register(self, info: NodeInfo, now: float) -> Member:
        """A session begins. Returns the member; its ``session`` number names this session from now on.

        Raises:
            MembershipError: the id is that of a dead node, or there are too many nodes.
        """
        known = self._members.get(info.node_id)
        if known is not None and not known.alive:
            raise MembershipError(
                "Dead", f"node {info.node_id[:8]} was declared dead ({known.reason}); start it again to join"
            )
        if known is None and len(self.alive()) >= self._max_sessions:
            raise MembershipError("Full", f"the cluster has {self._max_sessions} nodes already, the most a head takes")
        self._sessions += 1
        if known is None:
            known = Member(info, self._sessions, NodeStatus(info.total), now, now)
            self._joined(known)
        else:
            known.info, known.session, known.lost_at = info, self._sessions, None
            known.heard_at, known.silent = now, False
        return known

    def restore(self, info: NodeInfo, now: float, dead_reason: str = "", *, draining: bool = False) -> None:
        """A node that an earlier head process knew; it is dead when there is a reason, and awaited otherwise.

        Nothing is placed on it while it is awaited; its room counts as free, so that nobody asks for more.
        """
        member = Member(info, 0, NodeStatus(info.total), now, now, lost_at=now, awaited=True, drain_requested=draining)
        self._joined(member)
        if dead_reason:
            self.declare_dead(info.node_id, dead_reason, now)

    def _joined(self, member: Member) -> None:
        self._members[member.info.node_id] = member
        if member.info.pod_name:
            self._newest[member.info.pod_name] = member.info.node_id

    def _successor_of(self, member: Member) -> str:
        """The node that its pod runs by now, or nothing."""
        newest = self._newest.get(member.info.pod_name, "")
        return newest if newest != member.info.node_id else ""

    def awaiting(self) -> bool:
        """Whether a node of an earlier head process may still come back."""
        return any(member.awaited and member.alive for member in self._members.values())

    def take_forgotten(self) -> list[str]:
        """Ids of nodes that were forgotten since the last call."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def heard(self, node_id: str, session: int, now: float) -> Member | None:
        """Something came in a session; its node, or None when the session is an old one or the node is dead."""
        member = self._current(node_id, session)
        if member is not None:
            member.heard_at = now
        return member

    def report(self, node_id: str, session: int, status: NodeStatus, now: float) -> bool:
        """Take a report; False when it is of an old session or a dead node."""
        member = self._current(node_id, session)
        if member is None:
            return False
        member.status, member.reported_at = status, now
        if status.drain_state != "active" or member.awaited:
            member.drain_requested = False  # an order that was lost with the head before is given again by who gave it
        member.awaited = False
        return True

    def session_broke(self, node_id: str, session: int, now: float) -> Member | None:
        """A session ended without goodbye: the grace period of its node, which is returned, begins.

        None: it has begun already, or the session says nothing about the node any more.
        """
        member = self._current(node_id, session)
        if member is None or member.lost_at is not None:
            return None
        member.lost_at = now
        return member

    def left(self, node_id: str, session: int, reason: str, now: float) -> bool:
        """A session said goodbye: the node is dead at once."""
        member = self._current(node_id, session)
        return member is not None and self.declare_dead(node_id, reason, now)

    def declare_dead(self, node_id: str, reason: str, now: float) -> bool:
        """The node is gone for certain. False when it was dead already or is unknown."""
        member = self._members.get(node_id)
        if member is None or not member.alive:
            return False
        member.died_at, member.reason = now, reason
        member.status = NodeStatus(ResourceSet(), drain_state=member.status.drain_state)
        return True

    def fall_silent(self, now: float) -> list[Member]:
        """Break sessions on which nothing was heard for too long. Returns their nodes; the grace period begins."""
        due, self._silence_due = self._silence_due, None
        if due is not None and now >= due + self._silence / REPORTS_IN_SILENCE:
            # Who asks is late: it stood still itself, and has not heard yet what came in the meantime.
            for member in self._watched():
                member.heard_at = now
        silent = [member for member in self._watched() if now >= member.heard_at + self._silence]
        for member in silent:
            member.lost_at, member.silent = now, True
        return silent

    def _watched(self) -> list[Member]:
        return [m for m in self._members.values() if m.alive and m.lost_at is None and not m.info.is_head]

    def expire(self, now: float) -> list[str]:
        """Declare nodes dead whose grace is over, forget those long dead. Returns the ids that died."""
        died = [
            member.info.node_id
            for member in self._members.values()
            if member.alive and member.lost_at is not None and now >= member.lost_at + self._grace_of(member)
        ]
        for node_id in died:
            self.declare_dead(node_id, self._end_of_grace(self._members[node_id]), now)
        self._forget(now)
        return died

    def _end_of_grace(self, member: Member) -> str:
        what = f"it said nothing for {self._silence:g} s" if member.silent else "its connection broke"
        successor = self._successor_of(member)
        if successor:
            return f"{what} and its pod runs node {successor[:8]} now"
        return f"{what} and did not come back within {self._grace_of(member):g} s"

    def next_deadline(self) -> float | None:
        """When ``fall_silent`` or ``expire`` has something to do next."""
        self._silence_due = min((m.heard_at + self._silence for m in self._watched()), default=None)
        lost = [m for m in self._members.values() if m.alive and m.lost_at is not None]
        times = [(m.lost_at or 0.0) + self._grace_of(m) for m in lost]
        times += [m.died_at + DEAD_KEPT_SECONDS for m in self._members.values() if m.died_at is not None]
        times += [self._silence_due] if self._silence_due is not None else []
        return min(times, default=None)

    def _grace_of(self, member: Member) -> float:
        if self._successor_of(member):
            return 0.0
        return max(self._grace, RESTORE_GRACE_SECONDS) if member.awaited else self._grace

    def _current(self, node_id: str, session: int) -> Member | None:
        member = self._members.get(node_id)
        return member if member is not None and member.alive and member.session == session else None

    def _forget(self, now: float) -> None:
        dead = [m for m in self._members.values() if m.died_at is not None]
        dead.sort(key=lambda m: m.died_at or 0.0)
        excess = max(0, len(dead) - MAX_DEAD)
        for index, member in enumerate(dead):
            if index < excess or (member.died_at or 0.0) + DEAD_KEPT_SECONDS <= now:
                del self._members[member.info.node_id]
                if not self._successor_of(member):
                    self._newest.pop(member.info.pod_name, None)
                self._forgotten.append(member.info.node_id)
