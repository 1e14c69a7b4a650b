"""What a node asks the head about many things, a few at a time: after a break it asks about all that it knows.

Invariant: at most ``IN_FLIGHT_MAX`` questions are on their way; of two about one thing that have not been sent yet only
the newer one is; every question that was sent is answered, on the reactor, by the head's word or by an error.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from shoal.wire.reactor import Reactor

if TYPE_CHECKING:
    from shoal.protocol.link import HeadLink, Method

IN_FLIGHT_MAX: Final = 16
Heard = Callable[[Future[Any]], None]


class Inquiries:
    """See the module; ``ask`` is called in the reactor's thread.

    Args:
        reactor: the agent's.
        link: to the head.
    """

    def __init__(self, reactor: Reactor, link: Callable[[], HeadLink]) -> None:
        self._reactor, self._link = reactor, link
        self._waiting: OrderedDict[tuple[Method, str], tuple[Any, Heard]] = OrderedDict()
        self._in_flight = 0

    def ask(self, method: Method, subject: str, request: Any, heard: Heard, *, urgent: bool = False) -> None:
        """Call a method of the head once there is room for it.

        Args:
            method: see ``HeadLink.call``.
            subject: the id of what is asked about: a later question replaces one that waits.
            request: the method's.
            heard: gets the answer; called before this returns when there is one at once.
            urgent: before all that wait now.
        """
        self._waiting[method, subject] = (request, heard)
        self._waiting.move_to_end((method, subject), last=not urgent)
        self._send()

    def _send(self) -> None:
        while self._waiting and self._in_flight < IN_FLIGHT_MAX:
            (method, _subject), (request, heard) = self._waiting.popitem(last=False)
            future = self._link().call(method, request)
            if future.done():
                heard(future)
            else:
                self._in_flight += 1
                future.add_done_callback(partial(self._done, heard))

    def _done(self, heard: Heard, future: Future[Any]) -> None:
        self._reactor.call_soon(lambda: self._hear(heard, future))

    def _hear(self, heard: Heard, future: Future[Any]) -> None:
        self._in_flight -= 1
        try:
            heard(future)
        finally:
            self._send()
