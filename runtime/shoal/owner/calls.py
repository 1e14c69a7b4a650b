"""A call on its way: its arguments serialized, its references pinned, its results waiting.

Invariant: every object that a call needs is pinned from the moment of the call until the call has ended for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from shoal.core import objects
from shoal.core.arguments import Argument, replace
from shoal.core.ids import object_id
from shoal.core.objects import FAILED, INLINE, STORED, ObjectEntry
from shoal.owner.refs import ObjectRef
from shoal.serialization import Serialized, serialize
from shoal.wire import messages

if TYPE_CHECKING:
    from shoal.owner.process import OwnerProcess

_NO_ARGUMENTS: Final = serialize(None).to_bytes()  # ``None`` stands for no arguments at all


class Function:
    """A pickled function or class and its content id."""

    __slots__ = ("data", "id", "name")

    def __init__(self, function_id: bytes, data: bytes, name: str) -> None:
        self.id = function_id
        self.data = data
        self.name = name


class Call:
    """One submitted task or actor call; what it takes to run it (again)."""

    __slots__ = (
        "actor_id",
        "args",
        "attempts",
        "dependencies",
        "done",
        "function",
        "key",
        "live_results",
        "lost_arguments",
        "name",
        "options",
        "pinned",
        "result_count",
        "retries_left",
        "running",
        "scope",
        "sequence",
        "task_id",
        "unready",
    )

    def __init__(self, task_id: bytes, function: Function, name: str, result_count: int) -> None:
        self.task_id = task_id
        self.function = function
        self.name = name
        self.result_count = result_count
        self.args = b""
        self.dependencies: tuple[bytes, ...] = ()  # object ids, in the order of their ``Argument``
        self.scope: ObjectRef[Any] | None = None  # of the actor that is called: it lives until its calls have ended
        self.pinned: tuple[bytes, ...] = ()  # dependencies and references nested in the arguments
        self.unready = 0
        self.retries_left = 0
        self.attempts = 0
        self.lost_arguments = 0
        self.live_results = result_count
        self.done = False
        self.running = False
        self.key: Any = None
        self.actor_id = b""
        self.sequence = 0
        self.options: dict[str, Any] = {}

    def result_ids(self) -> list[bytes]:
        return [object_id(self.task_id, index) for index in range(self.result_count)]


def prepare(process: OwnerProcess, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Serialize the arguments into the call and pin what they refer to. Large values become objects of their own.

    Raises:
        TypeError: an argument cannot be serialized.
    """
    if not args and not kwargs:
        call.args = _NO_ARGUMENTS
        return
    references: list[ObjectRef[Any]] = []

    def substitute(value: Any) -> Any:
        if type(value) is ObjectRef:
            references.append(value)
            return Argument(len(references) - 1)
        return value

    plain_args, plain_kwargs = replace(args, kwargs, substitute)
    serialized = _serialize(call, (plain_args, plain_kwargs))
    if serialized.total_bytes > messages.INLINE_BYTES_MAX:
        references.clear()
        plain_args, plain_kwargs = replace(args, kwargs, lambda value: substitute(_outsource(process, value)))
        serialized = _serialize(call, (plain_args, plain_kwargs))
    call.args = serialized.to_bytes()
    call.dependencies = tuple(ref.binary() for ref in references)
    call.pinned = call.dependencies + tuple(ref.binary() for ref in serialized.contained)
    with process.lock:
        for oid in call.pinned:
            process.table.entries[oid].pins += 1


def _serialize(call: Call, value: Any) -> Serialized:
    try:
        return serialize(value)
    except Exception as error:
        raise TypeError(f"an argument of {call.name}() cannot be sent: {error}") from error


def _outsource(process: OwnerProcess, value: Any) -> Any:
    """A value that is too large for a message as a reference to it; others as they are."""
    if type(value) is ObjectRef or value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, bytes)) and len(value) < messages.INLINE_BYTES_MAX // 2:
        return value
    if serialize(value).total_bytes <= messages.INLINE_BYTES_MAX // 2:
        return value
    return process.values.put(value)


def own_results(process: OwnerProcess, call: Call) -> list[ObjectRef[Any]]:
    """References to the results, pending; called with the lock held."""
    return [process.reference(process.table.own(oid, call)) for oid in call.result_ids()]


def when_dependencies_resolve(process: OwnerProcess, call: Call, ready: Callable[[Call], None]) -> None:
    """Call ``ready(call)`` when every dependency has a value or an error; called with the lock held."""
    call.unready = 1

    def resolved() -> None:
        call.unready -= 1
        if call.unready == 0:
            ready(call)

    for oid in call.dependencies:
        entry = process.table.entries[oid]
        if entry.state in (objects.PENDING, objects.RELEASED):
            call.unready += 1
            process.watch(entry, resolved)
    resolved()


def failed_dependency(process: OwnerProcess, call: Call) -> ObjectEntry | None:
    """The first dependency that is an error."""
    for oid in call.dependencies:
        entry = process.table.entries[oid]
        if entry.state == FAILED:
            return entry
    return None


def encode(process: OwnerProcess, call: Call) -> tuple[Any, ...]:
    """The call as it travels in ``PUSH``; called with the lock held and every dependency resolved."""
    dependencies: list[tuple[Any, ...]] = []
    for oid in call.dependencies:
        entry = process.table.entries[oid]
        if entry.state == INLINE:
            dependencies.append((messages.INLINE_VALUE, entry.data))
        else:
            nodes = tuple(entry.nodes.values())
            dependencies.append((messages.STORED_VALUE, oid, entry.size, nodes, tuple(entry.owner or process.address)))
    return (
        call.task_id,
        call.function.id,
        call.name,
        call.args,
        tuple(dependencies),
        call.result_count,
        call.actor_id,
        call.sequence,
        call.options,
    )


def release_arguments(process: OwnerProcess, call: Call, *, keep_lineage: bool) -> None:
    """The call has ended: unpin its arguments, keeping what is needed to run it again; with the lock held."""
    pinned = call.pinned
    if keep_lineage:
        for oid in pinned:
            process.table.entries[oid].lineage += 1
    for oid in pinned:
        process.carry_out(process.table.unpin(oid))
    if not keep_lineage:
        call.pinned = ()


def take_results(process: OwnerProcess, call: Call, results: list[Any], contained: list[Any]) -> bool:
    """Resolve the results; True when one of them is in shared memory. Called with the lock held."""
    stored = False
    for oid, result, inside in zip(call.result_ids(), results, contained, strict=True):
        if result[0] == messages.STORED_VALUE:
            stored = True
        entry = process.table.entries.get(oid)
        if entry is None:
            if result[0] == messages.STORED_VALUE:
                process.store.free([oid], (result[2],))
            continue
        if inside:
            entry.contained = tuple(process.adopt(inner, owner) for inner, owner in inside)
        if result[0] == messages.INLINE_VALUE:
            process.run_waiters(process.table.resolve_inline(entry, result[1]))
        elif entry.state != STORED or not entry.nodes:
            process.run_waiters(process.table.resolve_stored(entry, result[1], (result[2],)))
    return stored
