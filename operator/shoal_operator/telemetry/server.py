"""Serves /metrics and /healthz over plain HTTP, and nothing else.

Neither holds a secret or an object's name; who may read them is the business of the address it is given
(loopback, or a port that a NetworkPolicy guards). It runs in the event loop of the controllers on purpose: a
loop that hangs does not answer. Invariant: a request has a size and a time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

REQUEST_BYTES_MAX: Final = 8_192
REQUEST_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Page:
    """An answer: ``Page("200 OK", b"ok")``."""

    status: str
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


async def serve_pages(host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> asyncio.Server:
    """Serve each path of ``pages``; close the server to stop."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(_page(head, pages)))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that does not speak HTTP, or went away, gets nothing
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port, limit=REQUEST_BYTES_MAX)


def _page(head: bytes, pages: Mapping[str, Callable[[], Page]]) -> Page:
    method, _, rest = head.partition(b" ")
    path = rest.split(b" ", 1)[0].split(b"?", 1)[0].decode("ascii", "replace")
    if method == b"GET" and path in pages:
        return pages[path]()
    return Page("404 Not Found", f"here are: {', '.join(sorted(pages))}\n".encode())


def _response(page: Page) -> bytes:
    header = (
        f"HTTP/1.1 {page.status}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\nConnection: close\r\n\r\n"
    )
    return header.encode() + page.body
