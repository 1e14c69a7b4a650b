"""Which task goes to which leased worker: one queue for each shape of resources.

Pure: events in (a task is ready, a lease was granted, a task finished, time passed), instructions out. Time is an
argument.

Invariants:
- a task is at any moment in exactly one place: waiting, or in flight on one lease;
- tasks that wait are covered by lease requests, whose backlogs add up to the number of waiting tasks (that sum is the
  demand the autoscaler sees);
- several tasks are in flight on one lease only while tasks of this shape have proved short, and what waits behind a
  task that turns out long is asked back.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Final

REQUESTS_MAX: Final = 8
"""Lease requests of one shape at a time; the rest of the demand is their backlog."""
PIPELINE_SECONDS: Final = 0.002
"""How much work, by past durations, may wait in front of one worker."""
PIPELINE_MAX: Final = 64
RECLAIM_SECONDS: Final = 0.05
"""A task that runs for longer gives back what waits behind it."""
LINGER_SECONDS: Final = 0.02
"""How long an idle lease is kept for the next task."""


@dataclass(frozen=True, slots=True)
class RequestLease:
    """Ask for a worker; ``backlog`` tasks (this one included) are the demand behind the request."""

    request: int
    backlog: int


@dataclass(frozen=True, slots=True)
class UpdateBacklog:
    """The demand behind a request changed; 0 cancels the request."""

    request: int
    backlog: int


@dataclass(frozen=True, slots=True)
class Push:
    """Send tasks to the lease's worker, in this order."""

    lease_id: str
    tasks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Ask the worker to give back what it has not started."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class ReturnLease:
    """Nothing is left for the worker."""

    lease_id: str


Instruction = RequestLease | UpdateBacklog | Push | Reclaim | ReturnLease


@dataclass(slots=True)
class _Lease:
    in_flight: dict[bytes, None] = field(default_factory=dict)  # in the order of execution
    since: float = 0.0  # when the first one in flight began, or when the lease became idle
    reclaiming: bool = False
    retiring: bool = False


