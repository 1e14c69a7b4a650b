"""What to do about one ComputeCluster now.

Invariant: the function is pure and level-triggered; carrying its plan out and planning again gives the empty plan.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from shoal_operator.domain.cluster.observed import ClusterObservation
from shoal_operator.domain.plan import Plan


def plan_cluster(observed: ClusterObservation, now: datetime, *, new_token: Callable[[], str]) -> Plan:
    """Decide.

    Args:
        observed: the world.
        now: the current time, timezone-aware.
        new_token: makes the cluster's token; called only when the token Secret is missing. The shell passes
            ``functools.partial(secrets.token_urlsafe, 32)``.

    Returns:
        Everything to do in this pass; the empty plan when the cluster is as it shall be, is being deleted, or
        is managed by another controller.
    """
    raise NotImplementedError
