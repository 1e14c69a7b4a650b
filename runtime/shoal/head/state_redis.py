"""The head's state in Redis: one hash a table, a lock that a head holds while it lives.

Invariants: a write changes something only while this head holds the lock (one script checks both), so a head that was
cut off cannot write over its successor; a row is written whole or not at all, and so is a batch of usual size; keys go
by themselves when no head has written or renewed them for the retention time, so that clusters that are gone leave
nothing behind.

What ``write`` has returned from is as durable as the server makes it: ``appendfsync always`` is what a file does.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import redis

from shoal.head.state_error import StateError, unreadable
from shoal.head.state_tables import TABLES, Batch, Row, StateLostError, WriteError, key_of

SCHEMA_VERSION: Final = 1
LOCK_SECONDS: Final = 6.0
"""A lock that is not renewed for so long is free: its head was killed, or cut off."""
RENEW_SECONDS: Final = 1.5
LOCK_WAIT_SECONDS: Final = 15.0
"""How long a new head waits for the old one's lock; longer than it lives without its head."""
CALL_SECONDS: Final = 5.0
SCRIPT_BYTES: Final = 8 * 1024 * 1024
"""What one script writes: little enough for one call, however far the server was behind."""
_POLL_SECONDS: Final = 0.1

_WRITE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local at = 4
for index = 2, #KEYS do
  local key = KEYS[index]
  local sets, drops = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, sets do redis.call('HSET', key, ARGV[at], ARGV[at + 1]); at = at + 2 end
  for _ = 1, drops do redis.call('HDEL', key, ARGV[at]); at = at + 1 end
  redis.call('PEXPIRE', key, ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class StateRedis:
    """The tables of one cluster in a Redis server.

    Args:
        url: ``redis://HOST:PORT/DB``, or ``rediss://`` for TLS with the machine's authorities.
        name: of the cluster; unique among those that share the server and database.
        password: of the user in the URL, or of the default user.
        retention_seconds: keys that no head has touched for so long go.
        on_lost: called once, on any thread, when another head has taken the state over.
        lock_wait_seconds: how long to wait for another head to let go.

    Raises:
        StateError: says which server and what to do.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        password: str = "",
        retention_seconds: float,
        on_lost: Callable[[StateLostError], None],
        lock_wait_seconds: float = LOCK_WAIT_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        self.path: str = f"{parts.hostname}:{parts.port or 6379}{parts.path} ({name})"
        self._prefix = f"shoal:{{{name}}}"  # braces: all keys of a cluster are in one slot of Redis Cluster
        self._retention_ms = int(retention_seconds * 1000)
        self._token = secrets.token_hex(16)
        self._places: dict[str, dict[str, int]] = {table: {} for table in TABLES}
        self._next_place = 0
        self._closed = threading.Event()
        self._on_lost = on_lost
        self._server = redis.Redis.from_url(
            url, password=password or None, socket_timeout=CALL_SECONDS, socket_connect_timeout=CALL_SECONDS
        )
        try:
            self._take_lock(lock_wait_seconds)
            self._check_version()
        except redis.RedisError as error:
            self._server.close()
            raise self._unreachable(error) from error
        except StateError:
            self._release()
            raise
        self._renewer = threading.Thread(target=self._renew, name="shoal-head-lock", daemon=True)
        self._renewer.start()

    def rows(self, table: str) -> list[Row]:
        """All rows in the order in which their keys came first; raises StateError (Unreadable, Unreachable)."""
        try:
            found: Any = self._server.hgetall(self._key(table))
        except redis.RedisError as error:
            raise self._unreachable(error) from error
        try:
            placed = sorted((_decoded(value) for value in found.values()), key=lambda one: one[0])
        except (ValueError, TypeError, KeyError) as error:
            raise unreadable(self.path, f"a row of {table} is malformed ({error})") from error
        for place, row in placed:
            self._places[table][_field(key_of(table, row))] = place
            self._next_place = max(self._next_place, place + 1)
        return [row for _, row in placed]

    def write(self, batch: Batch) -> None:
        """One script for each ``SCRIPT_BYTES`` of rows; raises WriteError, StateLostError where another head took over.

        What an error leaves out is written by the next try: rows are whole, and writing one twice changes nothing.
        """
        part: dict[str, tuple[list[str], list[str]]] = {}
        size = 0
        for (table, key), row in batch.items():
            field = _field(key)
            sets, drops = part.setdefault(table, ([], []))
            if row is None:
                drops.append(field)
                size += len(field)
            else:
                value = _encoded(self._place(table, field), row)
                sets.extend((field, value))
                size += len(field) + len(value)
            if size >= SCRIPT_BYTES:
                self._write_part(part)
                part, size = {}, 0
        self._write_part(part)

    def _write_part(self, part: Mapping[str, tuple[list[str], list[str]]]) -> None:
        """Sets (field and value in turn) and drops of fields, by table."""
        arguments: list[Any] = []
        for sets, drops in part.values():
            arguments += [len(sets) // 2, len(drops), *sets, *drops]
        self._run([self._key(table) for table in part], arguments)
        for table, (_, drops) in part.items():
            for field in drops:
                self._places[table].pop(field, None)

    def close(self) -> None:
        """Give the lock back and close the connections."""
        self._closed.set()
        self._renewer.join(CALL_SECONDS)
        self._release()

    def _run(self, keys: list[str], arguments: list[Any]) -> None:
        head: list[Any] = [self._token, self._lock_ms, self._retention_ms]
        try:
            held: Any = self._server.eval(_WRITE, 1 + len(keys), self._key("lock"), *keys, *head, *arguments)
        except redis.RedisError as error:
            raise WriteError(f"{self.path}: {error}") from error
        if held:
            return
        if not self._take_again():
            lost = StateLostError(f"{self.path}: another head has taken it over")
            if not self._closed.is_set():
                self._closed.set()
                self._on_lost(lost)
            raise lost
        self._run(keys, arguments)

    def _take_again(self) -> bool:
        """Whether the lock had only run out: nobody else had it meanwhile."""
        try:
            unchanged = self._server.get(self._key("last")) == self._token.encode()
            return unchanged and bool(self._server.set(self._key("lock"), self._token, nx=True, px=self._lock_ms))
        except redis.RedisError as error:
            raise WriteError(f"{self.path}: {error}") from error

    @property
    def _lock_ms(self) -> int:
        return int(LOCK_SECONDS * 1000)

    def _take_lock(self, wait_seconds: float) -> None:
        until = time.monotonic() + wait_seconds
        while not self._server.set(self._key("lock"), self._token, nx=True, px=self._lock_ms):
            if time.monotonic() >= until:
                words = f"the state {self.path} is in use by another head: give every cluster a name of its own"
                raise StateError("InUse", self.path, words)
            self._closed.wait(_POLL_SECONDS)
        self._server.set(self._key("last"), self._token, px=self._retention_ms)

    def _check_version(self) -> None:
        found: Any = self._server.get(self._key("version"))
        if found is not None and int(found) > SCHEMA_VERSION:
            words = (
                f"the state {self.path} has version {int(found)}, this program reads up to {SCHEMA_VERSION}: "
                "start the newer version of shoal that wrote it, or delete its keys to start with nothing"
            )
            raise StateError("Newer", self.path, words)
        self._server.set(self._key("version"), SCHEMA_VERSION, px=self._retention_ms)

    def _renew(self) -> None:
        """The lock lives as long as this head; every key lives on with it. What a write meets, a write says."""
        names = [self._key(table) for table in (*TABLES, "last", "version")]
        while not self._closed.wait(RENEW_SECONDS):
            with contextlib.suppress(WriteError):
                self._run(names, [0, 0] * len(names))

    def _release(self) -> None:
        with contextlib.suppress(redis.RedisError):
            self._server.eval(_RELEASE, 1, self._key("lock"), self._token)
        self._server.close()

    def _unreachable(self, error: Exception) -> StateError:
        words = (
            f"the state {self.path} cannot be reached: {error}; "
            "check the address, the password, and that network policies let the head reach it"
        )
        return StateError("Unreachable", self.path, words)

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _place(self, table: str, field: str) -> int:
        place = self._places[table].get(field)
        if place is None:
            place = self._places[table][field] = self._next_place
            self._next_place += 1
        return place


def _field(key: Row) -> str:
    return json.dumps(key)


def _encoded(place: int, row: Row) -> str:
    columns = [{"b": base64.b64encode(one).decode()} if isinstance(one, bytes) else one for one in row]
    return json.dumps([place, columns])


def _decoded(text: bytes) -> tuple[int, Row]:
    place, columns = json.loads(text)
    return int(place), tuple(base64.b64decode(one["b"]) if isinstance(one, dict) else one for one in columns)
