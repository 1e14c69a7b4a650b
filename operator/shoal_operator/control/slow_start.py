"""Many equal writes in growing batches: 1, 2, 4, 8, ...; a bad template costs one refused request, not 1,000.

Invariant: a batch starts only when every write of the batch before it succeeded; never more than ``limit``
writes run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class SlowStartOutcome(Generic[ItemT]):
    """What became of the items: done, failed with the error, or not tried because something failed before."""

    done: tuple[ItemT, ...]
    failed: tuple[tuple[ItemT, Exception], ...]
    skipped: tuple[ItemT, ...]


async def slow_start(
    items: Sequence[ItemT], write: Callable[[ItemT], Awaitable[None]], *, initial: int = 1, limit: int = 50
) -> SlowStartOutcome[ItemT]:
    """Call ``write`` for every item, in order, in batches that double up to ``limit`` while all goes well."""
    done: list[ItemT] = []
    failed: list[tuple[ItemT, Exception]] = []
    position, size = 0, initial
    while position < len(items) and not failed:
        batch = items[position : position + size]
        results = await asyncio.gather(*(write(item) for item in batch), return_exceptions=True)
        for item, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                failed.append((item, result))
            elif isinstance(result, BaseException):
                raise result
            else:
                done.append(item)
        position += len(batch)
        size = min(size * 2, limit)
    return SlowStartOutcome(tuple(done), tuple(failed), tuple(items[position:]))


async def in_parallel(
    items: Sequence[ItemT], write: Callable[[ItemT], Awaitable[None]], *, limit: int = 50
) -> SlowStartOutcome[ItemT]:
    """Call ``write`` for every item, at most ``limit`` at once; failures stop what has not begun."""
    return await slow_start(items, write, initial=limit, limit=limit)
