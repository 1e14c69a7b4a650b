"""The way between one operator process and the API server: the lowest layer of its client, with faults in it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
from tests.simulation.api_server import ModelServer, Refusal, encode, parse_path, selected

from shoal_operator.kube.client import ApiClient
from shoal_operator.local.apiserver.store import HistoryLostError

if TYPE_CHECKING:
    from tests.simulation.history import History

Json = dict[str, Any]
ORIGIN = "http://api"
REQUEST_SECONDS = 30.0
BOOKMARK_SECONDS = 30.0


@dataclass
class Faults:
    """How likely each fault is, per request or event; all 0 once faults have stopped."""

    conflict: float = 0.0
    gone: float = 0.0
    too_many: float = 0.0
    internal: float = 0.0
    lost_before: float = 0.0
    lost_after: float = 0.0
    hang: float = 0.0
    drop_watch: float = 0.0
    duplicate: float = 0.0
    lag_seconds: float = 0.0

    def stop(self) -> None:
        self.__init__()  # type: ignore[misc]


@dataclass
class Wire:
    """What connects one operator process with the server.

    Attributes:
        dead: the process was killed: nothing of it reaches the server any more.
        stalled_until: what it sends arrives only then (a partition, a stopped process).
        asked: pods that this process has made or deleted, with the time: see ``invariants``.
    """

    name: str
    server: ModelServer
    faults: Faults
    rng: random.Random
    history: History
    dead: bool = False
    stalled_until: float = 0.0
    on_write: Callable[[Wire, str, str, Json | None, int, Any], None] = lambda *_: None
    before_deletion: Callable[[Wire, str], None] = lambda *_: None
    writes: int = 0
    made: dict[str, tuple[str, float]] = field(default_factory=dict)
    deleted: dict[str, float] = field(default_factory=dict)


class SimulatedClient(ApiClient):
    """The operator's own client over a ``Wire``."""

    def __init__(self, wire: Wire, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._wire = wire

    async def __aenter__(self) -> SimulatedClient:
        self._session = self._apart = _Session(self._wire, self._gate())  # type: ignore[assignment]
        return self


class _Session:
    """The part of ``aiohttp.ClientSession`` that the client uses."""

    def __init__(self, wire: Wire, gate: aiohttp.TraceConfig) -> None:
        self._wire = wire
        self._checks = list(gate.on_connection_reuseconn)

    def request(self, method: str, url: str, **options: Any) -> _Exchange:
        return _Exchange(self._wire, self._checks, method, url.removeprefix(ORIGIN), options)

    async def close(self) -> None:
        return None


class _Exchange:
    """One request and its answer."""

    def __init__(self, wire: Wire, checks: list[Any], method: str, path: str, options: Json) -> None:
        self._wire = wire
        self._checks = checks
        self._method = method
        self._path = path
        self._options = options

    async def __aenter__(self) -> _Response:
        wire, loop = self._wire, asyncio.get_running_loop()
        started = loop.time()
        context = SimpleNamespace(trace_request_ctx=self._options.get("trace_request_ctx"))
        for check in self._checks:
            await check(None, context, None)
        await asyncio.sleep(wire.rng.uniform(0.0005, 0.01))
        if wire.stalled_until > loop.time():
            await asyncio.sleep(min(REQUEST_SECONDS, wire.stalled_until - loop.time()))
        if wire.dead:
            await asyncio.sleep(1e9)
        if self._options["params"].get("watch"):
            return self._watch()
        status, document, headers = self._answer(started)
        if status == 0 or wire.stalled_until > loop.time():
            await asyncio.sleep(max(0.0, started + REQUEST_SECONDS - loop.time()))
            raise TimeoutError
        await asyncio.sleep(wire.rng.uniform(0.0005, 0.01))
        if status < 0:
            raise aiohttp.ClientOSError("connection reset")
        return _Response(status, encode(document), headers)

    async def __aexit__(self, *_: object) -> None:
        return None

    def _answer(self, started: float) -> tuple[int, Json, dict[str, str]]:
        """Status (0: no answer ever comes, -1: the connection breaks), document and headers."""
        wire, faults, draw = self._wire, self._wire.faults, self._wire.rng.random
        if draw() < faults.too_many:
            return 429, _status(429, "TooManyRequests"), {"Retry-After": str(wire.rng.randint(1, 3))}
        if draw() < faults.internal:
            return 500, _status(500, "InternalError"), {}
        if draw() < faults.lost_before:
            return -1, {}, {}
        if self._method in ("PATCH", "PUT") and draw() < faults.conflict:
            return 409, _status(409, "Conflict"), {}
        body = json.loads(self._options["data"]) if self._options.get("data") else None
        fate = -1 if draw() < faults.lost_after else 0 if draw() < faults.hang else 1
        if self._method == "DELETE" and "/pods/" in self._path:
            wire.before_deletion(wire, self._path)
        status, document = self._perform(body)
        is_trial = self._options["params"].get("dryRun")
        if self._method != "GET" and "/leases" not in self._path and not is_trial:
            wire.writes += 1
            wire.history.note(wire.name, f"{_brief(self._method, self._path, body)} -> {status}")
            wire.on_write(wire, self._method, self._path, body, status if fate > 0 else fate, started)
        return (status if fate > 0 else fate), document, {}

    def _perform(self, body: Json | None) -> tuple[int, Json]:
        media_type = self._options["headers"].get("Content-Type", "")
        try:
            status, document = self._wire.server.handle(
                self._method, self._path, self._options["params"], body, media_type
            )
        except Refusal as refusal:
            return refusal.code, refusal.document()
        return status, document

    def _watch(self) -> _Response:
        wire, params = self._wire, self._options["params"]
        version = int(params["resourceVersion"])
        if wire.rng.random() < wire.faults.gone:
            return _Response(410, encode(_status(410, "Expired")), {})
        seconds = float(params["timeoutSeconds"])
        return _Response(200, b"", {}, _events(wire, parse_path(self._path).collection, params, version, seconds))


class _Response:
    """The part of ``aiohttp.ClientResponse`` that the client uses; it is its own ``content``."""

    def __init__(
        self, status: int, body: bytes, headers: dict[str, str], stream: AsyncIterator[bytes] | None = None
    ) -> None:
        self.status = status
        self.headers = headers
        self.content = self
        self._body = body
        self._stream = stream

    async def read(self, _limit: int = -1) -> bytes:
        return self._body

    def iter_any(self) -> AsyncIterator[bytes]:
        assert self._stream is not None
        return self._stream


async def _events(wire: Wire, collection: str, params: Json, version: int, seconds: float) -> AsyncIterator[bytes]:
    """The lines of a watch: late, twice, or cut off, as the faults want it."""
    loop, store = asyncio.get_running_loop(), wire.server.store
    end = loop.time() + seconds
    news = asyncio.Event()
    unsubscribe = store.subscribe(lambda change: news.set() if change.key.collection == collection else None)
    try:
        while loop.time() < end:
            await _pass_on_time(wire, loop)
            try:
                changes = store.changes_after(collection, version)
            except HistoryLostError:
                yield encode({"type": "ERROR", "object": _status(410, "Expired")}) + b"\n"
                return
            for change in changes:
                if wire.rng.random() < wire.faults.drop_watch:
                    raise aiohttp.ClientPayloadError("the connection broke")
                version = change.resource_version
                if selected(change.document, params):
                    line = encode({"type": change.type, "object": change.document}) + b"\n"
                    yield line * (2 if wire.rng.random() < wire.faults.duplicate else 1)
            news.clear()
            try:
                async with asyncio.timeout(min(BOOKMARK_SECONDS, max(0.0, end - loop.time()))):
                    await news.wait()
            except TimeoutError:
                if news.is_set():
                    continue
                version = max(version, store.resource_version)
                metadata = {"resourceVersion": str(version)}
                yield encode({"type": "BOOKMARK", "object": {"kind": "X", "metadata": metadata}}) + b"\n"
    finally:
        unsubscribe()


async def _pass_on_time(wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
    if wire.faults.lag_seconds:
        lag = wire.rng.uniform(0.0, wire.faults.lag_seconds)
        await asyncio.sleep(lag * wire.rng.random() ** 3)
    if wire.stalled_until > loop.time():
        await asyncio.sleep(wire.stalled_until - loop.time())
    if wire.dead:
        await asyncio.sleep(1e9)


def _brief(method: str, path: str, body: Json | None) -> str:
    """A request in one line: what it is about, and the gist of what it says."""
    target = parse_path(path)
    gist: Any = ""
    if target.subresource == "status" and body is not None:
        status = body["status"]
        true = [one["type"] for one in status.get("conditions") or () if one["status"] == "True"]
        gist = f"{' '.join(true)}: {status.get('reason')} {status.get('message')}"
    elif method == "PATCH" and body is not None:
        gist = {
            name: value for name, value in body.get("metadata", {}).items() if name in ("finalizers", "annotations")
        }
    elif target.collection == "events" and body is not None:
        gist = f"{body.get('reason')} {body.get('note')}"
    elif method == "POST" and body is not None:
        gist = body["metadata"]["name"]
    return f"{method} {target.collection} {target.name or ''} {gist}"[:300]


def _status(code: int, reason: str) -> Json:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": f"simulated {code}"}
