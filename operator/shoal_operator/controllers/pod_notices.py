"""Looks up the warning Events of pods that do not start and do not say why.

Invariants:
- a reconcile never waits for a look-up: it gets what is known, and its key is woken when there is news;
- a pod is asked about at most once in ``AGAIN.base_seconds`` growing to ``AGAIN.cap_seconds``; at most ``AT_ONCE``
  requests run, at most ``QUEUE_MAX`` wait; what does not fit is asked again by a later pass;
- what is known of a pod goes when nobody asks for it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shoal_operator.control.backoff import BackoffPolicy
from shoal_operator.control.clock import Clock
from shoal_operator.domain.cluster.notices import read_notices, silent_pods
from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.cluster.pod_reasons import PodReason
from shoal_operator.domain.names import Key
from shoal_operator.kube import errors
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.resources import EVENTS

logger = logging.getLogger(__name__)

AGAIN: Final = BackoffPolicy(base_seconds=2.0, cap_seconds=60.0)
AT_ONCE: Final = 4
QUEUE_MAX: Final = 1_000
EVENTS_MAX: Final = 50
"""Events of one pod that are read; the server keeps few, and counts those that repeat."""


@dataclass
class _Known:
    pod: PodView
    notices: tuple[PodReason, ...] = ()
    looks: int = 0
    due: float = 0.0
    is_queued: bool = False


class PodNotices:
    """What Events say of silent pods, by cluster.

    Args:
        client: the API server.
        clock: the time.
        rng: for the jitter of the back-off.
        wake: called with the cluster when there is news.
    """

    def __init__(self, client: ApiClient, clock: Clock, rng: random.Random, wake: Callable[[Key], None]) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._wake = wake
        self._clusters: dict[Key, dict[str, _Known]] = {}
        self._queue: asyncio.Queue[tuple[Key, str]] = asyncio.Queue(QUEUE_MAX)

    def add_to(self, key: Key, pods: Sequence[PodView]) -> tuple[tuple[PodView, ...], float | None]:
        """The pods with what is known, and the seconds after which to call again.

        Args:
            key: the cluster.
            pods: all of its pods.
        """
        known = self._clusters.get(key, {})
        told = tuple(replace(pod, notices=known[pod.uid].notices) if pod.uid in known else pod for pod in pods)
        silent, wait = silent_pods(told, self._clock.now())
        kept = {pod.uid: known.get(pod.uid) or _Known(pod) for pod in silent}
        if kept:
            self._clusters[key] = kept
        else:
            self._clusters.pop(key, None)
        waits = [] if wait is None else [wait]
        now = self._clock.monotonic()
        for uid, entry in kept.items():
            if not entry.is_queued and entry.due <= now:
                self._enqueue(key, uid, entry)
            waits.append(max(entry.due - now, AGAIN.base_seconds))
        return told, min(waits, default=None)

    def forget(self, key: Key) -> None:
        """The cluster is gone."""
        self._clusters.pop(key, None)

    async def run(self) -> None:
        """Look up until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(self._work(), name=f"pod-notices-{number}")

    def _enqueue(self, key: Key, uid: str, entry: _Known) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait((key, uid))
            entry.is_queued = True

    async def _work(self) -> None:
        while True:
            key, uid = await self._queue.get()
            entry = self._clusters.get(key, {}).get(uid)
            if entry is not None:  # else it has started meanwhile
                await self._look(key, uid, entry)

    async def _look(self, key: Key, uid: str, entry: _Known) -> None:
        before = entry.notices
        try:
            page = await self._client.list_page(EVENTS, key[0], field_selector=f"regarding.uid={uid}", limit=EVENTS_MAX)
            entry.notices = read_notices(page.get("items") or [], self._age_seconds(entry.pod))
        except errors.ApiError as error:
            logger.info("events of pod %s/%s: %s", key[0], entry.pod.name, error)
        finally:
            entry.is_queued = False
            entry.due = self._clock.monotonic() + AGAIN.delay(entry.looks, self._rng)
            entry.looks += 1
        if entry.notices != before:
            self._wake(key)

    def _age_seconds(self, pod: PodView) -> float:
        return (self._clock.now() - pod.created).total_seconds() if pod.created else 0.0
