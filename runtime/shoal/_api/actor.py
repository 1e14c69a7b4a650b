"""Actors: classes whose instances live in a worker process of their own.

Invariant: an actor that is not detached lives exactly as long as a handle to it does, anywhere.
"""

from __future__ import annotations

import inspect
from typing import Any

from shoal._api import options as opts
from shoal._api import session, strategies
from shoal.owner.calls import Function
from shoal.owner.refs import ObjectRef
from shoal.serialization import deserialize, serialize


class ActorClass:
    """A class whose instances are actors; made by ``@remote``."""

    def __init__(self, cls: type, options: dict[str, Any]) -> None:
        opts.check(options, opts.ACTOR_OPTIONS, "actors")
        self._cls = cls
        self._options = options
        self._exported: Function | None = None
        self.__name__ = cls.__name__
        self.__doc__ = cls.__doc__
        self.__module__ = cls.__module__

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self.__name__}()', use '{self.__name__}.remote()'."
        )

    def __init_subclass__(cls, **_kwargs: Any) -> None:
        raise TypeError("Inheriting from an actor class is not supported; decorate the subclass instead.")

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Begin an actor; returns at once.

        Raises:
            TypeError: the arguments do not fit ``__init__``, or cannot be pickled.
            ActorAlreadyExistsError: its ``name`` is taken.
        """
        return self._create(self._options, args, kwargs)

    def options(self, **options: Any) -> _BoundClass:
        """The same class with other options.

        Raises:
            ValueError: an option is unknown or has a bad value.
        """
        merged = {**self._options, **options}
        opts.check(merged, opts.ACTOR_OPTIONS, "actors")
        return _BoundClass(self, merged)

    def _create(self, options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle:
        from shoal._api.remote import export

        inspect.signature(self._cls).bind(*args, **kwargs)
        process = session.process()
        namespace = options.get("namespace") or session.namespace()
        name = options.get("name") or ""
        if options.get("get_if_exists"):
            if not name:
                raise ValueError("get_if_exists=True needs a name")
            found = process.actors.find(name, namespace)
            if found is not None:
                return _looked_up(found)
        if self._exported is None:
            self._exported = export(self._cls)
        held, placing = opts.actor_needs(options)
        group = strategies.placement(options, placing, f"actor {self.__name__}")
        if group is None and strategies.inherits(options) and process.kind == "worker":
            group = strategies.inherited()
        info = {
            "name": name,
            "namespace": namespace,
            "resources": tuple(held.items()),
            "placement": tuple(placing.items()),
            "max_restarts": options.get("max_restarts") or 0,
            "detached": options.get("lifetime") == "detached",
            "label_selector": strategies.labels(options),
            "soft_node": strategies.is_soft(options),
            "bundle": None if group is None else group.bundle,
        }
        described = _Description(self.__name__, _methods(self._cls), options.get("max_task_retries") or 0)
        wire_options: dict[str, Any] = {"max_concurrency": options.get("max_concurrency") or 0}
        if group is not None:
            wire_options["placement_group"] = group.wire
        for_lookups = serialize(described).to_bytes()
        actor_id, scope = process.actors.create(self._exported, args, kwargs, info, wire_options, for_lookups)
        return ActorHandle(actor_id, described, scope)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_exported": None}


class _BoundClass:
    """An actor class with options; see ``ActorClass.options``."""

    def __init__(self, cls: ActorClass, options: dict[str, Any]) -> None:
        self._cls = cls
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """See ``ActorClass.remote``."""
        return self._cls._create(self._options, args, kwargs)


class _Description:
    """What a handle knows of its class."""

    __slots__ = ("class_name", "max_task_retries", "methods")

    def __init__(self, class_name: str, methods: dict[str, dict[str, Any]], max_task_retries: int) -> None:
        self.class_name = class_name
        self.methods = methods
        self.max_task_retries = max_task_retries


def _methods(cls: type) -> dict[str, dict[str, Any]]:
    methods = {
        name: dict(getattr(function, "_shoal_method_options", {}))
        for name, function in inspect.getmembers(cls, inspect.isroutine)
        if not name.startswith("__") or name == "__call__"
    }
    return {**methods, "__ray_ready__": {}, "__ray_call__": {}, "__ray_terminate__": {}}


class ActorHandle:
    """A handle to an actor; its methods are ``handle.method.remote(...)``."""

    def __init__(self, actor_id: bytes, description: _Description, scope: ObjectRef[Any] | None) -> None:
        self._actor_id = actor_id
        self._description = description
        self._scope = scope

    def __getattr__(self, name: str) -> ActorMethod:
        methods = object.__getattribute__(self, "_description").methods
        if name not in methods:
            raise AttributeError(f"actor {self._description.class_name} has no method {name!r}")
        return ActorMethod(self, name, methods[name])

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorHandle, (self._actor_id, self._description, self._scope)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._actor_id == other._actor_id

    def __hash__(self) -> int:
        return hash(self._actor_id)

    def __repr__(self) -> str:
        return f"Actor({self._description.class_name}, {self._actor_id.hex()})"


class ActorMethod:
    """One method of one actor."""

    __slots__ = ("_handle", "_name", "_options")

    def __init__(self, handle: ActorHandle, name: str, options: dict[str, Any]) -> None:
        self._handle = handle
        self._name = name
        self._options = options

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError(f"Actor methods cannot be called directly. Instead of '{self._name}()', use '.remote()'.")

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options.

        Raises:
            ValueError: an option is unknown or has a bad value.
        """
        merged = {**self._options, **options}
        opts.check(merged, opts.METHOD_OPTIONS, "actor methods")
        return ActorMethod(self._handle, self._name, merged)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; calls of one process run in the order in which it made them.

        Returns:
            As ``RemoteFunction.remote``.
        """
        handle = self._handle
        returns = self._options.get("num_returns")
        retries = self._options.get("max_task_retries")
        refs = session.process().actors.submit(
            handle._actor_id,
            handle._description.class_name,
            Function(b"", b"", self._name),
            args,
            kwargs,
            1 if returns is None else returns,
            handle._description.max_task_retries if retries is None else retries,
            handle._scope,
        )
        if len(refs) == 1:
            return refs[0]
        return refs or None


def method(**options: Any) -> Any:
    """Options for one method of an actor class, e.g. ``@shoal.method(num_returns=2)``.

    Raises:
        ValueError: an option is unknown or has a bad value.
    """
    opts.check(options, opts.METHOD_OPTIONS, "actor methods")

    def mark(function: Any) -> Any:
        function._shoal_method_options = options
        return function

    return mark


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """The handle of a live named actor.

    Raises:
        ValueError: the name is empty, or nobody has it.
    """
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    found = session.process().actors.find(name, namespace or session.namespace())
    if found is None:
        raise ValueError(f"Failed to look up actor with name '{name}'")
    return _looked_up(found)


def _looked_up(found: tuple[bytes, bytes]) -> ActorHandle:
    actor_id, described = found
    return ActorHandle(actor_id, deserialize(described), None)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor at once; calls that run fail with ActorDiedError.

    Args:
        actor: a handle.
        no_restart: False lets ``max_restarts`` bring it back.

    Raises:
        ValueError: not a handle.
    """
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill() is only supported for actors. Got: {type(actor)}.")
    session.started_process().actors.kill(actor._actor_id, no_restart=no_restart)
