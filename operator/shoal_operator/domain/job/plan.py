"""What to do about one ComputeJob now.

Invariant: the function is pure and level-triggered; carrying its plan out and planning again gives the empty plan.
"""

from __future__ import annotations

from datetime import datetime

from shoal_operator.domain.job.observed import JobObservation
from shoal_operator.domain.plan import Plan


def plan_job(observed: JobObservation, now: datetime) -> Plan:
    """Decide.

    Args:
        observed: the world.
        now: the current time, timezone-aware.

    Returns:
        Everything to do in this pass. Nothing is cleaned up before the outcome stands in the job's status.
    """
    raise NotImplementedError
