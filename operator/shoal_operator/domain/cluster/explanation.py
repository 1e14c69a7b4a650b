"""The autoscaler's decisions in words: why each worker came or goes, and why work gets none.

Invariant: texts are bounded, and steady where nothing happened: a count that wanders a little is no news, so that
work that comes and goes costs no writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from shoal.resources import describe
from shoal_operator.api.autoscaling import DEMANDS_MAX, UNITS_MAX, DemandStatus
from shoal_operator.autoscaler.model import Addition, GangStrategy, Origin, Removal, Unmet
from shoal_operator.autoscaler.reasons import Rule
from shoal_operator.domain import labels
from shoal_operator.domain.conditions import shorten
from shoal_operator.domain.plan import EventRecord, Manifest
from shoal_operator.domain.reasons import Action, Reason

SHAPE_MAX: Final = 256
KIND_MAX: Final = 64
PURPOSE_MAX: Final = 256
"""Longest text of the annotation shoal.dev/created-for, in characters."""
ORIGINS_NAMED_MAX: Final = 2
BY_DEMAND: Final = frozenset(Rule) - {Rule.MIN_REPLICAS, Rule.REPLICAS}
"""Rules that have an Event; the others are part of every start, or told by their cool-down."""


def demand_status(unmet: Sequence[Unmet], before: Sequence[DemandStatus]) -> tuple[DemandStatus, ...] | None:
    """``status.demand``: the first shapes that get no worker, and what was not looked at; None when there is none.

    Args:
        unmet: as the autoscaler said.
        before: what the status says now; a count stands as long as it is right within a factor of 2.
    """
    counts = {(item.shape, item.kind, item.verdict): item.count for item in before}
    rest = [item for item in unmet[DEMANDS_MAX:] if item.sums_up]
    return tuple(_demand(item, counts) for item in (*unmet[: DEMANDS_MAX - len(rest)], *rest)) or None


def _demand(item: Unmet, counts: dict[tuple[str, str, str], int]) -> DemandStatus:
    is_known = bool(item.demand.shape) or not item.sums_up
    shape = describe(item.demand.shape) if is_known else "not listed"
    selector = ", ".join(f"{key}={value}" for key, value in item.demand.label_selector)
    if item.gang is not None and item.gang.strategy is GangStrategy.STRICT_PACK:
        shape = f"{shape} on one node" + (f" with {selector}" if selector else "")
    elif selector:
        shape = f"{shape} on a node with {selector}"
    shape = shorten(shape, SHAPE_MAX)
    kind = shorten(item.demand.kind, KIND_MAX)
    told = counts.get((shape, kind, str(item.verdict)), 0)
    count = told if told <= 2 * item.count and item.count <= 2 * told else min(item.count, UNITS_MAX)
    return DemandStatus(shape=shape, kind=kind, count=count, verdict=str(item.verdict), message=shorten(item.message))


def purpose(addition: Addition) -> str:
    """What a worker was made for, for its annotation: ``Demand: 12 tasks of 1 CPU``."""
    causes = _causes(addition.origins)
    return shorten(f"{addition.reason}: {causes}" if causes else addition.reason, PURPOSE_MAX)


def rule_of(pod: Manifest) -> str:
    """The rule that a worker was made by; empty when its annotation does not say."""
    return str((pod["metadata"].get("annotations") or {}).get(labels.CREATED_FOR, "")).partition(":")[0]


def addition_events(additions: Iterable[Addition]) -> Iterator[EventRecord]:
    """An Event for each group that grows for work that waits."""
    for addition in additions:
        if addition.reason in BY_DEMAND:
            text = f"adding {addition_text(addition)}"
            yield EventRecord("Normal", Reason.CREATED_WORKERS, shorten(text), Action.SCALE_UP)


def addition_text(addition: Addition) -> str:
    """For people: "3 workers to group `small` for 12 tasks of 1 CPU"."""
    noun = "worker" if addition.count == 1 else "workers"
    text = f"{addition.count} {noun} to group `{addition.group}`"
    causes = _causes(addition.origins) or ("work that waits" if addition.reason in BY_DEMAND else "")
    return f"{text} for {causes}" if causes else f"{text} ({addition.reason})"


def removal_text(removal: Removal) -> str:
    """For people: "pod demo-small-0 of group `small`: Idle, idle for 61 s of 60 s"."""
    detail = f", {removal.text}" if removal.text else ""
    return f"pod {removal.pod_name} of group `{removal.group}`: {removal.reason}{detail}"


def _causes(origins: Sequence[Origin]) -> str:
    named = [origin.text for origin in origins[:ORIGINS_NAMED_MAX] if origin.text]
    rest = len(origins) - len(named)
    return " and ".join(named) + (f" and {rest} more kinds of work" if named and rest > 0 else "")
