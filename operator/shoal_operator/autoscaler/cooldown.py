"""Pods that do not start: for how long they are still counted on, and when their group is tried again.

A pod with trouble counts as coming for a short grace, which depends on the trouble. After that it offers nothing, and
its group is closed: other groups step in within the same pass. One such pod stays as a probe and shows when the
trouble is over. Where none can stay (a pod that was refused or has ended is not there), the group is tried again with
one replica when a cool-down is over, which doubles with every failure.

Invariants: a group is closed exactly while one of its pods is stuck or its cool-down runs; what is remembered is
bounded and fits into a status; a clock that jumps lengthens no cool-down beyond ``COOLDOWN_SECONDS_MAX``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shoal_operator.autoscaler import reasons
from shoal_operator.autoscaler.model import ComingNode, Cooldown, Node, ScalingRequest

GRACE_SECONDS: Final[Mapping[str, float]] = {
    reasons.VOLUME_CLAIM_PENDING: 5.0,
    reasons.VOLUME_NOT_MOUNTED: 5.0,
    reasons.SCHEDULING_GATED: 5.0,
    reasons.IMAGE_UNAVAILABLE: 3.0,
    reasons.CONTAINER_NOT_STARTED: 3.0,
    reasons.SANDBOX_FAILED: 5.0,
}
"""Age of a pod from which trouble of that sort counts; of any other sort at once: a refusal, a crash, a container that
cannot be set up do not pass by themselves. How long a machine may be missing is the request's to say."""
COOLDOWN_SECONDS: Final = 2.0
"""After the first failure; twice as long after each further one."""
COOLDOWN_SECONDS_MAX: Final = 300.0
REFUSED: Final = frozenset(
    {
        reasons.QUOTA_EXCEEDED,
        reasons.ADMISSION_DENIED,
        reasons.ADMISSION_UNAVAILABLE,
        reasons.SERVICE_ACCOUNT_MISSING,
        reasons.PRIORITY_CLASS_MISSING,
        reasons.INVALID_TEMPLATE,
        reasons.WRITE_REFUSED,
    }
)
"""Where no pod can stay as a probe: only another attempt, which costs one request, shows that the reason has gone."""
REFUSED_SECONDS_MAX: Final = 60.0
FORGET_SECONDS: Final = 600.0
"""A cool-down that has been over for so long is forgotten, whatever came of the group."""


@dataclass(frozen=True, slots=True)
class Closure:
    """Why a group gets no more nodes now."""

    group: str
    reason: str
    message: str
    pod_name: str = ""
    """The stuck pod; empty while only a cool-down runs."""
    seconds_left: float = 0.0


def with_grace(
    coming: Iterable[ComingNode], unschedulable_seconds: float
) -> tuple[tuple[ComingNode, ...], tuple[float, ...]]:
    """Coming pods, those in their grace without trouble; and the seconds until each grace is over."""
    graces = {**GRACE_SECONDS, reasons.UNSCHEDULABLE: unschedulable_seconds}
    pods: list[ComingNode] = []
    later: list[float] = []
    for pod in coming:
        left = graces.get(pod.blocked_reason, 0.0) - max(0.0, pod.age_seconds) if pod.blocked_reason else 0.0
        if left > 0:
            later.append(left)
            pods.append(replace(pod, blocked_reason="", blocked_message=""))
        else:
            pods.append(pod)
    return tuple(pods), tuple(later)


def cooldown_seconds(failures: int, reason: str = "") -> float:
    """How long a cool-down lasts after so many failures in a row.

    Example:
        >>> [cooldown_seconds(failures) for failures in (1, 2, 3, 100)]
        [2.0, 4.0, 8.0, 300.0]
    """
    most = REFUSED_SECONDS_MAX if reason in REFUSED else COOLDOWN_SECONDS_MAX
    return min(most, COOLDOWN_SECONDS * 2.0 ** min(max(failures, 1) - 1, 10))


