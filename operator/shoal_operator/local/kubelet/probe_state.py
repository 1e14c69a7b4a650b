"""When a probe's results change a verdict.

Invariant: pure; a verdict changes only after ``failureThreshold`` failures or ``successThreshold`` successes
in a row, as in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class ProbeSettings:
    """Kubernetes' numbers, with its defaults."""

    initial_delay_seconds: float = 0.0
    period_seconds: float = 10.0
    timeout_seconds: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> ProbeSettings:
        """The settings of a probe of a spec; absent or zero means the default."""
        return cls(
            initial_delay_seconds=float(probe.get("initialDelaySeconds") or 0),
            period_seconds=float(probe.get("periodSeconds") or 10),
            timeout_seconds=float(probe.get("timeoutSeconds") or 1),
            success_threshold=int(probe.get("successThreshold") or 1),
            failure_threshold=int(probe.get("failureThreshold") or 3),
        )


@dataclass(frozen=True)
class ProbeCounter:
    """Results in a row. ``verdict`` is None until a threshold was reached once."""

    settings: ProbeSettings
    verdict: bool | None = None
    successes: int = 0
    failures: int = 0

    def observe(self, success: bool) -> ProbeCounter:
        """The counter after one more result."""
        if success:
            counted = replace(self, successes=self.successes + 1, failures=0)
            reached = counted.successes >= self.settings.success_threshold
        else:
            counted = replace(self, successes=0, failures=self.failures + 1)
            reached = counted.failures >= self.settings.failure_threshold
        return replace(counted, verdict=success) if reached else counted
