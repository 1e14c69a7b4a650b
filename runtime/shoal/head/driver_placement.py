"""The head's drivers on other nodes: gives them nodes, hears from them, tells the job runner.

Invariant: everything here is guarded by the head's lock, and the job runner (which has a lock of its own and calls
the head) is only called without it: what it has to hear waits in ``flush``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from shoal.core.actor_placement import Candidate
from shoal.core.demand import NodeDemand
from shoal.core.jobs import JobSpec
from shoal.core.placed_drivers import PlacedDrivers
from shoal.protocol import head_pb2, node_pb2, reasons

if TYPE_CHECKING:
    from shoal.jobs.runner import JobRunner

JOB_KEY: Final = "job"
"""Key of a submission's metadata, below a domain: namespace and name of the job object that it is an attempt of."""


class _Wait(NamedTuple):
    submission_id: str
    words: str


class _Silence(NamedTuple):
    submission_id: str
    words: str


class _Loss(NamedTuple):
    submission_id: str
    words: str


class DriverPlacement:
    """See the module. It is the ``DriverPlacer`` of the head's job runner.

    Args:
        lock: the head's.
        send: queues a message for a node; called with the lock.
        changed: something that a snapshot shows has changed, and there may be something to place; with the lock.
        runner: the head's jobs.
    """

    def __init__(
        self,
        lock: threading.Lock,
        send: Callable[[str, node_pb2.HeadMessage], None],
        changed: Callable[[], None],
        runner: Callable[[], JobRunner | None],
    ) -> None:
        self._lock, self._send, self._changed, self._runner = lock, send, changed, runner
        self._table = PlacedDrivers()
        self._specs: dict[str, JobSpec] = {}
        self._news: list[_Wait | _Silence | _Loss] = []

    # Called by the job runner, without the lock

    def place(self, spec: JobSpec) -> None:
        """A driver wants a node."""
        with self._lock:
            self._specs[spec.submission_id] = spec
            self._table.add(spec.submission_id, spec.resources)
            self._changed()

    def restore(self, spec: JobSpec, node_id: str) -> None:
        """A driver of an earlier head process; without a node it waits until every node of that time has spoken."""
        with self._lock:
            self._specs[spec.submission_id] = spec
            self._table.add(spec.submission_id, spec.resources)
            if node_id:
                self._table.adopt(spec.submission_id, node_id)

    def withdraw(self, submission_id: str, grace_seconds: float) -> bool:
        """End a driver; True when it had no node yet."""
        with self._lock:
            node_id = self._table.node_of(submission_id)
            if node_id:
                order = node_pb2.StopDriver(submission_id=submission_id, grace_seconds=grace_seconds)
                self._send(node_id, node_pb2.HeadMessage(stop_driver=order))
            elif node_id is not None:
                self._forget(submission_id)
                self._changed()
        return node_id == ""

    # Called by the head, with the lock

    def demands(self) -> list[NodeDemand]:
        """What waiting drivers need; people know a driver by the job that it was submitted for."""
        return [replace(demand, examples=tuple(map(self._name, demand.examples))) for demand in self._table.demands()]

    def _name(self, submission_id: str) -> str:
        spec = self._specs.get(submission_id)
        found = [value for key, value in spec.metadata.items() if key.partition("/")[2] == JOB_KEY] if spec else []
        return (found[0] if found else submission_id).rpartition("/")[2]

    def is_waiting(self) -> bool:
        """Whether any driver has no node."""
        return self._table.waiting()

    def next_deadline(self) -> float | None:
        """When something may be placed again."""
        return self._table.next_deadline()

    def turn(self, candidates: Sequence[Candidate], now: float) -> None:
        """Start what fits on a node now; what does not is told what it waits for."""
        for placement in self._table.place(candidates, now):
            self._send(placement.node_id, self._start(self._specs[placement.submission_id]))
        for demand in self._table.demands():
            (submission_id,) = demand.examples
            self._news.append(_Wait(submission_id, self._table.explain(submission_id, candidates)))

    def node_registered(self, node_id: str) -> None:
        """A session begins: an order may have been lost with the one before. The node keeps what it knows already."""
        for submission_id in self._table.on_node(node_id):
            self._send(node_id, self._start(self._specs[submission_id]))
            self._news.append(_Silence(submission_id, ""))

    def node_out_of_touch(self, node_id: str, name: str) -> None:
        """Its session broke: what its drivers do is not known until it comes back or is given up."""
        words = f"the node that runs the driver ({name}) is out of touch; it is given up unless it comes back"
        self._news += [_Silence(submission_id, words) for submission_id in self._table.on_node(node_id)]

    def node_died(self, node_id: str, name: str, reason: str) -> None:
        """The drivers on that node are lost."""
        for submission_id in self._table.node_died(node_id):
            self._specs.pop(submission_id, None)
            words = f"the node that ran the driver ({name}) is gone: {reason}"
            self._news.append(_Loss(submission_id, words))

    # Called by the head, without the lock

    def flush(self) -> None:
        """Tell the job runner what happened."""
        with self._lock:
            news, self._news = self._news, []
        runner = self._runner()
        if runner is None:
            return
        for item in news:
            if isinstance(item, _Wait):
                runner.remote_waits(item.submission_id, item.words)
            elif isinstance(item, _Silence):
                runner.remote_out_of_touch(item.submission_id, item.words)
            else:
                runner.remote_lost(item.submission_id, reasons.NODE_LOST, item.words)

    def wrote(self, node_id: str, output: node_pb2.DriverOutput) -> None:
        """Output of a driver on that node."""
        with self._lock:
            known = self._table.node_of(output.submission_id) == node_id
        runner = self._runner()
        if known and runner is not None:
            runner.remote_wrote(output.submission_id, output.data)

    def reported(self, node_id: str, report: node_pb2.DriverReport) -> None:
        """The state of a driver on that node; the same state may come again."""
        submission_id, state = report.submission_id, report.state
        with self._lock:
            if self._table.node_of(submission_id) == "" and state != node_pb2.DriverReport.STATE_REFUSED:
                self._table.adopt(submission_id, node_id)  # an earlier head process sent it there
            known = self._table.node_of(submission_id) == node_id
            if not known:
                self._dismiss(node_id, report)
                return
            if state == node_pb2.DriverReport.STATE_REFUSED:
                self._table.refused(submission_id, node_id, time.monotonic())
                self._changed()
            elif _has_ended(state):
                self._forget(submission_id)
                self._dismiss(node_id, report)
        self._tell(node_id, report)

    def _tell(self, node_id: str, report: node_pb2.DriverReport) -> None:
        runner = self._runner()
        if runner is None:
            return
        match report.state:
            case node_pb2.DriverReport.STATE_RUNNING:
                runner.remote_started(report.submission_id, node_id)
            case node_pb2.DriverReport.STATE_EXITED:
                runner.remote_exited(report.submission_id, report.exit_code)
            case node_pb2.DriverReport.STATE_FAILED:
                runner.remote_failed(report.submission_id, report.message)

    def _dismiss(self, node_id: str, report: node_pb2.DriverReport) -> None:
        """The head wants no more of that driver: an ended one is forgotten there, another one is ended."""
        if _has_ended(report.state):
            order = node_pb2.HeadMessage(forget_driver=node_pb2.ForgetDriver(submission_id=report.submission_id))
        else:
            order = node_pb2.HeadMessage(stop_driver=node_pb2.StopDriver(submission_id=report.submission_id))
        self._send(node_id, order)

    def _forget(self, submission_id: str) -> None:
        self._table.remove(submission_id)
        self._specs.pop(submission_id, None)

    @staticmethod
    def _start(spec: JobSpec) -> node_pb2.HeadMessage:
        order = node_pb2.StartDriver(
            submission_id=spec.submission_id,
            job_id=spec.job_id,
            entrypoint=spec.entrypoint,
            resources=head_pb2.Resources(amounts=dict(spec.resources)),
            package=spec.package,
            environment=spec.environment,
        )
        return node_pb2.HeadMessage(start_driver=order)


def _has_ended(state: node_pb2.DriverReport.State) -> bool:
    return state in {node_pb2.DriverReport.STATE_EXITED, node_pb2.DriverReport.STATE_FAILED}
