"""Events about our objects (events.k8s.io/v1): few, about transitions, never in the way of a reconcile.

Invariants:
- ``record`` returns at once; a full queue drops the oldest event, and says so in the log;
- one object gets at most ``BURST`` events at once and one per ``REFILL_SECONDS`` after that;
- the same words about the same object within ``SERIES_SECONDS`` raise the count of the first event instead of
  making another one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from shoal_operator.control.clock import Clock
from shoal_operator.kube import errors
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.resources import EVENTS

logger = logging.getLogger(__name__)

Json = dict[str, Any]
EventType = Literal["Normal", "Warning"]

BURST: Final = 20
REFILL_SECONDS: Final = 15.0
SERIES_SECONDS: Final = 600.0
QUEUE_MAX: Final = 1_000
MEMORY_MAX: Final = 4_096
"""How many objects and how many series are remembered; the least recently used ones are forgotten."""
NOTE_MAX: Final = 1_024
"""Longest note that the API takes, in characters."""
SEND_ATTEMPTS: Final = 4


class EventSink(Protocol):
    """Where a controller tells of transitions."""

    def record(self, regarding: Json, *, type_: EventType, reason: str, message: str, action: str) -> None:
        """Tell of something that happened to ``regarding``, an object with apiVersion, kind and metadata."""
        ...


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


@dataclass
class _Series:
    name: str
    last: float
    count: int = 1


@dataclass(frozen=True)
class _Record:
    """An event on its way to the server."""

    namespace: str
    name: str
    body: Json = field(repr=False)
    is_series: bool = False


class EventRecorder:
    """Sends events in the background.

    Args:
        client: the API server.
        clock: the time.
        controller: what we are, for ``reportingController``.
        instance: who we are, for ``reportingInstance``: the pod's name, or host and process id.
    """

    def __init__(self, client: ApiClient, clock: Clock, *, controller: str, instance: str) -> None:
        self._client = client
        self._clock = clock
        self._controller = controller
        self._instance = instance[:128]
        self._queue: deque[_Record] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._series: OrderedDict[tuple[str, str, str], _Series] = OrderedDict()
        self._sequence = 0

    def record(self, regarding: Json, *, type_: EventType, reason: str, message: str, action: str) -> None:
        uid = str(regarding["metadata"].get("uid", ""))
        now = self._clock.monotonic()
        note = message if len(message) <= NOTE_MAX else message[: NOTE_MAX - 1] + "…"
        if not self._take_token(uid, now):
            logger.info("event withheld, too many about this object: %s %s", reason, note)
            return
        repeated = self._repeated((uid, reason, note), now)
        if repeated is not None:
            self._push(self._series_record(regarding, repeated))
            return
        record = self._new_record(regarding, type_, reason, note, action)
        self._series[uid, reason, note] = _Series(record.name, now)
        _trim(self._series)
        self._push(record)

    async def run(self) -> None:
        """Send what was recorded until cancelled."""
        while True:
            while self._queue:
                self._idle.clear()
                await self._send(self._queue.popleft())
            self._idle.set()
            self._wake.clear()
            await self._wake.wait()

    async def flush(self, timeout_seconds: float) -> None:
        """Wait until everything recorded so far was sent, or until the time is up."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._queue or not self._idle.is_set():
                    await self._idle.wait()
                    await asyncio.sleep(0)
        except TimeoutError:
            logger.warning("%d events were not sent in time", len(self._queue))

    def _take_token(self, uid: str, now: float) -> bool:
        bucket = self._buckets.setdefault(uid, _Bucket(float(BURST), now))
        self._buckets.move_to_end(uid)
        _trim(self._buckets)
        bucket.tokens = min(float(BURST), bucket.tokens + (now - bucket.filled_at) / REFILL_SECONDS)
        bucket.filled_at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _repeated(self, identity: tuple[str, str, str], now: float) -> _Series | None:
        series = self._series.get(identity)
        if series is None or now - series.last > SERIES_SECONDS:
            return None
        self._series.move_to_end(identity)
        series.last = now
        series.count += 1
        return series

    def _new_record(self, regarding: Json, type_: EventType, reason: str, note: str, action: str) -> _Record:
        meta = regarding["metadata"]
        self._sequence += 1
        stamp = self._clock.now()
        # The object's name and a number that nobody else draws, so that a retry meets its first try.
        name = f"{meta['name'][:200]}.{int(stamp.timestamp() * 1e6):x}{self._sequence & 0xFFFF:04x}"
        namespace = meta.get("namespace") or "default"
        body = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": _micro_time(stamp),
            "type": type_,
            "reason": reason,
            "action": action or reason,
            "note": note,
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "regarding": _reference(regarding),
        }
        return _Record(namespace, name, body)

    def _series_record(self, regarding: Json, series: _Series) -> _Record:
        observed = {"count": series.count, "lastObservedTime": _micro_time(self._clock.now())}
        namespace = regarding["metadata"].get("namespace") or "default"
        return _Record(namespace, series.name, {"series": observed}, is_series=True)

    def _push(self, record: _Record) -> None:
        if len(self._queue) >= QUEUE_MAX:
            dropped = self._queue.popleft()
            logger.warning("event %s/%s dropped: %d wait already", dropped.namespace, dropped.name, QUEUE_MAX)
        self._queue.append(record)
        self._wake.set()

    async def _send(self, record: _Record) -> None:
        for attempt in range(SEND_ATTEMPTS):
            try:
                if record.is_series:
                    await self._client.merge(EVENTS, record.namespace, record.name, record.body)
                else:
                    await self._client.create(record.body)
                return
            except errors.AlreadyExistsError:
                return  # the answer to an earlier try was lost
            except errors.ApiError as error:
                if not error.retryable or attempt == SEND_ATTEMPTS - 1:
                    logger.info("event %s/%s not sent: %s", record.namespace, record.name, error)
                    return
            await asyncio.sleep(0.2 * 2**attempt)


def _reference(obj: Json) -> Json:
    meta = obj["metadata"]
    reference = {
        "apiVersion": obj.get("apiVersion", ""),
        "kind": obj.get("kind", ""),
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta.get("uid", ""),
        "resourceVersion": meta.get("resourceVersion", ""),
    }
    return {name: value for name, value in reference.items() if value}


def _micro_time(stamp: datetime) -> str:
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _trim(remembered: OrderedDict[Any, Any]) -> None:
    while len(remembered) > MEMORY_MAX:
        remembered.popitem(last=False)
