"""From the head's words to plain values.

Invariant: what a head sends is taken for data, not trusted: a value that cannot be read raises
``UnreadableHeadError`` and never leaves a half-read view behind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from shoal.protocol import PROTOCOL_VERSION, head_pb2
from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Bundle, Demand, Gang, GangStrategy, Labels
from shoal_operator.domain.head import (
    ActivityView,
    DrainState,
    HeadView,
    JobState,
    JobView,
    NodeView,
)

NODES_MAX: Final = 20_000
DEMANDS_MAX: Final = 10_000
JOBS_MAX: Final = 1_000
GANGS_MAX: Final = 10_000
FLOORS_MAX: Final = 10_000
BUNDLES_MAX: Final = 100_000
"""Of all gangs together, equal ones of a gang counted once. A head that claims more than all these is broken; the
operator must not fall with it."""
DURATION_SECONDS_MAX: Final = 10**9
"""Some thirty years. What is longer is nonsense, and no date can be counted back from it."""
RESOURCE_SETS_KEPT: Final = 20_000
RESOURCE_SET_BYTES_KEPT: Final = 1024
"""A larger one is read each time: all heads share what is kept, and any program may say what it needs."""
OUTPUT_TAIL_BYTES_MAX: Final = 4_096
OUTPUT_MESSAGE_MAX: Final = 500
_REASON: Final = re.compile("[A-Za-z][A-Za-z0-9]{0,127}")
"""What the status of a job takes."""

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
_STRATEGIES: Final = {
    head_pb2.GANG_STRATEGY_PACK: GangStrategy.PACK,
    head_pb2.GANG_STRATEGY_SPREAD: GangStrategy.SPREAD,
    head_pb2.GANG_STRATEGY_STRICT_PACK: GangStrategy.STRICT_PACK,
    head_pb2.GANG_STRATEGY_STRICT_SPREAD: GangStrategy.STRICT_SPREAD,
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
    _check_size("gangs", len(snapshot.gangs), GANGS_MAX)
    _check_size("floors", len(snapshot.floors), FLOORS_MAX)
    _check_size("bundles", sum(len(gang.bundles) for gang in snapshot.gangs), BUNDLES_MAX)
    try:
        return HeadView(
            incarnation=snapshot.incarnation,
            received_at=received_at,
            nodes=tuple(_node(node) for node in snapshot.nodes),
            demands=tuple(_demand(demand) for demand in snapshot.demands),
            jobs=tuple(_job(job) for job in snapshot.jobs),
            gangs=tuple(_gang(gang) for gang in snapshot.gangs),
            gangs_left_out=_count(snapshot.gangs_left_out),
            floors=tuple(_demand(floor) for floor in snapshot.floors),
            activity=_activity(snapshot.activity) if snapshot.HasField("activity") else None,
        )
    except (ValueError, KeyError, OverflowError) as error:
        raise UnreadableHeadError(f"a snapshot of the head cannot be read: {_words(error)}") from error


def _check_size(what: str, size: int, most: int) -> None:
    if size > most:
        raise UnreadableHeadError(f"the head claims {size} {what}; more than {most} are not believed")


def _words(error: Exception) -> str:
    return f"unknown value {error}" if isinstance(error, KeyError) else str(error)


def _count(number: int) -> int:
    if number < 0:
        raise ValueError(f"a count must not be negative, got {number}")
    return number


def _seconds(seconds: float) -> float:
    if not 0 <= seconds <= DURATION_SECONDS_MAX:
        raise ValueError(
            f"a duration must be finite, not negative and at most {DURATION_SECONDS_MAX:,} s, got {seconds:g}"
        )
    return seconds


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _resources(resources: head_pb2.Resources) -> ResourceSet:
    data = resources.SerializeToString()
    return _parsed(data) if len(data) <= RESOURCE_SET_BYTES_KEPT else _parsed.__wrapped__(data)


@lru_cache(maxsize=RESOURCE_SETS_KEPT)
def _parsed(data: bytes) -> ResourceSet:
    """Most nodes have, and most work needs, what others do: read once, and equal by identity from then on."""
    return ResourceSet(dict(head_pb2.Resources.FromString(data).amounts))


def _node(node: head_pb2.NodeSnapshot) -> NodeView:
    return NodeView(
        node_id=node.node_id,
        pod_name=node.pod_name,
        group=node.group,
        total=_resources(node.total),
        available=_resources(node.available),
        recently_available=_resources(node.recently_available) if node.HasField("recently_available") else None,
        alive=node.alive,
        idle_seconds=_seconds(node.idle_seconds),
        drain_state=_DRAIN_STATES[node.drain_state],
        activity=node.activity,
        address=node.address,
        labels=_labels(node.labels),
    )


def _demand(demand: head_pb2.Demand) -> Demand:
    return Demand(
        shape=_resources(demand.shape),
        count=_count(demand.count),
        label_selector=_labels(demand.label_selector),
        kind=demand.kind or "task",
        examples=tuple(demand.examples[:3]),
        recent_count=max(demand.count, _count(demand.recent_count)),
    )


def _gang(gang: head_pb2.Gang) -> Gang:
    return Gang(
        gang_id=gang.gang_id,
        name=gang.name,
        strategy=_STRATEGIES[gang.strategy],
        bundles=tuple(
            Bundle(_resources(bundle.shape), _labels(bundle.label_selector), _count(bundle.count))
            for bundle in gang.bundles
        ),
        occupied_nodes=tuple(gang.occupied_node_ids),
    )


def _activity(activity: head_pb2.ClusterActivity) -> ActivityView:
    return ActivityView(
        drivers=_count(activity.drivers),
        jobs=_count(activity.jobs),
        detached_actors=_count(activity.detached_actors),
        idle_seconds=_seconds(activity.idle_seconds),
    )


def _reason(word: str) -> str:
    if word and not _REASON.fullmatch(word):
        raise ValueError(f"a reason must be one CamelCase word, got {word[:40]!r}")
    return word


def _job(job: head_pb2.JobSnapshot) -> JobView:
    return JobView(
        submission_id=job.submission_id,
        state=_JOB_STATES[job.state],
        reason=_reason(job.reason),
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
