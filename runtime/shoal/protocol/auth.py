"""Proof of the cluster's token on every gRPC call, without the token on the wire.

Each call carries one metadata entry, ``shoal-auth: 1 <seconds> <nonce> <mac>``, where ``mac`` is
HMAC-SHA256 of the method, the time and the nonce under the token. The server compares in constant time,
refuses clocks that are off by more than ``SKEW_SECONDS`` and refuses a nonce it saw before.

Invariant: no servicer method starts for a call whose proof was not checked, and no proof is taken twice.
Nothing of the request is read before the check, unknown methods are refused the same way, and only
holders of the token can make the server remember anything.
"""

from __future__ import annotations

import collections
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio

from shoal.protocol import tls
from shoal.protocol.tls import Certificates

METADATA_KEY: Final = "shoal-auth"
SKEW_SECONDS: Final = 120.0
"""How far the clocks of two machines may be apart, and so how long nonces are remembered."""
RESTART_SKEW_SECONDS: Final = 5.0
"""A new server has no memory of nonces, so it takes no proof made this long before its own start."""
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024 + 64 * 1024
"""64 MiB of payload (a package) and room for the fields around it."""
_VERSION: Final = "1"
_BUCKET_SECONDS: Final = 10
_MAX_NONCES: Final = 500_000

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),  # a proxy from the environment must never see the control plane
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_channelz", 0),  # statistics that nothing here can ask for
)
MANY_CHANNELS: Final = (("grpc.enable_retries", 0),)
"""For a process with a channel to each of many heads, which tries again by itself: less memory for each."""
SERVER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a silent share of the calls
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class AuthError(ValueError):
    """A call's proof is missing or wrong. The text says what, and never holds a secret."""


def sign(token: bytes, method: str, timestamp: float, nonce: str) -> str:
    """The metadata value that proves the token for one call.

    Args:
        token: the cluster's secret.
        method: the full gRPC method, ``/shoal.protocol.v1.Head/Watch``.
        timestamp: seconds since the epoch.
        nonce: hex text, never used twice.
    """
    stamp = f"{timestamp:.3f}"
    return f"{_VERSION} {stamp} {nonce} {_mac(token, method, stamp, nonce)}"


def _mac(token: bytes, method: str, stamp: str, nonce: str) -> str:
    text = f"shoal rpc\n{_VERSION}\n{method}\n{stamp}\n{nonce}"
    return hmac.new(token, text.encode(), hashlib.sha256).hexdigest()


