"""Server-side apply and the bookkeeping of `metadata.managedFields`.

Invariant: after every write each field has at least one owner; an applier that stops naming a field loses it,
and the field goes when nobody else owns it; an applier never overwrites another owner's different value unless
it forces. Pure: objects, schema and time in, a new object out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shoal_operator.local.apiserver import fieldsets, lastapplied
from shoal_operator.local.apiserver import schema as schemas
from shoal_operator.local.apiserver.errors import StatusError
from shoal_operator.local.apiserver.fieldsets import HOLDER, MEMBER, FieldSet, Path
from shoal_operator.local.apiserver.values import MISSING, Document, clone


@dataclass(frozen=True, slots=True)
class Manager:
    """Who wrote: the field manager's name, how (Apply or Update), through which version and subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def words(self) -> str:
        """How conflict messages name it: an applier by its name, a writer also by the version it wrote."""
        via = f' with subresource "{self.subresource}"' if self.subresource else ""
        version = "" if self.operation == "Apply" else f" using {self.api_version}"
        return f'"{self.name}"{via}{version}'

    def identity(self) -> tuple[str, str, str]:
        return (self.name, self.operation, self.subresource)


@dataclass(frozen=True, slots=True)
class Entry:
    """One manager's fields and when it last changed the object (RFC 3339; "" when it never did)."""

    manager: Manager
    fields: FieldSet
    time: str

    def document(self) -> Document:
        written: Document = {
            "manager": self.manager.name,
            "operation": self.manager.operation,
            "apiVersion": self.manager.api_version,
            **({"time": self.time} if self.time else {}),
            "fieldsType": "FieldsV1",
            "fieldsV1": fieldsets.encode(self.fields),
        }
        return written | ({"subresource": self.manager.subresource} if self.manager.subresource else {})


def read_entries(document: Document) -> list[Entry]:
    """The managedFields of an object; an empty entry (`[{}]`) means "forget all", as documented."""
    return [
        Entry(
            Manager(
                raw.get("manager", ""),
                raw.get("operation", "Update"),
                raw.get("apiVersion", ""),
                raw.get("subresource", ""),
            ),
            fieldsets.decode(raw.get("fieldsV1") or {}),
            raw.get("time", ""),
        )
        for raw in document.get("metadata", {}).get("managedFields") or ()
        if raw
    ]


def write_entries(document: Document, entries: Iterable[Entry]) -> None:
    """Set managedFields: appliers first, then by time and name, as the real server orders them."""
    kept = [entry for entry in entries if entry.fields]
    kept.sort(key=lambda e: (e.manager.operation != "Apply", e.time, e.manager.name, e.manager.subresource))
    if kept:
        document["metadata"]["managedFields"] = [entry.document() for entry in kept]
    else:
        document["metadata"].pop("managedFields", None)


def track_update(
    old: Document | None,
    new: Document,
    schema: Document,
    entries: Sequence[Entry],
    manager: Manager,
    now: str,
    standing: FieldSet = frozenset(),
) -> list[Entry]:
    """Who owns what after a create, update or patch: what changed is the writer's, what went is nobody's.

    `standing` are the maps and lists that every object of the kind has from the start, so that nobody made them.
    """
    before: dict[Path, Any] = fieldsets.paths(old, schema) if old else {path: {} for path in standing}
    after = fieldsets.paths(new, schema)
    changed = {path for path, value in after.items() if path not in before or _differs(before[path], value)}
    lost = changed | (before.keys() - after.keys())
    # An object that nobody is known to own stays so until somebody applies it.
    if not lost or (old is not None and not entries):
        return list(entries)
    kept = []
    mine: FieldSet = frozenset()
    for entry in entries:
        if entry.manager.identity() == manager.identity():
            mine = entry.fields
        else:
            kept.append(replace(entry, fields=entry.fields - lost))
    return [*kept, Entry(manager, (mine - lost) | changed, now)]


def _differs(before: Any, after: Any) -> bool:
    """Whether a path that was there and still is has another value; what it holds has paths of its own."""
    return before is not HOLDER and after is not HOLDER and not _same(before, after)


def _same(one: Any, other: Any) -> bool:
    if one is MEMBER or other is MEMBER:
        return one is other
    return bool(type(one) is type(other) and one == other)


def apply_configuration(
    live: Document | None, config: Document, schema: Document, manager: Manager, *, force: bool
) -> tuple[Document, list[Entry], FieldSet]:
    """Merge an applied configuration into the live object.

    Returns the merged object, the other managers' entries and the fields the applier now owns; the caller
    finishes with `finish_apply` once defaults are in. Raises StatusError 409 with one cause per conflict.
    """
    config = _without_nulls(config)
    wanted = fieldsets.leaves(config, schema)
    owned = frozenset(wanted)
    entries = read_entries(live) if live else []
    others = [entry for entry in entries if entry.manager.identity() != manager.identity()]
    previous = next((e.fields for e in entries if e.manager.identity() == manager.identity()), frozenset())
    if live is None:
        return clone(config), others, owned
    current = fieldsets.leaves(live, schema)
    inherited = lastapplied.inherited_fields(live, manager.name, schema)
    others = _settle_conflicts(wanted, current, others, inherited, force=force)
    merged = _merge(live, config, schema)
    _drop_abandoned(merged, previous, owned, others, schema)
    lastapplied.refresh(live, merged, config, manager.name)
    return merged, others, owned


