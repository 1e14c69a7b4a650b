"""The messages between processes that own objects and run tasks. Each is a tuple; the number comes first.

- ``HELLO`` (process id, node id): the first message of the side that connected.
- ``FUNCTION`` (function id), payload: the pickled function or class. Sent before the first task that needs it.
- ``PUSH`` (lease id, [task, ...]); a task is ``(task id, function id, name, args, dependencies, result count,
  actor id or b"", sequence number, options)``. Its args are serialized ``(positional, keyword)``, in which the n-th
  ``Argument`` stands for the n-th dependency; a dependency is ``(INLINE_VALUE, data)`` or
  ``(STORED_VALUE, object id, size, (node, ...), owner address)``.
- ``RESULTS`` (lease id, [(task id, status, results, run seconds, contained), ...]). Status OK: each result is
  ``(INLINE_VALUE, data)`` or ``(STORED_VALUE, size, node)``. RAISED: ``[error data]``. LOST: ``[(object id, node ids
  that failed), ...]``, an argument could not be fetched and the task did not run. Contained: for each result the
  references inside it, ``((object id, owner address), ...)``.
- ``HANDED_OVER`` ([task id, ...]): the owner of results holds the references inside them itself now.
- ``GIVE_BACK`` (lease id), answered by ``GIVEN_BACK`` (lease id, [task id, ...]): tasks that were not started.
- ``WATCH`` (object id), from a borrower to the owner; answered when the object is resolved by ``VALUE`` (object id,
  state, size, nodes), payload: data. State GONE: the owner knows no such object.
- ``BORROW`` (object id), answered by ``BORROWED`` (object id, found); ``UNBORROW`` (object id).
- ``COPY_LOST`` (object id, node id): a borrower found that a node has no copy.
"""

from __future__ import annotations

from typing import Final

HELLO: Final = 1
PUSH: Final = 2
RESULTS: Final = 3
FUNCTION: Final = 4
GIVE_BACK: Final = 5
GIVEN_BACK: Final = 6
WATCH: Final = 20
VALUE: Final = 21
BORROW: Final = 22
BORROWED: Final = 23
UNBORROW: Final = 24
COPY_LOST: Final = 25
HANDED_OVER: Final = 26

INLINE_VALUE: Final = 0
STORED_VALUE: Final = 1

OK: Final = 0
RAISED: Final = 1
LOST: Final = 2
REFUSED: Final = 3

GONE: Final = 99

INLINE_BYTES_MAX: Final = 100 * 1024
"""Values up to this size travel in messages (Ray's ``max_direct_call_object_size``)."""
