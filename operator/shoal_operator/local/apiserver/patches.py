"""The three patches that change an object: JSON patch, merge patch and strategic merge patch.

Invariant: pure functions that return a new document and never touch the one they are given; a patch that does
not fit raises `PatchError` and nothing is half done.
"""

from __future__ import annotations

from typing import Any

from shoal_operator.local.apiserver import schema as schemas
from shoal_operator.local.apiserver.values import MISSING, Document, clone

MAX_OPERATIONS = 10_000
"""As the real server: a JSON patch with more operations is refused."""


class PatchError(ValueError):
    """The patch does not fit the document."""


class MalformedPatchError(PatchError):
    """The patch is none, whatever the document."""


def json_patch(document: Document, operations: Any) -> Document:
    """RFC 6902."""
    if not isinstance(operations, list):
        raise MalformedPatchError("json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")
    if len(operations) > MAX_OPERATIONS:
        raise PatchError(f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}")
    root: Any = clone(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError(f"not a JSON patch operation: {operation!r}")
        root = _step(root, operation)
    if not isinstance(root, dict):
        raise PatchError("the patch replaces the object by something that is no object")
    return root


def _step(root: Any, operation: Document) -> Any:
    path = operation["path"]
    match operation.get("op"):
        case "test":
            if _read(root, path) != operation.get("value"):
                raise PatchError(f"testing value {path} failed")
            return root
        case "remove":
            return _write(root, path, MISSING, must_exist=True)
        case "add":
            return _write(root, path, clone(operation.get("value")), insert=True)
        case "replace":
            # The real server's library takes an absent member for one to be added.
            return _write(root, path, clone(operation.get("value")))
        case "copy":
            return _write(root, path, clone(_read(root, str(operation.get("from")))), insert=True)
        case "move":
            source = str(operation.get("from"))
            value = clone(_read(root, source))
            return _write(_write(root, source, MISSING, must_exist=True), path, value, insert=True)
    raise PatchError(f"Unexpected kind: {operation.get('op')}")


def _pointer(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise PatchError(f"a JSON pointer begins with '/': {path!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _read(root: Any, path: str) -> Any:
    value = root
    for part in _pointer(path):
        value = _step_into(value, part, path)
    return value


def _step_into(value: Any, part: str, path: str) -> Any:
    if isinstance(value, dict) and part in value:
        return value[part]
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    raise PatchError(f"the path {path!r} does not exist")


def _write(root: Any, path: str, value: Any, *, must_exist: bool = False, insert: bool = False) -> Any:
    parts = _pointer(path)
    if not parts:
        return value
    holder = root
    for part in parts[:-1]:
        holder = _step_into(holder, part, path)
    last = parts[-1]
    if isinstance(holder, dict):
        if must_exist and last not in holder:
            raise PatchError(f"the path {path!r} does not exist")
        if value is MISSING:
            del holder[last]
        else:
            holder[last] = value
    elif isinstance(holder, list):
        _write_item(holder, last, value, path, insert=insert)
    else:
        raise PatchError(f"the path {path!r} does not exist")
    return root


def _write_item(holder: list[Any], last: str, value: Any, path: str, *, insert: bool) -> None:
    index = len(holder) if last == "-" and insert else int(last) if last.isdigit() else -1
    if index < 0 or index > len(holder) - (0 if insert else 1):
        raise PatchError(f"the index in {path!r} is out of bounds")
    if value is MISSING:
        del holder[index]
    elif insert:
        holder.insert(index, value)
    else:
        holder[index] = value


def merge_patch(document: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return clone(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return {name: clone(value) for name, value in merged.items()}


_SET_ORDER = "$setElementOrder/"
_DELETE_FROM = "$deleteFromPrimitiveList/"


def strategic_merge(document: Any, patch: Any, schema: Document) -> Any:
    """Kubernetes' own patch: lists merge by the schema's keys; `$patch`, `$retainKeys` and friends are honoured."""
    if not isinstance(patch, dict) or not isinstance(document, dict | None):
        return clone(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return clone({name: value for name, value in patch.items() if name != "$patch"})
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"unknown patch type: {directive} in map: {_go_map(patch)}")
    merged: Document = dict(document or {})
    retained = patch.get("$retainKeys")
    if retained is not None:
        merged = {name: value for name, value in merged.items() if name in retained}
    for name, value in patch.items():
        _strategic_field(merged, name, value, patch, schema)
    return {name: clone(value) for name, value in merged.items()}


def _strategic_field(merged: Document, name: str, value: Any, patch: Document, schema: Document) -> None:
    if name in ("$patch", "$retainKeys"):
        return
    if name.startswith(_DELETE_FROM):
        target = name.removeprefix(_DELETE_FROM)
        merged[target] = [item for item in merged.get(target) or [] if item not in value]
    elif name.startswith(_SET_ORDER):
        target = name.removeprefix(_SET_ORDER)
        if target not in patch and isinstance(merged.get(target), list):
            merged[target] = _ordered(merged[target], value, _known(schema, target))
    elif value is None:
        merged.pop(name, None)
    elif isinstance(value, list):
        known = _known(schema, name)
        items = _strategic_list(merged.get(name), value, known)
        order = patch.get(_SET_ORDER + name)
        merged[name] = items if order is None else _ordered(items, order, known)
    else:
        merged[name] = strategic_merge(merged.get(name), value, _known(schema, name))


def _known(schema: Document, name: str) -> Document:
    return schemas.child(schema, name) or {}


def _strategic_list(live: Any, patch: list[Any], schema: Document) -> list[Any]:
    if "merge" not in schema.get("x-kubernetes-patch-strategy", "") or not isinstance(live, list):
        return [item for item in clone(patch) if not (isinstance(item, dict) and "$patch" in item)]
    key = schema.get("x-kubernetes-patch-merge-key")
    if key is None:
        return [*clone(live), *(clone(item) for item in patch if item not in live)]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [clone(item) for item in patch if item.get("$patch") != "replace"]
    return _merge_items(live, patch, key, schema.get("items") or {})


def _merge_items(live: list[Any], patch: list[Any], key: str, items: Document) -> list[Any]:
    merged = list(live)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise PatchError(f"map: {_go_map(item)} does not contain declared merge key: {key}")
        index = next((i for i, held in enumerate(merged) if held.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            merged = [held for held in merged if held.get(key) != item[key]]
        elif index is None:
            merged.append(strategic_merge({}, item, items))
        else:
            merged[index] = strategic_merge(merged[index], item, items)
    return merged


def _go_map(value: Any) -> str:
    """A map as Go prints it."""
    if not isinstance(value, dict):
        return str(value)
    return "map[" + " ".join(f"{name}:{_go_map(value[name])}" for name in sorted(value)) + "]"


def _ordered(items: list[Any], order: list[Any], schema: Document) -> list[Any]:
    """Items in the order the patch asks for; those it does not name keep their place at the end."""
    key = schema.get("x-kubernetes-patch-merge-key")
    wanted = [item.get(key) if key and isinstance(item, dict) else item for item in order]
    position = {repr(identity): index for index, identity in enumerate(wanted)}

    def rank(item: Any) -> int:
        identity = item.get(key) if key and isinstance(item, dict) else item
        return position.get(repr(identity), len(position))

    return sorted(items, key=rank)
