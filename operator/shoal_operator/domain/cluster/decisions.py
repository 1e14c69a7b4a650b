"""Lines for the head's log of decisions: what changes in this pass, and why.

Invariant: a line is made when something changes, never because a pass was made; each is bounded, and so is their
number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from shoal_operator.domain.cluster.assessment import Assessment
from shoal_operator.domain.cluster.cooldowns import remembered
from shoal_operator.domain.cluster.drains import Begun
from shoal_operator.domain.cluster.explanation import addition_text, demand_status, purpose, removal_text
from shoal_operator.domain.conditions import shorten
from shoal_operator.domain.plan import Decision

DECISIONS_MAX: Final = 50
"""Of one pass."""
TEXT_MAX: Final = 500
PODS_NAMED_MAX: Final = 5


def decisions(assessment: Assessment, drains: Sequence[Begun], now: datetime) -> tuple[Decision, ...]:
    """What the log gets of this pass; nothing while no head answers.

    Args:
        assessment: what the plan is made from.
        drains: those that begin in this pass.
        now: the current time, timezone-aware.
    """
    if assessment.head is None:
        return ()
    lines = [
        *_additions(assessment),
        *_removals(assessment, drains),
        *_cooldowns(assessment, now),
        *_unmet(assessment),
    ]
    return tuple(_decision(what, why, now) for what, why in lines[:DECISIONS_MAX])


def _decision(what: str, why: str, now: datetime) -> Decision:
    content = hashlib.sha256(f"{what}\0{why}".encode()).hexdigest()[:8]
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%S")
    return Decision(f"{moment}-{content}", now, shorten(what, TEXT_MAX), shorten(why, TEXT_MAX))


def _additions(assessment: Assessment) -> Iterator[tuple[str, str]]:
    for addition in assessment.scaling.add:
        yield f"add {addition_text(addition)}", purpose(addition)


def _removals(assessment: Assessment, drains: Sequence[Begun]) -> Iterator[tuple[str, str]]:
    for begun in drains:
        names = begun.pod_names
        rest = f" and {len(names) - PODS_NAMED_MAX} more" if len(names) > PODS_NAMED_MAX else ""
        why = f"{begun.reason}: {begun.text}" if begun.text else str(begun.reason)
        yield f"drain {', '.join(names[:PODS_NAMED_MAX])}{rest}", why
    present = {worker.pod.name for worker in assessment.workers}
    for removal in assessment.scaling.cancel:
        if removal.pod_name in present:
            yield f"give up {removal_text(removal)}", removal.reason


def _cooldowns(assessment: Assessment, now: datetime) -> Iterator[tuple[str, str]]:
    before = {item.group: item for item in remembered(assessment.cluster, now)}
    after = {item.group: item for item in assessment.scaling.cooldowns}
    for group, item in after.items():
        told = before.get(group)
        if told is None or (told.reason, told.failures) != (item.reason, item.failures):
            seconds = max(0.0, item.until_seconds_from_now)
            yield f"avoid group `{group}` for {seconds:.0f} s", f"{item.reason}, {item.failures} in a row"
    for group in before.keys() - after.keys():
        yield f"use group `{group}` again", f"{before[group].reason} is over"


def _unmet(assessment: Assessment) -> Iterator[tuple[str, str]]:
    before = assessment.cluster.status.demand or ()
    told = {(item.shape, item.kind, item.verdict) for item in before}
    for item in demand_status(assessment.scaling.unmet, before) or ():
        if (item.shape, item.kind, item.verdict) not in told:
            yield f"no worker for {item.count} x {item.shape} ({item.kind})", f"{item.verdict}: {item.message}"
