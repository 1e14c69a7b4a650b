"""How long to wait before the next attempt: exponential, capped, with jitter.

Invariant: a delay lies in ``[(1 - jitter) * d, d]`` where ``d = min(cap, base * factor ** failures)``. Jitter
only shortens, so the cap is a promise. Randomness comes from the caller's generator, so a seed replays a run.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)

_EXPONENT_MAX = 64
"""Growth stops here, long after any cap, so that ``factor ** failures`` cannot overflow."""


@dataclass(frozen=True)
class BackoffPolicy:
    """The shape of a series of delays, in seconds.

    Example:
        >>> BackoffPolicy(base_seconds=1, cap_seconds=5, jitter=0).delay(3, random.Random(0))
        5.0
    """

    base_seconds: float = 0.05
    cap_seconds: float = 60.0
    factor: float = 2.0
    jitter: float = 0.2

    def delay(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after that many failures in a row before this one (0: the first)."""
        grown = self.base_seconds * self.factor ** min(failures, _EXPONENT_MAX)
        return float(min(self.cap_seconds, grown) * (1.0 - self.jitter * rng.random()))


class KeyedBackoff(Generic[KeyT]):
    """Counts failures by key, so that one broken object does not slow down the others."""

    def __init__(self, policy: BackoffPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._failures: dict[KeyT, int] = {}

    def next_delay(self, key: KeyT) -> float:
        """Note one more failure of ``key`` and return the seconds to wait."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return self._policy.delay(failures, self._rng)

    def failures(self, key: KeyT) -> int:
        """How many failures in a row ``key`` has."""
        return self._failures.get(key, 0)

    def forget(self, key: KeyT) -> None:
        """``key`` succeeded or is gone: its next failure is a first one."""
        self._failures.pop(key, None)

    def __len__(self) -> int:
        return len(self._failures)


class Retrier:
    """The delays of one endless loop (a watch, a stream): they grow while it fails."""

    def __init__(self, policy: BackoffPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._failures = 0

    def next_delay(self) -> float:
        """Note one more failure and return the seconds to wait."""
        delay = self._policy.delay(self._failures, self._rng)
        self._failures += 1
        return delay

    def reset(self) -> None:
        """The loop made progress."""
        self._failures = 0
