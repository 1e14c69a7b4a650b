"""Answers: documents, refusals, streams.

Invariant: a stream never waits for ever on a client that takes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from aiohttp import web

from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.errors import StatusError
from shoal_operator.local.apiserver.values import Document, encode

STALLED_CLIENT_SECONDS = 60.0
"""A client that takes nothing for this long is dropped."""
FIRST_LINE_SECONDS = 0.2
"""How long the header of a log waits for its first line, which may turn out to be an error."""


def document(shown: Document, status: int = 200, warnings: list[str] | None = None) -> web.Response:
    """A JSON document, with the warnings that kubectl prints."""
    response = web.Response(body=encode(shown), status=status, content_type="application/json")
    for text in warnings or ():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


def nothing_here() -> web.Response:
    """404 as plain text, which is what the real server's router says of a path that no API group has."""
    return web.Response(text="404 page not found\n", status=404)


def failure(error: StatusError) -> web.Response:
    """A refusal."""
    response = document(error.document(), error.code)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Send a part of a stream; ConnectionResetError when the client takes nothing."""
    try:
        async with asyncio.timeout(STALLED_CLIENT_SECONDS):
            await response.write(data)
    except TimeoutError as error:
        raise ConnectionResetError("the client takes no data") from error


async def stream_log(
    request: web.BaseRequest, chunks: AsyncIterator[bytes], limit_bytes: int | None
) -> web.StreamResponse:
    """Send a log as it comes; StatusError 400 when there is no such log."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    left = limit_bytes
    first = asyncio.ensure_future(_next(chunks))
    try:
        # A log that is silent for now must not keep the client waiting for the header.
        await asyncio.wait({first}, timeout=FIRST_LINE_SECONDS)
        if first.done() and isinstance(first.exception(), LookupError):
            raise errors.bad_request(str(first.exception()))
        await response.prepare(request)
        chunk = await first
        while chunk is not None and left != 0:
            sent = chunk if left is None else chunk[:left]
            left = None if left is None else left - len(sent)
            await write(response, sent)
            chunk = await _next(chunks)
    finally:
        await _close(first, chunks)
    return response


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    async for chunk in chunks:
        return chunk
    return None


async def _close(first: asyncio.Future[bytes | None], chunks: AsyncIterator[bytes]) -> None:
    if not first.done():
        first.cancel()
        await asyncio.wait({first})
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()
