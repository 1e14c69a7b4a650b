"""``@remote``: functions and classes that run elsewhere.

Invariant: a function is pickled once, at its first ``.remote()``; what it captured then is what every call sees
(Ray's rule).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from shoal._api import options as opts
from shoal._api import session, strategies
from shoal._api.actor import ActorClass
from shoal.owner.calls import Function
from shoal.owner.refs import ObjectRef
from shoal.serialization import serialize

P = ParamSpec("P")
R = TypeVar("R")


def export(target: Any) -> Function:
    """Pickle a function or class by value.

    Raises:
        TypeError: it (or something it captured) cannot be pickled.
    """
    import cloudpickle

    name = getattr(target, "__name__", type(target).__name__)
    try:
        data = cloudpickle.dumps(target, protocol=5)
    except Exception as error:
        raise TypeError(f"{name} cannot be sent to other processes: {error}") from error
    return Function(hashlib.sha256(data).digest()[:16], data, name)


class RemoteFunction(Generic[P, R]):
    """A function that runs as a task; made by ``@remote``."""

    def __init__(self, function: Callable[P, R], options: dict[str, Any]) -> None:
        opts.check(options, opts.TASK_OPTIONS, "remote functions")
        self._function = function
        self._options = options
        self._exported: Function | None = None
        self._signature: inspect.Signature | None = None
        self.__name__ = getattr(function, "__name__", "function")
        self._plan = _TaskPlan(self.__name__, options)
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __repr__(self) -> str:
        return f"RemoteFunction({self.__name__})"

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{self.__name__}()', "
            f"try '{self.__name__}.remote()'."
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function as a task.

        Returns:
            A reference to the result; None for ``num_returns=0``; a list of references for more than one.

        Raises:
            TypeError: the arguments do not fit the function's signature, or cannot be pickled.
        """
        return self._submit(self._plan, args, kwargs)

    def options(self, **options: Any) -> _BoundFunction[P, R]:
        """The same function with other options for calls made through the result.

        Raises:
            ValueError: an option is unknown or has a bad value.
        """
        merged = {**self._options, **options}
        opts.check(merged, opts.TASK_OPTIONS, "remote functions")
        return _BoundFunction(self, _TaskPlan(self.__name__, merged))

    def _submit(self, plan: _TaskPlan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._signature is None:
            self._signature = inspect.signature(self._function)
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}(): {error}") from None
        process = session.process()
        if self._exported is None:
            self._exported = export(self._function)
        key, wire_options = plan.key, plan.wire_options
        if plan.inherits and process.kind == "worker":
            group = strategies.inherited()
            if group is not None:
                key, wire_options = (*key[:2], group.bundle), {**wire_options, "placement_group": group.wire}
        refs = process.tasks.submit(
            self._exported,
            plan.name or self.__name__,
            args,
            kwargs,
            key=key,
            result_count=plan.result_count,
            max_retries=plan.max_retries,
            options=wire_options,
        )
        return _shaped(refs)

    def __getstate__(self) -> dict[str, Any]:
        # The exported form belongs to this process's first call; a copy elsewhere makes its own.
        return {**self.__dict__, "_exported": None, "_signature": None}


class _TaskPlan:
    """Options, worked out once."""

    __slots__ = ("inherits", "key", "max_retries", "name", "result_count", "wire_options")

    def __init__(self, function_name: str, options: dict[str, Any]) -> None:
        need = opts.resource_need(options, 1)
        group = strategies.placement(options, need, f"{function_name}()")
        self.inherits = strategies.inherits(options)
        self.key = (tuple(need.items()), strategies.labels(options), None if group is None else group.bundle)
        returns = options.get("num_returns")
        self.result_count = 1 if returns is None else returns
        retries = options.get("max_retries")
        self.max_retries = opts.DEFAULT_MAX_RETRIES if retries is None else retries
        self.name = options.get("name") or ""
        wanted = options.get("retry_exceptions")
        self.wire_options: dict[str, Any] = {} if group is None else {"placement_group": group.wire}
        if strategies.is_soft(options):
            self.wire_options["soft_node"] = True
        if wanted is True:
            self.wire_options["retry_exceptions"] = True
        elif wanted:
            self.wire_options["retry_exceptions"] = serialize(list(wanted)).to_bytes()


class _BoundFunction(Generic[P, R]):
    """A remote function with options; see ``RemoteFunction.options``."""

    def __init__(self, function: RemoteFunction[P, R], plan: _TaskPlan) -> None:
        self._function = function
        self._plan = plan

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """See ``RemoteFunction.remote``."""
        return self._function._submit(self._plan, args, kwargs)


def _shaped(refs: list[ObjectRef[Any]]) -> Any:
    if len(refs) == 1:
        return refs[0]
    return refs or None


@overload
def remote(target: type, /) -> ActorClass: ...  # type: ignore[overload-overlap]  # a class is callable, too
@overload
def remote(target: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def remote(**options: Any) -> Callable[[Any], Any]: ...


def remote(*args: Any, **options: Any) -> Any:
    """Make a function a task, or a class an actor; bare or with options.

    Args:
        options: see ``shoal._api.options``; those of Ray's ``@ray.remote``.

    Example:
        >>> @shoal.remote(num_cpus=2)
        ... def square(x):
        ...     return x * x
        >>> shoal.get(square.remote(3))
        9

    Raises:
        TypeError: neither a function nor a class.
        ValueError: an option is unknown or has a bad value.
    """
    if len(args) == 1 and not options and (inspect.isclass(args[0]) or callable(args[0])):
        return _make(args[0], {})
    if args or not options:
        raise AssertionError(  # Ray's type for this mistake
            "The @remote decorator must be applied either with no arguments and no parentheses, or with keywords only"
        )
    return lambda target: _make(target, dict(options))


def _make(target: Any, options: dict[str, Any]) -> Any:
    if inspect.isclass(target):
        return ActorClass(target, options)
    if inspect.isfunction(target) or inspect.isbuiltin(target) or callable(target):
        return RemoteFunction(target, options)
    raise TypeError("The @remote decorator must be applied to either a function or a class.")
