"""Pulling objects from other nodes: the shell around ``core.pull``.

Invariants: an object is pulled at most once at a time, however many readers wait for it; at most
``PULLS_MAX`` pulls are under way, so that the bytes in flight are bounded; every waiter is answered exactly
once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from shoal.core.pull import Allocate, Ask, Done, Effect, Failed, Pull
from shoal.wire.address import RawNode
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import Caller

PULLS_MAX: Final = 16

Failure = tuple[str, str]
OnPulled = Callable[[Failure | None], None]


class Destination(Protocol):
    """Where pulled bytes go: the store of the node."""

    def allocate(self, size: int, on_done: Callable[[int | None, str], None]) -> None:
        """Make room; ``on_done(place, "")`` or ``on_done(None, words)``."""

    def write(self, place: int, offset: int, data: bytes) -> None:
        """Write a chunk."""

    def complete(self, place: int, object_id: bytes, job_id: str) -> None:
        """All of it is there."""

    def drop(self, place: int) -> None:
        """It will not be completed."""


@dataclass(eq=False)
class _Active:
    object_id: bytes
    job_id: str
    pull: Pull
    waiters: list[OnPulled]
    place: int | None = None
    first: bytes = b""
    started: bool = False
    effects: deque[Effect] = field(default_factory=deque)


class PullManager:
    """See the module.

    Args:
        reactor: the agent's.
        destination: the store.
        caller: gives the calling side of a connection to a node; raises OSError when there is no way.
    """

    def __init__(self, reactor: Reactor, destination: Destination, caller: Callable[[RawNode], Caller]) -> None:
        self._reactor = reactor
        self._destination = destination
        self._caller = caller
        self._active: dict[bytes, _Active] = {}
        self._queue: deque[_Active] = deque()
        self._running = 0

    def pull(self, object_id: bytes, locations: tuple[RawNode, ...], job_id: str, on_done: OnPulled) -> None:
        """Bring an object here; ``on_done(None)`` when it is sealed, else ``on_done((kind, words))``."""
        active = self._active.get(object_id)
        if active is not None:
            active.pull.add_locations(locations)
            active.waiters.append(on_done)
            return
        active = _Active(object_id, job_id, Pull(locations, time.monotonic()), [on_done])
        self._active[object_id] = active
        if self._running >= PULLS_MAX:
            self._queue.append(active)
        else:
            self._start(active)

    def _start(self, active: _Active) -> None:
        self._running += 1
        active.started = True
        active.pull.restart_clock(time.monotonic())
        self._plan_expiry(active)
        self._carry_out(active, active.pull.next())

    def _plan_expiry(self, active: _Active) -> None:
        def check() -> None:
            if self._active.get(active.object_id) is active:
                if active.place is None and active.pull.total is not None:
                    active.pull.restart_clock(time.monotonic())  # it waits for room here
                self._carry_out(active, active.pull.expire(time.monotonic()))
                self._plan_expiry(active)

        if not active.pull.ended:
            self._reactor.call_later(max(0.05, active.pull.deadline - time.monotonic()), check)

    def _carry_out(self, active: _Active, effects: list[Effect]) -> None:
        # One queue, because an effect may bring the next ones before the others are done.
        active.effects.extend(effects)
        if len(active.effects) > len(effects):
            return
        while active.effects:
            effect = active.effects[0]
            match effect:
                case Ask():
                    self._ask(active, effect)
                case Allocate(total=total):
                    self._destination.allocate(total, lambda place, words: self._allocated(active, place, words))
                case Done():
                    assert active.place is not None
                    self._destination.complete(active.place, active.object_id, active.job_id)
                    self._finish(active, None)
                case Failed(kind=kind, message=message):
                    if active.place is not None:
                        self._destination.drop(active.place)
                    self._finish(active, (kind, message))
            active.effects.popleft()

    def _ask(self, active: _Active, ask: Ask) -> None:
        def on_reply(error: Any, value: Any, payload: bytes, _fds: list[int]) -> None:
            now = time.monotonic()
            if active.pull.ended:
                return
            if error is not None:
                self._carry_out(active, active.pull.lost(ask.node, error[1], now))
                return
            total = active.pull.total
            inside = total is None or ask.offset + len(payload) <= total
            wanted = active.pull.wants(ask.node, ask.offset) and inside
            if wanted and active.place is not None:
                self._destination.write(active.place, ask.offset, payload)
            elif wanted:
                active.first = payload
            self._carry_out(active, active.pull.arrived(ask.node, ask.offset, len(payload), int(value), now))

        try:
            caller = self._caller(ask.node)
        except OSError as error:
            active.effects.extend(active.pull.lost(ask.node, str(error), time.monotonic()))
            return
        caller.call("pull", active.object_id, ask.offset, ask.length, on_reply=on_reply)

    def _allocated(self, active: _Active, place: int | None, words: str) -> None:
        if active.pull.ended or place is None:
            if place is not None:
                self._destination.drop(place)
            elif not active.pull.ended:
                active.pull.ended = True
                self._finish(active, ("ObjectStoreFull", words))
            return
        active.place = place
        self._destination.write(place, 0, active.first)
        active.first = b""
        self._carry_out(active, active.pull.allocated(time.monotonic()))

    def _finish(self, active: _Active, failure: Failure | None) -> None:
        self._active.pop(active.object_id, None)
        self._running -= 1
        for waiter in active.waiters:
            waiter(failure)
        while self._queue and self._running < PULLS_MAX:
            self._start(self._queue.popleft())
