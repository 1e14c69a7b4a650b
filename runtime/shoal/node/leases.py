"""Worker leases of a node: requests, grants, returns; the shell around ``core.scheduler``.

Invariants: every request is answered once; a lease is bound to the connection that asked for it, and the
worker of a lease whose connection closed is killed (it may be in the middle of that owner's task); resources
are given back only when the lease ends.
"""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from shoal.core.demand import selector
from shoal.core.labels import problem as labels_problem
from shoal.core.scheduler import Decision, Grant, LeaseRequest, LeaseScheduler, NodeView, Refuse, Reject, Spill
from shoal.node.clients import Client
from shoal.node.worker_pool import NEW_TITLE, Worker, WorkerPool
from shoal.resources import ResourceSet
from shoal.wire.reactor import Reactor, Timer
from shoal.wire.rpc import reply

WAITING_MAX: Final = 100_000
BACKLOG_MAX: Final = 10**9
"""Tasks that wait for one lease: with this, the sums of a cluster fit in messages."""
ENDED_JOBS_KEPT: Final = 1000


@dataclass(eq=False)
class Lease:
    """A request that waits, or a lease."""

    lease_id: str
    client: Client
    call_id: int
    job: dict[str, Any]
    title: str
    request: LeaseRequest
    granted: bool = False
    answered: bool = False
    worker: Worker | None = None


