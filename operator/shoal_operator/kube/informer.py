"""Keeps a store like the server's truth: list in pages, watch from there, list again when in doubt.

Invariants:
- ``synced`` is set only after one whole list; nobody decides anything before;
- every way in which a watch can end leads to another watch or to another list, after a back-off while nothing
  works;
- one and the same trouble is a warning once, until it is over;
- every so often (jittered) the whole collection is listed again, so that even a defect of watching heals
  itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import Any, Protocol

from shoal_operator.control.backoff import BackoffPolicy, Retrier
from shoal_operator.control.clock import Clock
from shoal_operator.kube import errors
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.resources import Resource
from shoal_operator.kube.store import Name, Store, name_of

logger = logging.getLogger(__name__)

Json = dict[str, Any]


class InformerMetrics(Protocol):
    """What an informer reports. ``telemetry.metrics`` implements it."""

    def observe_relist(self, kind: str, reason: str) -> None:
        """The collection was listed."""
        ...

    def observe_watch_event(self, kind: str) -> None:
        """The server said something (bookmarks too)."""
        ...


@dataclass(frozen=True)
class InformerOptions:
    """The limits of an informer; times in seconds.

    Attributes:
        watch_seconds: the server ends a watch after so long; the next one goes on where it ended.
        inactivity_seconds: a watch without events and bookmarks is taken for dead after so long (servers send
            a bookmark about once a minute).
        relist_min_seconds: between two whole lists, at least.
        relist_max_seconds: between two whole lists, at most.
        page_size: how many objects are asked for at once.
    """

    watch_seconds: int = 300
    inactivity_seconds: float = 100.0
    relist_min_seconds: float = 600.0
    relist_max_seconds: float = 900.0
    page_size: int = 500


@dataclass(frozen=True)
class Selection:
    """Which objects an informer follows.

    Attributes:
        resource: their kind.
        namespace: where; None: everywhere.
        label_selector: only those that match.
    """

    resource: Resource
    namespace: str | None = None
    label_selector: str = ""


class Informer:
    """One selection of objects, feeding one store (which several informers may share)."""

    def __init__(
        self,
        client: ApiClient,
        selection: Selection,
        store: Store,
        *,
        clock: Clock,
        rng: random.Random,
        metrics: InformerMetrics,
        options: InformerOptions = InformerOptions(),
    ) -> None:
        self.resource = selection.resource
        self.synced = asyncio.Event()
        self._client = client
        self._store = store
        self._namespace = selection.namespace
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._selector = selection.label_selector
        self._options = options
        self._retrier = Retrier(BackoffPolicy(base_seconds=0.1, cap_seconds=30.0), rng)
        self._last_word = clock.monotonic()
        self._version = ""
        self._said = ""

    @property
    def plural(self) -> str:
        """What it follows, as people know it."""
        return self.resource.plural

    @property
    def is_synced(self) -> bool:
        """Whether the collection was listed as a whole."""
        return self.synced.is_set()

    def silent_seconds(self) -> float:
        """Seconds since the server last said anything: a list, an event, a bookmark, a regular end."""
        return self._clock.monotonic() - self._last_word

    async def run(self) -> None:
        """Follow the server until cancelled."""
        reason = "start"
        while True:
            try:
                await self._list(reason)
            except errors.ApiError as error:
                await self._pause("list", error)
                continue
            reason = await self._follow()

    async def _list(self, reason: str) -> None:
        listed: set[Name] = set()
        token = ""
        while True:
            page = await self._client.list_page(
                self.resource,
                self._namespace,
                label_selector=self._selector,
                limit=self._options.page_size,
                continue_token=token,
            )
            for item in page.get("items") or ():
                # Items of a list carry neither; events of a watch do. Everybody else may rely on them.
                item.setdefault("apiVersion", self.resource.api_version)
                item.setdefault("kind", self.resource.kind)
                # One page at a time: whole lists of objects as the server has them are most of a process's memory.
                self._store.upsert(item)
                listed.add(name_of(item))
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        self._version = str(page["metadata"].get("resourceVersion") or "")
        self._store.keep_only(listed, namespace=self._namespace, resource_version=self._version)
        self._heard()
        self._metrics.observe_relist(self.resource.kind, reason)
        self.synced.set()

    async def _follow(self) -> str:
        """Watch from the list on. Returns the reason for listing again."""
        span = self._rng.uniform(self._options.relist_min_seconds, self._options.relist_max_seconds)
        relist_at = self._clock.monotonic() + span
        while self._clock.monotonic() < relist_at:
            try:
                await self._watch()
                self._heard()
            except errors.GoneError as error:
                logger.info("listing %s again: %s", self.resource.plural, error)
                return "gone"
            except errors.UnavailableError as error:
                await self._pause("watch", error)
            except errors.ApiError as error:
                await self._pause("watch", error)
                return "error"
        return "schedule"

    async def _watch(self) -> None:
        """One watch, from the last version that was seen; the next one goes on where it ended or broke."""
        events = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self._version,
            label_selector=self._selector,
            timeout_seconds=round(self._options.watch_seconds * self._rng.uniform(0.8, 1.2)),
            inactivity_seconds=self._options.inactivity_seconds,
        )
        async for event in events:
            obj = event["object"]
            self._ingest(event["type"], obj)
            self._version = str(obj["metadata"]["resourceVersion"])
            self._heard()
            self._metrics.observe_watch_event(self.resource.kind)

    def _ingest(self, kind: str, obj: Json) -> None:
        if kind in {"ADDED", "MODIFIED"}:
            self._store.upsert(obj)
        elif kind == "DELETED":
            self._store.remove(obj)
        elif kind != "BOOKMARK":
            raise errors.GoneError(f"the watch of {self.resource.plural} sent an event of unknown type {kind!r}")

    def _heard(self) -> None:
        self._last_word = self._clock.monotonic()
        self._retrier.reset()
        if self._said:
            logger.info("%s can be followed again", self.resource.plural)
            self._said = ""

    async def _pause(self, what: str, error: errors.ApiError) -> None:
        delay = self._retrier.next_delay()
        if isinstance(error, errors.TooManyRequestsError):
            delay = max(delay, error.retry_after_seconds)
        if isinstance(error, errors.ForbiddenError | errors.NotFoundError):
            self._last_word = self._clock.monotonic()  # an answer, which another start of this process would get too
        words = f"cannot {what} {self.resource.plural}: {_hint(error)}"
        level = logging.DEBUG if words == self._said else logging.WARNING
        logger.log(level, "%s; trying again, now in %.1f s", words, delay)
        self._said = words
        await asyncio.sleep(delay)


def _hint(error: errors.ApiError) -> str:
    if isinstance(error, errors.NotFoundError):
        return f"{error}: are the CRDs installed?"
    if isinstance(error, errors.ForbiddenError):
        return f"{error}: do the operator's roles allow list and watch there?"
    return str(error)
