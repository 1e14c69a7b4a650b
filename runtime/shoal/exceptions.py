"""Everything that Shoal raises.

    ShoalError (RayError)
    ├─ TaskError (RayTaskError)           user code raised; also an instance of the class of what it raised
    ├─ TaskCancelledError
    ├─ WorkerCrashedError                 the worker process ended while it ran the task
    ├─ ActorError (RayActorError)
    │    ├─ ActorDiedError                for good
    │    │    └─ ActorPlacementGroupRemovedError   because its placement group was removed
    │    └─ ActorUnavailableError         for now
    ├─ ActorAlreadyExistsError (ValueError)   ├─ ActorHandleNotFoundError (ValueError)
    ├─ ObjectLostError
    │    ├─ OwnerDiedError   ├─ ObjectFreedError   ├─ ObjectFetchTimedOutError   └─ ObjectReconstructionFailedError
    ├─ ObjectStoreFullError   ├─ OutOfMemoryError   ├─ NodeDiedError
    ├─ GetTimeoutError (TimeoutError)
    ├─ TaskUnschedulableError   ├─ ActorUnschedulableError   ├─ PendingCallsLimitExceededError
    ├─ TaskPlacementGroupRemovedError         the group of a task was removed before the task had ended
    ├─ RuntimeEnvSetupError
    ├─ SystemFailureError (RaySystemError)
    ├─ RemoteDriverError (ConnectionError)    this program cannot be a driver of the head that it names
    ├─ AuthenticationError
    │    └─ TlsError                      one side lacks TLS, or a certificate of the cluster
    └─ ProtocolError                      a peer broke the wire protocol

Invariants: every exception can be pickled with its fields; Ray's names are aliases of the same classes, so that
``except ray.exceptions.RayTaskError`` keeps working. Semantics follow Ray 2.60's ``ray.exceptions``.
"""

from __future__ import annotations

from typing import Any


class ShoalError(Exception):
    """The base of all errors of Shoal. Keyword arguments of a subclass become its fields."""

    def __init__(self, message: str = "", **fields: Any) -> None:
        Exception.__init__(self, message)  # not super(): a TaskError has its cause's class next in line
        self.message = message
        for name, value in fields.items():
            setattr(self, name, value)
        self._fields = fields

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self._fields)

    def __str__(self) -> str:
        return self.message


def _rebuild(kind: type[ShoalError], message: str, fields: dict[str, Any]) -> ShoalError:
    return kind(message, **fields)


class ProtocolError(ShoalError):
    """A peer sent something that the wire protocol does not allow, or its connection is gone."""


class AuthenticationError(ShoalError):
    """A peer could not prove that it knows the cluster's token."""


class TlsError(AuthenticationError):
    """A connection has no TLS that both sides take; the message says which side lacks what.

    Fields: ``fault``, one of PeerWithoutTls, ThisSideWithoutTls, PeerRefused (its certificate, by this side),
    RefusedByPeer (this side's certificate), StreamBroken.
    """

    fault: str = ""


class SystemFailureError(ShoalError):
    """Shoal itself failed, or is not started."""


class RemoteDriverError(ShoalError, ConnectionError):
    """``init`` was told of a head, and this process runs on none of its nodes: such drivers are not supported yet.

    Fields: ``address`` of the head, ``source``: "SHOAL_ADDRESS", or "address" for the argument.
    """

    address: str = ""
    source: str = ""


class TaskCancelledError(ShoalError):
    """The task was cancelled before it finished."""


class WorkerCrashedError(ShoalError):
    """The worker process ended unexpectedly while it ran the task."""


class NodeDiedError(ShoalError):
    """The node that ran the task is gone."""


class OutOfMemoryError(ShoalError):
    """The worker was ended because its node ran out of memory."""


class RuntimeEnvSetupError(ShoalError):
    """The environment that a task asked for could not be made."""


class TaskUnschedulableError(ShoalError):
    """No node can ever run the task."""


class ActorUnschedulableError(ShoalError):
    """No node can ever run the actor. Field: ``actor_id``."""

    actor_id: str = ""


class TaskPlacementGroupRemovedError(ShoalError):
    """The placement group that the task ran in, or waited for, was removed. Field: ``placement_group_id``."""

    placement_group_id: str = ""


