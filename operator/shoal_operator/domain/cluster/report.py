"""What `shoal explain cluster` says: the object, its pods and its Events as one text for people.

Invariant: the objects alone are read, as the API server has them; what is missing is left out, and nothing raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from shoal.resources import describe
from shoal_operator.api.cluster import ComputeCluster, WorkerGroup, WorkerGroupStatus
from shoal_operator.domain import labels
from shoal_operator.domain.cluster.drains import read_drain
from shoal_operator.domain.cluster.groups import is_suspended, written_bounds
from shoal_operator.domain.cluster.observed import timestamp
from shoal_operator.domain.conditions import TRUE, find
from shoal_operator.domain.quantities import group_resources
from shoal_operator.domain.reasons import Action, ConditionType

Json = Mapping[str, Any]

DECISIONS_MAX: Final = 15
PODS_MAX: Final = 50
DECISIONS: Final = frozenset({Action.SCALE_UP, Action.SCALE_DOWN, Action.PLAN, Action.EXPLAIN, Action.REPLACE_HEAD})
"""Actions of Events that tell of a decision."""
_COUNTS: Final = ("PRIORITY", "READY", "STARTING", "DRAINING", "EACH OFFERS")
_HEADER: Final = ("GROUP", "MIN", "MAX", *_COUNTS)
_HEADER_FIXED: Final = ("GROUP", "REPLICAS", *_COUNTS)
"""While autoscaling is off."""
_ENDS: Final = {"Suspend": "suspends", "Delete": "is deleted"}
"""What an idle policy does to the cluster."""


def report(cluster: ComputeCluster, pods: Sequence[Json], events: Sequence[Json], now: datetime) -> str:
    """The text.

    Args:
        cluster: the object.
        pods: its pods, in any order.
        events: Events about it, in any order.
        now: the current time, timezone-aware.
    """
    parts = [
        list(_summary(cluster)),
        list(_idle(cluster, now)),
        list(_groups(cluster, now)),
        list(_waiting(cluster)),
        list(_pods(pods, now)),
        list(_decisions(events)),
    ]
    return "\n".join("\n".join(part) for part in parts if part)


def _summary(cluster: ComputeCluster) -> Iterator[str]:
    metadata, spec, status = cluster.metadata, cluster.spec, cluster.status
    ready = find(status.conditions, ConditionType.READY)
    word = "ready" if ready and ready.status == TRUE else "not ready"
    yield f"cluster {metadata.namespace}/{metadata.name} is {word}"
    if status.reason:
        yield f"  {status.reason}: {status.message or ''}"
    if metadata.generation > status.observed_generation:
        yield "  the operator has not seen the last edit of its spec yet"
    demand = find(status.conditions, ConditionType.DEMAND_SATISFIED)
    if demand and demand.reason != status.reason:
        yield f"  {demand.message or demand.reason}"
    autoscaling = spec.autoscaling
    if not autoscaling.enabled:
        yield "autoscaling is off: `replicas` counts"
        return
    bounds = [f"{autoscaling.limits.max_workers} workers"] if autoscaling.limits.max_workers is not None else []
    bounds += [f"{amount} {name}" for name, amount in sorted(autoscaling.limits.resources.items())]
    limits = f", at most {' and '.join(bounds)} in all groups" if bounds else ""
    yield f"autoscaling is on: {autoscaling.upscaling.mode}{limits}"


def _idle(cluster: ComputeCluster, now: datetime) -> Iterator[str]:
    policy, since = cluster.spec.idle_policy, cluster.status.idle_since
    if policy is None:
        return
    said = find(cluster.status.conditions, ConditionType.IDLE)
    text = f"idle policy: {policy.action} after {policy.timeout_seconds} s without use"
    if since is None:
        yield f"{text}; {said.message}" if said and said.message else text
        return
    end = _until(since + timedelta(seconds=policy.timeout_seconds), now)
    yield f"{text}; unused since {_clock(since)}, {_ENDS[policy.action]} at {end}"


def _groups(cluster: ComputeCluster, now: datetime) -> Iterator[str]:
    counts = {group.name: group for group in cluster.status.worker_groups}
    groups = cluster.spec.worker_groups
    header = _HEADER if cluster.spec.autoscaling.enabled else _HEADER_FIXED
    rows = [header, *(_row(cluster, group, counts.get(group.name)) for group in groups)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    yield lines[0]
    for group, line in zip(groups, lines[1:], strict=True):
        yield line
        if is_suspended(group):
            yield "  it is suspended"
        if group.name in counts:
            yield from _avoided(counts[group.name], now)


def _avoided(counts: WorkerGroupStatus, now: datetime) -> Iterator[str]:
    blocked = counts.blocked
    if blocked is None:
        return
    if blocked.retry_at > now:
        again = f"tried again at {_until(blocked.retry_at, now)}"
    elif counts.pending:
        again = "one replica is tried now"
    else:
        again = "is tried with the next work for it"
    yield f"  avoided since {_clock(blocked.since)}: {blocked.reason}, {blocked.failures} in a row; {again}"
    if blocked.message:
        yield f"    {blocked.message}"


def _row(cluster: ComputeCluster, group: WorkerGroup, counts: WorkerGroupStatus | None) -> tuple[str, ...]:
    found = counts or WorkerGroupStatus(name=group.name)
    least, most = written_bounds(cluster.spec, group)
    hosts = f" x{group.hosts_per_replica}" if group.hosts_per_replica > 1 else ""
    try:
        offers = describe(group_resources(group.resources, group.template)) or "nothing"
    except ValueError:
        offers = "?"
    numbers = (group.priority, found.ready, found.pending, found.draining)
    bounds = (least, most) if cluster.spec.autoscaling.enabled else (most,)
    return (group.name, *(f"{bound}{hosts}" for bound in bounds), *map(str, numbers), offers)


def _waiting(cluster: ComputeCluster) -> Iterator[str]:
    if cluster.status.demand:
        yield "work that gets no worker:"
    for item in cluster.status.demand or ():
        yield f"  about {item.count} x {item.shape} ({item.kind}): {item.verdict}"
        yield f"    {item.message}"


def _pods(pods: Sequence[Json], now: datetime) -> Iterator[str]:
    workers = [pod["metadata"] for pod in pods if _label(pod, labels.ROLE) == labels.ROLE_WORKER]
    workers.sort(key=lambda metadata: str(metadata.get("name", "")))
    if workers:
        yield "workers, and what each was made for:"
    for metadata in workers[:PODS_MAX]:
        notes = metadata.get("annotations") or {}
        line = f"  {metadata.get('name')}: {notes.get(labels.CREATED_FOR) or 'not known'}"
        drain = read_drain(notes.get(labels.DRAIN, ""))
        if metadata.get("deletionTimestamp"):
            line += "; is being deleted"
        elif drain is not None:
            detail = f", {drain.text}" if drain.text else ""
            line += f"; is drained ({drain.reason}{detail}), {_until(drain.deadline, now)} at the latest"
        yield line
    if len(workers) > PODS_MAX:
        yield f"  and {len(workers) - PODS_MAX} more"


def _decisions(events: Sequence[Json]) -> Iterator[str]:
    told = [(moment, event) for event in events if (moment := _moment(event)) and event.get("action") in DECISIONS]
    told.sort(key=lambda pair: pair[0])
    if told:
        yield "last decisions:"
    for moment, event in told[-DECISIONS_MAX:]:
        yield f"  {_clock(moment)}  {event.get('reason')}: {event.get('note') or ''}"


def _moment(event: Json) -> datetime | None:
    """When the Event was seen last."""
    series = event.get("series") or {}
    found = timestamp(series.get("lastObservedTime") or event.get("eventTime") or event.get("deprecatedLastTimestamp"))
    return found if found is not None and found.tzinfo is not None else None


def _label(pod: Json, name: str) -> str:
    return str(((pod.get("metadata") or {}).get("labels") or {}).get(name, ""))


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")


def _until(moment: datetime, now: datetime) -> str:
    left = (moment - now) / timedelta(seconds=1)
    return f"{_clock(moment)} (in {left:.0f} s)" if left > 0 else f"{_clock(moment)} (now)"
