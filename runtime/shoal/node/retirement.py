"""The end of a node that was asked to go (an eviction, a drained machine): it finishes what it has, within its time.

Invariants: ``done`` is called once, at the latest when the time is over; actors are asked to end (those with restarts
left begin again elsewhere) only when no task is left that may need them; objects are kept for those who need them as
long as there is time, unless there is no head any more that could say who does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from shoal.node.actors import Actors
from shoal.node.reports import Activity
from shoal.wire.reactor import Reactor

POLL_SECONDS: Final = 0.02


class Retirement:
    """See the module.

    Args:
        reactor: the agent's.
        activity: what the node has now.
        actors: those of the node.
        connected: whether there is a session with the head.
        done: called when the node may end.
    """

    def __init__(
        self,
        reactor: Reactor,
        activity: Callable[[], Activity],
        actors: Actors,
        connected: Callable[[], bool],
        done: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._activity, self._actors = activity, actors
        self._connected, self._done = connected, done
        self._deadline: float | None = None
        self._moved = False

    def begin(self, seconds: float) -> None:
        """Start; a second call changes nothing."""
        if self._deadline is None:
            self._deadline = time.monotonic() + seconds
            self._look()

    def _look(self) -> None:
        assert self._deadline is not None
        left = self._deadline - time.monotonic()
        activity = self._activity()
        working = activity.leases or activity.drivers
        if not working and not self._moved:
            self._moved = True
            self._actors.stop_all("the node ends", max(0.0, left))
        kept = activity.objects or activity.owned
        if left <= 0 or not (working or activity.actors or (kept and self._connected())):
            if not activity._replace(bundles=0).idle:
                sys.stderr.write(f"shoal node: it ends with {activity}\n")
            self._done()
        else:
            self._reactor.call_later(min(POLL_SECONDS, max(0.0, left)), self._look)