class Leases:
    """See the module.

    Args:
        reactor: the agent's.
        scheduler: decides; shared with the actors of the node.
        pool: gives workers.
        changed: called when what is free, held or waiting has changed.
    """

    def __init__(
        self, reactor: Reactor, scheduler: LeaseScheduler, pool: WorkerPool, changed: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._scheduler = scheduler
        self._pool = pool
        self._changed = changed
        self._leases: dict[str, Lease] = {}
        self._ids = itertools.count(1)
        self._decisions: collections.deque[Decision] = collections.deque()
        self._carrying_out = False
        self._timer: Timer | None = None
        self._ended_jobs: dict[str, None] = {}
        self.route: Callable[[LeaseRequest], None] = lambda _request: None
        """Decides where a request of this node for room in a placement group goes; set by who knows the groups."""
        self.unroute: Callable[[LeaseRequest], None] = lambda _request: None
        """Forgets a request that waits for its group."""

    def __len__(self) -> int:
        return sum(1 for lease in self._leases.values() if lease.granted)

    # What clients say

    def request(self, client: Client, call_id: int, args: tuple[Any, ...]) -> None:
        """``lease(shape, job, backlog, spill, description, label_selector, bundle)``; answered when decided.

        ``bundle``: placement group and index of the bundle whose room is wanted; None: the node's.
        """
        shape, job, backlog, spill, description, labels, bundle = args
        if job["id"] in self._ended_jobs:
            reply(client.connection, call_id, ("rejected", f"job {job['id']} has ended"))
            return
        if self._scheduler.waiting >= WAITING_MAX:
            reply(client.connection, call_id, ("rejected", f"{WAITING_MAX} lease requests wait on this node already"))
            return
        words = labels_problem(dict(labels))
        if words:
            reply(
                client.connection, call_id, ("refused", "unschedulable", f"its label selector makes no sense: {words}")
            )
            return
        lease_id = f"{self._scheduler.node_id[:8]}-{next(self._ids)}"
        name = str(description.get("name", ""))
        request = LeaseRequest(
            lease_id,
            ResourceSet(dict(shape)),
            job["id"],
            spill=bool(spill),
            backlog=min(int(backlog), BACKLOG_MAX),
            selector=selector(labels),
            kind=str(description.get("kind", "task")),
            name=name,
            bundle=None if bundle is None else (str(bundle[0]), int(bundle[1])),
        )
        self._leases[lease_id] = Lease(lease_id, client, call_id, job, name, request)
        client.leases.add(lease_id)
        if request.bundle is not None and request.spill:
            self.route(request)
        else:
            self.carry_out(self._scheduler.submit(request, time.monotonic()))

    def set_backlog(self, client: Client, call_id: int, backlog: int) -> None:
        """``lease_backlog``: how many tasks wait for a request; 0 cancels it."""
        for lease_id in client.leases:
            lease = self._leases[lease_id]
            if lease.call_id == call_id and not lease.answered:
                break
        else:
            return  # it has just been answered
        if backlog > 0:
            self._scheduler.set_backlog(lease_id, min(backlog, BACKLOG_MAX))
        else:
            self._answer(lease, ("cancelled",))
            self._end(lease, reusable=True)
        self._changed()

    def give_back(self, client: Client, lease_id: str, reusable: bool) -> None:
        """``lease_return``; with ``reusable`` False the worker is not to be used again."""
        lease = self._leases.get(lease_id)
        if lease is not None and lease.client is client and lease.answered:
            self._end(lease, reusable=reusable)

    def client_gone(self, client: Client) -> None:
        """Its requests are withdrawn; the workers of its leases are killed."""
        for lease_id in list(client.leases):
            lease = self._leases.get(lease_id)
            if lease is not None:
                self._end(lease, reusable=not lease.answered, why="its lease's owner is gone")

    # What else happens

    def set_blocked(self, worker: Worker, blocked: bool) -> None:
        """A worker waits for other tasks, or goes on."""
        if worker.holder:
            self.carry_out(self._scheduler.set_blocked(worker.holder, blocked, time.monotonic()))

    def worker_ended(self, worker: Worker) -> None:
        """The worker of a lease has ended; its owner sees that on its own connection to it."""
        lease = self._leases.get(worker.holder)
        if lease is not None:
            lease.worker = None
            self._end(lease, reusable=False)

    def update_view(self, nodes: Iterable[NodeView]) -> None:
        """The head's view of the cluster."""
        self.carry_out(self._scheduler.update_view(nodes, time.monotonic()))

    def release(self, holder: str) -> None:
        """Something else (an actor) gave back what it held."""
        self.carry_out(self._scheduler.release(holder, time.monotonic()))

    def lost_bundle(self, holders: Iterable[str], reason: str, *, kill: bool) -> None:
        """These leases were in a bundle that is here no longer; others are no leases."""
        for lease in [self._leases[holder] for holder in holders if holder in self._leases]:
            if kill:
                lease.client.caller.cast("lease_removed", lease.lease_id, reason)
                self._answer(lease, ("refused", "removed", reason))
                self._end(lease, reusable=False, why=f"its placement group is gone: {reason}")
            elif lease.answered:
                lease.client.caller.cast("lease_retire", lease.lease_id)

    def drain(self) -> None:
        """Grant nothing any more, and ask for what is granted back once what runs there has ended."""
        for lease in list(self._leases.values()):
            if lease.answered:
                lease.client.caller.cast("lease_retire", lease.lease_id)
        self.carry_out(self._scheduler.set_draining(time.monotonic()))

    def job_ended(self, job_id: str) -> None:
        """Requests of a job that ended are rejected, now and later."""
        self._ended_jobs[job_id] = None
        while len(self._ended_jobs) > ENDED_JOBS_KEPT:
            del self._ended_jobs[next(iter(self._ended_jobs))]
        for lease in list(self._leases.values()):
            if lease.job["id"] == job_id:
                self._answer(lease, ("rejected", f"job {job_id} has ended"))
                self._end(lease, reusable=False, why="its job has ended")

    # Carrying out

    def carry_out(self, decisions: list[Decision]) -> None:
        """Do what the scheduler decided; what follows from that is done in turn, not in depth."""
        self._decisions.extend(decisions)
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            self._carry_out_all()
        finally:
            self._carrying_out = False
        self._plan()
        self._changed()

    def _carry_out_all(self) -> None:
        while self._decisions:
            decision = self._decisions.popleft()
            lease = self._leases.get(decision.request_id)
            if lease is None:
                continue
            match decision:
                case Grant():
                    lease.granted = True
                    self._find_worker(lease)
                case Spill(node=node):
                    self._answer(lease, ("spill", node))
                    self._forget(lease)
                case Refuse(kind=kind, message=message):
                    self._answer(lease, ("refused", kind, message))
                    self._forget(lease)
                case Reject(reason=reason):
                    self._answer(lease, ("rejected", reason))
                    self._forget(lease)

    def _find_worker(self, lease: Lease) -> None:
        self._pool.request(
            lease.lease_id,
            lease.job,
            lambda worker: self._found(lease, worker),
            lambda words: self._no_worker(lease, words),
        )

    def _found(self, lease: Lease, worker: Worker) -> None:
        lease.worker = worker
        if worker.title == NEW_TITLE:
            worker.title = lease.title or worker.title
        assert worker.client is not None
        self._answer(lease, ("granted", lease.lease_id, worker.client.address))
        if self._scheduler.draining:
            lease.client.caller.cast("lease_retire", lease.lease_id)

    def _no_worker(self, lease: Lease, words: str) -> None:
        self._answer(lease, ("failed", words))
        self._end(lease, reusable=False)

    def _answer(self, lease: Lease, value: tuple[Any, ...]) -> None:
        if not lease.answered:
            lease.answered = True
            reply(lease.client.connection, lease.call_id, value)

    def _end(self, lease: Lease, *, reusable: bool, why: str = "its lease's owner gave it up") -> None:
        self._forget(lease)
        worker, lease.worker = lease.worker, None
        if worker is None:
            if lease.request.bundle is not None:
                self.unroute(lease.request)
            self._scheduler.withdraw(lease.lease_id)
            self._pool.withdraw(lease.lease_id)
        elif reusable:
            self._pool.give_back(worker)
        else:
            worker.holder = ""
            self._pool.stop(worker, why, force=True)
        self.carry_out(self._scheduler.release(lease.lease_id, time.monotonic()))

    def _forget(self, lease: Lease) -> None:
        self._leases.pop(lease.lease_id, None)
        lease.client.leases.discard(lease.lease_id)

    def _plan(self) -> None:
        """Call the scheduler again when a request has waited long enough."""
        deadline = self._scheduler.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.deadline <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._reactor.call_later(max(0.0, deadline - time.monotonic()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = time.monotonic()
        self.carry_out(self._scheduler.expire(now) + self._scheduler.schedule(now))
