"""What an agent has to tell the head, kept over breaks of the session.

Invariant: it is bounded however long the head is away; the newest report replaces older ones; what a
broken session may have swallowed (started and failed actors, task totals) is told again, and the head
takes all of that twice without harm.
"""

from __future__ import annotations

import collections
from typing import Final

from shoal.protocol import node_pb2

MAX_LOGS_WAITING: Final = 1000
MAX_WAITING: Final = 100_000
MAX_OUTPUT_WAITING: Final = 16 * 1024 * 1024
"""Bytes of drivers' output; what comes beyond while the head does not read is only in the node's own log."""
UNSURE_SECONDS: Final = 15.0
"""A failure sent this shortly before a break may not have arrived."""


class Backlog:
    """Not thread-safe: used in the link's loop only."""

    def __init__(self) -> None:
        self._waiting: collections.deque[node_pb2.NodeMessage] = collections.deque()
        self._report: node_pb2.NodeMessage | None = None
        self._logs = 0
        self._output = 0
        self._started: dict[str, node_pb2.NodeMessage] = {}
        self._failed: dict[str, tuple[node_pb2.ActorFailed, float | None]] = {}
        self._counts: dict[str, node_pb2.NodeMessage] = {}
        self._drivers: collections.Counter[str] = collections.Counter()

    def put(self, message: node_pb2.NodeMessage, connected: bool) -> None:
        """Take a message in; log lines only while connected."""
        kind = message.WhichOneof("body")
        if kind == "report":
            self._report = message
            return
        if kind == "log_lines":
            if not connected or self._logs >= MAX_LOGS_WAITING:
                return
            self._logs += 1
        if kind == "driver_output":
            size = len(message.driver_output.data)
            if self._output + size > MAX_OUTPUT_WAITING:
                return
            self._output += size
        self._remember(kind, message)
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(message)

    def _remember(self, kind: str | None, message: node_pb2.NodeMessage) -> None:
        if kind == "actor_started":
            self._started[message.actor_started.actor_id] = message
        elif kind == "actor_failed":
            self._started.pop(message.actor_failed.actor_id, None)
            self._failed[message.actor_failed.actor_id] = (message.actor_failed, None)
        elif kind == "task_counts":
            self._counts[message.task_counts.job_id] = message
        elif kind == "driver_started":
            self._drivers[message.driver_started.job_id] += 1
        elif kind == "driver_exited":
            job_id = message.driver_exited.job_id
            self._drivers[job_id] -= 1
            if self._drivers[job_id] <= 0:
                del self._drivers[job_id]
                self._counts.pop(job_id, None)

    def take(self, now: float) -> node_pb2.NodeMessage | None:
        """The next message to send, or None. Events go before the report that shows their effect."""
        if self._waiting:
            message = self._waiting.popleft()
            if message.HasField("log_lines"):
                self._logs -= 1
            elif message.HasField("driver_output"):
                self._output -= len(message.driver_output.data)
            elif message.HasField("actor_failed"):
                self._failed[message.actor_failed.actor_id] = (message.actor_failed, now)
            return message
        report, self._report = self._report, None
        return report

    def complete(self, register: node_pb2.RegisterNode, now: float) -> None:
        """A session begins:

        add to its registration what failed meanwhile and which drivers there are, and queue what has to be told again.
        """
        live = set(register.live_actor_ids)
        for actor_id, (failed, sent_at) in self._failed.items():
            if actor_id not in live and (sent_at is None or now - sent_at < UNSURE_SECONDS):
                register.failed_actors.append(failed)
        self._failed.clear()
        self._started = {actor_id: message for actor_id, message in self._started.items() if actor_id in live}
        again = [*self._started.values(), *self._counts.values()]
        told = ("actor_failed", "actor_started", "task_counts", "log_lines")
        rest = [message for message in self._waiting if message.WhichOneof("body") not in told]
        self._waiting = collections.deque([*again, *rest])
        self._logs = 0
        register.drivers.SetInParent()
        for job_id, count in self._known_drivers().items():
            if count > 0:
                register.drivers.count_by_job_id[job_id] = count

    def new_head(self) -> None:
        """The session is with a head that knows nothing of the drivers here, and looks for them in no registration."""
        for job_id, count in self._known_drivers().items():
            started = node_pb2.NodeMessage(driver_started=node_pb2.DriverStarted(job_id=job_id))
            self._waiting.extendleft([started] * count)

    def _known_drivers(self) -> collections.Counter[str]:
        """How many there are of each job, but for what is still to be said of them."""
        known = collections.Counter(self._drivers)
        for message in self._waiting:
            if message.HasField("driver_started"):
                known[message.driver_started.job_id] -= 1
            elif message.HasField("driver_exited"):
                known[message.driver_exited.job_id] += 1
        return known
