"""What a job's program writes, shown as it comes.

Invariant: every byte is shown once: what the stream did not bring before it broke is taken from the last lines
in the job's status.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from shoal_operator.api.meta import API_VERSION
from shoal_operator.domain.manifests.certificates import AUTHORITY_KEY, CERTIFICATE_KEY, PRIVATE_KEY
from shoal_operator.domain.names import head_service_name, tls_secret_name, token_secret_name
from shoal_operator.local.client import ApiClient, ApiError
from shoal_operator.local.operations import collection


class HeadAccess(NamedTuple):
    """How to reach a head."""

    address: str
    token: bytes
    certificates: tuple[bytes, bytes, bytes] | None
    """Authority, certificate and key, in PEM; None for a cluster without TLS."""


ReadOutput = Callable[[HeadAccess, str], Iterator[bytes]]
"""Reads a job's output until it ends or the head is lost: how to reach the head, submission id."""

CONTROL_PORT: Final = 7380
_REMEMBERED_BYTES: Final = 4096


def missing_tail(shown: bytes, tail: str) -> bytes:
    """What of ``tail`` has not been shown, when ``shown`` is the end of what was.

    ``tail`` is text: bytes that are none have been replaced in it, so they are in ``shown`` too before the two
    are compared.

    Example:
        >>> missing_tail(b"one two", "two three"), missing_tail(b"", "two")
        (b' three', b'two')
    """
    # A character that the stream broke in the middle of comes again, whole.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(shown).replace("\x00", "\ufffd")
    if tail in text:
        return b""
    overlap = next(length for length in range(min(len(text), len(tail)), -1, -1) if text.endswith(tail[:length]))
    return tail[overlap:].encode()


class OutputReader:
    """Reads one job's output in a thread.

    Args:
        read: opens the stream.
        emit: shows bytes; called in the event loop.
    """

    def __init__(self, read: ReadOutput, emit: Callable[[bytes], None]) -> None:
        self._read = read
        self._emit = emit
        self._ended = asyncio.Event()
        self._shown = b""
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def start(self, head: HeadAccess, submission_id: str) -> None:
        """Begin to read."""
        arguments = (head, submission_id)
        threading.Thread(target=self._pump, args=arguments, name="job-output", daemon=True).start()

    def _pump(self, head: HeadAccess, submission_id: str) -> None:
        # The loop may have ended before the stream: then nobody waits any more.
        with contextlib.suppress(RuntimeError):
            try:
                for data in self._read(head, submission_id):
                    self._loop.call_soon_threadsafe(self._take, data)
                    if self._closed:
                        return
            finally:
                self._loop.call_soon_threadsafe(self._ended.set)

    def _take(self, data: bytes) -> None:
        if not self._closed:
            self._emit(data)
            self._shown = (self._shown + data)[-_REMEMBERED_BYTES:]

    async def finish(self, tail: str, timeout_seconds: float) -> None:
        """The job has ended: wait for the rest of the stream, then show what it left out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._ended.wait()
        self._closed = True
        rest = missing_tail(self._shown, tail)
        if rest:
            self._emit(rest)
        if not (rest or self._shown or b"\n").endswith(b"\n"):
            self._emit(b"\n")

    def close(self) -> None:
        """Show nothing any more."""
        self._closed = True


async def head_of(client: ApiClient, namespace: str, job: Mapping[str, Any]) -> HeadAccess | None:
    """How to reach the head that runs a job; None while that cannot be known."""
    cluster = (job.get("status") or {}).get("clusterName") or job["metadata"]["name"]
    try:
        service = await client.get(f"{collection('v1', 'services', namespace)}/{head_service_name(cluster)}")
        secret = await client.get(f"{collection('v1', 'secrets', namespace)}/{token_secret_name(cluster)}")
        certificates = await _certificates(client, namespace, cluster)
    except ApiError:
        return None
    address = service["spec"].get("clusterIP")
    token = (secret.get("data") or {}).get("token")
    if not address or not token:
        return None
    return HeadAccess(f"{address}:{CONTROL_PORT}", base64.b64decode(token), certificates)


async def _certificates(client: ApiClient, namespace: str, cluster: str) -> tuple[bytes, bytes, bytes] | None:
    found = await client.get(f"{collection(API_VERSION, 'computeclusters', namespace)}/{cluster}")
    if found["spec"].get("security", {}).get("tls", {}).get("mode", "None") == "None":
        return None
    secret = await client.get(f"{collection('v1', 'secrets', namespace)}/{tls_secret_name(cluster)}")
    data = secret.get("data") or {}
    authority, certificate, key = (
        base64.b64decode(data.get(n) or "") for n in (AUTHORITY_KEY, CERTIFICATE_KEY, PRIVATE_KEY)
    )
    return authority, certificate, key
