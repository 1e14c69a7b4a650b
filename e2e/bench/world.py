"""What the measurement sees and does at the API server, with the operator's own client, as an administrator.

Invariant: times are those at which the event reached this process; what it does itself has a bounded number of
requests in flight.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from e2e.bench.fake_heads import ClusterKey, FakeHeads, is_ready
from e2e.bench.subjects import Subject
from shoal_operator.control.clock import SystemClock
from shoal_operator.kube.access import from_kubeconfig
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.informer import Informer, Selection
from shoal_operator.kube.resources import COMPUTE_JOBS, PODS, SECRETS, Resource
from shoal_operator.kube.store import Change, ChangeType, Store

Json = dict[str, Any]
Item = TypeVar("Item")

REQUESTS_AT_ONCE = 32


class NoMetrics:
    """Nobody counts what the measurement itself asks for."""

    def observe_request(self, method: str, code: int) -> None:
        """Not counted."""

    def observe_relist(self, kind: str, reason: str) -> None:
        """Not counted."""

    def observe_watch_event(self, kind: str) -> None:
        """Not counted."""


class World:
    """Stores of clusters, jobs and pods, and when each pod was seen first and seen Ready."""

    def __init__(self, client: ApiClient, heads: FakeHeads, subject: Subject) -> None:
        self.client = client
        self.subject = subject
        self.heads = heads
        self.clusters, self.jobs, self.pods = Store(), Store(), Store()
        self.created: dict[str, float] = {}
        self.ready: dict[str, float] = {}
        self.pods.subscribe(self._pod)

    def _pod(self, change: Change) -> None:
        pod, uid = change.obj, change.obj["metadata"]["uid"]
        now = time.monotonic()
        self.created.setdefault(uid, now)
        if is_ready(pod):
            self.ready.setdefault(uid, now)
        self.heads.note_pod(pod, gone=change.type is ChangeType.DELETED)

    async def create_cluster(self, key: ClusterKey, least: int, most: int) -> None:
        """POST one. Not by ``ApiClient.create``, which knows our own kinds only."""
        document = self.subject.cluster(key, least, most)
        await self.client._request("POST", self.subject.clusters.path(key[0]), body=document)

    async def resize(self, key: ClusterKey, least: int, most: int) -> None:
        """Give a cluster's group other limits."""
        await self.client.merge(self.subject.clusters, *key, self.subject.resize(least, most))

    async def follow(self, resource: Resource, store: Store, selector: str = "") -> asyncio.Task[None]:
        """Keep ``store`` up to date."""
        informer = Informer(
            self.client,
            Selection(resource, None, selector),
            store,
            clock=SystemClock(),
            rng=random.Random(1),
            metrics=NoMetrics(),
        )
        task = asyncio.create_task(informer.run())
        await informer.synced.wait()
        return task

    async def until(self, what: str, done: Callable[[], bool], timeout_seconds: float) -> float:
        """Wait for a condition, and return the seconds it took. Raises TimeoutError with ``what``."""
        started = time.monotonic()
        while not done():
            if time.monotonic() - started > timeout_seconds:
                raise TimeoutError(f"not within {timeout_seconds:g} s: {what}")
            await asyncio.sleep(0.02)
        return time.monotonic() - started

    async def each(self, items: Iterable[Item], do: Callable[[Item], Awaitable[Any]]) -> None:
        """``do`` for all, a bounded number at once."""
        gate = asyncio.Semaphore(REQUESTS_AT_ONCE)

        async def one(item: Item) -> None:
            async with gate:
                await do(item)

        await asyncio.gather(*(one(item) for item in items))

    def pod_uids(self) -> set[str]:
        """Of all pods that there are."""
        return {pod["metadata"]["uid"] for name in self.pods.names() if (pod := self.pods.get(*name))}

    def pods_of(self, key: ClusterKey) -> list[Json]:
        """The cluster's pods that are not on their way out."""
        document = self.clusters.get(*key)
        owned = self.pods.owned_by(document["metadata"]["uid"]) if document else []
        return [pod for pod in owned if not pod["metadata"].get("deletionTimestamp")]


@asynccontextmanager
async def open_world(kubeconfig: Path, subject: Subject) -> AsyncIterator[World]:
    """The fake heads and everything that is followed."""
    heads = FakeHeads()
    async with ApiClient(from_kubeconfig(kubeconfig), monotonic=time.monotonic, metrics=NoMetrics()) as client:
        await heads.start()
        world = World(client, heads, subject)
        secrets = Store()
        secrets.subscribe(lambda change: _note_secret(heads, change))
        tasks = [
            await world.follow(PODS, world.pods, subject.pod_label),
            await world.follow(subject.clusters, world.clusters),
        ]
        if subject.has_heads:
            tasks.append(await world.follow(SECRETS, secrets, subject.pod_label))
            tasks.append(await world.follow(COMPUTE_JOBS, world.jobs))
        try:
            yield world
        finally:
            for task in tasks:
                task.cancel()
            await heads.stop()


def _note_secret(heads: FakeHeads, change: Change) -> None:
    if change.type is ChangeType.ADDED:
        heads.note_secret(change.obj)


def is_true(obj: Json | None, condition: str) -> bool:
    """Whether a condition of the object is True."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
    return any(item["type"] == condition and item["status"] == "True" for item in conditions)


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of them lie.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered) + 0.5) - 1))]
