"""Kubernetes Events of the node, repeated ones counted instead of repeated.

Invariant: recording never blocks and never fails the caller; the queue is bounded and the newest wins.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shoal_operator.local.client import ApiClient, ApiError
from shoal_operator.local.kubelet.status import timestamp

_QUEUE_LENGTH: Final = 512
_REMEMBERED: Final = 2048


@dataclass(frozen=True)
class _Entry:
    pod: Mapping[str, Any]
    kind: str
    reason: str
    message: str
    component: str
    at: float


class EventRecorder:
    """Writes Events about pods through one background task (``run``)."""

    def __init__(self, client: ApiClient, node_name: str) -> None:
        self._client = client
        self._node_name = node_name
        self._queue: deque[_Entry] = deque(maxlen=_QUEUE_LENGTH)
        self._wake = asyncio.Event()
        self._known: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()
        self._number = 0

    def normal(self, pod: Mapping[str, Any], reason: str, message: str, component: str = "kubelet") -> None:
        """Something happened as it should."""
        self._record(pod, "Normal", reason, message, component)

    def warning(self, pod: Mapping[str, Any], reason: str, message: str, component: str = "kubelet") -> None:
        """Something a person may want to look at."""
        self._record(pod, "Warning", reason, message, component)

    def _record(self, pod: Mapping[str, Any], kind: str, reason: str, message: str, component: str) -> None:
        self._queue.append(_Entry(pod, kind, reason, message[:1024], component, time.time()))
        self._wake.set()

    async def run(self) -> None:
        """Write what was recorded until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                try:
                    await self._write(self._queue.popleft())
                except ApiError:
                    # An Event is a courtesy: a namespace that goes away must not hold up the rest.
                    continue

    async def _write(self, entry: _Entry) -> None:
        metadata = entry.pod["metadata"]
        namespace = metadata.get("namespace", "default")
        path = f"/api/v1/namespaces/{namespace}/events"
        key = (metadata.get("uid", ""), entry.reason, entry.message)
        known = self._known.get(key)
        if known is not None:
            name, count = known
            body = {"count": count + 1, "lastTimestamp": timestamp(entry.at)}
            try:
                await self._client.patch(f"{path}/{name}", body)
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                self._known[key] = (name, count + 1)
                return
        self._number += 1
        name = f"{metadata['name']}.{int(entry.at * 1e6):x}{self._number:x}"
        await self._client.create(path, self._event(name, namespace, entry))
        self._known[key] = (name, 1)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _event(self, name: str, namespace: str, entry: _Entry) -> dict[str, Any]:
        metadata = entry.pod["metadata"]
        at = timestamp(entry.at)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": namespace,
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": entry.kind,
            "reason": entry.reason,
            "message": entry.message,
            "source": {"component": entry.component, "host": self._node_name},
            "reportingComponent": entry.component,
            "reportingInstance": self._node_name,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
