"""``get``, ``put``, ``wait``, and what the cluster has.

Argument rules, defaults and messages follow Ray 2.60.
"""

from __future__ import annotations

from typing import Any, TypeVar, overload

from shoal._api import session
from shoal.owner.refs import ObjectRef

T = TypeVar("T")


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None) -> T: ...
@overload
def get(refs: list[ObjectRef[T]], *, timeout: float | None = None) -> list[T]: ...


def get(refs: Any, *, timeout: float | None = None) -> Any:
    """The value of a reference, or the values of a list of them, in order.

    Args:
        refs: an ObjectRef or a list of them.
        timeout: seconds to wait at most; 0 returns or raises at once; None waits for ever.

    Raises:
        GetTimeoutError: not everything was ready in time.
        TaskError: a task raised; also an instance of the class of what it raised.
        ObjectLostError, WorkerCrashedError, ActorDiedError, ...: there will be no value; the message says why.
        ValueError: ``refs`` is something else.

    Example:
        >>> shoal.get([square.remote(i) for i in range(3)])
        [0, 1, 4]
    """
    _check_timeout(timeout)
    if isinstance(refs, ObjectRef):
        return session.process().values.get([refs], timeout)[0]
    if not isinstance(refs, list):
        raise ValueError(
            f"Invalid type of object refs, {type(refs)}, is given. 'refs' must be an ObjectRef or a list of them."
        )
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise ValueError(f"Invalid type of object ref in the list: {type(ref)}.")
    return session.process().values.get(refs, timeout) if refs else []


def put(value: T) -> ObjectRef[T]:
    """Store a value and return a reference to it; the calling process owns it.

    Large buffers (arrays) are copied once into shared memory and read without copying.

    Raises:
        TypeError: ``value`` is an ObjectRef, or cannot be pickled.
        ObjectStoreFullError: there is no room.
    """
    if isinstance(value, ObjectRef):
        raise TypeError("Calling 'put' on an ObjectRef is not allowed. Wrap it in a list if that is what you mean.")
    return session.process().values.put(value)


def wait(
    refs: list[ObjectRef[T]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,  # noqa: ARG001  # Ray's signature
) -> tuple[list[ObjectRef[T]], list[ObjectRef[T]]]:
    """Wait until some references are ready.

    Args:
        refs: unique references.
        num_returns: how many to wait for; at most that many are in the first list.
        timeout: seconds; None waits for ever.
        fetch_local: accepted for Ray's sake; "ready" means available anywhere.

    Returns:
        (ready, not ready), both in the order of ``refs``. A task that failed is ready.

    Raises:
        TypeError: not a list of references.
        ValueError: duplicates, or ``num_returns`` or ``timeout`` out of range.
    """
    if not isinstance(refs, list):
        raise TypeError(f"wait() expected a list of ObjectRef, got {type(refs)}")
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"wait() expected a list of ObjectRef, got list containing {type(ref)}")
    if not refs:
        return [], []
    if len(set(refs)) != len(refs):
        raise ValueError("Wait requires a list of unique object refs.")
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(refs):
        raise ValueError(f"num_returns cannot be greater than the number of objects provided, {len(refs)}.")
    _check_timeout(timeout)
    return session.process().values.wait(refs, num_returns, timeout)


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must be at least 0, got {timeout}")


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, dead ones included, with Ray's keys (NodeID, Alive, Resources, ...).

    Raises:
        SystemFailureError: nothing is started.
    """
    found: list[dict[str, Any]] = session.started_process().ask("nodes")
    return [
        {
            "NodeID": node["node_id"],
            "Alive": node["alive"],
            "alive": node["alive"],
            "NodeManagerAddress": node["ip"],
            "NodeName": node.get("pod_name") or node["ip"],
            "Resources": _units(node["total"]) if node["alive"] else {},
            "Labels": node.get("labels", {}),
        }
        for node in found
    ]


def cluster_resources() -> dict[str, float]:
    """The logical resources of all live nodes together, in units.

    Raises:
        SystemFailureError: nothing is started.
    """
    return _summed("total")


def available_resources() -> dict[str, float]:
    """What of ``cluster_resources`` is free at the moment.

    Raises:
        SystemFailureError: nothing is started.
    """
    return _summed("available")


def _summed(field: str) -> dict[str, float]:
    total: dict[str, float] = {}
    for node in session.started_process().ask("nodes"):
        if node["alive"]:
            for name, quantity in _units(node[field]).items():
                total[name] = total.get(name, 0.0) + quantity
    return total


def _units(amounts: Any) -> dict[str, float]:
    from shoal.resources import UNITS

    return {name: amount / UNITS for name, amount in dict(amounts).items()}
