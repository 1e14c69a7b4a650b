"""What the node tells the head about itself: on change, coalesced, and while it is idle once in a while.

Invariant: the last report sent always describes the node's state of at most ``COALESCE_SECONDS`` ago (idle
seconds aside).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from shoal.core.demand import NodeDemand
from shoal.resources import ResourceSet
from shoal.wire.reactor import Reactor

if TYPE_CHECKING:
    from shoal.protocol.link import HeadLink

COALESCE_SECONDS: Final = 0.05
IDLE_REFRESH_SECONDS: Final = 1.0
DrainState = str


class Activity(NamedTuple):
    """What keeps a node from being idle."""

    leases: int
    actors: int
    objects: int
    owned: int
    waiting: int
    drivers: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing does."""
        return not any(self)

    def __str__(self) -> str:
        nouns = (("lease", "leases"), ("actor", "actors"), ("object", "objects"))
        parts = [f"{n} {nouns[i][n != 1]}" for i, n in enumerate(self[:3]) if n]
        if self.drivers:
            parts.append(f"{self.drivers} drivers of jobs" if self.drivers > 1 else "the driver of a job")
        if self.owned:
            parts.append(f"{self.owned} owned objects needed elsewhere")
        if self.waiting:
            parts.append(f"{self.waiting} waiting requests")
        return ", ".join(parts)


class State(NamedTuple):
    """One report, less the idle time."""

    available: ResourceSet
    demands: tuple[NodeDemand, ...]
    activity: Activity
    drain_state: DrainState
    drain_reason: str = ""


class Reporter:
    """See the module.

    Args:
        reactor: the agent's.
        link: to the head.
        state: gives the state now.
        refresh: whether an idle node repeats its report, so that the head sees for how long.
    """

    def __init__(
        self, reactor: Reactor, link: Callable[[], HeadLink], state: Callable[[], State], *, refresh: bool
    ) -> None:
        self._reactor = reactor
        self._link = link
        self._state = state
        self._refresh = refresh
        self._planned = False
        self._last: State | None = None
        self._idle_since: float | None = None
        self._closed = False

    def changed(self) -> None:
        """Something may have changed: a report follows soon, if it has."""
        if not self._planned and not self._closed:
            self._planned = True
            self._reactor.call_later(COALESCE_SECONDS, self._on_time)

    def forget(self) -> None:
        """A new session knows nothing: the next report is sent in any case."""
        self._last = None
        self.changed()

    def _on_time(self) -> None:
        self._planned = False
        if not self._closed:
            self.send(always=False)

    def send(self, *, always: bool = True) -> None:
        """Report now."""
        from shoal.node.head_messages import report
        from shoal.protocol import node_pb2

        state = self._state()
        now = time.monotonic()
        if state.activity.idle and self._idle_since is None:
            self._idle_since = now
            if self._refresh:
                self._reactor.call_later(IDLE_REFRESH_SECONDS, lambda: self._repeat(now))
        elif not state.activity.idle:
            self._idle_since = None
        if state == self._last and not always:
            return
        self._last = state
        idle_seconds = 0.0 if self._idle_since is None else max(now - self._idle_since, 0.001)
        ends = f"it ends: {state.drain_reason}" if state.drain_reason else ""
        activity = ", ".join(part for part in (str(state.activity), ends) if part)
        message = report(state.available, state.demands, idle_seconds, activity, state.drain_state)
        self._link().send(node_pb2.NodeMessage(report=message))

    def _repeat(self, idle_since: float) -> None:
        if self._closed or self._idle_since != idle_since:
            return
        self.send()
        self._reactor.call_later(IDLE_REFRESH_SECONDS, lambda: self._repeat(idle_since))

    def close(self) -> None:
        """Say no more."""
        self._closed = True
