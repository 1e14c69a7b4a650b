"""A worker process: takes tasks from owners, runs them, answers.

The main thread runs tasks one after another (Ray's rule, and what signal handlers need); while it computes, the
process's I/O thread answers borrowers and takes what arrives. An actor with more concurrency runs its calls in a pool
of threads, an async actor on an event loop.

Invariants: a task that was accepted is answered or given back, unless the process dies; tasks of one connection start
in the order in which they arrived.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from typing import Any, Final, NoReturn

from shoal.core import actor_ends as ends
from shoal.exceptions import SystemFailureError
from shoal.owner.process import OwnerProcess
from shoal.owner.refs import set_process
from shoal.wire import messages
from shoal.wire.connection import Connection, ConnectionClosedError
from shoal.worker.actor import ActorHost
from shoal.worker.execution import Executor, Task
from shoal.worker.output import announce

RESULTS_BATCH: Final = 16
EXIT_FLUSH_SECONDS: Final = 2.0


class Worker:
    """The shell of a worker process.

    Args:
        setup: ``node_socket``, ``worker_id`` (32 hex digits), ``job``, ``session_dir``, ``node_id``, ``ip``.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        self.queue: deque[Task] = deque()
        self._title = ""
        self.actor: ActorHost | None = None
        self._functions: dict[bytes, Any] = {}
        self._results: dict[Connection, list[tuple[str, Any]]] = {}
        self._flush_planned = False
        self._handing_over: dict[bytes, Any] = {}
        self._exit: tuple[str, bool] | None = None
        self._work: deque[Any] = deque()  # things for the main thread other than tasks
        self.process = OwnerProcess(
            setup["node_socket"],
            "worker",
            bytes.fromhex(setup["worker_id"]),
            setup["job"],
            self._from_agent,
            self._agent_lost,
        )
        set_process(self.process)
        self.executor = Executor(self.process, setup.get("ip", ""))
        self.process.open()

    # What arrives

    def _from_agent(self, method: str, args: tuple[Any, ...], payload: bytes) -> None:
        if method == "peer":
            self._from_peer(args[0], args[1], payload)
        elif method == "exit":
            self._exit = (args[0], bool(args[1]))
            if self._exit[1]:
                os._exit(0)
        elif method == "start_actor":
            self._work.append((args[0], args[1], payload))
        elif method == "peer_lost":
            self._drop_tasks_of(args[0])

    def _agent_lost(self, reason: str) -> None:
        # Without its agent a worker has no lease, no store and nobody to be found by.
        os._exit(0 if "closed" in reason else 1)

    def _from_peer(self, connection: Connection, message: tuple[Any, ...], payload: bytes) -> None:
        kind = message[0]
        if kind == messages.PUSH:
            tasks = [Task(connection, message[1], fields) for fields in message[2]]
            if self.actor is not None and self.actor.concurrent:
                for task in tasks:
                    self.actor.start(task, self.executor, self._answer)
            else:
                self.queue.extend(tasks)
        elif kind == messages.FUNCTION:
            self.executor.learn(message[1], payload)
        elif kind == messages.GIVE_BACK:
            self._give_back(connection, message[1])
        elif kind == messages.HANDED_OVER:
            for task_id in message[1]:
                self._handing_over.pop(task_id, None)

    def _give_back(self, connection: Connection, lease_id: str) -> None:
        kept: deque[Task] = deque()
        returned = []
        while self.queue:
            # The main thread takes from the left at the same time; taking from the right never meets it halfway.
            try:
                task = self.queue.pop()
            except IndexError:
                break
            if task.connection is connection and task.lease_id == lease_id:
                returned.append(task.task_id)
            else:
                kept.appendleft(task)
        self.queue.extend(kept)
        _send(connection, (messages.GIVEN_BACK, lease_id, returned[::-1]))

    def _drop_tasks_of(self, process_id: str) -> None:
        for task in list(self.queue):
            if task.connection.attachment.process_id == process_id:
                try:
                    self.queue.remove(task)
                except ValueError:
                    continue  # the main thread has just taken it

    # The main thread

    def run(self) -> None:
        """Work until the agent says to exit."""
        reactor = self.process.reactor
        while self._exit is None:
            if self._work:
                self._become_actor(*self._work.popleft())
                continue
            try:
                task = self.queue.popleft()
            except IndexError:
                self._flush()
                reactor.run_until(lambda: bool(self.queue or self._work) or self._exit is not None, None)
                continue
            if self.actor is None:
                self._announce(task.name)
            self._answer(task, self.executor.run(task, self.actor))
            if self.actor is not None and self.actor.exiting:
                break
        self._leave()

    def _announce(self, name: str) -> None:
        """Say in the output itself what prints from here on: leases, and so workers, serve many functions."""
        if name != self._title:
            self._title = name
            announce(name)

    def _become_actor(self, actor_id: str, class_name: str, creation: bytes) -> None:
        self._announce(class_name)
        host, failure = self.executor.create_actor(actor_id, creation)
        if host is None:
            assert failure is not None
            reason, message, error = failure
            self.process.agent.cast("actor_failed", actor_id, reason, message, payload=error)
            return
        self.actor = host
        self.process.agent.cast("actor_started", actor_id)

    def _answer(self, task: Task, outcome: tuple[int, Any, float, list[Any], Any]) -> None:
        status, results, seconds, contained, keep = outcome
        if keep:
            self._handing_over[task.task_id] = keep
        # Owners of references in our hands must know of us before the caller lets go of its own.
        answer = (task.lease_id, (task.task_id, status, results, seconds, contained))
        with self.process.lock:
            self.process.borrowing.settled(lambda: self._queue_answer(task.connection, answer))

    def _queue_answer(self, connection: Connection, answer: tuple[str, Any]) -> None:
        batch = self._results.setdefault(connection, [])
        batch.append(answer)
        if not self.queue or len(batch) >= RESULTS_BATCH:
            self._flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self.process.reactor.call_soon(self._flush)

    def _flush(self) -> None:
        with self.process.lock:
            self._flush_planned = False
            batches, self._results = self._results, {}
            for connection, answers in batches.items():
                by_lease: dict[str, list[Any]] = {}
                for lease_id, outcome in answers:
                    by_lease.setdefault(lease_id, []).append(outcome)
                for lease_id, outcomes in by_lease.items():
                    _send(connection, (messages.RESULTS, lease_id, outcomes))

    def _leave(self) -> None:
        self._flush()
        self._wait_until_told()  # before the agent hears of the end: the head's word must not overtake answers
        if self.actor is not None:
            self.actor.close()
            if self.actor.exiting:
                self.process.agent.cast("actor_failed", self.actor.actor_id, ends.EXITED, "exit_actor() was called")
        sys.stdout.flush()
        sys.stderr.flush()
        self._wait_until_told()

    def _wait_until_told(self) -> None:
        """The last answers leave before the sockets close, those too that wait for an owner's word."""
        deadline = time.monotonic() + EXIT_FLUSH_SECONDS
        self.process.reactor.run_until(lambda: not self._results and self.process.all_told(), deadline)


def _send(connection: Connection, message: tuple[Any, ...]) -> None:
    try:
        connection.send(message)
    except ConnectionClosedError:
        return  # the owner is gone; nobody waits for this


def run_worker(setup: dict[str, Any]) -> NoReturn:
    """The life of a worker process; called in the child that the template forked."""
    try:
        worker = Worker(setup)
    except SystemFailureError as error:
        print(f"worker {setup['worker_id'][:8]}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)
    worker.run()
    worker.process.close()
    sys.stdout.flush()
    os._exit(0)
