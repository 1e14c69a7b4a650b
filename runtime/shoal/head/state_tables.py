"""What tables the head's state has, and what keeps them: one contract for every place.

Invariant: a row is text, whole numbers and bytes, its key first; a place writes a row whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

TABLES: Final[dict[str, tuple[int, tuple[str, ...]]]] = {
    "identity": (1, ("name TEXT NOT NULL", "value TEXT NOT NULL")),
    "jobs": (1, ("submission_id TEXT NOT NULL", "state TEXT NOT NULL", "record TEXT NOT NULL", "tail BLOB NOT NULL")),
    "kv": (2, ("namespace TEXT NOT NULL", "key TEXT NOT NULL", "value BLOB NOT NULL")),
    "actors": (
        1,
        (
            *("actor_id TEXT NOT NULL", "name TEXT NOT NULL", "state TEXT NOT NULL", "node_id TEXT NOT NULL"),
            *("record TEXT NOT NULL", "worker BLOB NOT NULL", "creation BLOB NOT NULL", "handle BLOB NOT NULL"),
        ),
    ),
    "nodes": (1, ("node_id TEXT NOT NULL", "alive INTEGER NOT NULL", "record TEXT NOT NULL")),
    "drivers": (2, ("job_id TEXT NOT NULL", "node_id TEXT NOT NULL")),
    "placement_groups": (
        1,
        ("group_id TEXT NOT NULL", "name TEXT NOT NULL", "state TEXT NOT NULL", "record TEXT NOT NULL"),
    ),
    "drains": (1, ("node_id TEXT NOT NULL", "reason TEXT NOT NULL")),
}
"""Table name to how many of its first columns are its key, and all its columns."""

Row = tuple[Any, ...]
Key = tuple[str, Row]
"""A table and the values of its key columns."""

Batch = Mapping[Key, Row | None]
"""Whole rows by key; None drops one."""


class WriteError(OSError):
    """A batch was not written; it may be tried again. The text names the place."""


class StateLostError(WriteError):
    """Another head has the place now: this one must end, and nothing it holds is written any more."""


class StateStore(Protocol):
    """A place for the tables. Opened by its constructor, which raises ``StateError``; used by one thread at a time."""

    path: str
    """The place, for messages."""

    def rows(self, table: str) -> list[Row]:
        """All rows in the order in which their keys came first. Raises StateError (Unreadable)."""
        ...

    def write(self, batch: Batch) -> None:
        """Write; on return the batch is as durable as the place can make it. Raises WriteError."""
        ...

    def close(self) -> None:
        """Let go of the place, so that another head can have it."""
        ...


def column_names(table: str) -> list[str]:
    """Names of all columns of a table, those of its key first."""
    return [column.split()[0] for column in TABLES[table][1]]


def key_of(table: str, row: Row) -> Row:
    """The values of a row's key columns."""
    return row[: TABLES[table][0]]
