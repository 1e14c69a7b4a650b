"""What is remembered of groups whose pods did not start: the autoscaler's cool-downs, in ``status.workerGroups[]``.

Invariants: the status is the only memory, so that an operator that starts anew goes on where the last one stopped; it
is written when a cool-down begins, grows or ends, and never because time passes. An edit of the spec forgets all of
them: whoever has put something right shall not wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from shoal_operator.api.autoscaling import FAILURES_MAX, GroupBlockage
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.autoscaler.model import Cooldown
from shoal_operator.domain.conditions import shorten, whole_second

STEADY: Final = timedelta(seconds=2)
"""Two passes about the same cool-down differ by less; what was written first stands."""


def remembered(cluster: ComputeCluster, now: datetime) -> tuple[Cooldown, ...]:
    """The cool-downs that the status tells of, with the time that has passed taken off.

    Args:
        cluster: the object.
        now: the current time, timezone-aware.
    """
    if cluster.status.observed_generation != cluster.metadata.generation:
        return ()
    return tuple(
        Cooldown(
            group=group.name,
            reason=group.blocked.reason,
            until_seconds_from_now=(group.blocked.retry_at - now) / timedelta(seconds=1),
            failures=group.blocked.failures,
            probe=group.blocked.probe or "",
        )
        for group in cluster.status.worker_groups
        if group.blocked is not None
    )


def blockages(
    cluster: ComputeCluster, cooldowns: Sequence[Cooldown], messages: Mapping[str, str], now: datetime
) -> dict[str, GroupBlockage]:
    """What the status shall say of each group that is avoided.

    Args:
        cluster: the object; what its status says already stands where it says the same.
        cooldowns: as the autoscaler wants them remembered.
        messages: by group, what holds its pods up, for people.
        now: the current time, timezone-aware.
    """
    before = {group.name: group.blocked for group in cluster.status.worker_groups if group.blocked is not None}
    told = {(name, blocked.reason) for name, blocked in before.items()}
    chosen: dict[str, Cooldown] = {}
    # Of several reasons in one group the one that was told stays, else the longest counts.
    for item in sorted(cooldowns, key=lambda one: ((one.group, one.reason) in told, one.until_seconds_from_now)):
        chosen[item.group] = item
    return {
        name: _blockage(item, before.get(name), messages.get(name, ""), now) for name, item in sorted(chosen.items())
    }


def _blockage(cooldown: Cooldown, before: GroupBlockage | None, message: str, now: datetime) -> GroupBlockage:
    # Whole seconds, rounded up: nobody is tried before the time that stands in the status.
    retry_at = whole_second(now + timedelta(seconds=max(0.0, cooldown.until_seconds_from_now) + 0.999))
    failures = min(max(1, cooldown.failures), FAILURES_MAX)
    fresh = GroupBlockage(
        reason=cooldown.reason,
        message=shorten(message),
        since=whole_second(now),
        retry_at=retry_at,
        failures=failures,
        probe=cooldown.probe or None,
    )
    if before is None:
        return fresh
    is_same = (before.reason, before.failures) == (fresh.reason, fresh.failures)
    is_over = cooldown.until_seconds_from_now <= 0 and before.retry_at <= now
    if is_same and (is_over or abs(before.retry_at - retry_at) <= STEADY):
        return before.model_copy(update={"probe": fresh.probe})
    kept = fresh.message or (before.message if before.reason == fresh.reason else "")
    return fresh.model_copy(update={"since": before.since, "message": kept})
