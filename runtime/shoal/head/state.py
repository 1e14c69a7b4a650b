"""The head's durable state: one SQLite file, written by one thread, many changes a commit.

Invariants: ``put`` and ``drop`` only queue (they may be called under the head's lock) and the newest value of a key
replaces an older one that still waits, so what waits is bounded by what the head holds; what ``when_durable`` calls
back for is on disk (``synchronous=FULL``); a file that cannot be read, or is newer than this program, is an error and
never an empty start; two heads never have the same file open.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from shoal.head.state_error import StateError, unreadable

FILE_NAME: Final = "head.db"
APPLICATION_ID: Final = 0x53484F41
"""Marks a SQLite file as the state of a head ("SHOA")."""
SCHEMA_VERSION: Final = 1
LOCK_WAIT_SECONDS: Final = 10.0
"""How long a new head waits for the old one to let go of the file."""
RETRY_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 5.0
MAX_WAITING_ROWS: Final = 50_000
MAX_WAITING_BYTES: Final = 256 * 1024 * 1024

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
    "drains": (1, ("node_id TEXT NOT NULL", "reason TEXT NOT NULL")),
}
"""Table name to how many of its first columns are its key, and all its columns."""


def _names(table: str) -> list[str]:
    return [column.split()[0] for column in TABLES[table][1]]


def _select(table: str) -> str:
    return f"SELECT {', '.join(_names(table))} FROM {table} ORDER BY rowid"  # noqa: S608 - names of ours


def _delete(table: str) -> str:
    where = " AND ".join(f"{name} = ?" for name in _names(table)[: TABLES[table][0]])
    return f"DELETE FROM {table} WHERE {where}"  # noqa: S608 - names of ours


def _upsert(table: str) -> str:
    """An upsert keeps the row's place; REPLACE would move it to the end."""
    names, keys = _names(table), TABLES[table][0]
    news = ", ".join(f"{name} = excluded.{name}" for name in names)
    marks = ", ".join("?" * len(names))
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) "  # noqa: S608 - names of ours
        f"ON CONFLICT ({', '.join(names[:keys])}) DO UPDATE SET {news}"
    )


_SELECT: Final = {table: _select(table) for table in TABLES}
_DELETE: Final = {table: _delete(table) for table in TABLES}
_UPSERT: Final = {table: _upsert(table) for table in TABLES}

_Key = tuple[str, tuple[Any, ...]]


