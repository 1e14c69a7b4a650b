"""Identifiers, made without I/O: a process prefix given from outside and a counter.

Invariant: two processes with different prefixes never make the same id, and one process never makes one twice. Sizes
follow Ray (task 24 bytes, object 28, actor 16), so that hex forms look familiar.
"""

from __future__ import annotations

import itertools
from typing import Final

PREFIX_BYTES: Final = 16
_OF_ACTOR: Final = "/"


class IdFactory:
    """Makes the ids of one process.

    Args:
        prefix: 16 random bytes, the process id.
    """

    def __init__(self, prefix: bytes) -> None:
        if len(prefix) != PREFIX_BYTES:
            raise ValueError(f"a process id has {PREFIX_BYTES} bytes, got {len(prefix)}")
        self._prefix = prefix
        self._tasks = itertools.count(1)

    def task(self) -> bytes:
        """A new task id; also used for the object of a ``put``."""
        return self._prefix + next(self._tasks).to_bytes(8, "big")

    def actor(self) -> bytes:
        """A new actor id."""
        return self._prefix[:8] + next(self._tasks).to_bytes(8, "big")


def object_id(task_id: bytes, index: int) -> bytes:
    """The id of the ``index``-th result of a task: the same when the task runs again."""
    return task_id + index.to_bytes(4, "big")


def lasting_job(job_id: str, actor_id: str) -> str:
    """The job of a detached actor, and of all that it starts: it ends with the actor, not with the job of its maker.

    Example:
        >>> lasting_job("1f2e3d4c", "aa00")
        '1f2e3d4c/aa00'
        >>> lasting_job("1f2e3d4c/aa00", "bb11")
        '1f2e3d4c/bb11'
    """
    return f"{known_job(job_id)}{_OF_ACTOR}{actor_id}"


def known_job(job_id: str) -> str:
    """The job that people know: of a detached actor, that of the program which made it."""
    return job_id.partition(_OF_ACTOR)[0]


def is_lasting(job_id: str) -> bool:
    """Whether it is the job of a detached actor."""
    return _OF_ACTOR in job_id
