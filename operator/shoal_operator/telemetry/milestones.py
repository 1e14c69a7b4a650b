"""How long things took: observed when an object passes a milestone, from two versions of it.

Invariant: a milestone counts once and only where both sides of it were seen: after a restart what was there already is
no news. What took place before this process led is not counted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, Protocol

from shoal_operator.domain.names import Key
from shoal_operator.domain.reasons import ConditionType
from shoal_operator.telemetry.state import condition_of, seconds_since

Json = dict[str, Any]

FIRST_STATUS_SECONDS: Final = 10.0
"""A condition that has had its status since so soon after the object's creation never had another one."""
_OUTCOMES: Final = (ConditionType.COMPLETE, ConditionType.FAILED)


class MilestoneMetrics(Protocol):
    """What is reported. ``telemetry.metrics`` implements it."""

    def observe_cluster_ready(self, seconds: float) -> None: ...
    def observe_job_start(self, waited_seconds: float) -> None: ...
    def observe_job_end(self, outcome: str, reason: object, run_seconds: float | None) -> None: ...
    def observe_worker_join(self, seconds: float) -> None: ...


class Milestones:
    """Watches versions of objects go by.

    Args:
        metrics: who is told.
        is_leader: whether this process counts.
        now: the wall clock.
    """

    def __init__(
        self, metrics: MilestoneMetrics, *, is_leader: Callable[[], bool], now: Callable[[], datetime]
    ) -> None:
        self._metrics = metrics
        self._is_leader = is_leader
        self._now = now
        self._started_at = now().replace(microsecond=0)  # as coarse as time stamps of the API
        self._joined: dict[Key, frozenset[str]] = {}

    def on_cluster(self, old: Json | None, new: Json) -> None:
        """A ComputeCluster changed; ``old`` is None when it is new to us."""
        if old is None or not self._is_leader():
            return
        now = condition_of(new, ConditionType.READY)
        if now is None or now.get("status") != "True":
            return
        if _was_ever(old, ConditionType.READY) or _was_ever(old, ConditionType.SUSPENDED):
            return
        self._tell(self._metrics.observe_cluster_ready, _between(new["metadata"].get("creationTimestamp"), now))

    def on_job(self, old: Json | None, new: Json) -> None:
        """A ComputeJob changed; ``old`` is None when it is new to us."""
        if old is None or not self._is_leader():
            return
        before, after = old.get("status") or {}, new.get("status") or {}
        started, ended = after.get("startTime"), after.get("completionTime")
        if started and not before.get("startTime") and not _was_ever(new, ConditionType.SUSPENDED):
            self._tell(self._metrics.observe_job_start, _seconds(new["metadata"].get("creationTimestamp"), started))
        for outcome in _OUTCOMES:
            was, now = condition_of(old, outcome), condition_of(new, outcome)
            if now is not None and now.get("status") == "True" and (was is None or was.get("status") != "True"):
                self._metrics.observe_job_end(outcome, now.get("reason"), _seconds(started, ended))

    def on_nodes(self, key: Key, nodes: Iterable[tuple[str, datetime]]) -> None:
        """What a head now knows: for each node of a worker its id, and when its pod was created."""
        created = dict(nodes)
        for node in created.keys() - self._joined.get(key, frozenset()):
            if created[node] >= self._started_at:
                self._metrics.observe_worker_join(max(0.0, (self._now() - created[node]).total_seconds()))
        self._joined[key] = frozenset(created)

    def forget(self, key: Key) -> None:
        """The cluster is gone."""
        self._joined.pop(key, None)

    @staticmethod
    def _tell(observe: Callable[[float], None], seconds: float | None) -> None:
        if seconds is not None:
            observe(seconds)


def _was_ever(document: Json, kind: ConditionType) -> bool:
    """Whether the condition is True, or may have been."""
    condition = condition_of(document, kind)
    if condition is None:
        return False
    since = _between(document["metadata"].get("creationTimestamp"), condition)
    return condition.get("status") == "True" or since is None or since > FIRST_STATUS_SECONDS


def _between(start: str | None, condition: Json) -> float | None:
    return _seconds(start, condition.get("lastTransitionTime"))


def _seconds(start: str | None, end: str | None) -> float | None:
    try:
        return seconds_since(start, datetime.fromisoformat(end or ""))
    except ValueError:
        return None
