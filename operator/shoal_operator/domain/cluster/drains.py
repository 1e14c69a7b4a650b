"""Drains in progress, as pod annotations.

Invariant: the annotation is the only memory of a drain; a value that cannot be read counts as one whose
deadline has passed, so that nobody's typing error keeps a pod for ever.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from shoal_operator.domain.cluster.observed import timestamp
from shoal_operator.domain.conditions import whole_second
from shoal_operator.domain.reasons import Reason

FORCED: Final = frozenset({Reason.OUTDATED_POD, Reason.OVER_LIMIT, Reason.GROUP_REMOVED, Reason.GROUP_SUSPENDED})
"""Reasons for which a busy worker goes as well, once it has finished what it holds."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Why a worker goes, and when it goes all the same."""

    reason: str
    deadline: datetime
    text: str = ""
    """The rule with its figures, for people: "idle for 61 s of 60 s"."""

    def encode(self) -> str:
        """The value of the annotation shoal.dev/drain."""
        text = self.deadline.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json.dumps({"reason": self.reason, "deadline": text} | ({"message": self.text} if self.text else {}))


@dataclass(frozen=True, slots=True)
class Begun:
    """Drains that begin in one pass for one reason, by one rule."""

    reason: str
    text: str
    """The rule, for people, with the figures of the first of them; may be empty."""
    pod_names: tuple[str, ...]


def start_drain(reason: str, now: datetime, timeout_seconds: float, text: str = "") -> Drain:
    """A drain that starts now. The deadline is kept in whole seconds, never sooner than asked."""
    return Drain(reason, whole_second(now + timedelta(seconds=timeout_seconds + 1)), text)


def read_drain(value: str) -> Drain | None:
    """The drain of an annotation value; None for the empty one."""
    if not value:
        return None
    try:
        content = json.loads(value)
    except ValueError:
        content = {}
    fields = content if isinstance(content, dict) else {}
    deadline = timestamp(str(fields.get("deadline", "")))
    if deadline is None or deadline.tzinfo is None:
        deadline = datetime.min.replace(tzinfo=UTC)
    return Drain(str(fields.get("reason", "Unknown")), deadline, str(fields.get("message", "")))
