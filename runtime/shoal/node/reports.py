"""What the node tells the head about itself: on change, coalesced, and as often as the head asked for.

Invariants: the last report sent always describes the node's state of at most ``COALESCE_SECONDS`` ago (idle
seconds aside); a head that asked for it hears from a node whose reactor runs, news or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from shoal.core.demand import NodeDemand
from shoal.resources import ResourceSet
from shoal.wire.reactor import Reactor, Timer

if TYPE_CHECKING:
    from shoal.protocol.link import HeadLink

COALESCE_SECONDS: Final = 0.05
DrainState = str


class Activity(NamedTuple):
    """What keeps a node from being idle."""

    leases: int
    actors: int
    objects: int
    owned: int
    waiting: int
    drivers: int = 0
    bundles: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing does."""
        return not any(self)

    def __str__(self) -> str:
        nouns = (("lease", "leases"), ("actor", "actors"), ("object", "objects"))
        parts = [f"{n} {nouns[i][n != 1]}" for i, n in enumerate(self[:3]) if n]
        if self.drivers:
            parts.append(f"{self.drivers} drivers of jobs" if self.drivers > 1 else "the driver of a job")
        if self.bundles:
            parts.append(f"{self.bundles} reserved bundle{'s' if self.bundles > 1 else ''}")
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
    """

    def __init__(self, reactor: Reactor, link: Callable[[], HeadLink], state: Callable[[], State]) -> None:
        self._reactor = reactor
        self._link = link
        self._state = state
        self._every_seconds, self._sent_at = 0.0, 0.0
        self._again: Timer | None = None
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

    def report_every(self, seconds: float) -> None:
        """The head wants to hear from the node at least this often; 0: only news."""
        if self._again is not None:
            self._again.cancel()
        self._every_seconds, self._again = seconds, None
        if seconds > 0:
            self._look_again(seconds)

    def _look_again(self, seconds: float) -> None:
        self._again = self._reactor.call_later(seconds, self._say_something)

    def _say_something(self) -> None:
        if self._closed:
            return
        left = self._sent_at + self._every_seconds - time.monotonic()
        self._look_again(left if left > 0 else self._every_seconds)
        if left <= 0:
            self.send()

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
        self._sent_at = now

    def close(self) -> None:
        """Say no more."""
        self._closed = True
