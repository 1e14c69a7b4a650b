"""One stored form per object, several served ones.

Invariant: `to_storage(r, from_storage(r, d)) == d` for what both forms can say. Core and events.k8s.io Events
are the only built-in kind with two shapes; versions of a custom kind differ in `apiVersion` alone (conversion
strategy None).
"""

from __future__ import annotations

from shoal_operator.local.apiserver.kinds import EVENTS_GROUP, Resource
from shoal_operator.local.apiserver.values import Document

_RENAMED = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
"""(core/v1 name, events.k8s.io/v1 name)."""


_LEFT_OUT_EMPTY = frozenset({"reportingController", "reportingInstance"})


def to_storage(resource: Resource, document: Document) -> Document:
    """The stored form of what a client sent to `resource`."""
    if resource.group != EVENTS_GROUP:
        return document
    return _renamed(document, {new: old for old, new in _RENAMED}, "v1")


def from_storage(resource: Resource, document: Document) -> Document:
    """What `resource` shows of a stored object; the object itself when nothing differs."""
    if resource.group == EVENTS_GROUP:
        shown = _renamed(document, dict(_RENAMED), resource.api_version)
        return {name: value for name, value in shown.items() if value != "" or name not in _LEFT_OUT_EMPTY}
    if document.get("apiVersion") != resource.api_version:
        return document | {"apiVersion": resource.api_version}
    return document


def _renamed(document: Document, names: dict[str, str], api_version: str) -> Document:
    renamed = {names.get(name, name): value for name, value in document.items()}
    return renamed | {"apiVersion": api_version}
