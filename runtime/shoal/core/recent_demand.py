"""What waits in the whole cluster, and the most of it that waited a moment ago.

The reports of nodes arrive apart: that work is no longer counted where it waited may be known before it is counted
where it waits now or runs. So a count that fell is told a little longer, beside the count that there is: who adds nodes
counts what waits, and who removes nodes counts the most of the last second.

Invariants: counts are sums over all sources; the recent count of a shape is never less than its count, and equals it
once ``REMEMBER_SECONDS`` have gone by without change; what is listed and remembered is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from shoal.core.demand import MAX_EXAMPLES, MAX_SHAPES, DemandKey, NodeDemand, aggregate, bounded

REMEMBER_SECONDS: Final = 1.0
MAX_REMEMBERED: Final = 10_000
"""Shapes whose count fell lately; of more than that, those that fell later are not remembered."""


class RecentDemand:
    """Demand by source (a node, the head's actors, ...). Times are seconds of any clock that only goes forward."""

    def __init__(self, remember_seconds: float = REMEMBER_SECONDS) -> None:
        self._remember = remember_seconds
        self._sources: dict[str, dict[DemandKey, NodeDemand]] = {}
        self._counts: dict[DemandKey, int] = {}
        self._past: dict[DemandKey, deque[tuple[float, int]]] = {}
        self._examples: dict[DemandKey, tuple[str, ...]] = {}

    def told(self, source: str, demands: Iterable[NodeDemand], now: float) -> bool:
        """All that waits at a source now. True when a count fell, so that ``next_deadline`` may be sooner."""
        new = {demand.key: demand for demand in aggregate(demands)}
        old = self._sources.pop(source, {})
        if new:
            self._sources[source] = new
        fell = False
        for key in {**old, **new}:
            before = self._counts.get(key, 0)
            count = before + _count(new, key) - _count(old, key)
            if count == before:
                continue
            if count > 0:
                self._counts[key] = count
            else:
                self._counts.pop(key, None)
            if count < before:
                self._fell(key, before, old.get(key), now)
                fell = True
        return fell

    def _fell(self, key: DemandKey, before: int, demand: NodeDemand | None, now: float) -> None:
        if key not in self._past and len(self._past) >= MAX_REMEMBERED:
            return
        past = self._past.setdefault(key, deque())
        while past and past[-1][1] <= before:
            past.pop()
        past.append((now + self._remember, before))
        if demand is not None:
            self._examples[key] = demand.examples

    def listed(self, now: float, most: int = MAX_SHAPES) -> list[NodeDemand]:
        """All demand, the largest count first; beyond ``most`` shapes the rest as one entry of kind ``other``."""
        merged = aggregate((d for source in self._sources.values() for d in source.values()), max_shapes=None)
        shown = [replace(demand, recent_count=self._recent(demand.key, now)) for demand in merged]
        gone = [key for key in self._past if key not in self._counts and self._recent(key, now) > 0]
        gone.sort(key=lambda key: (-self._recent(key, now), *key.order))
        for key in gone:
            examples = self._examples.get(key, ())[:MAX_EXAMPLES]
            shown.append(
                NodeDemand(key.shape, 0, key.kind, key.label_selector, examples, recent_count=self._recent(key, now))
            )
        return bounded(shown, most)

    def _recent(self, key: DemandKey, now: float) -> int:
        past = (count for until, count in self._past.get(key, ()) if until > now)
        return max(self._counts.get(key, 0), next(past, 0))

    def expire(self, now: float) -> bool:
        """Forget what is too old; True when anything listed differs now."""
        differs = False
        for key, past in list(self._past.items()):
            while past and past[0][0] <= now:
                _until, count = past.popleft()
                differs = differs or count > max(self._counts.get(key, 0), past[0][1] if past else 0)
            if not past:
                del self._past[key]
                self._examples.pop(key, None)
        return differs

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do next."""
        return min((past[0][0] for past in self._past.values()), default=None)


def _count(demands: dict[DemandKey, NodeDemand], key: DemandKey) -> int:
    demand = demands.get(key)
    return 0 if demand is None else demand.count
