"""Conditions: merge what holds now into what was said before.

Invariant: ``lastTransitionTime`` changes only when ``status`` does; merging twice changes nothing; a
condition of a type that is not mentioned keeps standing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from shoal_operator.api.meta import MESSAGE_MAX, Condition
from shoal_operator.domain.reasons import ConditionType

Status = Literal["True", "False", "Unknown"]
TRUE: Final[Status] = "True"
FALSE: Final[Status] = "False"
UNKNOWN: Final[Status] = "Unknown"


@dataclass(frozen=True, slots=True)
class Fact:
    """What holds now about one condition type."""

    type: ConditionType
    status: Status
    reason: str
    message: str = ""


def merge(
    previous: Sequence[Condition], facts: Iterable[Fact], now: datetime, generation: int
) -> tuple[Condition, ...]:
    """``previous`` brought up to date with ``facts``.

    Args:
        previous: conditions as they stand in the object.
        facts: what holds now; at most one per type.
        now: time for conditions that flip; cut to whole seconds, as Kubernetes keeps it.
        generation: metadata.generation that the facts speak about.

    Returns:
        Facts in their order, then conditions that no fact mentions.
    """
    before = {condition.type: condition for condition in previous}
    merged = []
    for fact in facts:
        old = before.pop(fact.type.value, None)
        flipped = old is None or old.status != fact.status
        merged.append(
            Condition(
                type=fact.type.value,
                status=fact.status,
                reason=fact.reason,
                message=shorten(fact.message),
                last_transition_time=whole_second(now) if old is None or flipped else old.last_transition_time,
                observed_generation=generation,
            )
        )
    return (*merged, *before.values())


def find(conditions: Sequence[Condition], kind: ConditionType) -> Condition | None:
    """The condition of that type."""
    wanted = kind.value
    for condition in conditions:
        if condition.type == wanted:
            return condition
    return None


def is_true(conditions: Sequence[Condition], kind: ConditionType) -> bool:
    """Whether the condition of that type is there and True."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == TRUE


def shorten(message: str, limit: int = MESSAGE_MAX) -> str:
    """``message`` cut to ``limit`` characters, with a sign that it was cut."""
    return message if len(message) <= limit else message[: limit - 1] + "…"


def whole_second(moment: datetime) -> datetime:
    """``moment`` without its fraction of a second."""
    return moment.replace(microsecond=0)
