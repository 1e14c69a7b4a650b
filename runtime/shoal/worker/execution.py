"""Running one task: fetch its arguments, call the function, store its results.

Invariant: whatever user code raises, also SystemExit and KeyboardInterrupt, becomes the result of the task; only the
end of the process ends the worker.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from shoal.core import actor_ends as ends
from shoal.core.arguments import fill
from shoal.core.ids import object_id
from shoal.exceptions import ByState, TaskError
from shoal.serialization import deserialize, serialize
from shoal.store.client import StoreFailure
from shoal.wire import messages
from shoal.worker import context
from shoal.worker.actor import ActorHost

if TYPE_CHECKING:
    from shoal.owner.process import OwnerProcess
    from shoal.wire.connection import Connection

FUNCTIONS_MAX: Final = 4096
Outcome = tuple[int, Any, float, list[Any], Any]
"""(status, results, run seconds, references in each result, what keeps those alive until they are handed over)."""


class Task:
    """A task as it arrived."""

    __slots__ = (
        "actor_id",
        "args",
        "connection",
        "dependencies",
        "function_id",
        "lease_id",
        "name",
        "options",
        "result_count",
        "sequence",
        "task_id",
    )

    def __init__(self, connection: Connection, lease_id: str, fields: tuple[Any, ...]) -> None:
        self.connection = connection
        self.lease_id = lease_id
        (
            self.task_id,
            self.function_id,
            self.name,
            self.args,
            self.dependencies,
            self.result_count,
            self.actor_id,
            self.sequence,
            self.options,
        ) = fields


class LostArgumentsError(Exception):
    """Arguments whose copies are all gone: ``[(object id, node ids), ...]``."""

    def __init__(self, lost: list[tuple[bytes, list[str]]]) -> None:
        super().__init__(f"{len(lost)} arguments are lost")
        self.lost = lost


class ForgottenFunctionError(Exception):
    """A task names a function that had to make room for others: its owner has to send it again."""


class Executor:
    """Runs tasks in the calling thread."""

    def __init__(self, process: OwnerProcess, ip: str) -> None:
        self._process = process
        self._ip = ip
        self._pickled: dict[bytes, bytes] = {}
        self._functions: dict[bytes, Callable[..., Any]] = {}

    def learn(self, function_id: bytes, data: bytes) -> None:
        """Keep a function that tasks will name; it is unpickled in the thread that runs it first."""
        while len(self._pickled) >= FUNCTIONS_MAX:
            oldest = next(iter(self._pickled))
            del self._pickled[oldest]
            self._functions.pop(oldest, None)
        self._pickled[function_id] = data

    def _function(self, function_id: bytes) -> Callable[..., Any]:
        function = self._functions.get(function_id)
        if function is None:
            data = self._pickled.get(function_id)
            if data is None:
                raise ForgottenFunctionError(function_id)
            function = self._functions[function_id] = pickle.loads(data)
        return function

    def run(self, task: Task, actor: ActorHost | None) -> Outcome:
        """Run a task or an actor's call to its end."""
        started = time.perf_counter()
        try:
            args, kwargs = self.arguments(task.args, task.dependencies)
            started = time.perf_counter()
            with context.running(task.task_id, task.name, task.actor_id, group_of(task, actor)):
                function = actor.method(task.name) if actor is not None else self._function(task.function_id)
                value = function(*args, **kwargs)
            args = kwargs = function = None  # type: ignore[assignment]
            return self.succeeded(task, value, time.perf_counter() - started)
        except ForgottenFunctionError:
            return (messages.REFUSED, [], 0.0, [], None)
        except BaseException as error:  # noqa: BLE001  # whatever user code raises is its result
            if actor is not None:
                actor.note_exit(error)
            return self.failed(task, error, time.perf_counter() - started)

    # Arguments

    def arguments(self, data: bytes, dependencies: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments with every dependency in its place.

        Raises:
            LostArgumentsError: copies are gone.
        """
        content = deserialize(data)
        if content is None:
            return (), {}
        args, kwargs = content
        return fill(args, kwargs, self._values(dependencies))

    def _values(self, dependencies: tuple[Any, ...]) -> list[Any]:
        if not dependencies:
            return []
        views: dict[bytes, memoryview | StoreFailure] = {}
        wanted = {d[1]: d for d in dependencies if d[0] == messages.STORED_VALUE}
        for oid, dependency in wanted.items():
            self._process.store.fetch(oid, dependency[3], partial(views.__setitem__, oid))
        if len(views) < len(wanted):
            self._process.reactor.run_until(lambda: len(views) == len(wanted), None)
        lost = [(oid, [node[0] for node in wanted[oid][3]]) for oid, v in views.items() if isinstance(v, StoreFailure)]
        if lost:
            raise LostArgumentsError(lost)
        return [
            deserialize(d[1]) if d[0] == messages.INLINE_VALUE else deserialize(views[d[1]])  # type: ignore[arg-type]
            for d in dependencies
        ]

    # Outcomes

    def succeeded(self, task: Task, value: Any, seconds: float) -> Outcome:
        """Store what a task returned."""
        count = task.result_count
        if count == 0:
            return messages.OK, [], seconds, [], None
        values = [value]
        if count > 1:
            values = list(value) if isinstance(value, (tuple, list)) or hasattr(value, "__iter__") else [value]
            if len(values) != count:
                text = f"Task returned {len(values)} objects, but num_returns={count}."
                return self.failed(task, ValueError(text), seconds)
        results: list[tuple[Any, ...]] = []
        contained = []
        keep = []
        for index, item in enumerate(values):
            serialized = serialize(item)
            inside = serialized.contained
            contained.append(tuple((ref.binary(), tuple(ref.owner_address())) for ref in inside))
            keep.extend(inside)
            if serialized.total_bytes <= messages.INLINE_BYTES_MAX:
                results.append((messages.INLINE_VALUE, serialized.to_bytes()))
            else:
                oid = object_id(task.task_id, index)
                self._process.values.write_to_store(oid, serialized, task.connection.attachment.process_id)
                results.append((messages.STORED_VALUE, serialized.total_bytes, self._process.node))
        return messages.OK, results, seconds, contained, keep

    def failed(self, task: Task, error: BaseException, seconds: float) -> Outcome:
        """The error that user code raised, as the caller will see it; or that the task could not be run at all."""
        if isinstance(error, LostArgumentsError):
            return messages.LOST, error.lost, 0.0, [], None
        return messages.RAISED, [self.task_error(task.name, error, task.actor_id)], seconds, [], None

    def task_error(self, name: str, error: BaseException, actor_id: bytes = b"") -> bytes:
        """A serialized ``TaskError``; its text says so when its cause cannot be sent."""
        header = f"shoal::{name}() (pid={os.getpid()}, ip={self._ip})"
        if isinstance(error, TaskError):
            header += "\n  an error of another task was raised again here:"
        text = header + "\n" + "".join(_trimmed(error)).rstrip()
        cause = error.cause if isinstance(error, TaskError) and error.cause is not None else error
        # As it pickles itself; by its state, for a class whose __init__ takes other arguments than ``args``.
        for sent in (cause, ByState(cause)):
            try:
                made = TaskError(name, text, sent, os.getpid(), self._ip, actor_id.hex())
                data = serialize(made).to_bytes()
                deserialize(data)
            except Exception as problem:  # noqa: BLE001  # pickling runs the class's own code
                why = problem
            else:
                return data
        text += f"\n(the {type(cause).__name__} itself could not be sent: {why})"
        return serialize(TaskError(name, text, None, os.getpid(), self._ip, actor_id.hex())).to_bytes()

    # Actors

    def create_actor(self, actor_id: str, creation: bytes) -> tuple[ActorHost | None, tuple[str, str, bytes] | None]:
        """Make the instance; either the host or (reason, message, serialized error)."""
        name = "actor"
        try:
            fields, class_data, _owner = deserialize(creation)
            name = fields[2]
            cls = pickle.loads(class_data)
            args, kwargs = self.arguments(fields[3], fields[4])
            with context.running(fields[0], name, bytes.fromhex(actor_id), fields[8].get("placement_group")):
                instance = cls(*args, **kwargs)
            return ActorHost(actor_id, instance, fields[8]), None
        except LostArgumentsError as error:
            return None, (ends.ARGUMENTS_LOST, str(error), b"")
        except BaseException as error:  # noqa: BLE001  # whatever user code raises is its result
            message = f"{type(error).__name__}: {error}"
            return None, (ends.CREATION_FAILED, message[:1000], self.task_error(name, error))


def group_of(task: Task, actor: ActorHost | None) -> tuple[str, bool] | None:
    """The placement group that a task runs in; see ``context.Running``."""
    return actor.placement_group if actor is not None else task.options.get("placement_group")


def _trimmed(error: BaseException) -> list[str]:
    """The traceback without Shoal's own frames at its top."""
    tb = error.__traceback__
    here = os.path.dirname(os.path.abspath(__file__))
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(here):
        tb = tb.tb_next
    return traceback.format_exception(type(error), error, tb if tb is not None else error.__traceback__)


def function_id(data: bytes) -> bytes:
    """The content id of a pickled function."""
    return hashlib.sha256(data).digest()[:16]
