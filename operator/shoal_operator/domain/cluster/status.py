"""What to say about one ComputeCluster: conditions, counts, the first blocking reason.

Invariant: the same world gives the same status; a condition's lastTransitionTime changes only when it flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shoal_operator.api.problems import Problem
from shoal_operator.domain.cluster.observed import ClusterObservation
from shoal_operator.domain.plan import Plan


def cluster_status(observed: ClusterObservation, plan: Plan, now: datetime) -> dict[str, Any]:
    """The whole ``status`` of the cluster as camelCase JSON.

    Args:
        observed: the world that ``plan`` was made from.
        plan: what this pass does; pods it creates count as pending already.
        now: the current time, timezone-aware.

    Returns:
        The value of ``status``. Write it only when it differs from what the object has.
    """
    raise NotImplementedError


def invalid_cluster_status(
    document: dict[str, Any], problems: Sequence[Problem], now: datetime
) -> dict[str, Any]:
    """The ``status`` of an object that cannot even be read (``ComputeCluster.parse`` raised)."""
    raise NotImplementedError
