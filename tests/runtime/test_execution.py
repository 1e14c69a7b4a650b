"""What a call's end is told as, whichever way an actor runs its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shoal.owner.process import OwnerProcess
from shoal.serialization import serialize
from shoal.store.client import StoreFailure
from shoal.wire import messages
from shoal.wire.connection import Connection
from shoal.worker.actor import ActorHost
from shoal.worker.execution import Executor, Task


class Plain:
    def call(self, value: object) -> object:
        return value


class Async:
    async def call(self, value: object) -> object:
        await asyncio.sleep(0)
        return value


class LostStore:
    """A store whose node has lost every copy."""

    def fetch(self, _object_id: bytes, _locations: object, on_done: Callable[[StoreFailure], None]) -> None:
        on_done(StoreFailure("ObjectMissing", "no copy is left"))


@pytest.mark.parametrize(("cls", "concurrency"), [(Plain, 1), (Plain, 2), (Async, None)])
def test_lost_arguments_are_told_to_the_owner_and_no_error_of_the_user(cls: type, concurrency: int | None) -> None:
    """The owner makes them again and repeats the call."""
    executor = Executor(cast(OwnerProcess, SimpleNamespace(store=LostStore())), "127.0.0.1")
    host = ActorHost("00", cls(), {"max_concurrency": concurrency})
    dependency = (messages.STORED_VALUE, b"o" * 28, 10, (("node", "127.0.0.1", 1),), ())
    arguments = serialize(((None,), {})).to_bytes()
    task = Task(cast(Connection, None), "", (b"t" * 24, b"f", "X.call", arguments, (dependency,), 1, b"a", 1, {}))
    told: list[Any] = []
    if host.concurrent:
        host.start(task, executor, lambda _task, outcome: told.append(outcome))
        for pool in (host._threads, host._fetchers):
            if pool is not None:
                pool.submit(int).result(5)
        if host._loop is not None:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), host._loop).result(5)
    else:
        told.append(executor.run(task, host))
    host.close()
    assert [outcome[:2] for outcome in told] == [(messages.LOST, [(b"o" * 28, ["node"])])]
