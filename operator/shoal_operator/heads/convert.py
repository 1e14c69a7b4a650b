"""From the head's words to plain values.

Invariant: what a head sends is taken for data, not trusted: a value that cannot be read raises
``UnreadableHeadError`` and never leaves a half-read view behind.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from shoal.protocol import PROTOCOL_VERSION, head_pb2
from shoal.resources import ResourceSet
from shoal_operator.domain.head import DemandView, DrainState, HeadView, JobState, JobView, NodeView

NODES_MAX: Final = 20_000
DEMANDS_MAX: Final = 10_000
JOBS_MAX: Final = 1_000
"""A head that claims more than these is broken; the operator must not fall with it."""
OUTPUT_TAIL_BYTES_MAX: Final = 4_096
OUTPUT_MESSAGE_MAX: Final = 500

_JOB_STATES: Final = {
    head_pb2.JOB_STATE_PENDING: JobState.PENDING,
    head_pb2.JOB_STATE_RUNNING: JobState.RUNNING,
    head_pb2.JOB_STATE_SUCCEEDED: JobState.SUCCEEDED,
    head_pb2.JOB_STATE_FAILED: JobState.FAILED,
    head_pb2.JOB_STATE_STOPPED: JobState.STOPPED,
}
_DRAIN_STATES: Final = {
    head_pb2.DRAIN_STATE_UNSPECIFIED: DrainState.ACTIVE,
    head_pb2.DRAIN_STATE_ACTIVE: DrainState.ACTIVE,
    head_pb2.DRAIN_STATE_DRAINING: DrainState.DRAINING,
    head_pb2.DRAIN_STATE_DRAINED: DrainState.DRAINED,
}


class UnreadableHeadError(Exception):
    """A head said something that this operator cannot read; the text says what."""


def head_view(snapshot: head_pb2.HeadSnapshot, received_at: datetime) -> HeadView:
    """The view of one snapshot.

    Args:
        snapshot: as it came from the stream.
        received_at: when, aware.

    Raises:
        UnreadableHeadError: another protocol version, an unknown state, a negative amount, absurd sizes.
    """
    if snapshot.protocol_version != PROTOCOL_VERSION:
        raise UnreadableHeadError(
            f"the head speaks protocol version {snapshot.protocol_version}, this operator version "
            f"{PROTOCOL_VERSION}: use the same release of Shoal for both"
        )
    _check_size("nodes", len(snapshot.nodes), NODES_MAX)
    _check_size("shapes of demand", len(snapshot.demands), DEMANDS_MAX)
    _check_size("jobs", len(snapshot.jobs), JOBS_MAX)
    try:
        return HeadView(
            incarnation=snapshot.incarnation,
            received_at=received_at,
            nodes=tuple(_node(node) for node in snapshot.nodes),
            demands=tuple(_demand(demand) for demand in snapshot.demands),
            jobs=tuple(_job(job) for job in snapshot.jobs),
        )
    except (ValueError, KeyError, OverflowError) as error:
        raise UnreadableHeadError(f"a snapshot of the head cannot be read: {error!r}") from error


def _check_size(what: str, size: int, most: int) -> None:
    if size > most:
        raise UnreadableHeadError(f"the head claims {size} {what}; more than {most} are not believed")


def _resources(resources: head_pb2.Resources) -> ResourceSet:
    return ResourceSet(dict(resources.amounts))


def _node(node: head_pb2.NodeSnapshot) -> NodeView:
    return NodeView(
        node_id=node.node_id,
        pod_name=node.pod_name,
        group=node.group,
        total=_resources(node.total),
        available=_resources(node.available),
        recently_available=_resources(node.recently_available) if node.HasField("recently_available") else None,
        alive=node.alive,
        idle_seconds=node.idle_seconds,
        drain_state=_DRAIN_STATES[node.drain_state],
        activity=node.activity,
        address=node.address,
    )


def _demand(demand: head_pb2.Demand) -> DemandView:
    return DemandView(
        shape=_resources(demand.shape),
        count=demand.count,
        label_selector=tuple(sorted(demand.label_selector.items())),
        kind=demand.kind or "task",
        examples=tuple(demand.examples[:3]),
    )


def _job(job: head_pb2.JobSnapshot) -> JobView:
    return JobView(
        submission_id=job.submission_id,
        state=_JOB_STATES[job.state],
        reason=job.reason,
        message=job.message,
        exit_code=job.exit_code if job.has_exit_code else None,
        start_time=_time(job.start_time_seconds),
        end_time=_time(job.end_time_seconds),
        output_tail=_last_bytes(job.output_tail, OUTPUT_TAIL_BYTES_MAX),
        tasks_submitted=job.tasks_submitted,
        tasks_finished=job.tasks_finished,
        tasks_failed=job.tasks_failed,
        output_state=job.output_state,
        output_message=job.output_message[:OUTPUT_MESSAGE_MAX],
    )


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


def _last_bytes(text: str, most: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= most else encoded[-most:].decode("utf-8", "ignore")
