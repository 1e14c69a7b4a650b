"""Which pods say too little, and what warning Events about them add.

Invariant: pure; a pod that runs, or whose status explains itself, is never asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from shoal_operator.domain.cluster.causes import cause_of
from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.cluster.pod_reasons import PodReason
from shoal_operator.domain.reasons import Reason

SILENT_SECONDS: Final = 2.0
"""A pod that has not started and gives no reason for so long is asked about."""
UNHEALTHY_SECONDS: Final = 15.0
"""Before this age a failing probe is no news: every start begins with some."""
PODS_MAX: Final = 3
"""Pods of one cluster that are asked about at a time: what holds one up mostly holds up all."""


def silent_pods(pods: Iterable[PodView], now: datetime) -> tuple[tuple[PodView, ...], float | None]:
    """The pods whose Events are worth a look, and the seconds until another one may be.

    Args:
        pods: those of one cluster, in any order.
        now: the current time, timezone-aware.
    """
    asked: list[PodView] = []
    waits: list[float] = []
    for pod in sorted(pods, key=lambda pod: (pod.role, pod.name)):
        if pod.ready or pod.is_deleting or pod.has_ended or pod.created is None or not _is_silent(pod):
            continue
        wait = SILENT_SECONDS - (now - pod.created) / timedelta(seconds=1)
        if wait > 0:
            waits.append(wait)
        elif len(asked) < PODS_MAX:
            asked.append(pod)
    return tuple(asked), min(waits, default=None)


def _is_silent(pod: PodView) -> bool:
    cause = cause_of(replace(pod, notices=()))
    return cause is None or cause.reason is Reason.IMAGE_PULL_DENIED


def read_notices(events: Iterable[Mapping[str, Any]], age_seconds: float) -> tuple[PodReason, ...]:
    """The warnings among a pod's Events, the last of each reason, the latest first.

    Args:
        events: items of events.k8s.io/v1.
        age_seconds: of the pod.
    """
    warnings = [event for event in events if event.get("type") == "Warning" and event.get("reason")]
    latest: dict[str, PodReason] = {}
    for event in sorted(warnings, key=_time, reverse=True):
        reason = str(event["reason"])
        if reason != "Unhealthy" or age_seconds >= UNHEALTHY_SECONDS:
            latest.setdefault(reason, PodReason(reason, str(event.get("note") or "").strip()))
    return tuple(latest.values())


def _time(event: Mapping[str, Any]) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")
