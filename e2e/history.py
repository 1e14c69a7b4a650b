"""Everything that was ever seen of a collection: each version of each object, in order, with the time of arrival.

Invariant: what the API server sends is recorded once and in order; a broken watch is resumed where it broke.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from e2e.api import Api, Object, UnixConnection

_BREAK_SECONDS: Final = 0.2
_GONE: Final = 410


@dataclass(frozen=True)
class Seen:
    """One version of an object. ``at``: Unix time of its arrival; ``kind``: ADDED, MODIFIED or DELETED."""

    at: float
    kind: str
    object: Object

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])


class History:
    """Watches a collection from a thread of its own until it is closed."""

    def __init__(self, api: Api, path: str) -> None:
        self._api = api
        self._path = path
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._began_at = time.time()
        self._closed = threading.Event()
        self._connection: UnixConnection | None = None
        self._version = self._relist()
        self._thread = threading.Thread(target=self._watch, name=f"history of {path}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch."""
        self._closed.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):  # it may have ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10.0)

    def all(self, name: str | None = None) -> list[Seen]:
        """Every version seen, of one object or of all."""
        with self._lock:
            return [seen for seen in self._seen if name is None or seen.name == name]

    def names(self) -> list[str]:
        """Names of all objects that ever were, in order of appearance."""
        return list(dict.fromkeys(seen.name for seen in self.all()))

    def now(self) -> dict[str, Object]:
        """The objects that are there, by name."""
        present: dict[str, Object] = {}
        for seen in self.all():
            if seen.kind == "DELETED":
                present.pop(seen.name, None)
            else:
                present[seen.name] = seen.object
        return present

    def last(self, name: str) -> Object | None:
        """The latest version of an object, be it gone or not."""
        versions = self.all(name)
        return versions[-1].object if versions else None

    def first(self, name: str, holds: Callable[[Object], Any]) -> Seen | None:
        """The first version of an object for which something holds."""
        return next((seen for seen in self.all(name) if holds(seen.object)), None)

    @property
    def changed_at(self) -> float:
        """Unix time of the last change; of the beginning when there was none."""
        with self._lock:
            return self._seen[-1].at if self._seen else self._began_at

    def _record(self, kind: str, item: Object) -> None:
        with self._lock:
            self._seen.append(Seen(time.time(), kind, item))

    def _relist(self) -> str:
        found = self._api.find(self._path) or {}
        items = {item["metadata"]["name"]: item for item in found.get("items") or []}
        before = self.now()
        for name in before.keys() - items.keys():
            self._record("DELETED", before[name])
        for name, item in items.items():
            if before.get(name, {}).get("metadata", {}).get("resourceVersion") != item["metadata"]["resourceVersion"]:
                self._record("MODIFIED" if name in before else "ADDED", item)
        return str((found.get("metadata") or {}).get("resourceVersion") or "0")

    def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                for kind, item in self._events():
                    if kind == "ERROR":
                        if item.get("code") == _GONE:
                            self._version = self._relist()
                        break
                    self._version = str(item["metadata"]["resourceVersion"])
                    if kind != "BOOKMARK":
                        self._record(kind, item)
            except (OSError, ValueError, AttributeError):
                # A server that restarts, or `close`: http.client loses its file object in the middle of a read.
                self._closed.wait(_BREAK_SECONDS)

    def _events(self) -> Iterator[tuple[str, Object]]:
        query = f"?watch=true&allowWatchBookmarks=true&resourceVersion={self._version}&timeoutSeconds=600"
        self._connection, answer = self._api.stream(self._path + query)
        try:
            while not self._closed.is_set():
                line = answer.readline()
                if not line:
                    return
                event = json.loads(line)
                yield event["type"], event["object"]
        finally:
            self._connection.close()
