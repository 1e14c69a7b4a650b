"""Which lease request of a node is granted here, sent to another node, or waits: one node's scheduler.

The policy packs the own node until it is half used, then prefers the least used other node that has room now
(Ray's hybrid policy in short). Requests that wait are the demand that the autoscaler sees.

Invariants: what is held never exceeds the total, except for CPUs that a blocked holder takes back; nobody is
sent to a draining or dead node; requests of one class (shape, labels, job) are decided in the order of their
arrival; every request gets exactly one decision, unless it is withdrawn.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from shoal.core.bundles import Bundles, Holder, Want
from shoal.core.demand import NodeDemand, aggregate
from shoal.core.labels import NODE_ID, Selector, matches, pinned
from shoal.resources import ResourceSet, describe
from shoal.wire.address import RawNode

SPREAD_THRESHOLD: Final = 0.5
"""A node that would be used less than this counts as unused, so that small loads stay together."""
SPILL_MEMORY_SECONDS: Final = 0.2
"""How long a spill is subtracted from the (stale) view of its target."""
GUEST_WAIT_SECONDS: Final = 1.0
"""How long a request that was sent here from another node may wait before it is sent home."""
UNKNOWN_NODE_SECONDS: Final = 1.0
"""How long a request for a node that is not known waits for news of it: it may have joined just now."""
FREE_LEASES_MIN: Final = 4
"""Leases that hold nothing are limited per job to the CPU count, but not below this."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """What the head last said of a node."""

    node: RawNode
    total: ResourceSet
    available: ResourceSet
    labels: Mapping[str, str] = field(default_factory=dict)
    alive: bool = True
    draining: bool = False


@dataclass(slots=True)
class LeaseRequest:
    """A request for a worker. ``backlog``: how many tasks wait for it, itself included.

    ``bundle``: placement group and index of the bundle (-1: any) whose room it takes, instead of the node's.
    """

    request_id: str
    shape: ResourceSet
    job_id: str
    spill: bool = True
    backlog: int = 1
    selector: Selector = ()
    kind: str = "task"
    name: str = ""
    bundle: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """The resources are taken; a worker has to be found. The request's id is the lease's id from now on."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Spill:
    """The requester should ask that node."""

    request_id: str
    node: RawNode


@dataclass(frozen=True, slots=True)
class Reject:
    """The requester should ask its own node again."""

    request_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """It can never be granted. ``kind``: its placement group was ``removed``, or the need is ``unschedulable``."""

    request_id: str
    kind: str
    message: str


Decision = Grant | Spill | Reject | Refuse
_Class = tuple[ResourceSet, Selector, str, bool]


