"""What the informers know: the objects of one resource, indexed, and a word to whoever listens for changes.

Invariants:
- a list replaces everything it covers, and what vanished meanwhile is reported as deleted: there are no
  ghosts;
- an object never goes back to an older version, however list pages, events and answers to our own writes
  interleave;
- an object that was deleted and made again under the same name is reported as deleted, then added (by uid);
- listeners are called in the event loop's thread, in order, and must not block.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Name = tuple[str, str]
"""Namespace and name."""


class ChangeType(enum.Enum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        obj: the object after it, or its last known state when it was deleted.
        old: the object before it; None when it was added.
    """

    type: ChangeType
    obj: Json
    old: Json | None = None

    @property
    def name(self) -> Name:
        """Namespace and name of the object."""
        return name_of(self.obj)


Listener = Callable[[Change], None]
Indexer = Callable[[Json], Iterable[str]]


def name_of(obj: Mapping[str, Any]) -> Name:
    """Namespace and name of an object."""
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def uid_of(obj: Mapping[str, Any]) -> str:
    """The object's uid."""
    return str(obj["metadata"].get("uid", ""))


def version_of(obj: Mapping[str, Any]) -> int:
    """The object's resource version as a number, for comparing two versions of one object."""
    version = str(obj["metadata"].get("resourceVersion") or "0")
    return int(version) if version.isdecimal() else 0


def owner_uids(obj: Json) -> Iterable[str]:
    """The uids of an object's owners: the indexer that every store has, under ``owner``."""
    return [str(owner.get("uid")) for owner in obj["metadata"].get("ownerReferences") or ()]


class Store:
    """The objects of one resource.

    Args:
        transform: makes of a server's object what is kept of it (memory). Must keep ``metadata.name``,
            ``namespace``, ``uid``, ``resourceVersion`` and ``ownerReferences``.
        indexers: index name to a function from an object to its values in that index.
    """

    def __init__(
        self,
        transform: Callable[[Json], Json] = lambda obj: obj,
        indexers: Mapping[str, Indexer] | None = None,
    ) -> None:
        self._transform = transform
        self._objects: dict[Name, Json] = {}
        self._indexers: dict[str, Indexer] = {"owner": owner_uids, **(indexers or {})}
        self._indexes: dict[str, dict[str, dict[Name, None]]] = {name: {} for name in self._indexers}
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` after every change from now on."""
        self._listeners.append(listener)

    def get(self, namespace: str, name: str) -> Json | None:
        """The object, or None."""
        return self._objects.get((namespace, name))

    def names(self) -> tuple[Name, ...]:
        """Namespace and name of every object."""
        return tuple(self._objects)

    def indexed(self, index: str, value: str) -> list[Json]:
        """The objects with that value in that index, by name."""
        return [self._objects[name] for name in sorted(self._indexes[index].get(value, ()))]

    def owned_by(self, uid: str) -> list[Json]:
        """The objects with an owner of that uid, by name."""
        return self.indexed("owner", uid)

    def __len__(self) -> int:
        return len(self._objects)

    def upsert(self, raw: Json) -> None:
        """The server has this object (an ADDED or MODIFIED event, an entry of a list)."""
        obj = self._transform(raw)
        name = name_of(obj)
        known = self._objects.get(name)
        if known is None:
            self._put(name, obj, ChangeType.ADDED)
        elif uid_of(known) != uid_of(obj):
            self._drop(name)
            self._put(name, obj, ChangeType.ADDED)
        elif version_of(obj) > version_of(known) or version_of(obj) == 0:
            self._put(name, obj, ChangeType.MODIFIED)

    def refresh(self, raw: Json) -> None:
        """The answer to one of our own writes: taken only when it is newer than what we have.

        It never adds: its DELETED event may have come before the answer, and no other would follow.
        """
        known = self._objects.get(name_of(raw))
        if known is not None and uid_of(known) == uid_of(raw):
            self.upsert(raw)

    def remove(self, raw: Json) -> None:
        """The server no longer has this object (a DELETED event)."""
        known = self._objects.get(name_of(raw))
        if known is not None and uid_of(known) == uid_of(raw):
            self._drop(name_of(raw))

    def keep_only(self, listed: Set[Name], *, namespace: str | None, resource_version: str) -> None:
        """The end of a whole list, after an ``upsert`` for each of its objects: there are no others.

        Args:
            listed: the names of the list.
            namespace: where; None: everywhere.
            resource_version: of the list.
        """
        as_of = int(resource_version) if resource_version.isdecimal() else None
        for name, known in list(self._objects.items()):
            covered = namespace is None or name[0] == namespace
            is_newer = as_of is not None and version_of(known) > as_of
            if covered and name not in listed and not is_newer:
                self._drop(name)

    def _put(self, name: Name, obj: Json, change: ChangeType) -> None:
        known = self._objects.get(name)
        if known is not None:
            self._unindex(name, known)
        self._objects[name] = obj
        for index, indexer in self._indexers.items():
            for value in indexer(obj):
                self._indexes[index].setdefault(value, {})[name] = None
        self._tell(Change(change, obj, known))

    def _drop(self, name: Name) -> None:
        known = self._objects.pop(name)
        self._unindex(name, known)
        self._tell(Change(ChangeType.DELETED, known, known))

    def _unindex(self, name: Name, obj: Json) -> None:
        for index, indexer in self._indexers.items():
            for value in indexer(obj):
                entries = self._indexes[index].get(value)
                if entries is not None:
                    entries.pop(name, None)
                    if not entries:
                        del self._indexes[index][value]

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)