class HeadState:
    """An open state file; begins to write with its first change.

    Args:
        directory: exists and is writable; the file is made in it when it is not there.

    Raises:
        StateError: says which file and what to do.

    Example:
        >>> state = HeadState(Path("/var/lib/shoal"))
        >>> state.put("kv", "", "key", b"value")
        >>> state.when_durable(lambda: print("on disk"))
    """

    def __init__(self, directory: Path, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> None:
        self.path: Final = directory / FILE_NAME
        _check_directory(directory)
        if not self.path.exists():
            _make(self.path)
        self._database = _open(self.path, lock_wait_seconds)
        self._condition = threading.Condition()
        self._waiting: dict[_Key, tuple[Any, ...] | None] = {}
        self._waiting_bytes = 0
        self._callbacks: list[Callable[[], None]] = []
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="shoal-head-state", daemon=True)
        self._thread.start()

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """All rows as they were at the start, in the order in which their keys came first.

        Call it before the first change. Raises StateError (Unreadable).
        """
        try:
            return list(self._database.execute(_SELECT[table]))
        except sqlite3.Error as error:
            raise unreadable(self.path, error) from error

    @property
    def full(self) -> bool:
        """Whether the disk is so far behind that nothing new should be taken in."""
        return len(self._waiting) >= MAX_WAITING_ROWS or self._waiting_bytes >= MAX_WAITING_BYTES

    def put(self, table: str, *row: Any) -> None:
        """Write a whole row, its key first; replaces the row with that key."""
        self._change((table, row[: TABLES[table][0]]), row)

    def drop(self, table: str, *key: Any) -> None:
        """Remove the row with that key, if there is one."""
        self._change((table, key), None)

    def when_durable(self, done: Callable[[], None]) -> None:
        """Call ``done`` on the writer's thread once every change made so far is on disk."""
        with self._condition:
            self._callbacks.append(done)
            self._condition.notify()

    def close(self) -> None:
        """Write what waits, for ``CLOSE_SECONDS`` at most, and let go of the file. Idempotent."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_SECONDS)

    def _change(self, key: _Key, row: tuple[Any, ...] | None) -> None:
        with self._condition:
            self._waiting_bytes += _size(row) - _size(self._waiting.get(key))
            self._waiting[key] = row
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not (self._waiting or self._callbacks or self._closing):
                    self._condition.wait()
                batch, self._waiting, self._waiting_bytes = self._waiting, {}, 0
                callbacks, self._callbacks = self._callbacks, []
                if self._closing and not batch and not callbacks:
                    break
            if not batch or self._written(batch):
                _call_all(callbacks)
        self._database.close()

    def _written(self, batch: dict[_Key, tuple[Any, ...] | None]) -> bool:
        """Try until it is on disk; False when the head closes meanwhile."""
        while True:
            try:
                self._commit(batch)
            except sqlite3.Error as error:
                if not self._failing:
                    words = f"error: the head cannot write its state to {self.path}: {error}; it tries again\n"
                    sys.stderr.write(words)
                self._failing = True
                with self._condition:
                    if self._closing or self._condition.wait_for(lambda: self._closing, RETRY_SECONDS):
                        return False
            else:
                self._failing = False
                return True

    def _commit(self, batch: dict[_Key, tuple[Any, ...] | None]) -> None:
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            for (table, key), row in batch.items():
                if row is None:
                    database.execute(_DELETE[table], key)
                else:
                    database.execute(_UPSERT[table], row)
            database.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise


def _size(row: tuple[Any, ...] | None) -> int:
    return sum(len(value) for value in row or () if isinstance(value, bytes | str))


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for done in callbacks:
        try:
            done()
        except Exception:  # noqa: BLE001 - one failing listener must not end the writer; it must be seen, though
            traceback.print_exc()


def _check_directory(directory: Path) -> None:
    if not directory.is_dir():
        words = f"the state directory {directory} is not there: make it, or mount the volume that it should be"
        raise StateError("Missing", str(directory), words)
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        words = (
            f"the state directory {directory} cannot be written by user {os.getuid()}: "
            "change its owner (in a pod: securityContext.fsGroup)"
        )
        raise StateError("NotWritable", str(directory), words)


def _make(path: Path) -> None:
    """Made whole under another name first: an empty file is then a damaged one, not a new one."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        database = sqlite3.connect(fresh, isolation_level=None)
        try:
            for table, (keys, columns) in TABLES.items():
                names = ", ".join(_names(table)[:keys])
                database.execute(f"CREATE TABLE {table} ({', '.join(columns)}, UNIQUE ({names}))")
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        finally:
            database.close()
        fresh.chmod(0o600)
        fresh.rename(path)
        with contextlib.suppress(OSError):  # not every file system can
            _sync(path.parent)
    except (OSError, sqlite3.Error) as error:
        words = f"the head's state cannot be made at {path}: {error}; check the volume's space and rights"
        raise StateError("NotWritable", str(path), words) from error


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open(path: Path, lock_wait_seconds: float) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=lock_wait_seconds, isolation_level=None, check_same_thread=False)
    try:
        _prepare(database, path)
    except sqlite3.OperationalError as error:
        database.close()
        if getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            words = f"the state {path} is in use by another head: give every head a directory of its own"
            raise StateError("InUse", str(path), words) from error
        raise unreadable(path, error) from error
    except sqlite3.Error as error:
        database.close()
        raise unreadable(path, error) from error
    except StateError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute("PRAGMA locking_mode = EXCLUSIVE")  # held by the process, so it ends with kill -9 too
    found = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if found != APPLICATION_ID:
        raise unreadable(path, "it is empty or the file of another program")
    if version > SCHEMA_VERSION:
        words = (
            f"the state {path} has version {version}, this program reads up to {SCHEMA_VERSION}: "
            "start the newer version of shoal that wrote it, or move the file away to start with nothing"
        )
        raise StateError("Newer", str(path), words)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN IMMEDIATE")
    database.execute("COMMIT")
