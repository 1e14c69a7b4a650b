"""The head's durable state: tables in a place that outlives the process, written by one thread, many changes a batch.

Invariants: ``put`` and ``drop`` only queue (they may be called under the head's lock) and the newest value of a key
replaces an older one that still waits, so what waits is bounded by what the head holds; what ``when_durable`` calls
back for is written. Where is the store's matter: a file (``state_file.py``) or Redis (``state_redis.py``).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Final

from shoal.head.state_tables import Key, Row, StateLostError, StateStore, WriteError, key_of

RETRY_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 5.0
MAX_WAITING_ROWS: Final = 50_000
MAX_WAITING_BYTES: Final = 256 * 1024 * 1024


class HeadState:
    """The open state; begins to write with its first change.

    Args:
        store: where it is; closed with the state.

    Example:
        >>> state = HeadState(StateFile(Path("/var/lib/shoal")))
        >>> state.put("kv", "", "key", b"value")
        >>> state.when_durable(lambda: print("on disk"))
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._condition = threading.Condition()
        self._waiting: dict[Key, Row | None] = {}
        self._waiting_bytes = 0
        self._callbacks: list[Callable[[], None]] = []
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="shoal-head-state", daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        """The place, for messages."""
        return self._store.path

    def rows(self, table: str) -> list[Row]:
        """All rows as they were at the start, in the order in which their keys came first.

        Call it before the first change. Raises StateError (Unreadable).
        """
        return self._store.rows(table)

    @property
    def full(self) -> bool:
        """Whether the disk is so far behind that nothing new should be taken in."""
        return len(self._waiting) >= MAX_WAITING_ROWS or self._waiting_bytes >= MAX_WAITING_BYTES

    def put(self, table: str, *row: Any) -> None:
        """Write a whole row, its key first; replaces the row with that key."""
        self._change((table, key_of(table, row)), row)

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

    def _change(self, key: Key, row: Row | None) -> None:
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
        self._store.close()

    def _written(self, batch: dict[Key, Row | None]) -> bool:
        """Try until it is on disk; False when the head closes meanwhile."""
        while True:
            try:
                self._store.write(batch)
            except StateLostError:
                return False
            except WriteError as error:
                if not self._failing:
                    sys.stderr.write(f"error: the head cannot write its state to {error}; it tries again\n")
                self._failing = True
                with self._condition:
                    if self._closing or self._condition.wait_for(lambda: self._closing, RETRY_SECONDS):
                        return False
            else:
                self._failing = False
                return True


def end_this_head(error: StateLostError) -> None:
    """What a head does that has lost its state to another one: it says so and ends, as on SIGTERM."""
    sys.stderr.write(f"error: this head ends: {error}\n")
    os.kill(os.getpid(), signal.SIGTERM)


def _size(row: Row | None) -> int:
    return sum(len(value) for value in row or () if isinstance(value, bytes | str))


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for done in callbacks:
        try:
            done()
        except Exception:  # noqa: BLE001 - one failing listener must not end the writer; it must be seen, though
            traceback.print_exc()
