"""A small client of an API server for local mode: verbs, and a watch that never loses track.

Invariant: every request carries the token over TLS that is verified against the session's own CA, has a
deadline, and ends in a result or an ``ApiError``. A ``Reflector`` reports each object's changes in order, and
after a gap the difference between what it knew and what is there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
import yaml

Object = dict[str, Any]
Change = Literal["ADDED", "MODIFIED", "DELETED"]

MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
_TIMEOUT_SECONDS: Final = 30.0
_WATCH_SECONDS: Final = 300
_MAX_RETRY_SECONDS: Final = 5.0


class ApiError(Exception):
    """The API server refused: ``code`` is the HTTP status, ``reason`` the API's word for it."""

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})


@dataclass(frozen=True)
class Access:
    """How to reach an API server."""

    url: str
    token: str
    ca_pem: str

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Access:
        """Read the current context of a kubeconfig with an inline CA and token."""
        config = yaml.safe_load(path.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        ca_pem = base64.b64decode(cluster["certificate-authority-data"]).decode()
        return cls(cluster["server"], user["token"], ca_pem)


class ApiClient:
    """Verbs on paths like ``/api/v1/namespaces/default/pods``. Use as an async context manager."""

    def __init__(self, access: Access) -> None:
        context = ssl.create_default_context(cadata=access.ca_pem)
        self._session = aiohttp.ClientSession(
            base_url=access.url,
            headers={"Authorization": f"Bearer {access.token}"},
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS),
        )

    async def __aenter__(self) -> ApiClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request; the decoded answer.

        Raises:
            ApiError: any status of 400 or above; code 0 when the server could not be reached.
        """
        data = None if body is None else json.dumps(body).encode()
        text = await self._send(method, path, data, query, content_type)
        parsed: Object = json.loads(text) if text else {}
        return parsed

    async def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """GET something that is no JSON: a log.

        Raises:
            ApiError: as for ``request``.
        """
        return await self._send("GET", path, None, query, "")

    async def _send(
        self, method: str, path: str, data: bytes | None, query: Mapping[str, str] | None, content_type: str
    ) -> str:
        headers = {"Content-Type": content_type} if data is not None else {}
        try:
            async with self._session.request(method, path, data=data, params=query or {}, headers=headers) as response:
                text = await response.text()
                if response.status >= 400:
                    raise _error(response.status, text)
                return text
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {str(error) or type(error).__name__}") from error

    async def get(self, path: str) -> Object:
        """GET."""
        return await self.request("GET", path)

    async def find(self, path: str) -> Object | None:
        """GET, None when there is nothing."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def create(self, path: str, body: Object) -> Object:
        """POST to a collection."""
        return await self.request("POST", path, body)

    async def patch(self, path: str, body: Object) -> Object:
        """A merge patch."""
        return await self.request("PATCH", path, body, content_type=MERGE_PATCH)

    async def apply(self, path: str, body: Object, *, manager: str) -> Object:
        """Server-side apply."""
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        return await self.request("PATCH", path, body, query=query, content_type=APPLY_PATCH)

    async def watch(self, path: str, version: str) -> AsyncIterator[Object]:
        """The events after ``version``, bookmarks included, until the server ends the stream."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_WATCH_SECONDS + 30)
        try:
            async with self._session.get(path, params=query, timeout=timeout) as response:
                if response.status >= 400:
                    raise _error(response.status, await response.text())
                pending = b""
                async for chunk in response.content.iter_any():
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield json.loads(line)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"watch {path}: {str(error) or type(error).__name__}") from error


def _error(status: int, text: str) -> ApiError:
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    message = str(body.get("message") or text or f"HTTP {status}")
    return ApiError(status, str(body.get("reason") or ""), message, body.get("details"))


def key_of(item: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Reflector:
    """Keeps ``items`` equal to a collection and tells ``on_change`` each difference.

    Args:
        path: the collection, for instance ``/api/v1/pods``.
        on_change: called with the change and the object (for DELETED: its last known state).
    """

    def __init__(self, client: ApiClient, path: str, on_change: Callable[[Change, Object], None]) -> None:
        self.items: dict[tuple[str, str], Object] = {}
        self.synced = asyncio.Event()
        self._client = client
        self._path = path
        self._on_change = on_change

    async def run(self) -> None:
        """Follow until cancelled; an unreachable server is tried again, ever more slowly."""
        delay = 0.05
        while True:
            try:
                version = await self._relist()
                delay = 0.05
                while True:
                    version = await self._follow(version)
            except ApiError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _MAX_RETRY_SECONDS)

    async def _relist(self) -> str:
        answer = await self._client.get(self._path)
        kind = str(answer.get("kind", "")).removesuffix("List")
        fresh: dict[tuple[str, str], Object] = {}
        for item in answer.get("items") or []:
            item.setdefault("kind", kind)
            item.setdefault("apiVersion", answer.get("apiVersion"))
            fresh[key_of(item)] = item
        for key in [key for key in self.items if key not in fresh]:
            self._on_change("DELETED", self.items.pop(key))
        for item in fresh.values():
            self._take("MODIFIED", item)
        self.synced.set()
        return str(answer["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> str:
        async for event in self._client.watch(self._path, version):
            item = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(int(item.get("code") or 500), item.get("reason", ""), item.get("message", ""))
            version = str(item["metadata"]["resourceVersion"])
            if event["type"] != "BOOKMARK":
                self._take(event["type"], item)
        return version

    def _take(self, change: Change, item: Object) -> None:
        """Store one object; a deletion followed by a re-creation under the same name is told as both."""
        key = key_of(item)
        known = self.items.get(key)
        if change == "DELETED":
            self.items.pop(key, None)
            self._on_change("DELETED", item)
            return
        if known is not None and known["metadata"]["uid"] != item["metadata"]["uid"]:
            self._on_change("DELETED", known)
            known = None
        if known is not None and known["metadata"]["resourceVersion"] == item["metadata"]["resourceVersion"]:
            return
        self.items[key] = item
        self._on_change("ADDED" if known is None else "MODIFIED", item)
