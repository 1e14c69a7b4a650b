"""What every operation of the server shares: the store, the registry, and where time and ids come from.

Invariant: no operation reads a clock or draws an id by itself; a test that hands in its own gets the same
objects every time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.kinds import Registry, Resource
from shoal_operator.local.apiserver.store import Key, Store
from shoal_operator.local.apiserver.values import Document, timestamp


class AddressPool(Protocol):
    """Hands out the cluster IPs of Services (`shoal_operator.local.loopback.LoopbackPool` is one)."""

    def allocate(self) -> str: ...

    def release(self, address: str) -> None: ...


@dataclass(slots=True)
class Context:
    """State and sources. `new_suffix` makes the random tail of a `generateName`."""

    store: Store
    registry: Registry
    addresses: AddressPool
    clock: Callable[[], datetime]
    new_uid: Callable[[], str]
    new_suffix: Callable[[], str]

    def now(self) -> str:
        return timestamp(self.clock())

    def key(self, resource: Resource, namespace: str | None, name: str) -> Key:
        return Key(resource.collection, (namespace or "") if resource.namespaced else "", name)


@dataclass(slots=True)
class WriteOptions:
    """What the query of a write says. Warnings found on the way are added to `warnings`.

    `repeated` are what a strict reader finds wrong with the body's text: fields that it gives twice.
    """

    field_manager: str = "unknown"
    dry_run: bool = False
    field_validation: str = "Warn"
    force: bool = False
    repeated: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)


PROPAGATIONS = ("Foreground", "Background", "Orphan")


@dataclass(slots=True)
class DeleteOptions:
    """metav1.DeleteOptions. `propagation` is Background, Foreground or Orphan; None means the default."""

    grace_period_seconds: int | None = None
    propagation: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False


def read_delete_options(body: Document, query: Document) -> DeleteOptions:
    """From the request's body, or its query where the body says nothing; StatusError for what makes no sense."""
    conditions = body.get("preconditions") or {}
    if not isinstance(body, dict):
        raise errors.bad_request("the options of a delete must be a JSON object")
    grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    if isinstance(grace, str) and not grace.removeprefix("-").isdigit():
        where = "Go struct field DeleteOptions.gracePeriodSeconds of type int64"
        raise errors.bad_request(f"json: cannot unmarshal string into {where}")
    propagation = body.get("propagationPolicy", query.get("propagationPolicy"))
    orphan = body.get("orphanDependents")
    problems = []
    if propagation is not None and orphan is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        problems.append(errors.invalid_value("propagationPolicy", propagation, detail))
    if propagation not in (None, *PROPAGATIONS):
        problems.append(errors.not_supported("propagationPolicy", propagation, (*PROPAGATIONS, "nil")))
    if problems:
        raise errors.invalid("DeleteOptions.meta.k8s.io", "", problems)
    if propagation is None and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    return DeleteOptions(
        grace_period_seconds=None if grace is None else int(grace),
        propagation=propagation,
        uid=conditions.get("uid"),
        resource_version=conditions.get("resourceVersion"),
        dry_run=bool(body.get("dryRun") or query.get("dryRun")),
    )