class Verifier:
    """Checks proofs and remembers their nonces for as long as their time would be taken. Thread-safe.

    Args:
        token: the cluster's secret; must not be empty.
        started_at: seconds since the epoch at which this server started.
        max_nonces: how many are remembered; beyond it the oldest times are no longer taken.
    """

    def __init__(self, token: bytes, started_at: float, max_nonces: int = _MAX_NONCES) -> None:
        if not token:
            raise ValueError("the cluster token is empty: give the file that holds it")
        self._token = token
        self._floor = started_at - RESTART_SKEW_SECONDS
        self._max_nonces = max_nonces
        self._count = 0
        self._buckets: dict[int, set[str]] = collections.defaultdict(set)
        self._lock = threading.Lock()

    def check(self, method: str, value: str | bytes | None, now: float) -> None:
        """Take one call's proof.

        Raises:
            AuthError: no proof, wrong token, clocks too far apart, or a replay.
        """
        if value is None:
            raise AuthError("this cluster needs its token on every call: the call carried none")
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
        version, _, rest = text[:512].partition(" ")
        parts = rest.split(" ")
        if version != _VERSION or len(parts) != 3:
            raise AuthError("the call's proof of the token has an unknown form: client and head differ in version")
        stamp, nonce, mac = parts
        if not hmac.compare_digest(_mac(self._token, method, stamp, nonce).encode(), mac.encode()):
            raise AuthError("the call was made with another token than this cluster's")
        self._check_time_and_nonce(float(stamp), nonce, now)

    def _check_time_and_nonce(self, timestamp: float, nonce: str, now: float) -> None:
        if not abs(now - timestamp) <= SKEW_SECONDS:  # not-a-number included
            raise AuthError(
                f"the caller's clock is {timestamp - now:+.0f} s off this head's; {SKEW_SECONDS:.0f} s are taken"
            )
        with self._lock:
            self._forget(now)
            if timestamp < self._floor:
                raise AuthError("the call's proof is older than what this head can check for replays: call again")
            bucket = self._buckets[int(timestamp // _BUCKET_SECONDS)]
            if nonce in bucket:
                raise AuthError("this call was seen before (a replay)")
            bucket.add(nonce)
            self._count += 1

    def _forget(self, now: float) -> None:
        expired = (now - SKEW_SECONDS) // _BUCKET_SECONDS
        while self._buckets:
            oldest = min(self._buckets)
            if oldest >= expired and self._count < self._max_nonces:
                return
            self._count -= len(self._buckets.pop(oldest))
            self._floor = max(self._floor, (oldest + 1.0) * _BUCKET_SECONDS)


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


def _signed(details: Any, token: bytes) -> tuple[str, str]:
    method = details.method.decode() if isinstance(details.method, bytes) else details.method
    return METADATA_KEY, sign(token, method, time.time(), os.urandom(16).hex())


class _SyncInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, token: bytes) -> None:
        self._token = token

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), _signed(details, self._token)]
        signed = _Details(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
        return continuation(signed, request)

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept


class _AioInterceptor:
    """What the four below share: grpc.aio takes an object for one kind of call only."""

    def __init__(self, token: bytes) -> None:
        self._token = token

    async def _intercept(self, continuation: Callable[..., Awaitable[Any]], details: Any, request: Any) -> Any:
        metadata = details.metadata if details.metadata is not None else grpc.aio.Metadata()
        metadata.add(*_signed(details, self._token))
        return await continuation(details._replace(metadata=metadata), request)


class _AioUnaryUnary(_AioInterceptor, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = _AioInterceptor._intercept


class _AioUnaryStream(_AioInterceptor, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = _AioInterceptor._intercept


class _AioStreamUnary(_AioInterceptor, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _AioInterceptor._intercept


class _AioStreamStream(_AioInterceptor, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _AioInterceptor._intercept


def channel(target: str, token: bytes, certificates: Certificates | None = None) -> grpc.Channel:
    """A blocking channel to a head (``"host:port"``) that proves the token on every call.

    A proof ages while a call waits for a connection: do not wait for readiness longer than ``SKEW_SECONDS``.

    Args:
        certificates: for a cluster with TLS; the head's is then verified. None: nothing is encrypted.
    """
    if certificates is None:
        bare = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
    else:
        bare = grpc.secure_channel(
            target, certificates.for_channel(), options=(*_CHANNEL_OPTIONS, *tls.CHANNEL_OPTIONS)
        )
    return grpc.intercept_channel(bare, _SyncInterceptor(token))


def aio_channel(
    target: str,
    token: bytes,
    certificates: Certificates | None = None,
    *,
    more_options: Sequence[tuple[str, int]] = (),
) -> grpc.aio.Channel:
    """The same for asyncio; call it in the loop that will use it.

    Args:
        more_options: beside those of all channels, such as ``MANY_CHANNELS``.
    """
    options = (*_CHANNEL_OPTIONS, *more_options)
    kinds = (_AioUnaryUnary, _AioUnaryStream, _AioStreamUnary, _AioStreamStream)
    interceptors = [kind(token) for kind in kinds]
    if certificates is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(
        target, certificates.for_channel(), options=(*options, *tls.CHANNEL_OPTIONS), interceptors=interceptors
    )


def _proof(details: Any) -> str | bytes | None:
    for key, value in details.invocation_metadata or ():
        if key == METADATA_KEY:
            found: str | bytes = value
            return found
    return None


class _AioServerInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self, token: bytes) -> None:
        self._verifier = Verifier(token, time.time())

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        try:
            self._verifier.check(details.method, _proof(details), time.time())
        except AuthError as error:
            words = str(error)

            # A stream handler answers any kind of call at once, without reading a request first.
            async def refuse(_requests: Any, context: Any) -> None:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, words)

            return grpc.stream_stream_rpc_method_handler(refuse)
        return await continuation(details)


def aio_server_interceptor(token: bytes) -> grpc.aio.ServerInterceptor:
    """For ``grpc.aio.server(interceptors=[...])``. Raises ValueError for an empty token."""
    return _AioServerInterceptor(token)
