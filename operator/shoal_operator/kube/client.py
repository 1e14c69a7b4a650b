"""HTTP to an API server: dicts in, dicts out, typed errors, a deadline on everything.

Invariants:
- every request has a deadline and every answer a size limit;
- when the server asks for patience (429), every request of this client waits, not only the one that was
  refused;
- nothing is retried here: whoever decided on a write decides again with fresh eyes;
- a write leaves only while ``may_write()``, asked when the connection is there and the next thing that happens is
  sending: a process that was stopped for a while, or had to wait for a connection, does not write what it decided
  on as a leader that it no longer is. The Lease alone is written without asking.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, Protocol

import aiohttp

from shoal_operator.kube import errors
from shoal_operator.kube.access import ApiAccess, BearerToken
from shoal_operator.kube.resources import LEASES, Resource, resource_of

Json = dict[str, Any]

FIELD_MANAGER: Final = "shoal-operator"
STATUS_FIELD_MANAGER: Final = "shoal-operator-status"
"""A manager of its own, so that applying the object never gives up the fields of its status."""

REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0
CONNECTIONS_MAX: Final = 32
"""Open at once, but for watches and the Lease. Each takes 100 KiB, and more of them make no server faster."""
LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Longest event of a watch: an object in etcd has at most 1.5 MiB, escaped JSON a few times that."""

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"


class RequestMetrics(Protocol):
    """What the client reports. ``telemetry.metrics`` implements it."""

    def observe_request(self, method: str, code: int) -> None:
        """One request was answered (code 0: it was not)."""
        ...


