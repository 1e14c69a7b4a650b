"""The open sessions of node agents and what is routed over them.

Invariant: a node has at most one session; a message goes to the newest session or nowhere; a driver is written down
for as long as it counts here, and no longer: the next head would wait for it. Delivery only queues, so it may happen
under the head's lock.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from shoal.head.journal import Journal
from shoal.protocol import node_pb2

MAX_ENDED_JOBS: Final = 200

Deliver = Callable[[node_pb2.HeadMessage], None]


@dataclass(frozen=True)
class Session:
    """One open session. ``deliver`` queues a message; ``end`` closes the session from the head's side."""

    number: int
    deliver: Deliver
    end: Callable[[str], None]


class SessionBook:
    """Sessions by node, and which nodes have a driver of which job.

    Not thread-safe: the head's lock guards it.

    Args:
        journal: where drivers are written down; default: nowhere.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal: Final = journal or Journal()
        self._sessions: dict[str, Session] = {}
        self._drivers: dict[str, collections.Counter[str]] = {}
        self._expected: dict[str, list[str]] = {}
        self._ended_jobs: collections.OrderedDict[str, None] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, node_id: str, session: Session, drivers: Mapping[str, int] | None = None) -> list[str]:
        """Take a session in; an older one of the node is ended. It hears of jobs that ended lately.

        Args:
            node_id: the node's.
            session: the session.
            drivers: how many the node has now, by job id; None: it tells those that nobody knows one by one.

        Returns:
            Jobs that lost their last driver while the node had no session.
        """
        old = self._sessions.get(node_id)
        if old is not None:
            old.end("another session of this node began")
        self._sessions[node_id] = session
        for job_id in self._ended_jobs:
            session.deliver(_job_ended(job_id))
        if drivers is None:
            self._no_longer_expected(node_id)
            return []
        return self._drivers_are(node_id, drivers)

    def _drivers_are(self, node_id: str, drivers: Mapping[str, int]) -> list[str]:
        self._expected.pop(node_id, None)
        ended = [job_id for job_id, nodes in self._drivers.items() if nodes[node_id] > 0 and not drivers.get(job_id)]
        for job_id, count in drivers.items():
            if count and self._drivers.setdefault(job_id, collections.Counter())[node_id] != count:
                self._drivers[job_id][node_id] = count
                self._journal.driver(job_id, node_id, there=True)
        return self._no_drivers(ended, node_id)

    def _no_drivers(self, job_ids: list[str], node_id: str) -> list[str]:
        for job_id in job_ids:
            self._no_driver(job_id, node_id)
        return [job_id for job_id in job_ids if self._forget_empty(job_id)]

    def close(self, node_id: str, number: int) -> None:
        """Forget a session, unless a newer one took its place."""
        session = self._sessions.get(node_id)
        if session is not None and session.number == number:
            del self._sessions[node_id]

    def end(self, node_id: str, number: int, reason: str) -> None:
        """Close a session from this side, unless a newer one took its place."""
        session = self._sessions.get(node_id)
        if session is not None and session.number == number:
            del self._sessions[node_id]
            session.end(reason)

    def send(self, node_id: str, message: node_pb2.HeadMessage) -> None:
        """To one node, if it has a session."""
        session = self._sessions.get(node_id)
        if session is not None:
            session.deliver(message)

    def broadcast(self, message: node_pb2.HeadMessage) -> None:
        """To every node."""
        for session in self._sessions.values():
            session.deliver(message)

    def job_ended(self, job_id: str) -> None:
        """Every node ends the job's workers; nodes that reconnect soon hear it too."""
        for node_id in self._drivers.pop(job_id, ()):
            self._journal.driver(job_id, node_id, there=False)
        self._ended_jobs[job_id] = None
        self._ended_jobs.move_to_end(job_id)
        while len(self._ended_jobs) > MAX_ENDED_JOBS:
            self._ended_jobs.popitem(last=False)
        self.broadcast(_job_ended(job_id))

    def expect_driver(self, job_id: str, node_id: str) -> None:
        """An earlier head process knew a driver there; the node tells it again when it comes back."""
        self._expected.setdefault(node_id, []).append(job_id)
        self.driver_started(job_id, node_id)

    def _no_longer_expected(self, node_id: str) -> None:
        for job_id in self._expected.pop(node_id, ()):
            self._no_driver(job_id, node_id)

    def _no_driver(self, job_id: str, node_id: str) -> None:
        self._drivers.get(job_id, collections.Counter[str]()).pop(node_id, None)
        self._journal.driver(job_id, node_id, there=False)

    def driver_started(self, job_id: str, node_id: str) -> None:
        """A driver of the job connected to its agent on that node."""
        self._drivers.setdefault(job_id, collections.Counter())[node_id] += 1
        self._journal.driver(job_id, node_id, there=True)

    def drivers(self) -> list[tuple[str, int]]:
        """Job ids, and how many drivers of the job are connected."""
        return [(job_id, sum(n for n in nodes.values() if n > 0)) for job_id, nodes in self._drivers.items()]

    def driver_exited(self, job_id: str, node_id: str) -> bool:
        """A driver of the job is gone; True when it was the last one."""
        nodes = self._drivers.get(job_id)
        if nodes is None or nodes[node_id] <= 1:
            self._no_driver(job_id, node_id)
        else:
            nodes[node_id] -= 1
        return nodes is None or self._forget_empty(job_id)

    def node_died(self, node_id: str) -> list[str]:
        """Jobs that lost their last driver with that node."""
        self._expected.pop(node_id, None)
        return self._no_drivers([job_id for job_id, nodes in self._drivers.items() if nodes[node_id] > 0], node_id)

    def route_logs(self, lines: node_pb2.LogLines, sender: str) -> None:
        """Output of a worker goes to the nodes with a driver of its job; its own node has served its own."""
        message = node_pb2.HeadMessage(log_lines=lines)
        for node_id, count in self._drivers.get(lines.job_id, {}).items():
            if count > 0 and node_id != sender:
                self.send(node_id, message)

    def _forget_empty(self, job_id: str) -> bool:
        if any(count > 0 for count in self._drivers[job_id].values()):
            return False
        del self._drivers[job_id]
        return True


def _job_ended(job_id: str) -> node_pb2.HeadMessage:
    return node_pb2.HeadMessage(job_ended=node_pb2.JobEnded(job_id=job_id))
