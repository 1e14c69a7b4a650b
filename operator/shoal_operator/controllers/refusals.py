"""What the API server refused to let in, kept for as long as it is not worth trying again.

Invariants:
- a refusal is tried again after a time that grows from ``RETRY.base_seconds`` to ``RETRY.cap_seconds`` (or does not,
  where it passes soon), and at once when the cluster's spec changes, so that it heals by itself;
- it is about one group: the others and the head are not held up;
- the memory is lost with the process and costs one refused request per group then.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shoal_operator.control.backoff import BackoffPolicy
from shoal_operator.control.clock import Clock
from shoal_operator.domain.names import Key
from shoal_operator.domain.refusals import Refusal, is_about_template, passes_soon

RETRY: Final = BackoffPolicy(base_seconds=2.0, cap_seconds=30.0)


@dataclass
class _Held:
    refusal: Refusal
    until: float
    failures: int = 1


@dataclass
class _Cluster:
    generation: int
    groups: dict[str, _Held] = field(default_factory=dict)


class Refusals:
    """Refusals by cluster and group.

    Args:
        clock: the time.
        rng: for the jitter of the back-off.
    """

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._clusters: dict[Key, _Cluster] = {}

    def standing(self, key: Key, generation: int) -> tuple[Refusal, ...]:
        """The refusals that are not to be tried again yet, by group."""
        cluster = self._clusters.get(key)
        if cluster is None or cluster.generation != generation:
            self._clusters.pop(key, None)
            return ()
        now = self._clock.monotonic()
        return tuple(held.refusal for _, held in sorted(cluster.groups.items()) if held.until > now)

    def note(self, key: Key, generation: int, tried: Iterable[str], refused: Iterable[Refusal]) -> bool:
        """What came of an attempt.

        Args:
            key: the cluster.
            generation: of its spec.
            tried: the groups of which pods were to be created.
            refused: the refusals among them.

        Returns:
            Whether a group is refused that was not before: others may have to step in.
        """
        found = {refusal.group: refusal for refusal in refused}
        cluster = self._clusters.get(key)
        if cluster is None or cluster.generation != generation:
            if not found:
                return False
            cluster = self._clusters[key] = _Cluster(generation)
        for group in set(tried) - found.keys():
            cluster.groups.pop(group, None)
        news = False
        now = self._clock.monotonic()
        for group, refusal in found.items():
            before = cluster.groups.get(group)
            failures = before.failures if before and not passes_soon(refusal) else 0
            news |= before is None
            delay = RETRY.cap_seconds if is_about_template(refusal) else RETRY.delay(failures, self._rng)
            cluster.groups[group] = _Held(refusal, now + delay, failures + 1)
        return news

    def retry_seconds(self, key: Key) -> float | None:
        """When the first of the cluster's refusals is worth another attempt."""
        cluster = self._clusters.get(key)
        now = self._clock.monotonic()
        waits = [held.until - now for held in cluster.groups.values() if held.until > now] if cluster else []
        return min(waits, default=None)

    def forget(self, key: Key) -> None:
        """The cluster is gone."""
        self._clusters.pop(key, None)
