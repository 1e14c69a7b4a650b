"""Tasks: from ``.remote()`` to their results, through leased workers.

The shell around ``core.submission``: it asks agents for leases, pushes tasks to workers, and brings results, losses and
retries back as events.

Invariants: a call that has ended is never run again, except to make results that were lost; system failures use up
``max_retries``, and tasks that had not started do not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from shoal.core import labels, submission
from shoal.core.objects import FAILED, RELEASED, STORED, ObjectEntry
from shoal.core.submission import Instruction, ShapeQueue
from shoal.exceptions import (
    NodeDiedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    SystemFailureError,
    TaskError,
    TaskPlacementGroupRemovedError,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from shoal.owner import calls
from shoal.owner.calls import Call, Function
from shoal.owner.refs import ObjectRef
from shoal.serialization import deserialize
from shoal.wire import messages
from shoal.wire.address import RawAddress, RawNode
from shoal.wire.connection import Connection, ConnectionClosedError
from shoal.wire.rpc import Caller

if TYPE_CHECKING:
    from shoal.owner.process import OwnerProcess

COUNTS_SECONDS: Final = 0.2
RETRY_LEASE_SECONDS: Final = 0.05
START_RETRY_SECONDS: Final = 2.0
START_GIVE_UP_SECONDS: Final = 30.0
LOST_ARGUMENTS_MAX: Final = 20
WORDS_SECONDS: Final = 1.0
"""How long a failing task waits for the agent to say how its worker ended."""
FUNCTIONS_KNOWN_MAX: Final = 4096
ShapeKey = tuple[tuple[tuple[str, int], ...], tuple[tuple[str, str], ...], tuple[str, int] | None]
"""Resources, label selector, and the bundle of a placement group: tasks that share these are served by the same leases.
"""


class _Lease:
    """A granted lease: where its worker listens, who granted it, which queue it serves."""

    __slots__ = ("address", "granter", "key")

    def __init__(self, key: ShapeKey, address: RawAddress, granter: Caller) -> None:
        self.key = key
        self.address = address
        self.granter = granter


class Tasks:
    """See the module. One instance an owner process."""

    def __init__(self, process: OwnerProcess) -> None:
        self._process = process
        self._calls: dict[bytes, Call] = {}
        self._queues: dict[ShapeKey, ShapeQueue] = {}
        self._leases: dict[str, _Lease] = {}
        self._requests: dict[tuple[ShapeKey, int], tuple[Caller, int]] = {}
        self._counts = [0, 0, 0]  # submitted, finished, failed
        self._told_counts = (0, 0, 0)
        self._tell_counts_at = 0.0
        self._failing_since: dict[ShapeKey, float] = {}

    # Submitting

    def submit(
        self,
        function: Function,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        key: ShapeKey,
        result_count: int,
        max_retries: int,
        options: dict[str, Any],
    ) -> list[ObjectRef[Any]]:
        """Start a task; returns references to its results."""
        process = self._process
        process.settle_dropped()
        call = Call(process.ids.task(), function, name, result_count)
        call.key = key
        call.retries_left = max_retries
        call.options = options
        calls.prepare(process, call, args, kwargs)
        with process.lock:
            refs = calls.own_results(process, call)
            self._calls[call.task_id] = call
            self._counts[0] += 1
            calls.when_dependencies_resolve(process, call, self._ready)
        return refs

    def _ready(self, call: Call) -> None:
        failed = calls.failed_dependency(self._process, call)
        if failed is not None:
            self._end_failed(call, failed.data)
            return
        queue = self._queues.get(call.key)
        if queue is None:
            queue = self._queues[call.key] = ShapeQueue()
        self._carry_out(call.key, queue.submit(call.task_id, time.monotonic()))

    # Instructions

    def _carry_out(self, key: ShapeKey, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, submission.Push):
                self._push(instruction)
            elif isinstance(instruction, submission.RequestLease):
                self._request(key, instruction, self._process.agent, spill=True)
            elif isinstance(instruction, submission.ReturnLease):
                self._return(instruction.lease_id, reusable=True)
            elif isinstance(instruction, submission.UpdateBacklog):
                asked = self._requests.get((key, instruction.request))
                if asked is not None:
                    asked[0].cast("lease_backlog", asked[1], instruction.backlog)
            else:
                self._send(instruction.lease_id, (messages.GIVE_BACK, instruction.lease_id))

    def _push(self, push: submission.Push) -> None:
        process = self._process
        encoded = []
        functions: dict[bytes, Function] = {}
        for task_id in push.tasks:
            call = self._calls[task_id]
            call.running = True
            functions[call.function.id] = call.function
            encoded.append(calls.encode(process, call))
        self._send(push.lease_id, (messages.PUSH, push.lease_id, encoded), functions)

    def _send(self, lease_id: str, message: tuple[Any, ...], functions: dict[bytes, Function] | None = None) -> None:
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        try:
            connection = self._process.peers.connect(lease.address)
            send_functions(connection, functions or {})
            connection.send(message)
        except ConnectionClosedError as error:
            reason, worker = str(error), lease.address[0]
            self._process.reactor.call_soon(lambda: self.worker_lost(worker, reason))

    def _return(self, lease_id: str, *, reusable: bool) -> None:
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            lease.granter.cast("lease_return", lease_id, reusable)

    # Leases

    def _request(self, key: ShapeKey, request: submission.RequestLease, agent: Caller, *, spill: bool) -> None:
        process = self._process
        queue = self._queues[key]
        name = self._calls[queue.waiting[0]].name if queue.waiting else ""
        description = {"kind": "task", "name": name}

        def answered(error: Any, value: Any, _payload: bytes, _fds: list[int]) -> None:
            with process.lock:
                self._requests.pop((key, request.request), None)
                self._lease_answer(key, request, agent, error, value, spill=spill)

        request_id = agent.call(
            *("lease", key[0], process.job, request.backlog, spill, description, dict(key[1]), key[2]),
            on_reply=answered,
        )
        self._requests[key, request.request] = (agent, request_id)

    def _lease_answer(
        self,
        key: ShapeKey,
        request: submission.RequestLease,
        agent: Caller,
        error: Any,
        value: Any,
        *,
        spill: bool,
    ) -> None:
        queue = self._queues.get(key)
        if queue is None:
            if value is not None and value[0] == "granted":
                agent.cast("lease_return", value[1], True)
            return
        now = time.monotonic()
        if value is not None and value[0] == "granted":
            self._failing_since.pop(key, None)
            self._leases[value[1]] = _Lease(key, value[2], agent)
            self._carry_out(key, queue.lease_granted(request.request, value[1], now))
        elif value is not None and value[0] == "spill" and queue.waiting:
            self._request_elsewhere(key, request, value[1])
        elif value is not None and value[0] in ("cancelled", "spill"):
            self._carry_out(key, queue.request_ended(request.request, now))
        elif value is not None and value[0] == "refused":
            self._refuse(key, value[1], value[2])
            self._carry_out(key, queue.request_ended(request.request, now))
        elif value is not None and value[0] == "failed":
            self._no_worker(key, request, value[1], now)
        elif not self._process.agent_lost:
            # Refused (a stale view, a draining node) or disconnected: ask our own agent again, not in a busy loop.
            self._process.reactor.call_later(RETRY_LEASE_SECONDS, lambda: self._ask_again(key, request))

    def _refuse(self, key: ShapeKey, kind: str, words: str) -> None:
        """No task of this key can run, ever; those that only prefer a node run elsewhere."""
        for task_id in self._queues[key].give_up():
            call = self._calls[task_id]
            if kind == "unschedulable" and call.options.get("soft_node") and labels.pinned(key[1]):
                call.key = (key[0], labels.unpinned(key[1]), key[2])
                self._ready(call)
                continue
            why = f"its placement group is gone: {words}" if kind == "removed" else words
            self._end_error(call, _refusal(key, kind, f"{call.name}() cannot run: {why}"))

    def _no_worker(self, key: ShapeKey, request: submission.RequestLease, words: str, now: float) -> None:
        """A node has room, but cannot start a worker: try for a while, then say so instead of waiting for ever."""
        since = self._failing_since.setdefault(key, now)
        if now - since < START_GIVE_UP_SECONDS:
            self._process.reactor.call_later(START_RETRY_SECONDS, lambda: self._ask_again(key, request))
            return
        del self._failing_since[key]
        error = SystemFailureError(f"no worker could be started for {START_GIVE_UP_SECONDS:g} s: {words}")
        queue = self._queues[key]
        for task_id in queue.give_up():
            self._end_error(self._calls[task_id], error)
        self._carry_out(key, queue.request_ended(request.request, now))

    def _request_elsewhere(self, key: ShapeKey, request: submission.RequestLease, node: RawNode) -> None:
        try:
            agent = self._process.peers.agent(node)
        except (ConnectionClosedError, SystemFailureError):
            self._process.reactor.call_later(RETRY_LEASE_SECONDS, lambda: self._ask_again(key, request))
            return
        self._request(key, submission.RequestLease(request.request, 1), agent, spill=False)

    def _ask_again(self, key: ShapeKey, request: submission.RequestLease) -> None:
        with self._process.lock:
            queue = self._queues.get(key)
            if queue is not None:
                self._carry_out(key, queue.request_ended(request.request, time.monotonic()))

    # Events from workers

    def results(self, connection: Connection, lease_id: str, outcomes: list[Any]) -> None:
        """``RESULTS`` of a leased worker or of an actor."""
        process = self._process
        handed: list[bytes] = []
        with process.lock:
            lease = self._leases.get(lease_id)
            now = time.monotonic()
            for task_id, status, results, run_seconds, contained in outcomes:
                call = self._calls.get(task_id)
                if any(contained):
                    handed.append(task_id)
                if call is not None and status == messages.REFUSED:
                    connection.attachment.functions.discard(call.function.id)
                if call is not None and not call.done:
                    self._outcome(call, status, results, contained)
                elif call is None:
                    process.actors.outcome(task_id, status, results, contained)
                if lease is not None:
                    queue = self._queues[lease.key]
                    self._carry_out(lease.key, queue.finished(lease_id, task_id, run_seconds, now))
            if handed:
                process.borrowing.settled(lambda: _tell_handed(connection, handed))

    def _outcome(self, call: Call, status: int, results: list[Any], contained: list[Any]) -> None:
        call.running = False
        if status == messages.OK:
            self._end_done(call, results, contained)
        elif status == messages.RAISED:
            if call.retries_left and _retry_wanted(call, results[0]):
                self._retry(call)
            else:
                self._end_failed(call, results[0])
        elif status == messages.LOST:
            call.lost_arguments += 1
            for oid, node_ids in results:
                self._process.copies_lost(oid, tuple(node_ids))
            self._again(call, free=call.lost_arguments <= LOST_ARGUMENTS_MAX)
        else:
            self._again(call, free=True)

    def given_back(self, lease_id: str, task_ids: list[bytes]) -> None:
        """A worker returned tasks that it had not started."""
        with self._process.lock:
            lease = self._leases.get(lease_id)
            if lease is not None:
                queue = self._queues[lease.key]
                self._carry_out(lease.key, queue.given_back(lease_id, task_ids, time.monotonic()))

    def lease_retired(self, lease_id: str) -> None:
        """The node of a lease wants to end: nothing new goes there."""
        with self._process.lock:
            lease = self._leases.get(lease_id)
            if lease is not None:
                self._carry_out(lease.key, self._queues[lease.key].retire(lease_id, time.monotonic()))

    def lease_removed(self, lease_id: str, words: str) -> None:
        """The placement group of a lease was removed, and its worker with it: what it ran and was to run fails."""
        with self._process.lock:
            lease = self._leases.pop(lease_id, None)
            if lease is None:
                return
            for task_id in self._queues[lease.key].lease_lost(lease_id):
                call = self._calls.get(task_id)
                if call is not None and not call.done:
                    text = f"{call.name}() was ended because its placement group is gone: {words}"
                    self._end_error(call, _refusal(lease.key, "removed", text))

    def worker_lost(self, process_id: str, reason: str) -> None:
        """The connection to a worker is gone, with every lease on it."""
        with self._process.lock:
            for lease_id, lease in [item for item in self._leases.items() if item[1].address[0] == process_id]:
                del self._leases[lease_id]
                for position, task_id in enumerate(self._queues[lease.key].lease_lost(lease_id)):
                    self._worker_lost_task(task_id, reason, lease, started=position == 0)
                lease.granter.cast("lease_return", lease_id, False)

    def _worker_lost_task(self, task_id: bytes, reason: str, lease: _Lease, *, started: bool) -> None:
        call = self._calls.get(task_id)
        if call is None or call.done:
            return
        if not started:
            self._again(call, free=True)
        elif call.retries_left:
            self._retry(call)
        else:
            self._fail_with_words(call, reason, lease)

    def _fail_with_words(self, call: Call, reason: str, lease: _Lease) -> None:
        """End a call whose worker is gone; its agent is asked how it ended, for at most a second."""
        process_id, node_id = lease.address[:2]

        def end(words: str) -> None:
            with self._process.lock:
                if not call.done:
                    where = f"process {process_id[:8]} on node {node_id[:8]}"
                    text = f"the worker ({where}) ended while it ran {call.name}(): {words}; no retries are left"
                    kind = NodeDiedError if node_id in self._process.lost_nodes else WorkerCrashedError
                    self._end_error(call, kind(text))

        def answered(error: Any, words: Any, _payload: bytes, _fds: list[int]) -> None:
            timer.cancel()
            end(reason if error is not None or not words else words)

        timer = self._process.reactor.call_later(WORDS_SECONDS, lambda: end(reason))
        lease.granter.call("worker_end", process_id, on_reply=answered)

    # Running again

    def _retry(self, call: Call) -> None:
        if call.retries_left > 0:
            call.retries_left -= 1
        call.attempts += 1
        self._again(call, free=True)

    def _again(self, call: Call, *, free: bool) -> None:
        if not free:
            text = f"the arguments of {call.name}() were lost {LOST_ARGUMENTS_MAX} times while it was about to start"
            self._end_error(call, ObjectLostError(text))
            return
        calls.when_dependencies_resolve(self._process, call, self._ready)

    def make_again(self, entry: ObjectEntry) -> None:
        """Every copy of an owned object is lost (or was released): run its task again; with the lock held."""
        call: Call | None = entry.task
        oid = entry.object_id.hex()
        if not isinstance(call, Call):
            text = f"every copy of object {oid} is lost; it was made by put(), which cannot be repeated"
            self._process.table.make_pending(entry)
            self._process.fail(entry.object_id, ObjectReconstructionFailedError(text, object_ref_hex=oid, reason="PUT"))
            return
        released = entry.state == RELEASED
        self._process.table.make_pending(entry)
        if not call.done:
            return  # it is running again already
        if not call.retries_left and not released:
            text = f"every copy of object {oid} is lost and {call.name}() may not run again (max_retries)"
            reason = "MAX_ATTEMPTS_EXCEEDED"
            self._process.fail(
                entry.object_id, ObjectReconstructionFailedError(text, object_ref_hex=oid, reason=reason)
            )
            return
        if not released and call.retries_left > 0:
            call.retries_left -= 1
        self._revive(call)

    def _revive(self, call: Call) -> None:
        call.done = False
        self._calls[call.task_id] = call
        for pinned in call.pinned:
            self._process.table.entries[pinned].pins += 1
            self._process.table.entries[pinned].lineage -= 1
        calls.when_dependencies_resolve(self._process, call, self._ready)

    # Ends

    def _end_done(self, call: Call, results: list[Any], contained: list[Any]) -> None:
        self._forget(call)
        self._counts[1] += 1
        stored = calls.take_results(self._process, call, results, contained)
        # Values in this process's own memory cannot be lost, so their lineage is not needed.
        calls.release_arguments(self._process, call, keep_lineage=stored and call.live_results > 0)
        if not stored:
            self._drop_lineage_of(call)

    def _drop_lineage_of(self, call: Call) -> None:
        for oid in call.result_ids():
            entry = self._process.table.entries.get(oid)
            if entry is not None and entry.state != STORED:
                entry.task = None

    def _end_failed(self, call: Call, error: bytes) -> None:
        self._forget(call)
        self._counts[2] += 1
        table = self._process.table
        for oid in call.result_ids():
            entry = table.entries.get(oid)
            if entry is not None and entry.state != FAILED:
                entry.task = None
                self._process.run_waiters(table.resolve_failed(entry, error))
        calls.release_arguments(self._process, call, keep_lineage=False)

    def _end_error(self, call: Call, error: BaseException) -> None:
        from shoal.serialization import serialize

        self._end_failed(call, serialize(error).to_bytes())

    def _forget(self, call: Call) -> None:
        call.done = True
        self._calls.pop(call.task_id, None)

    def forget_result(self, call: Call) -> None:
        """One result less that might have to be made again; with the lock held."""
        call.live_results -= 1
        if call.live_results <= 0 and call.done and call.pinned:
            pinned, call.pinned = call.pinned, ()
            for oid in pinned:
                self._process.carry_out(self._process.table.drop_lineage(oid))

    # Time

    def tick(self) -> bool:
        """Let time pass for the queues and tell the counts; whether there is anything to tick for."""
        now = time.monotonic()
        with self._process.lock:
            for key, queue in list(self._queues.items()):
                self._carry_out(key, queue.tick(now))
                if queue.idle:
                    del self._queues[key]
            if now >= self._tell_counts_at:
                self._tell_counts_at = now + COUNTS_SECONDS
                self.tell_counts()
            return bool(self._queues)

    def tell_counts(self) -> None:
        """Tell the agent how many tasks were submitted, finished and failed, if that changed."""
        counts = (self._counts[0], self._counts[1], self._counts[2])
        if counts != self._told_counts:
            self._told_counts = counts
            self._process.agent.cast("task_counts", *counts)


def send_functions(connection: Connection, functions: dict[bytes, Function]) -> None:
    """Give the peer the functions that it does not have yet."""
    known = connection.attachment.functions
    for function_id, function in functions.items():
        if function_id not in known:
            if len(known) >= FUNCTIONS_KNOWN_MAX:
                known.clear()  # sent twice does no harm
            known.add(function_id)
            connection.send((messages.FUNCTION, function_id), function.data)


def _tell_handed(connection: Connection, task_ids: list[bytes]) -> None:
    try:
        connection.send((messages.HANDED_OVER, task_ids))
    except ConnectionClosedError:
        return  # the worker is gone, and what it held for us with it


def _refusal(key: ShapeKey, kind: str, text: str) -> Exception:
    if kind == "removed":
        return TaskPlacementGroupRemovedError(text, placement_group_id=key[2][0] if key[2] is not None else "")
    return TaskUnschedulableError(text)


def _retry_wanted(call: Call, error: bytes) -> bool:
    wanted = call.options.get("retry_exceptions")
    if not wanted:
        return False
    if wanted is True:
        return True
    problem = deserialize(error)
    cause = problem.cause if isinstance(problem, TaskError) else problem
    return isinstance(cause, tuple(deserialize(wanted)))
