"""The unary calls of agents: which there are, and when they are answered.

Invariant: a call that changes what outlives the head is answered when that is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from shoal.head.journal import Journal
from shoal.head.kv import KvError
from shoal.jobs.package_store import PackageError
from shoal.protocol.link import HeadCallError

WRITES: Final = frozenset({"CreateActor", "CreatePlacementGroup", "Kv", "RemovePlacementGroup", "RequestResources"})
"""Calls that are refused while the disk is too far behind."""
DURABLE: Final = WRITES | {"ListPlacementGroups"}
"""Calls that are answered when what they changed, or tell, is on disk."""


class AgentCalls:
    """See the module.

    Args:
        journal: where changes are written.
        handlers: what carries out a method of the ``Cluster`` service. They may raise KvError, PackageError and
            ValueError (for bad arguments).
    """

    def __init__(self, journal: Journal, handlers: Mapping[str, Callable[[Any], Any]]) -> None:
        self._journal, self._handlers = journal, handlers

    def call(self, method: str, request: Any) -> Any:
        """One call; ``FetchPackage`` gives the whole package in one chunk.

        Raises:
            HeadCallError: the call failed; ``kind`` says how.
        """
        if method in WRITES and self._journal.full:
            raise HeadCallError(method, "Unavailable", "the head's disk cannot keep up with what is to be written")
        try:
            return self._handlers[method](request)
        except (KvError, PackageError) as error:
            raise HeadCallError(method, error.kind, str(error)) from error
        except ValueError as error:
            raise HeadCallError(method, "InvalidArgument", str(error)) from error

    def durably(self, method: str, request: Any) -> Future[Any]:
        """``call``, answered (on any thread) when what it changed is on disk; at once when that is nothing."""
        future: Future[Any] = Future()
        try:
            value = self.call(method, request)
        except HeadCallError as error:
            future.set_exception(error)
            return future
        if method in DURABLE:
            self._journal.when_durable(lambda: _resolve(future, value))
        else:
            future.set_result(value)
        return future


def _resolve(future: Future[Any], value: Any) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(value)
