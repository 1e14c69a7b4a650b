"""The head's state in one SQLite file.

Invariants: what ``write`` has returned from is on disk (``synchronous=FULL``); a file that cannot be read, or is newer
than this program, is an error and never an empty start; two heads never have the same file open.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from shoal.head.state_error import StateError, unreadable
from shoal.head.state_tables import TABLES, Batch, Row, WriteError, column_names

FILE_NAME: Final = "head.db"
APPLICATION_ID: Final = 0x53484F41
"""Marks a SQLite file as the state of a head ("SHOA")."""
SCHEMA_VERSION: Final = 1
LOCK_WAIT_SECONDS: Final = 10.0
"""How long a new head waits for the old one to let go of the file."""


def _select(table: str) -> str:
    return f"SELECT {', '.join(column_names(table))} FROM {table} ORDER BY rowid"  # noqa: S608 - names of ours


def _delete(table: str) -> str:
    where = " AND ".join(f"{name} = ?" for name in column_names(table)[: TABLES[table][0]])
    return f"DELETE FROM {table} WHERE {where}"  # noqa: S608 - names of ours


def _upsert(table: str) -> str:
    """An upsert keeps the row's place; REPLACE would move it to the end."""
    names, keys = column_names(table), TABLES[table][0]
    news = ", ".join(f"{name} = excluded.{name}" for name in names)
    marks = ", ".join("?" * len(names))
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) "  # noqa: S608 - names of ours
        f"ON CONFLICT ({', '.join(names[:keys])}) DO UPDATE SET {news}"
    )


_SELECT: Final = {table: _select(table) for table in TABLES}
_DELETE: Final = {table: _delete(table) for table in TABLES}
_UPSERT: Final = {table: _upsert(table) for table in TABLES}


class StateFile:
    """An open state file.

    Args:
        directory: exists and is writable; the file is made in it when it is not there.
        lock_wait_seconds: how long to wait for another head to let go of it.

    Raises:
        StateError: says which file and what to do.
    """

    def __init__(self, directory: Path, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> None:
        file = directory / FILE_NAME
        self.path: str = str(file)
        _check_directory(directory)
        if not file.exists():
            _make(file)
        self._database = _open(file, lock_wait_seconds)

    def rows(self, table: str) -> list[Row]:
        """All rows in the order in which their keys came first; raises StateError (Unreadable)."""
        try:
            return list(self._database.execute(_SELECT[table]))
        except sqlite3.Error as error:
            raise unreadable(self.path, error) from error

    def write(self, batch: Batch) -> None:
        """One transaction, on disk on return; raises WriteError."""
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            for (table, key), row in batch.items():
                if row is None:
                    database.execute(_DELETE[table], key)
                else:
                    database.execute(_UPSERT[table], row)
            database.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise WriteError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


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
            _make_tables(database)
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


def _make_tables(database: sqlite3.Connection) -> None:
    """Those that are not there: a file of an earlier program of this schema may have fewer."""
    for table, (keys, columns) in TABLES.items():
        names = ", ".join(column_names(table)[:keys])
        database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}, UNIQUE ({names}))")


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
        raise unreadable(str(path), error) from error
    except sqlite3.Error as error:
        database.close()
        raise unreadable(str(path), error) from error
    except StateError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute("PRAGMA locking_mode = EXCLUSIVE")  # held by the process, so it ends with kill -9 too
    found = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if found != APPLICATION_ID:
        raise unreadable(str(path), "it is empty or the file of another program")
    if version > SCHEMA_VERSION:
        words = (
            f"the state {path} has version {version}, this program reads up to {SCHEMA_VERSION}: "
            "start the newer version of shoal that wrote it, or move the file away to start with nothing"
        )
        raise StateError("Newer", str(path), words)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN IMMEDIATE")
    _make_tables(database)
    database.execute("COMMIT")
