"""ObjectRef: a name for a value that may not exist yet.

Invariant: as long as one ``ObjectRef`` of an object lives anywhere, the object does; the last ``__del__`` only notes
the id, because it may run in any thread at any moment, also while the process holds its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from shoal.serialization import note_reference
from shoal.wire.address import RawAddress

if TYPE_CHECKING:
    import concurrent.futures

    from shoal.owner.process import OwnerProcess

T = TypeVar("T")

# The process that this interpreter is: a driver's or worker's. Set by the session, read when a reference is unpickled.
_process: OwnerProcess | None = None


def set_process(process: OwnerProcess | None) -> None:
    """Say which process references in this interpreter belong to."""
    global _process
    _process = process


class ObjectRef(Generic[T]):
    """A reference to an object; made by ``.remote()`` and ``put``, never by hand.

    Comparable and hashable by id. Can be awaited, passed to tasks and actors, and nested in other values.

    Example:
        >>> ref = square.remote(4)
        >>> shoal.get(ref)
        16
    """

    __slots__ = ("__weakref__", "_home", "_id", "_owner")

    def __init__(self, object_id: bytes, owner: RawAddress, home: OwnerProcess | None) -> None:
        self._id = object_id
        self._owner = owner
        self._home = home

    def hex(self) -> str:
        """The id in hexadecimal digits (56)."""
        return self._id.hex()

    def binary(self) -> bytes:
        """The id (28 bytes)."""
        return self._id

    def task_id(self) -> bytes:
        """The id of the task that makes the value."""
        return self._id[:24]

    def is_nil(self) -> bool:
        """Whether this names nothing (always False: nil references cannot be made)."""
        return False

    def owner_address(self) -> RawAddress:
        """Where the owner listens."""
        return self._owner

    def future(self) -> concurrent.futures.Future[T]:
        """A future that gets the value or the exception."""
        import concurrent.futures

        home = _home(self)
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def fill() -> None:
            try:
                future.set_result(home.values.get([self], None)[0])
            except BaseException as error:  # noqa: BLE001  # whatever the task raised belongs to the future's reader
                future.set_exception(error)

        # The value is fetched outside the leading thread: reading it may have to wait for shared memory.
        home.values.when_ready(self, lambda: home.run_aside(fill))
        return future

    def _on_completed(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback(value or exception)`` when the task has ended (Ray's semi-public name)."""
        self.future().add_done_callback(lambda f: callback(f.exception() or f.result()))

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio  # only programs that await pay for it

        return asyncio.wrap_future(self.future()).__await__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        if not note_reference(self) and self._home is not None:
            # Pickled by the user's own hands: nobody can tell when that copy dies, so the object stays (Ray's rule).
            self._home.pin_for_ever(self._id)
        return restore, (self._id, self._owner)

    def __del__(self) -> None:
        home = self._home
        if home is not None:
            home.dropped.append(self._id)


def restore(object_id: bytes, owner: RawAddress) -> ObjectRef[Any]:
    """Unpickle a reference: this process becomes a borrower (or finds its own object again)."""
    process = _process
    if process is None:
        return ObjectRef(object_id, owner, None)
    return process.adopt(object_id, owner)


def _home(ref: ObjectRef[Any]) -> OwnerProcess:
    if ref._home is None or ref._home.closed:
        from shoal.exceptions import SystemFailureError

        raise SystemFailureError(f"{ref!r} belongs to a session that has ended")
    return ref._home
