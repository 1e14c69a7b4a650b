"""Scheduling strategies under Ray's name, ``ray.util.scheduling_strategies``."""

from shoal._api.strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

__all__ = ["NodeAffinitySchedulingStrategy", "PlacementGroupSchedulingStrategy"]