def update_cooldowns(
    known: Sequence[Cooldown], coming: Sequence[ComingNode], nodes: Sequence[Node], groups: Iterable[str]
) -> tuple[Cooldown, ...]:
    """What is to be remembered now.

    Args:
        known: what was remembered, with the time that has passed taken off.
        coming: pods that have not joined, graces applied.
        nodes: nodes that have joined.
        groups: names of the groups that there are; others are forgotten.
    """
    names = set(groups)
    stuck = _stuck(coming)
    kept: dict[tuple[str, str], Cooldown] = {}
    for entry in sorted(known, key=lambda item: (item.group, item.reason, item.until_seconds_from_now)):
        probes = stuck.get((entry.group, entry.reason))
        if entry.group in names and not (probes is None and _is_over(entry, coming, nodes)):
            kept[entry.group, entry.reason] = _continue(entry, probes)
    for (group, reason), probes in stuck.items():
        if group in names and (group, reason) not in kept:
            kept[group, reason] = Cooldown(group, reason, cooldown_seconds(1, reason), 1, probes[0])
    return tuple(kept[key] for key in sorted(kept))


def closures(request: ScalingRequest, cooldowns: Iterable[Cooldown]) -> dict[str, Closure]:
    """Groups that get no more nodes now, each with the reason. ``request``: graces applied."""
    result: dict[str, Closure] = {}
    for pod in sorted(request.coming, key=lambda item: item.pod_name):
        if pod.blocked_reason and pod.closes_group and pod.group not in result:
            result[pod.group] = Closure(pod.group, pod.blocked_reason, pod.blocked_message, pod.pod_name)
    for entry in cooldowns:
        if entry.until_seconds_from_now > 0 and entry.group not in result:
            result[entry.group] = Closure(
                entry.group, entry.reason, "", seconds_left=_bounded(entry.until_seconds_from_now)
            )
    return result


def half_open(request: ScalingRequest, cooldowns: Iterable[Cooldown], closed: Iterable[str]) -> frozenset[str]:
    """Groups whose cool-down is over, but which have not shown yet that their pods start again."""
    names = {group.name for group in request.groups}
    return frozenset(entry.group for entry in cooldowns if entry.group in names) - set(closed)


def _stuck(coming: Iterable[ComingNode]) -> dict[tuple[str, str], list[str]]:
    """Names of stuck pods by group and reason, sorted."""
    found: dict[tuple[str, str], list[str]] = {}
    for pod in sorted(coming, key=lambda item: item.pod_name):
        if pod.blocked_reason and pod.closes_group:
            found.setdefault((pod.group, pod.blocked_reason), []).append(pod.pod_name)
    return found


def _continue(entry: Cooldown, probes: Sequence[str] | None) -> Cooldown:
    left = _bounded(entry.until_seconds_from_now)
    if not probes:
        return replace(entry, until_seconds_from_now=left)
    probe = entry.probe if entry.probe in probes else probes[0]
    if left > 0:
        return replace(entry, until_seconds_from_now=left, probe=probe)
    failures = max(1, entry.failures) + 1
    return replace(
        entry, until_seconds_from_now=cooldown_seconds(failures, entry.reason), failures=failures, probe=probe
    )


def _is_over(entry: Cooldown, coming: Sequence[ComingNode], nodes: Sequence[Node]) -> bool:
    """Whether the group has shown that its pods start again, or the failure was long ago."""
    if entry.until_seconds_from_now < -FORGET_SECONDS:
        return True
    if any(pod.group == entry.group and pod.blocked_reason and pod.closes_group for pod in coming):
        return False
    since = cooldown_seconds(entry.failures, entry.reason) - _bounded(entry.until_seconds_from_now)
    if any(pod.pod_name == entry.probe and pod.age_seconds >= since for pod in coming):
        return True
    return any(
        node.group == entry.group and (node.pod_name == entry.probe or node.age_seconds < since) for node in nodes
    )


def _bounded(seconds: float) -> float:
    """NaN and values that no cool-down has come from a clock that jumped."""
    return min(seconds, COOLDOWN_SECONDS_MAX) if seconds == seconds else 0.0  # noqa: PLR0124 - NaN
