"""What runs in this thread: read by ``get_runtime_context()``.

Invariant: outside of a task every field is empty.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """The task at work; ids are empty outside of one.

    ``placement_group``: the id of the group that it runs in, and whether what it starts runs there too.
    """

    task_id: bytes = b""
    name: str = ""
    actor_id: bytes = b""
    placement_group: tuple[str, bool] | None = None


_current: contextvars.ContextVar[Running] = contextvars.ContextVar("shoal_running", default=Running())  # noqa: B039


def current() -> Running:
    """The task that runs in this thread (or asyncio task)."""
    return _current.get()


@contextmanager
def running(
    task_id: bytes, name: str, actor_id: bytes, placement_group: tuple[str, bool] | None = None
) -> Iterator[None]:
    """Say that the block is part of a task."""
    token = _current.set(Running(task_id, name, actor_id, placement_group))
    try:
        yield
    finally:
        _current.reset(token)