class ShapeQueue:
    """The waiting tasks of one shape, and the leases that serve them."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.leases: dict[str, _Lease] = {}
        self._requests: dict[int, int] = {}  # request -> backlog as last told
        self._numbers = itertools.count(1)
        self._typical_seconds: float | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or is asked for: the queue can be forgotten."""
        return not (self.waiting or self.leases or self._requests)

    # Events

    def submit(self, task_id: bytes, now: float) -> list[Instruction]:
        """A task has all its arguments."""
        self.waiting.append(task_id)
        return self._dispatch(now)

    def resubmit(self, tasks: list[bytes], now: float) -> list[Instruction]:
        """Tasks come back from a worker, in front of everything that waits."""
        self.waiting.extendleft(reversed(tasks))
        return self._dispatch(now)

    def withdraw(self, task_id: bytes) -> bool:
        """Drop a task that waits; False when it does not wait here."""
        try:
            self.waiting.remove(task_id)
        except ValueError:
            return False
        return True

    def give_up(self) -> list[bytes]:
        """Take everything that waits: it will not run."""
        tasks = list(self.waiting)
        self.waiting.clear()
        return tasks

    def lease_granted(self, request: int, lease_id: str, now: float) -> list[Instruction]:
        self._requests.pop(request, None)
        self.leases[lease_id] = _Lease(since=now)
        return self._dispatch(now)

    def request_ended(self, request: int, now: float) -> list[Instruction]:
        """A request was cancelled or refused; what still waits asks again."""
        self._requests.pop(request, None)
        return self._dispatch(now)

    def finished(self, lease_id: str, task_id: bytes, run_seconds: float, now: float) -> list[Instruction]:
        lease = self.leases.get(lease_id)
        if lease is None:
            return []
        lease.in_flight.pop(task_id, None)
        lease.since = now
        if lease.retiring and not lease.in_flight:
            del self.leases[lease_id]
            return [ReturnLease(lease_id), *self._dispatch(now)]
        typical = self._typical_seconds
        self._typical_seconds = run_seconds if typical is None else 0.8 * typical + 0.2 * run_seconds
        if not self.waiting:
            return []
        return self._dispatch(now)

    def given_back(self, lease_id: str, tasks: list[bytes], now: float) -> list[Instruction]:
        """The worker returned what it had not started."""
        lease = self.leases.get(lease_id)
        if lease is None:
            return []
        lease.reclaiming = False
        returned = [task_id for task_id in tasks if task_id in lease.in_flight]
        for task_id in returned:
            del lease.in_flight[task_id]
        if lease.retiring and not lease.in_flight:
            del self.leases[lease_id]
            return [ReturnLease(lease_id), *self.resubmit(returned, now)]
        self._typical_seconds = max(self._typical_seconds or 0.0, RECLAIM_SECONDS)
        return self.resubmit(returned, now)

    def retire(self, lease_id: str, now: float) -> list[Instruction]:
        """The lease's node wants to end: finish what runs, take back what waits there, give the lease back."""
        lease = self.leases.get(lease_id)
        if lease is None or lease.retiring:
            return []
        lease.retiring = True
        if not lease.in_flight:
            del self.leases[lease_id]
            return [ReturnLease(lease_id), *self._dispatch(now)]
        if len(lease.in_flight) > 1 and not lease.reclaiming:
            lease.reclaiming = True
            return [Reclaim(lease_id)]
        return []

    def lease_lost(self, lease_id: str) -> list[bytes]:
        """The worker is gone. Its tasks in order: the first was running, the others had not started."""
        lease = self.leases.pop(lease_id, None)
        return list(lease.in_flight) if lease is not None else []

    def tick(self, now: float) -> list[Instruction]:
        """Time passed: give idle leases back, ask long runners for what waits behind them, tell the demand."""
        out: list[Instruction] = []
        for lease_id, lease in list(self.leases.items()):
            quiet = now - lease.since
            if not lease.in_flight:
                if quiet >= LINGER_SECONDS and not self.waiting:
                    del self.leases[lease_id]
                    out.append(ReturnLease(lease_id))
            elif len(lease.in_flight) > 1 and quiet >= RECLAIM_SECONDS and not lease.reclaiming:
                lease.reclaiming = True
                out.append(Reclaim(lease_id))
        out.extend(self._dispatch(now))
        out.extend(self._tell_backlog())
        return out

    # Decisions

    def _dispatch(self, now: float) -> list[Instruction]:
        out: list[Instruction] = []
        if self.waiting and self.leases:
            room = self._room_per_lease()
            for lease_id, lease in (
                sorted(self.leases.items(), key=_load) if len(self.leases) > 1 else list(self.leases.items())
            ):
                count = min(room - len(lease.in_flight), len(self.waiting))
                if count <= 0 or lease.reclaiming or lease.retiring:
                    continue
                if not lease.in_flight:
                    lease.since = now
                tasks = tuple(self.waiting.popleft() for _ in range(count))
                lease.in_flight.update(dict.fromkeys(tasks))
                out.append(Push(lease_id, tasks))
                if not self.waiting:
                    break
        while len(self._requests) < min(len(self.waiting), REQUESTS_MAX):
            request = next(self._numbers)
            backlog = max(1, len(self.waiting) - REQUESTS_MAX + 1) if not self._requests else 1
            self._requests[request] = backlog
            out.append(RequestLease(request, backlog))
        return out

    def _room_per_lease(self) -> int:
        typical = self._typical_seconds
        if typical is None:
            return 1
        depth = PIPELINE_MAX if typical <= 0 else int(PIPELINE_SECONDS / typical)
        in_flight = sum(len(lease.in_flight) for lease in self.leases.values())
        fair = -(-(len(self.waiting) + in_flight) // len(self.leases))
        return max(1, min(depth, PIPELINE_MAX, fair))

    def _tell_backlog(self) -> list[Instruction]:
        out: list[Instruction] = []
        surplus = len(self._requests) - len(self.waiting)
        for request in list(self._requests)[::-1][: max(surplus, 0)]:
            if self._requests[request] != 0:
                self._requests[request] = 0
                out.append(UpdateBacklog(request, 0))
        live = [request for request, backlog in self._requests.items() if backlog > 0]
        if live:
            first = len(self.waiting) - len(live) + 1
            if first > 0 and self._requests[live[0]] != first:
                self._requests[live[0]] = first
                out.append(UpdateBacklog(live[0], first))
        return out


def _load(item: tuple[str, _Lease]) -> int:
    return len(item[1].in_flight)