class ApiClient:
    """A connection pool to one API server. Use as an async context manager.

    Args:
        access: where it is, and who we are.
        monotonic: the time.
        metrics: who counts requests.
        may_write: whether we lead at this moment. Default: always.
        on_seconds: told the method and how long its request took, watches aside. Default: nobody is.
    """

    def __init__(
        self,
        access: ApiAccess,
        *,
        monotonic: Callable[[], float],
        metrics: RequestMetrics,
        may_write: Callable[[], bool] = lambda: True,
        on_seconds: Callable[[str, float], None] = lambda _method, _seconds: None,
    ) -> None:
        self._may_write = may_write
        self._on_seconds = on_seconds
        self._access = access
        self._token = BearerToken(access, monotonic)
        self._monotonic = monotonic
        self._metrics = metrics
        self._patient_until = 0.0
        self._session: aiohttp.ClientSession | None = None
        self._apart: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ApiClient:
        context = self._access.ssl_context()
        tls = context if context is not None else True
        self._session = self._pool(aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=tls))
        # What must never wait for a place: the Lease, or it is lost while requests are slow; and watches, which keep
        # their connections, so that many namespaces would leave none for requests.
        self._apart = self._pool(aiohttp.TCPConnector(limit=0, ssl=tls))
        return self

    async def __aexit__(self, *_: object) -> None:
        sessions, self._session, self._apart = (self._session, self._apart), None, None
        for session in sessions:
            if session is not None:
                await session.close()

    def _pool(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=None, sock_connect=CONNECT_SECONDS),
            headers={"User-Agent": "shoal-operator"},
            trust_env=False,
            trace_configs=[self._gate()],
        )

    async def server_version(self) -> Json:
        """What the server says of itself: ``{"gitVersion": "v1.33.2", ...}``."""
        return await self._request("GET", "/version")

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """One object. Raises NotFoundError and the others of ``kube.errors``."""
        return await self._request("GET", resource.path(namespace, name))

    async def list_page(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
        continue_token: str = "",
    ) -> Json:
        """One page of a collection, as the server's List object."""
        query = {
            "limit": str(limit),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "continue": continue_token,
        }
        return await self._request("GET", resource.path(namespace), query=query)

    async def create(self, obj: Json) -> Json:
        """POST. Raises AlreadyExistsError when an object of that name is there."""
        resource, meta = resource_of(obj), obj["metadata"]
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request("POST", resource.path(meta["namespace"]), query=query, body=obj)

    async def try_creation(self, obj: Json) -> None:
        """A POST that makes nothing: the server decodes, admits and validates ``obj`` strictly, and says what is wrong.

        Raises:
            InvalidError: unknown fields, or values that the server does not take.
            ApiError: other refusals, as for ``create``.
        """
        resource, meta = resource_of(obj), obj["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "dryRun": "All", "fieldValidation": "Strict"}
        await self._request("POST", resource.path(meta["namespace"]), query=query, body=obj)

    async def replace(self, obj: Json) -> Json:
        """PUT. Raises ConflictError when ``metadata.resourceVersion`` is no longer the current one."""
        resource, meta = resource_of(obj), obj["metadata"]
        path = resource.path(meta["namespace"], meta["name"])
        return await self._request("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=obj)

    async def apply(self, obj: Json, *, force: bool = True) -> Json:
        """Server-side apply of the fields in ``obj``, which become (and stay) ours.

        Args:
            obj: an object of one of the operator's kinds.
            force: take fields over that others have set; else that is a FieldConflictError.
        """
        return await self._apply(obj, None, FIELD_MANAGER, force=force)

    async def apply_status(self, obj: Json) -> Json:
        """Server-side apply of ``obj["status"]``; with ``metadata.uid`` only to that very object."""
        return await self._apply(obj, "status", STATUS_FIELD_MANAGER)

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Json) -> Json:
        """JSON merge patch; ``metadata.uid`` in it is a precondition."""
        path = resource.path(namespace, name)
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request("PATCH", path, query=query, body=patch, content_type=_MERGE)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> None:
        """DELETE; with ``uid`` only that very object (else ConflictError). Dependents follow later."""
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        await self._request("DELETE", resource.path(namespace, name), body=body)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        resource_version: str,
        label_selector: str = "",
        timeout_seconds: int,
        inactivity_seconds: float,
    ) -> AsyncIterator[Json]:
        """The events after ``resource_version``, with bookmarks, until the server ends the watch.

        Args:
            resource: what to watch.
            namespace: where; None: everywhere.
            resource_version: of a list, or of the last event seen.
            label_selector: only objects that match.
            timeout_seconds: after so long the server ends the watch.
            inactivity_seconds: a connection that is silent for so long is taken for dead.

        Raises:
            GoneError: that version is too old: list again.
            UnavailableError: the connection broke or went silent.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "timeoutSeconds": str(timeout_seconds),
        }
        path = resource.path(namespace)
        timeout = aiohttp.ClientTimeout(
            total=timeout_seconds + 30, sock_connect=CONNECT_SECONDS, sock_read=inactivity_seconds
        )
        await self._be_patient()
        try:
            async with self._open("GET", path, query, watch_timeout=timeout) as response:
                self._metrics.observe_request("WATCH", response.status)
                if response.status != 200:
                    raise await self._error(response, f"WATCH {path}")
                async for line in _lines(response.content):
                    yield _event(line, f"WATCH {path}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(error, f"WATCH {path}") from error

    async def _apply(self, obj: Json, subresource: str | None, manager: str, *, force: bool = True) -> Json:
        resource, meta = resource_of(obj), obj["metadata"]
        path = resource.path(meta["namespace"], meta["name"], subresource)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._request("PATCH", path, query=query, body=obj, content_type=_APPLY)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        await self._be_patient()
        began = self._monotonic()
        try:
            async with self._open(method, path, query or {}, body=body, content_type=content_type) as response:
                self._metrics.observe_request(method, response.status)
                self._on_seconds(method, self._monotonic() - began)
                if response.status >= 300:
                    raise await self._error(response, f"{method} {path}")
                answer: Json = json.loads(await response.read())
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._metrics.observe_request(method, 0)
            raise _unavailable(error, f"{method} {path}") from error
        except ValueError as error:
            raise errors.UnavailableError(f"the answer is not JSON: {error}", request=f"{method} {path}") from error

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Json | None = None,
        content_type: str = "application/json",
        watch_timeout: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.client._RequestContextManager:
        is_lease = path.startswith(f"{LEASES.root}/")  # of that group the operator knows nothing else
        session = self._apart if is_lease or watch_timeout is not None else self._session
        if session is None:
            raise RuntimeError("the API client is used outside its 'async with'")
        headers = {"Accept": "application/json"}
        token = self._token.current()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = content_type
        options: dict[str, Any] = {} if watch_timeout is None else {"timeout": watch_timeout}
        if method != "GET" and not is_lease:
            options["trace_request_ctx"] = f"{method} {path}"
        return session.request(
            method,
            self._access.server + path,
            params={name: value for name, value in query.items() if value},
            data=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
            headers=headers,
            allow_redirects=False,
            **options,
        )

    def _gate(self) -> aiohttp.TraceConfig:
        """Asks for leave to write at the last moment: when the connection is there."""

        async def check(_session: object, context: SimpleNamespace, _params: object) -> None:
            write = context.trace_request_ctx
            if write is not None and not self._may_write():
                raise errors.NotLeaderError("not sent: this operator does not lead (any more)", request=write)

        gate = aiohttp.TraceConfig()
        gate.on_connection_reuseconn.append(check)
        gate.on_connection_create_end.append(check)
        return gate

    async def _error(self, response: aiohttp.ClientResponse, request: str) -> errors.ApiError:
        status = _parsed(await response.content.read(64 * 1024))
        header = response.headers.get("Retry-After")
        error = errors.from_status(response.status, status, request=request, retry_after=header)
        if isinstance(error, errors.TooManyRequestsError):
            until = self._monotonic() + error.retry_after_seconds
            self._patient_until = max(self._patient_until, until)
        return error

    async def _be_patient(self) -> None:
        remaining = self._patient_until - self._monotonic()
        if remaining > 0:
            await asyncio.sleep(remaining)


def _parsed(raw: bytes) -> Json:
    try:
        value = json.loads(raw)
    except ValueError:
        return {"message": raw[:200].decode("utf-8", "replace")}
    return value if isinstance(value, dict) else {}


def _unavailable(error: Exception, request: str) -> errors.UnavailableError:
    text = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return errors.UnavailableError(f"the API server cannot be reached: {text}", request=request)


def _event(line: bytes, request: str) -> Json:
    try:
        event = json.loads(line)
        kind, obj = event["type"], event["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise errors.GoneError(f"an event of the watch cannot be read: {error!r}", request=request) from error
    if kind == "ERROR":
        raise errors.from_status(int(obj.get("code") or 500), obj, request=request)
    return {"type": kind, "object": obj}


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, of any length up to the limit (aiohttp's own reader stops at 128 KiB)."""
    pending = bytearray()
    async for chunk in stream.iter_any():
        pending += chunk
        if b"\n" in chunk:
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            for line in lines:
                if line.strip():
                    yield line
        if len(pending) > LINE_BYTES_MAX:
            raise errors.GoneError(f"an event of the watch has more than {LINE_BYTES_MAX} bytes")
