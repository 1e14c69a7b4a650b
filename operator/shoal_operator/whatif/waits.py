"""How long units waited, summed up.

Invariant: a percentile is the wait of a unit, never something between two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waits:
    """How long units waited for a place, in seconds."""

    units: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    longest: float = 0.0


def waits_of(counts: Mapping[float, int]) -> Waits:
    """Sum up units by how long they waited.

    Example:
        >>> waits_of({0.0: 9, 10.0: 1}).p90, waits_of({0.0: 9, 10.0: 1}).p99
        (0.0, 10.0)
    """
    units = sum(counts.values())
    if not units:
        return Waits()
    ordered = sorted(counts.items())

    def percentile(percent: int) -> float:
        rank, seen = -(-units * percent // 100), 0
        for wait, count in ordered:
            seen += count
            if seen >= rank:
                return wait
        return ordered[-1][0]

    mean = sum(wait * count for wait, count in ordered) / units
    return Waits(units, mean, percentile(50), percentile(90), percentile(99), ordered[-1][0])
