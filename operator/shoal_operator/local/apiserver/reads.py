"""Get and list.

Invariant: the pages of one list show the collection as it stood at the first page, or the client is told that
they no longer can (410), so that no object is missed or shown twice.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass

from shoal_operator.local.apiserver import errors, metadata, selectors, versions
from shoal_operator.local.apiserver.context import Context
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.selectors import ALL_FIELDS, ALL_LABELS, FieldSelector, LabelSelector
from shoal_operator.local.apiserver.store import HistoryLostError, Key
from shoal_operator.local.apiserver.values import Document, dig

_EVENT_FIELDS = (
    "involvedObject.apiVersion",
    "involvedObject.fieldPath",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.resourceVersion",
    "involvedObject.uid",
    "reason",
    "reportingComponent",
    "type",
)

SELECTABLE_FIELDS: dict[str, tuple[str, ...]] = {
    "events": (*_EVENT_FIELDS, "source", *(f.replace("involvedObject", "regarding") for f in _EVENT_FIELDS)),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
    ),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
}
"""Fields beside metadata.name and metadata.namespace that a field selector may name."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The two selectors of a list, watch or deletecollection."""

    labels: LabelSelector = ALL_LABELS
    fields: FieldSelector = ALL_FIELDS

    def matches(self, document: Document) -> bool:
        if self.labels.requirements and not self.labels.matches(document["metadata"].get("labels")):
            return False
        return not self.fields.requirements or self.fields.matches(field_reader(document))

    def everything(self) -> bool:
        return not (self.labels.requirements or self.fields.requirements)


def field_reader(document: Document) -> Callable[[str], str]:
    """A function from a selectable field's name to its text in `document`."""

    def read(field: str) -> str:
        if field == "source":
            value = dig(document, "source", "component") or document.get("reportingComponent")
        else:
            value = dig(document, *field.replace("regarding.", "involvedObject.").split("."))
        if isinstance(value, bool):
            return str(value).lower()
        return "" if value is None else str(value)

    return read


def read_filter(resource: Resource, label_text: str, field_text: str) -> Filter:
    """Parse both selectors; StatusError 400 for text or fields that the resource does not support."""
    try:
        found = Filter(selectors.parse_labels(label_text), selectors.parse_fields(field_text))
        for need in found.labels.requirements:
            for problem in metadata.validate_key("<nil>", need.key):
                raise errors.bad_request(f"unable to parse requirement: {problem.text()}")
    except selectors.SelectorError as error:
        raise errors.bad_request(str(error)) from error
    allowed = {
        "metadata.name",
        "metadata.namespace",
        *SELECTABLE_FIELDS.get(resource.collection, ()),
        *resource.selectable_fields,
    }
    for need in found.fields.requirements:
        if need.key not in allowed:
            raise errors.bad_request(_unknown_field(resource, need.key))
    return found


def _unknown_field(resource: Resource, name: str) -> str:
    if resource.custom or resource.collection in SELECTABLE_FIELDS:
        return f"field label not supported: {name}"
    return f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'


@dataclass(frozen=True, slots=True)
class Page:
    """A list's answer. `continue_token` is "" on the last page; `remaining` None when it is not known."""

    items: list[Document]
    resource_version: str
    continue_token: str = ""
    remaining: int | None = None

    def document(self, resource: Resource) -> Document:
        meta: Document = {"resourceVersion": self.resource_version}
        if resource.custom:
            meta["continue"] = ""
        if self.continue_token:
            meta["continue"] = self.continue_token
        if self.remaining:
            meta["remainingItemCount"] = self.remaining
        return {
            "kind": resource.list_kind,
            "apiVersion": resource.api_version,
            "metadata": meta,
            "items": self.items if resource.custom else [_without_kind(item) for item in self.items],
        }


def _without_kind(item: Document) -> Document:
    """The items of a built-in list say their kind by the list's; so the real server writes them."""
    return {name: value for name, value in item.items() if name not in ("kind", "apiVersion")}


def check_version(text: str) -> None:
    """StatusError for a version in a get that is none."""
    if text and not text.isdigit():
        words = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise errors.plain(f'resourceVersion: Invalid value: "{text}": {words}')


def get_object(context: Context, resource: Resource, namespace: str | None, name: str) -> Document:
    """One object in its served form; StatusError 404."""
    found = context.store.get(context.key(resource, namespace, name))
    if found is None:
        raise errors.not_found(resource.group_resource, name)
    return versions.from_storage(resource, found)


def list_objects(
    context: Context,
    resource: Resource,
    namespace: str | None,
    wanted: Filter,
    *,
    limit: int = 0,
    continue_token: str = "",
    resource_version: str = "",
    exact: bool = False,
) -> Page:
    """A page of objects; `limit` 0 means all, `exact` the state at `resource_version`.

    StatusError 410 for a continue token or an exact version that is too old.
    """
    store = context.store
    if continue_token:
        if resource_version not in ("", "0"):
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        version, after = _read_token(continue_token)
        entries = [
            entry for entry in _scan_at(context, resource, namespace, version, _TOO_OLD_TO_CONTINUE) if entry[0] > after
        ]
    else:
        version = store.resource_version
        _refuse_future(resource_version, version)
        if exact:
            version = int(resource_version)
            text = "The resourceVersion for the provided list is too old."
            entries = _scan_at(context, resource, namespace, version, text)
        else:
            entries = store.scan(resource.collection, namespace)
    if not wanted.everything():
        entries = [entry for entry in entries if wanted.matches(entry[1])]
    token, remaining = "", None
    if limit and len(entries) > limit:
        remaining = len(entries) - limit if wanted.everything() else None
        entries = entries[:limit]
        token = _write_token(version, entries[-1][0])
    return Page([versions.from_storage(resource, doc) for _, doc in entries], str(version), token, remaining)


_TOO_OLD_TO_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter."
)


def _scan_at(
    context: Context, resource: Resource, namespace: str | None, version: int, too_old: str
) -> list[tuple[Key, Document]]:
    try:
        return context.store.scan_at(resource.collection, namespace, version)
    except HistoryLostError as error:
        raise errors.expired(too_old) from error


def _refuse_future(requested: str, current: int) -> None:
    if not requested:
        return
    if not requested.isdigit():
        text = (
            f'resourceVersion: Invalid value: "{requested}": strconv.ParseUint: parsing "{requested}": invalid syntax'
        )
        raise errors.bad_request(f"invalid resource version: {text}")
    if int(requested) > current:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        text = f"Too large resource version: {requested}, current: {current}"
        raise errors.StatusError(504, "Timeout", text, {"causes": [cause]}, retry_after_seconds=1)


def _write_token(version: int, last: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *last]).encode()).decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        version, collection, namespace, name = json.loads(base64.urlsafe_b64decode(token.encode()))
        return int(version), Key(str(collection), str(namespace), str(name))
    except (binascii.Error, TypeError, ValueError) as error:
        raise errors.bad_request(f"invalid continue token: continue key is not valid: {error}") from error
