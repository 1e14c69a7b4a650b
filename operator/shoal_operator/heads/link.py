"""The one stream to one head: connect, read snapshots, notice silence, connect again.

Invariant: whatever the head or the network does, the link tells its listener either a new snapshot or that
the head does not answer, within ``silence_seconds`` plus one attempt to connect; it never gives up and never
raises.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from shoal.protocol import head_pb2, head_pb2_grpc
from shoal_operator.control.backoff import BackoffPolicy, Retrier
from shoal_operator.heads.convert import UnreadableHeadError

logger = logging.getLogger(__name__)

CLIENT_NAME: Final = "shoal-operator"
RETRY: Final = BackoffPolicy(base_seconds=0.1, cap_seconds=5.0)


_NETWORK_SIGNS: Final = {
    "connection refused": "connection refused; nothing listens there",
    "errors resolving": "its name is not known to the DNS",
    "dns": "its name is not known to the DNS",
    "no route to host": "no route to it",
    "network is unreachable": "no route to it",
    "timed out": "no answer (timed out); a NetworkPolicy or a firewall may be in the way",
    "timeout": "no answer (timed out); a NetworkPolicy or a firewall may be in the way",
}


@dataclass(frozen=True)
class LinkTimes:
    """Times of a link, in seconds.

    Attributes:
        first_message_seconds: from the start of a connection to its first snapshot.
        silence_seconds: a head speaks at least every 10 s; one that is silent for so long is taken for gone.
        retry: between two attempts to connect.
    """

    first_message_seconds: float = 5.0
    silence_seconds: float = 25.0
    retry: BackoffPolicy = RETRY


class Listener(Protocol):
    """Who hears what a link learns. Called in the event loop; must not block."""

    def on_snapshot(self, snapshot: head_pb2.HeadSnapshot) -> None:
        """The head said this. May raise UnreadableHeadError."""
        ...

    def on_silence(self, message: str) -> None:
        """The head does not answer (any more); ``message`` is for people. Repeated after every attempt."""
        ...


class HeadLink:
    """A link to the head at ``target``.

    Args:
        target: ``10.96.3.7:7380``.
        open_channel: makes a channel to the target, for each attempt a new one. The argument says that the
            head refused the last token: read it again.
        listener: who hears of it.
        rng: for the jitter of the back-off.
        times: how patient to be.
    """

    def __init__(
        self,
        target: str,
        open_channel: Callable[[bool], Awaitable[grpc.aio.Channel]],
        listener: Listener,
        *,
        rng: random.Random,
        times: LinkTimes = LinkTimes(),
    ) -> None:
        self.target = target
        self._open_channel = open_channel
        self._listener = listener
        self._retrier = Retrier(times.retry, rng)
        self._times = times
        self._nudged = asyncio.Event()
        self._channel: grpc.aio.Channel | None = None
        self._was_refused = False

    @property
    def stub(self) -> Any | None:
        """What to send commands with; None while there is no connection."""
        return None if self._channel is None else head_pb2_grpc.HeadStub(self._channel)

    def nudge(self) -> None:
        """The head may be there now: try at once instead of after the back-off, and often again."""
        self._retrier.reset()
        self._nudged.set()

    async def run(self) -> None:
        """Keep the stream until cancelled."""
        while True:
            self._nudged.clear()
            received, message = await self._attempt()
            if received:
                # A stream that worked gets one quiet attempt before anybody hears that it broke.
                self._retrier.reset()
            else:
                self._listener.on_silence(message)
            await self._pause()

    async def _attempt(self) -> tuple[bool, str]:
        """One connection, to its end. Returns whether it brought a snapshot, and why it ended."""
        received = False
        try:
            async with await self._open_channel(self._was_refused) as channel:
                self._was_refused = False
                self._channel = channel
                stub = head_pb2_grpc.HeadStub(channel)
                stream = stub.Watch(head_pb2.WatchRequest(client=CLIENT_NAME))
                patience = self._times.first_message_seconds
                while True:
                    async with asyncio.timeout(patience):
                        snapshot = await stream.read()
                    if snapshot is grpc.aio.EOF:
                        return received, "the head ended the stream"
                    self._listener.on_snapshot(snapshot)
                    received = True
                    patience = self._times.silence_seconds
        except TimeoutError:
            return received, f"the head at {self.target} says nothing; a NetworkPolicy or a firewall may be in the way"
        except grpc.aio.AioRpcError as error:
            wrong_certificate = "CERTIFICATE_VERIFY_FAILED" in (error.details() or "")
            self._was_refused = error.code() is grpc.StatusCode.UNAUTHENTICATED or wrong_certificate
            return received, _explain(error, self.target)
        except UnreadableHeadError as error:
            return received, str(error)
        except Exception as error:  # the token, the channel: told, and tried again
            logger.debug("link to %s", self.target, exc_info=error)
            return received, f"cannot connect to the head at {self.target}: {error}"
        finally:
            self._channel = None

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._retrier.next_delay()):
                await self._nudged.wait()
        except TimeoutError:
            pass


def _tls_words(details: str) -> str:
    """What gRPC hides behind UNAVAILABLE: a failed handshake."""
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return ": its certificate is not of this cluster's authority, or too old"
    if "WRONG_VERSION_NUMBER" in details:
        return ": it has no TLS, which spec.security.tls asks for"
    return ": the TLS handshake failed" if "handshake failed" in details.lower() else ""


def _network_words(details: str) -> str:
    """What the network said, without addresses and numbers that change from one attempt to the next."""
    for sign, words in _NETWORK_SIGNS.items():
        if sign in details.lower():
            return f": {words}"
    return ""


def _explain(error: grpc.aio.AioRpcError, target: str) -> str:
    match error.code():
        case grpc.StatusCode.UNAUTHENTICATED:
            return (
                f"the head at {target} does not take the cluster's token; if the Secret was changed, delete the head's "
                "pod, which has the old one"
            )
        case grpc.StatusCode.UNAVAILABLE:
            details = error.details() or ""
            return f"the head at {target} cannot be reached{_tls_words(details) or _network_words(details)}"
        case code:
            return f"the head at {target} answered {code.name}: {str(error.details())[:200]}"
