"""Objects in memory, one version counter, and a bounded history for watchers.

Invariant: every change gets the next resourceVersion of one counter that only grows, and stands in the log
of its collection in that order; a reader who asks for a version that the log no longer covers is told so
(`HistoryLostError`), never given a gap. No I/O, no clock: the server's other parts add those.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shoal_operator.local.apiserver.values import Document

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

HISTORY_LIMIT = 4096
"""Changes kept per collection. A watcher that is further behind gets 410 Gone and lists again."""


class Key(NamedTuple):
    """Where an object stands. `collection` is "pods" or "computejobs.shoal.dev"; `namespace` may be ""."""

    collection: str
    namespace: str
    name: str


@dataclass(slots=True)
class Change:
    """One write. `document` is the object after it (as it last stood, for DELETED), `previous` before it."""

    type: ChangeType
    key: Key
    resource_version: int
    document: Document
    previous: Document | None
    encoded: bytes | None = None
    """Cache of the encoded document, filled by the first watcher that sends it."""


class HistoryLostError(Exception):
    """The log no longer reaches back to `requested`; the oldest version it can continue from is `oldest`."""

    def __init__(self, requested: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {requested} ({oldest})")
        self.requested = requested
        self.oldest = oldest


class _Collection:
    """The objects of one kind, and the tail of their log."""

    __slots__ = ("floor", "log", "log_versions", "namespaces")

    def __init__(self, floor: int) -> None:
        self.namespaces: dict[str, dict[str, Document]] = {}
        self.log: list[Change] = []
        self.log_versions: list[int] = []
        self.floor = floor

    def record(self, change: Change, limit: int) -> None:
        self.log.append(change)
        self.log_versions.append(change.resource_version)
        # Trimmed by half a limit at a time, so that a write costs no copy of the whole log.
        if len(self.log) > limit + limit // 2:
            surplus = len(self.log) - limit
            self.floor = self.log_versions[surplus - 1]
            del self.log[:surplus], self.log_versions[:surplus]


class Store:
    """All collections. `first_version` lets a restarted server begin above its predecessor's versions."""

    def __init__(self, *, first_version: int = 1, history_limit: int = HISTORY_LIMIT) -> None:
        self.resource_version = first_version
        self._first_version = first_version
        self._history_limit = history_limit
        self._collections: dict[str, _Collection] = {}
        self._listeners: list[Callable[[Change], None]] = []

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` after every change; it must not write. Returns what ends the subscription."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def get(self, key: Key) -> Document | None:
        collection = self._collections.get(key.collection)
        return collection.namespaces.get(key.namespace, {}).get(key.name) if collection else None

    def put(self, key: Key, document: Document) -> Document:
        """Insert or replace; stamps `metadata.resourceVersion` into `document` and keeps it."""
        collection = self._collection(key.collection)
        objects = collection.namespaces.setdefault(key.namespace, {})
        previous = objects.get(key.name)
        self.resource_version += 1
        document["metadata"]["resourceVersion"] = str(self.resource_version)
        objects[key.name] = document
        kind: ChangeType = "ADDED" if previous is None else "MODIFIED"
        self._publish(collection, Change(kind, key, self.resource_version, document, previous))
        return document

    def remove(self, key: Key) -> Document | None:
        """Take an object out; returns it as it last stood, stamped with the version of its removal."""
        collection = self._collection(key.collection)
        objects = collection.namespaces.get(key.namespace, {})
        previous = objects.pop(key.name, None)
        if previous is None:
            return None
        if not objects:
            del collection.namespaces[key.namespace]
        self.resource_version += 1
        metadata = previous["metadata"] | {"resourceVersion": str(self.resource_version)}
        last = previous | {"metadata": metadata}
        self._publish(collection, Change("DELETED", key, self.resource_version, last, previous))
        return last

    def scan(self, collection: str, namespace: str | None = None) -> list[tuple[Key, Document]]:
        """Objects of a collection in key order; `namespace=None` means all namespaces."""
        held = self._collections.get(collection)
        if held is None:
            return []
        spaces = sorted(held.namespaces) if namespace is None else [namespace]
        return [
            (Key(collection, space, name), objects[name])
            for space in spaces
            if (objects := held.namespaces.get(space))
            for name in sorted(objects)
        ]

    def scan_at(self, collection: str, namespace: str | None, version: int) -> list[tuple[Key, Document]]:
        """The collection as it stood at `version`, found by undoing the log; for the later pages of a list.

        Raises HistoryLostError when the log does not reach back that far.
        """
        objects = dict(self.scan(collection, namespace))
        for change in reversed(self.changes_after(collection, version)):
            if namespace is not None and change.key.namespace != namespace:
                continue
            if change.previous is None:
                objects.pop(change.key, None)
            else:
                objects[change.key] = change.previous
        return sorted(objects.items(), key=lambda entry: entry[0])

    def changes_after(self, collection: str, version: int) -> list[Change]:
        """Changes of a collection with a version above `version`, in order; HistoryLostError if some are lost."""
        held = self._collection(collection)
        if version < held.floor:
            raise HistoryLostError(version, held.floor)
        return held.log[bisect.bisect_right(held.log_versions, version) :]

    def collections(self) -> Iterator[str]:
        """Names of the collections that hold at least one object."""
        return (name for name, held in list(self._collections.items()) if held.namespaces)

    def count(self, collection: str) -> int:
        held = self._collections.get(collection)
        return sum(len(objects) for objects in held.namespaces.values()) if held else 0

    def _collection(self, name: str) -> _Collection:
        held = self._collections.get(name)
        if held is None:
            # No change of this collection came before the first one, so nothing is lost above first_version.
            held = self._collections[name] = _Collection(self._first_version)
        return held

    def _publish(self, collection: _Collection, change: Change) -> None:
        collection.record(change, self._history_limit)
        for listener in tuple(self._listeners):
            listener(change)
