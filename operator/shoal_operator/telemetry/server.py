"""Serves /metrics, /healthz and /readyz over plain HTTP, and nothing else.

Who may read is said in two ways: by the address (loopback, or a port that the chart's NetworkPolicy guards), and for
private pages by a token, where one is configured. Probes read the other two without one: they show neither a secret
nor the name of an object. It runs in the event loop of the controllers on purpose: a loop that hangs does not answer.

Invariant: a request has a size and a time limit; a token is compared in constant time and never shown.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REQUEST_BYTES_MAX: Final = 8_192
REQUEST_SECONDS: Final = 5.0
TOKEN_CHARACTERS_MIN: Final = 16


class MetricsTokenError(Exception):
    """The token file cannot be used; the text names it and says what to do."""


@dataclass(frozen=True)
class Page:
    """An answer: ``Page("200 OK", b"ok")``; a private one is only for those who know the token."""

    status: str
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    is_private: bool = False


def read_token(path: Path | None) -> str | None:
    """The token of the file, without white space around it; None without a file.

    Raises:
        MetricsTokenError: the file cannot be read, or what it holds is no token.
    """
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MetricsTokenError(f"cannot read metrics-token-file {path}: {error}") from error
    if len(token) < TOKEN_CHARACTERS_MIN or len(token.split()) != 1:
        wanted = f"one word of at least {TOKEN_CHARACTERS_MIN} characters"
        raise MetricsTokenError(f"metrics-token-file {path} must hold {wanted}, for example of `openssl rand -hex 32`")
    return token


async def serve_pages(
    host: str, port: int, pages: Mapping[str, Callable[[], Page]], *, token: str | None = None
) -> asyncio.Server:
    """Serve each path of ``pages``; close the server to stop. With a token, private pages ask for it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(_page(head, pages, token)))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that does not speak HTTP, or went away, gets nothing
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port, limit=REQUEST_BYTES_MAX)


def _page(head: bytes, pages: Mapping[str, Callable[[], Page]], token: str | None) -> Page:
    request, *headers = head.split(b"\r\n")
    method, _, rest = request.partition(b" ")
    path = rest.split(b" ", 1)[0].split(b"?", 1)[0].decode("ascii", "replace")
    if method != b"GET" or path not in pages:
        return Page("404 Not Found", f"here are: {', '.join(sorted(pages))}\n".encode())
    page = pages[path]()
    if page.is_private and token is not None and not _knows(headers, token):
        return Page("401 Unauthorized", b"send the token as Authorization: Bearer\n")
    return page


def _knows(headers: list[bytes], token: str) -> bool:
    for header in headers:
        name, _, value = header.partition(b":")
        if name.strip().lower() == b"authorization":
            return hmac.compare_digest(value.strip(), f"Bearer {token}".encode("ascii"))
    return False


def _response(page: Page) -> bytes:
    challenge = "WWW-Authenticate: Bearer\r\n" if page.status.startswith("401") else ""
    header = (
        f"HTTP/1.1 {page.status}\r\nContent-Type: {page.content_type}\r\n{challenge}"
        f"Content-Length: {len(page.body)}\r\nConnection: close\r\n\r\n"
    )
    return header.encode() + page.body