def finish_apply(
    live: Document | None,
    merged: Document,
    schema: Document,
    others: Sequence[Entry],
    owned: FieldSet,
    manager: Manager,
    now: str,
) -> None:
    """Write managedFields of an applied object; the time of an entry changes only when the object does."""
    present = frozenset(fieldsets.paths(merged, schema))
    previous = next(
        (e for e in (read_entries(live) if live else []) if e.manager.identity() == manager.identity()), None
    )
    before = previous.time if previous is not None else ""
    time = before if _equal_but_managed(live, merged) else now
    kept = [replace(entry, fields=entry.fields & present) for entry in others]
    write_entries(merged, [*kept, Entry(manager, owned, time)])


def _equal_but_managed(live: Document | None, merged: Document) -> bool:
    if live is None:
        return False
    strip = {"managedFields": None, "resourceVersion": None}
    return live | {"metadata": live["metadata"] | strip} == merged | {"metadata": merged["metadata"] | strip}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _settle_conflicts(
    wanted: dict[Path, Any],
    current: dict[Path, Any],
    others: Sequence[Entry],
    inherited: FieldSet,
    *,
    force: bool,
) -> list[Entry]:
    contested = {
        path
        for path, value in wanted.items()
        if value is not MEMBER and path in current and not _same(current[path], value)
    }
    found = [(entry, sorted((entry.fields & contested) - inherited)) for entry in others]
    conflicts = [(entry, paths) for entry, paths in found if paths]
    if conflicts and not force:
        raise conflict_error([(entry.manager, paths) for entry, paths in conflicts])
    return [replace(entry, fields=entry.fields - contested) for entry in others]


def conflict_error(conflicts: Sequence[tuple[Manager, Sequence[Path]]]) -> StatusError:
    """409 in the words that kubectl prints to people."""
    conflicts = sorted(conflicts, key=lambda item: item[0].words())
    count = sum(len(paths) for _, paths in conflicts)
    if count == 1:
        manager, paths = conflicts[0]
        text = f"conflict with {manager.words()}: {fieldsets.dotted(paths[0])}"
        message = f"Apply failed with 1 conflict: {text}"
    else:
        blocks = [
            f"conflicts with {manager.words()}:\n" + "\n".join(f"- {fieldsets.dotted(path)}" for path in paths)
            for manager, paths in conflicts
        ]
        message = f"Apply failed with {count} conflicts: " + "\n".join(blocks)
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {manager.words()}",
            "field": fieldsets.dotted(path),
        }
        for manager, paths in conflicts
        for path in paths
    ]
    return StatusError(409, "Conflict", message, {"causes": causes})


def _merge(live: Any, config: Any, schema: Document) -> Any:
    """`config` laid over `live`, list items matched by key."""
    if isinstance(config, dict) and isinstance(live, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        merged = {key: clone(value) for key, value in live.items() if key not in config}
        ordered = dict.fromkeys(live, MISSING) | dict.fromkeys(config, MISSING)
        for name, value in config.items():
            known = fieldsets.METADATA_SCHEMA if name == "metadata" else schemas.child(schema, name) or {}
            merged[name] = _merge(live[name], value, known) if name in live else clone(value)
        return {key: merged[key] for key in ordered}
    if isinstance(config, list) and isinstance(live, list):
        list_type = schema.get("x-kubernetes-list-type")
        if list_type == "map":
            return _merge_keyed(live, config, schema)
        if list_type == "set":
            return [*clone(live), *(clone(item) for item in config if item not in live)]
    return clone(config)


def _merge_keyed(live: list[Any], config: list[Any], schema: Document) -> list[Any]:
    keys, items = fieldsets.list_keys(schema) or [], schema.get("items") or {}
    applied = {fieldsets.item_key(item, keys, items): item for item in config}
    merged = []
    for item in live:
        override = applied.pop(fieldsets.item_key(item, keys, items), MISSING)
        merged.append(clone(item) if override is MISSING else _merge(item, override, items))
    return [*merged, *clone(list(applied.values()))]


def _drop_abandoned(
    merged: Document, previous: FieldSet, owned: FieldSet, others: Sequence[Entry], schema: Document
) -> None:
    """Remove what the applier used to name, does not name now, and nobody else owns."""
    kept = owned.union(*(entry.fields for entry in others))
    # Whoever owns something in a list item or a map needs that item, its key fields, and the map.
    needed = {path[:length] for path in kept for length in range(1, len(path))}
    # Items before their fields: without its key fields an item could not be found.
    for path in sorted(previous - kept, key=len):
        if path in needed or (path[:-1] in needed and path[-2].startswith("k:") and _is_key_field(path)):
            continue
        fieldsets.remove(merged, path, schema, kept)


def _is_key_field(path: Path) -> bool:
    return path[-1][2:] in json.loads(path[-2][2:])