class PendingCallsLimitExceededError(ShoalError):
    """More calls wait for an actor than its ``max_pending_calls`` allows."""


class ActorError(ShoalError):
    """A call failed because of the state of its actor. Fields: ``actor_id``."""

    actor_id: str = ""


class ActorDiedError(ActorError):
    """The actor is dead for good; the message says why."""


class ActorPlacementGroupRemovedError(ActorDiedError):
    """The actor is dead because its placement group was removed."""


class ActorUnavailableError(ActorError):
    """The actor cannot be reached at the moment; a later call may succeed."""


class ActorAlreadyExistsError(ShoalError, ValueError):
    """A live actor has that name already."""


class ActorHandleNotFoundError(ShoalError, ValueError):
    """The handle belongs to an earlier session."""


class ObjectLostError(ShoalError):
    """The value is gone and cannot be made again. Fields: ``object_ref_hex``."""

    object_ref_hex: str = ""


class OwnerDiedError(ObjectLostError):
    """The process that owned the object ended, and the object with it."""


class ObjectFreedError(ObjectLostError):
    """The object was freed on request."""


class ObjectFetchTimedOutError(ObjectLostError):
    """No copy of the object arrived in time."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The task that made the object could not be run again. Field: ``reason`` as in Ray, e.g. MAX_ATTEMPTS_EXCEEDED."""

    reason: str = ""


class ObjectStoreFullError(ShoalError):
    """The shared memory of the node is full of objects that are in use."""


class GetTimeoutError(ShoalError, TimeoutError):
    """``get(timeout=...)`` ran out of time."""


class ByState:
    """Pickles an exception by its ``args`` and attributes, without its ``__init__``; unpickles as the exception."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_state, (type(self._error), self._error.args, vars(self._error))


def _from_state(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class TaskError(ShoalError):
    """A task or actor call raised; raised again where its result is asked for.

    Fields: ``cause`` (the original exception, or None when it could not be sent), ``function_name``, ``traceback_str``,
    ``pid``, ``ip``, ``actor_id``.
    """

    def __init__(
        self,
        function_name: str = "",
        traceback_str: str = "",
        cause: BaseException | ByState | None = None,
        pid: int = 0,
        ip: str = "",
        actor_id: str = "",
    ) -> None:
        super().__init__(traceback_str)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause: Any = cause
        self.pid = pid
        self.ip = ip
        self.actor_id = actor_id
        self.args = (function_name, traceback_str, cause, pid, ip, actor_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskError, (
            self.function_name,
            self.traceback_str,
            self.cause,
            self.pid,
            self.ip,
            self.actor_id,
        )

    def __str__(self) -> str:
        return f"\n{self.traceback_str}" if self.traceback_str else f"{self.function_name} failed"

    def as_instance_of_cause(self) -> TaskError:
        """This error as an instance of both ``TaskError`` and the class of its cause, as Ray does it.

        Falls back to the plain error when that class cannot be subclassed together with it.
        """
        cause = self.cause
        if cause is None or isinstance(cause, TaskError):
            return self
        kind = type(cause)
        try:
            mixed: Any = type(
                f"TaskError({kind.__name__})",
                (TaskError, kind),
                {"__module__": __name__, "__init__": _no_init},
            )
            instance: TaskError = mixed.__new__(mixed)
            TaskError.__init__(
                instance, self.function_name, self.traceback_str, cause, self.pid, self.ip, self.actor_id
            )
            if isinstance(getattr(cause, "__dict__", None), dict):
                for name, value in vars(cause).items():
                    instance.__dict__.setdefault(name, value)
            instance.args = cause.args
        except TypeError:
            return self
        return instance


def _no_init(self: Any, *_args: Any, **_fields: Any) -> None:
    """The class of the cause may demand arguments; its state is copied instead."""


# Ray's names for the same classes.
RayError = ShoalError
RayTaskError = TaskError
RayActorError = ActorError
RaySystemError = SystemFailureError
PendingCallsLimitExceeded = PendingCallsLimitExceededError
TaskPlacementGroupRemoved = TaskPlacementGroupRemovedError
ActorPlacementGroupRemoved = ActorPlacementGroupRemovedError