class LeaseScheduler:
    """See the module. Times are seconds on one monotonic scale, given by the caller.

    Args:
        node_id: this node.
        total: what it has.
        labels: its labels.
    """

    def __init__(self, node_id: str, total: ResourceSet, labels: Mapping[str, str] | None = None) -> None:
        self.node_id = node_id
        self.total = total
        self.labels = {**(labels or {}), NODE_ID: node_id}
        self.draining = False
        self._free: dict[str, int] = dict(total)
        self._holders: dict[str, Holder] = {}
        self.bundles = Bundles()
        self._queues: dict[_Class, deque[LeaseRequest]] = {}
        self._waiting: dict[str, tuple[LeaseRequest, float]] = {}
        self._others: dict[str, NodeView] = {}
        self._spills: deque[tuple[float, str, ResourceSet]] = deque()

    # What holds resources

    @property
    def available(self) -> ResourceSet:
        """What is free; oversubscribed CPUs count as none."""
        return ResourceSet({name: amount for name, amount in self._free.items() if amount > 0})

    @property
    def holders(self) -> int:
        """How many leases and actors hold something (perhaps nothing but their place)."""
        return len(self._holders)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting) + self.bundles.waiting

    @property
    def waiting_here(self) -> int:
        """How many of the waiting requests this node could ever serve."""
        return sum(
            1
            for request, _since in self._waiting.values()
            if request.shape.fits(self.total) and matches(request.selector, self.labels)
        )

    def reserve(
        self, holder_id: str, shape: ResourceSet, job_id: str, bundle: tuple[str, int] | None = None
    ) -> dict[str, int]:
        """Take resources for an actor. Returns what lacks (nothing was taken then); empty on success."""
        if bundle is not None:
            return self.bundles.take(holder_id, *bundle, shape, job_id)
        lacking = shape.lacks(self._free)
        if not lacking:
            self._take(holder_id, shape, job_id)
        return lacking

    def release(self, holder_id: str, now: float) -> list[Decision]:
        """A lease or an actor ended; others may get what it held. Unknown ids change nothing."""
        if self.bundles.holds(holder_id):
            return self._grant_in(self.bundles.release(holder_id))
        holder = self._holders.pop(holder_id, None)
        if holder is None:
            return []
        self._add(holder.shape, skip_cpu=holder.blocked)
        return self.schedule(now)

    def set_blocked(self, holder_id: str, blocked: bool, now: float) -> list[Decision]:
        """A holder waits for others (its CPUs are free meanwhile), or goes on (it takes them back at once)."""
        if self.bundles.holds(holder_id):
            return self._grant_in(self.bundles.set_blocked(holder_id, blocked))
        holder = self._holders.get(holder_id)
        if holder is None or holder.blocked == blocked:
            return []
        holder.blocked = blocked
        cpus = holder.shape["CPU"]
        self._free["CPU"] = self._free.get("CPU", 0) + (cpus if blocked else -cpus)
        return self.schedule(now) if blocked else []

    def _take(self, holder_id: str, shape: ResourceSet, job_id: str) -> None:
        self._holders[holder_id] = Holder(shape, job_id)
        for name, amount in shape.items():
            self._free[name] = self._free.get(name, 0) - amount

    def _add(self, shape: ResourceSet, *, skip_cpu: bool) -> None:
        for name, amount in shape.items():
            if not (skip_cpu and name == "CPU"):
                self._free[name] = self._free.get(name, 0) + amount

    # Bundles of placement groups

    def hold_bundle(self, group_id: str, index: int, shape: ResourceSet, total: int) -> dict[str, int]:
        """Take a bundle's room out of what is free. Returns what lacks (nothing was taken then); empty on success."""
        if self.draining:
            return {"the node": 1}
        lacking = shape.lacks(self._free)
        if not lacking:
            for name, amount in shape.items():
                self._free[name] -= amount
            self.bundles.hold(group_id, index, shape, total)
        return lacking

    def drop_bundle(self, group_id: str, index: int, now: float) -> tuple[list[Decision], list[str]]:
        """Give a bundle's room back; who is in it holds its part of the node's until its end.

        Returns what is decided now, and those holders. Unknown bundles change nothing.
        """
        if not self.bundles.has(group_id, index):
            return [], []
        free, holders = self.bundles.drop(group_id, index)
        for name, amount in free.items():
            self._free[name] = self._free.get(name, 0) + amount
        self._holders.update(holders)
        gone: list[Decision] = [
            Reject(i, "the bundle is on this node no longer") for i in self.bundles.stranded(group_id)
        ]
        return gone + self.schedule(now), list(holders)

    def _submit_in(self, request: LeaseRequest, bundle: tuple[str, int], now: float) -> list[Decision]:
        if self.draining and not request.spill:
            return [Reject(request.request_id, "the node is being drained")]
        want = Want(request.request_id, *bundle, request.shape, request.job_id, not request.spill)
        if not self.bundles.submit(want, now):
            return [Reject(request.request_id, "this node has no such bundle (any more)")]
        return self._grant_in(bundle[0])

    def _grant_in(self, group_id: str) -> list[Decision]:
        return [] if self.draining else [Grant(request_id) for request_id in self.bundles.grant(group_id)]

    # Requests

    def submit(self, request: LeaseRequest, now: float) -> list[Decision]:
        """A new request; what is decided now (perhaps nothing)."""
        if request.bundle is not None:
            return self._submit_in(request, request.bundle, now)
        key = (request.shape, request.selector, request.job_id, request.spill)
        self._queues.setdefault(key, deque()).append(request)
        self._waiting[request.request_id] = (request, now)
        return self._schedule_class(key, now)

    def set_backlog(self, request_id: str, backlog: int) -> None:
        """How many tasks wait for a request has changed."""
        found = self._waiting.get(request_id)
        if found is not None:
            found[0].backlog = backlog

    def withdraw(self, request_id: str) -> bool:
        """Forget a waiting request; False when it does not wait (any more)."""
        found = self._waiting.pop(request_id, None)
        if found is None:
            return self.bundles.withdraw(request_id)
        request = found[0]
        key = (request.shape, request.selector, request.job_id, request.spill)
        self._queues[key].remove(request)
        if not self._queues[key]:
            del self._queues[key]
        return True

    def demand(self) -> list[NodeDemand]:
        """What waits, by shape: the sum of the backlogs. No new node would help what waits for a certain one."""
        return aggregate(
            NodeDemand(r.shape, max(1, r.backlog), r.kind, r.selector, (r.name,) if r.name else ())
            for r, _since in self._waiting.values()
            if not pinned(r.selector)
        )

    # Deciding

    def update_view(self, nodes: Iterable[NodeView], now: float) -> list[Decision]:
        """The head's view of the cluster, whole; this node's own entry is ignored."""
        self._others = {view.node[0]: view for view in nodes if view.node[0] != self.node_id}
        return self.schedule(now)

    def set_draining(self, now: float) -> list[Decision]:
        """Grant nothing any more; guests are sent home, own requests may still be spilled."""
        self.draining = True
        decisions: list[Decision] = [Reject(i, "the node is being drained") for i in self.bundles.guests()]
        for request, _since in list(self._waiting.values()):
            if not request.spill:
                self.withdraw(request.request_id)
                decisions.append(Reject(request.request_id, "the node is being drained"))
        return decisions + self.schedule(now)

    def schedule(self, now: float) -> list[Decision]:
        """Decide whatever can be decided; the class whose first request waits longest comes first."""
        keys = sorted(self._queues, key=lambda key: self._waiting[self._queues[key][0].request_id][1])
        return [decision for key in keys for decision in self._schedule_class(key, now)]

    def expire(self, now: float) -> list[Decision]:
        """Send home guests that waited too long."""
        late = [
            request
            for request, since in self._waiting.values()
            if not request.spill and now - since >= GUEST_WAIT_SECONDS
        ]
        for request in late:
            self.withdraw(request.request_id)
        late_ids = [*self.bundles.expire(now), *(request.request_id for request in late)]
        return [Reject(request_id, "the node has no room now") for request_id in late_ids]

    def next_deadline(self) -> float | None:
        """When ``expire`` (guests) or ``schedule`` (a spill forgotten) should be called next; None: no need."""
        guests = [since + GUEST_WAIT_SECONDS for request, since in self._waiting.values() if not request.spill]
        guests += [since + UNKNOWN_NODE_SECONDS for r, since in self._waiting.values() if self._is_unknown(r)]
        spills = [self._spills[0][0]] if self._spills and self._waiting else []
        in_bundles = self.bundles.next_deadline()
        return min([*guests, *spills, *([] if in_bundles is None else [in_bundles])], default=None)

    def _schedule_class(self, key: _Class, now: float) -> list[Decision]:
        decisions: list[Decision] = []
        queue = self._queues.get(key)
        while queue:
            decision = self._decide(queue[0], now)
            if decision is None:
                break
            self._waiting.pop(queue.popleft().request_id)
            decisions.append(decision)
        if queue is not None and not queue:
            del self._queues[key]
        return decisions

    def _decide(self, request: LeaseRequest, now: float) -> Decision | None:
        if not request.spill and self.draining:
            return Reject(request.request_id, "the node is being drained")
        never = self._why_never(request, now)
        if never:
            return Refuse(request.request_id, "unschedulable", never)
        here = self._score_here(request)
        other = self._best_other(request, now) if request.spill and (here is None or here > 0) else None
        if here is not None and (other is None or here <= other[0]):
            self._take(request.request_id, request.shape, request.job_id)
            return Grant(request.request_id)
        if other is None:
            return None
        self._spills.append((now + SPILL_MEMORY_SECONDS, other[1][0], request.shape))
        return Spill(request.request_id, other[1])

    def _is_unknown(self, request: LeaseRequest) -> bool:
        node_id = pinned(request.selector) if request.spill else ""
        return bool(node_id) and node_id != self.node_id and node_id not in self._others

    def _why_never(self, request: LeaseRequest, now: float) -> str:
        """Why a request for a certain node can not be granted, ever; empty when it can, or names none."""
        node_id = pinned(request.selector) if request.spill else ""
        if not node_id:
            return ""
        if self._is_unknown(request):
            waited = now - self._waiting[request.request_id][1]
            return f"there is no node {node_id}" if waited >= UNKNOWN_NODE_SECONDS else ""
        view = self._others.get(node_id)
        if view is not None and not view.alive:
            return f"node {node_id} is gone"
        if not request.shape.fits(self.total if view is None else view.total):
            return f"node {node_id} does not have {describe(request.shape)}"
        return ""

    def _score_here(self, request: LeaseRequest) -> float | None:
        if self.draining or not request.shape.fits(self._free) or not matches(request.selector, self.labels):
            return None
        if not request.shape and self._free_leases(request.job_id) >= self._free_leases_max():
            return None
        return _score(request.shape, self.total, self._free)

    def _free_leases(self, job_id: str) -> int:
        held = self._holders.values()
        return sum(1 for h in held if not h.shape and h.job_id == job_id and not h.blocked)

    def _free_leases_max(self) -> int:
        return max(FREE_LEASES_MIN, self.total["CPU"] // 10_000)

    def _best_other(self, request: LeaseRequest, now: float) -> tuple[float, RawNode] | None:
        while self._spills and self._spills[0][0] <= now:
            self._spills.popleft()
        best: tuple[float, int, RawNode] | None = None
        for view in self._others.values():
            if not view.alive or view.draining or not matches(request.selector, view.labels):
                continue
            free = self._less_spills(view)
            if not request.shape.fits(free):
                continue
            # The rank breaks ties differently on each node, so that they do not all choose the same one.
            rank = zlib.crc32(f"{self.node_id} {view.node[0]}".encode())
            candidate = (_score(request.shape, view.total, free), rank, view.node)
            if best is None or candidate < best:
                best = candidate
        return None if best is None else (best[0], best[2])

    def _less_spills(self, view: NodeView) -> dict[str, int]:
        free = dict(view.available)
        for _until, node_id, shape in self._spills:
            if node_id == view.node[0]:
                for name, amount in shape.items():
                    free[name] = free.get(name, 0) - amount
        return free


def _score(shape: ResourceSet, total: Mapping[str, int], free: Mapping[str, int]) -> float:
    """How used the most used of the needed resources would be, 0 below the threshold."""
    used = [
        (total.get(name, 0) - free.get(name, 0) + amount) / total[name]
        for name, amount in shape.items()
        if total.get(name, 0) > 0
    ]
    score = max(used, default=0.0)
    return 0.0 if score < SPREAD_THRESHOLD else score
