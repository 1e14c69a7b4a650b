"""Shoal: tasks, actors and objects on a cluster of processes, with Ray's API.

Example:
    >>> import shoal
    >>> @shoal.remote
    ... def square(x):
    ...     return x * x
    >>> shoal.get([square.remote(i) for i in range(4)])
    [0, 1, 4, 9]

Invariant: importing this package loads nothing else; a name is loaded at its first use, so that command lines and the
operator, which only wants ``shoal.resources``, start fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal import autoscaler, exceptions, util
    from shoal._api.actor import ActorClass, ActorHandle, get_actor, kill, method
    from shoal._api.remote import RemoteFunction, remote
    from shoal._api.runtime_context import RuntimeContext, get_runtime_context
    from shoal._api.session import ClientContext, init, is_initialized, shutdown
    from shoal._api.values import available_resources, cluster_resources, get, nodes, put, wait
    from shoal.owner.refs import ObjectRef

__version__ = "0.1.0"

__all__ = [
    "ActorClass",
    "ActorHandle",
    "ClientContext",
    "ObjectRef",
    "RemoteFunction",
    "RuntimeContext",
    "autoscaler",
    "available_resources",
    "cluster_resources",
    "exceptions",
    "get",
    "get_actor",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "util",
    "wait",
]

_HOMES = {
    "_api.actor": ("ActorClass", "ActorHandle", "get_actor", "kill", "method"),
    "_api.remote": ("RemoteFunction", "remote"),
    "_api.runtime_context": ("RuntimeContext", "get_runtime_context"),
    "_api.session": ("ClientContext", "init", "is_initialized", "shutdown"),
    "_api.values": ("available_resources", "cluster_resources", "get", "nodes", "put", "wait"),
    "owner.refs": ("ObjectRef",),
}
_MODULES = frozenset({"autoscaler", "exceptions", "util"})
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"shoal.{name}")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'shoal' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"shoal.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
