"""Whether this process works: alive (else it should be started again), and ready (it knows the world).

Invariant: only what another start of the process could put right makes it unhealthy. A head that does not answer, an
object that cannot be reconciled, and a missing right are not: they are conditions of objects. The pages are answered
by the event loop of the controllers, so that a loop that hangs answers nobody and fails the probe as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

SILENCE_SECONDS_MAX: Final = 180.0
"""An informer that heard nothing for so long (servers send a bookmark about once a minute) makes us unhealthy."""
HANGING_SECONDS_MAX: Final = 300.0
"""So does a worker that has had its key for so long: its deadline did not work."""
LEASE_OVER_SECONDS_MAX: Final = 5.0
"""And so does a leader that is still here so long after its lease was over."""


class Watched(Protocol):
    """An informer, as far as health goes."""

    @property
    def is_synced(self) -> bool:
        """Whether the collection was listed as a whole."""
        ...

    @property
    def plural(self) -> str:
        """What it follows."""
        ...

    def silent_seconds(self) -> float:
        """Seconds since the server last said anything."""
        ...


@dataclass(frozen=True)
class Health:
    """The two verdicts.

    Attributes:
        informers: what is watched.
        hanging: controller to the seconds for which its slowest worker has had its key.
        lease_over_seconds: seconds since our lease was over; 0 or less while it holds; None: we do not lead.
    """

    informers: Sequence[Watched]
    hanging: Mapping[str, Callable[[], float]]
    lease_over_seconds: Callable[[], float | None]

    def problem(self) -> str | None:
        """Why this process should be started again; None while it works."""
        for informer in self.informers:
            seconds = informer.silent_seconds()
            if seconds > SILENCE_SECONDS_MAX:
                return f"no word about {informer.plural} for {seconds:.0f} s"
        for controller, longest in self.hanging.items():
            if longest() > HANGING_SECONDS_MAX:
                return f"a worker of {controller} hangs for {longest():.0f} s"
        over = self.lease_over_seconds()
        if over is not None and over > LEASE_OVER_SECONDS_MAX:
            return f"the lease is over for {over:.0f} s, and this process still works"
        return None

    def unready(self) -> str | None:
        """What is not known yet; None when this process could work."""
        missing = sorted({informer.plural for informer in self.informers if not informer.is_synced})
        return f"not listed yet: {', '.join(missing)}" if missing else self.problem()
