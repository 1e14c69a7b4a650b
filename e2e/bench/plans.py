"""How much is measured. Invariant: `full` is what the figures in docs/performance.md were made with."""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACES = tuple(f"bench-{index}" for index in range(10))
"""Where the clusters are."""


@dataclass(frozen=True)
class Plan:
    """Sizes of the measurements; times in seconds."""

    clusters: int
    workers: int
    scaled_clusters: int
    scaled_to: int
    edits: int
    jobs: int
    idle_seconds: float
    demand_workers: int
    idle_clusters: int = 20


PLANS = {
    "small": Plan(
        clusters=20, workers=3, scaled_clusters=5, scaled_to=20, edits=10, jobs=20, idle_seconds=10, demand_workers=50
    ),
    "full": Plan(
        clusters=500,
        workers=3,
        scaled_clusters=100,
        scaled_to=20,
        edits=200,
        jobs=1000,
        idle_seconds=600,
        demand_workers=1000,
        idle_clusters=1000,
    ),
}
"""By name."""
