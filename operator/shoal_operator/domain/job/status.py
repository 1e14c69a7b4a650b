"""What to say about one ComputeJob: conditions, attempt, times, output, and why it waits.

Invariant: Complete and Failed are final; a condition's lastTransitionTime changes only when it flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shoal_operator.api.problems import Problem
from shoal_operator.domain.job.observed import JobObservation
from shoal_operator.domain.plan import Plan


def job_status(observed: JobObservation, plan: Plan, now: datetime) -> dict[str, Any]:
    """The whole ``status`` of the job as camelCase JSON.

    Args:
        observed: the world that ``plan`` was made from.
        plan: what this pass does.
        now: the current time, timezone-aware.

    Returns:
        The value of ``status``. Write it only when it differs from what the object has.
    """
    raise NotImplementedError


def invalid_job_status(
    document: dict[str, Any], problems: Sequence[Problem], now: datetime
) -> dict[str, Any]:
    """The ``status`` of an object that cannot even be read (``ComputeJob.parse`` raised)."""
    raise NotImplementedError
