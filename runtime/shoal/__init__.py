"""Shoal: tasks, actors and objects on a cluster of processes, with Ray's API.

Example:
    >>> import shoal
    >>> @shoal.remote
    ... def square(x):
    ...     return x * x
    >>> shoal.get([square.remote(i) for i in range(4)])
    [0, 1, 4, 9]
"""

from shoal import exceptions
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
    "wait",
]
