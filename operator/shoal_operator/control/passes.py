"""Which pass is under way: said once, for every log line that is written in it.

Invariant: tasks that a pass starts inherit it and forget it when the pass is over; nothing is decided by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_numbers = itertools.count(1)


@dataclass
class Pass:
    """One look at one key.

    Attributes:
        controller: whose.
        key: of which object: namespace and name.
        number: unique in this process.
        uid: of the object, when it was found.
        is_over: whether it has ended.
    """

    controller: str
    key: Hashable
    number: int
    uid: str = ""
    is_over: bool = False


_current: ContextVar[Pass | None] = ContextVar("pass", default=None)


@contextmanager
def under_way(controller: str, key: Hashable) -> Iterator[Pass]:
    """While the body runs, a pass of ``controller`` over ``key`` is under way."""
    begun = Pass(controller, key, next(_numbers))
    token = _current.set(begun)
    try:
        yield begun
    finally:
        begun.is_over = True
        _current.reset(token)


def current() -> Pass | None:
    """The pass that the caller is part of, or None."""
    found = _current.get()
    return None if found is None or found.is_over else found


def note_uid(uid: object) -> None:
    """The object of the pass under way has this uid."""
    found = current()
    if found is not None and uid:
        found.uid = str(uid)
