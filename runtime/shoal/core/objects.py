"""The objects that one process owns or borrows: their state, where copies are, and who still needs them.

Pure: every method is an event; what has to be done about it comes back as effects, which the shell carries out.

Invariants:
- an owned object is freed exactly when no local reference, no pin (argument of an unfinished task, value inside another
  object) and no borrower is left, and never before;
- a borrowed object tells its owner exactly once when the last local need ends;
- a resolved object never becomes pending again, except an owned one that lost every copy, or was released and is needed
  again for its lineage, and is made again by its task;
- an entry that only lineage needs holds no copy in shared memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from shoal.wire.address import RawAddress, RawNode

PENDING: Final = 0
INLINE: Final = 1
STORED: Final = 2
FAILED: Final = 3
RELEASED: Final = 4
"""Owned, and only kept because a task that made something else of it may have to run again."""


@dataclass(frozen=True, slots=True)
class Free:
    """Nobody needs an owned object any more: delete its copies."""

    object_id: bytes
    nodes: tuple[RawNode, ...]
    task: Any = None  # the lineage of a forgotten entry: one result less to make again
    contained: tuple[Any, ...] = ()  # dropped by the shell, outside of the table


@dataclass(frozen=True, slots=True)
class StopBorrowing:
    """Tell the owner that this process needs the object no more."""

    object_id: bytes
    owner: RawAddress


Effect = Free | StopBorrowing
Waiter = Callable[[], None]


class ObjectEntry:
    """What a process knows of one object. Fields are written only by ``ObjectTable``."""

    __slots__ = (
        "borrowers",
        "contained",
        "data",
        "lineage",
        "local",
        "nodes",
        "object_id",
        "owner",
        "pins",
        "size",
        "state",
        "task",
        "waiters",
        "watching",
    )

    def __init__(self, object_id: bytes, owner: RawAddress | None) -> None:
        self.object_id = object_id
        self.owner = owner  # None: this process
        self.state = PENDING
        self.data: bytes = b""  # the serialized value (INLINE) or error (FAILED)
        self.size = 0
        self.nodes: dict[str, RawNode] = {}
        self.local = 0
        self.pins = 0
        self.lineage = 0  # results that live and were made from this object
        self.borrowers: set[str] = set()
        self.task: Any = None  # lineage: what makes it again; opaque here
        self.contained: tuple[Any, ...] = ()  # references inside the value, alive as long as the value
        self.waiters: list[Waiter] | None = None
        self.watching = False  # a borrowed object whose owner has been asked for the value


class ObjectTable:
    """All entries of a process."""

    def __init__(self) -> None:
        self.entries: dict[bytes, ObjectEntry] = {}
        self._borrowed_by: dict[str, set[bytes]] = {}
        self._lent = 0

    # Making entries

    def own(self, object_id: bytes, task: Any = None) -> ObjectEntry:
        """A new object of this process, pending, without any reference yet."""
        entry = ObjectEntry(object_id, None)
        entry.task = task
        self.entries[object_id] = entry
        return entry

    def borrow(self, object_id: bytes, owner: RawAddress) -> tuple[ObjectEntry, bool]:
        """The entry of a foreign object; True when it is new, so that the owner has to be told."""
        entry = self.entries.get(object_id)
        if entry is not None:
            return entry, False
        entry = ObjectEntry(object_id, owner)
        self.entries[object_id] = entry
        return entry, True

    # References

    def drop_local(self, object_id: bytes) -> Effect | None:
        """A Python reference is gone."""
        entry = self.entries.get(object_id)
        if entry is None:
            return None
        entry.local -= 1
        return self._collect(entry)

    def unpin(self, object_id: bytes) -> Effect | None:
        """A task that had the object as an argument has ended."""
        entry = self.entries.get(object_id)
        if entry is None:
            return None
        entry.pins -= 1
        return self._collect(entry)

    def drop_lineage(self, object_id: bytes) -> Effect | None:
        """A result that was made from the object needs it no more."""
        entry = self.entries.get(object_id)
        if entry is None:
            return None
        entry.lineage -= 1
        return self._collect(entry)

    def add_borrower(self, object_id: bytes, process_id: str) -> bool:
        """Another process holds a reference; False when the object is gone already."""
        entry = self.entries.get(object_id)
        if entry is None:
            return False
        if not entry.borrowers:
            self._lent += 1
        entry.borrowers.add(process_id)
        self._borrowed_by.setdefault(process_id, set()).add(object_id)
        return True

    def drop_borrower(self, object_id: bytes, process_id: str) -> Effect | None:
        """Another process needs the object no more."""
        entry = self.entries.get(object_id)
        if entry is None or process_id not in entry.borrowers:
            return None
        entry.borrowers.discard(process_id)
        if not entry.borrowers:
            self._lent -= 1
        borrowed = self._borrowed_by[process_id]
        borrowed.discard(object_id)
        if not borrowed:
            del self._borrowed_by[process_id]
        return self._collect(entry)

    def process_gone(self, process_id: str) -> list[Effect]:
        """A process ended: what it borrowed, it needs no more."""
        borrowed = list(self._borrowed_by.get(process_id, ()))
        effects = (self.drop_borrower(object_id, process_id) for object_id in borrowed)
        return [effect for effect in effects if effect is not None]

    def _collect(self, entry: ObjectEntry) -> Effect | None:
        if entry.local > 0 or entry.pins > 0 or entry.borrowers:
            return None
        if entry.lineage > 0:
            return self._release(entry)
        del self.entries[entry.object_id]
        if entry.owner is not None:
            return StopBorrowing(entry.object_id, entry.owner)
        return Free(entry.object_id, tuple(entry.nodes.values()), entry.task, entry.contained)

    def _release(self, entry: ObjectEntry) -> Effect | None:
        """Keep the entry for its lineage; give up the copies that its task could make again."""
        if entry.owner is not None or entry.state != STORED or entry.task is None:
            return None
        nodes = tuple(entry.nodes.values())
        contained, entry.contained = entry.contained, ()
        entry.state, entry.nodes = RELEASED, {}
        return Free(entry.object_id, nodes, None, contained)

    # Values

    def resolve_inline(self, entry: ObjectEntry, data: bytes) -> list[Waiter]:
        """The value is here."""
        entry.state, entry.data, entry.size = INLINE, data, len(data)
        return self._take_waiters(entry)

    def resolve_stored(self, entry: ObjectEntry, size: int, nodes: tuple[RawNode, ...]) -> list[Waiter]:
        """The value is in shared memory on these nodes."""
        entry.state, entry.data, entry.size = STORED, b"", size
        entry.nodes = {node[0]: node for node in nodes}
        return self._take_waiters(entry)

    def resolve_failed(self, entry: ObjectEntry, error: bytes) -> list[Waiter]:
        """There will be no value; the error is raised where it is asked for."""
        entry.state, entry.data, entry.size = FAILED, error, len(error)
        return self._take_waiters(entry)

    def make_pending(self, entry: ObjectEntry) -> None:
        """Every copy is lost; the object is being made again, or asked for again."""
        entry.state, entry.data, entry.nodes = PENDING, b"", {}
        entry.watching = False

    def lose_copy(self, object_id: bytes, node_id: str) -> ObjectEntry | None:
        """A node has no copy any more; the entry when that was the last one."""
        entry = self.entries.get(object_id)
        if entry is None or entry.state != STORED:
            return None
        entry.nodes.pop(node_id, None)
        return None if entry.nodes else entry

    def lose_node(self, node_id: str) -> list[ObjectEntry]:
        """A node is gone; the entries that lost their last copy."""
        lost = [self.lose_copy(entry.object_id, node_id) for entry in list(self.entries.values())]
        return [entry for entry in lost if entry is not None]

    def _take_waiters(self, entry: ObjectEntry) -> list[Waiter]:
        waiters, entry.waiters = entry.waiters, None
        return waiters or []

    def needed_elsewhere(self) -> int:
        """How many objects other processes borrow from this one."""
        return self._lent
