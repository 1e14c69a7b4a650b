"""What differs between any two runs is replaced by a name, so that what is left can be compared.

Invariant: pure. Ids are named for the object (`uid of a`), versions are counted per object (`version 2`), so that
"the write changed nothing" and "this is another object" stay visible.
"""

from __future__ import annotations

import re
from typing import Any

_UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_AGE = re.compile(r"(<invalid>|\d+[smhd](\d+[smh])?)\Z")
_VERSIONS = (
    (re.compile(r"(resource version: )\d+ \(\d+\)"), r"\1<version> (<version>)"),
    (re.compile(r"(resource version: )\d+, current: \d+"), r"\1<version>, current: <version>"),
    (re.compile(r"(ResourceVersion in (?:precondition|object meta): )\d+"), r"\1<version>"),
    (re.compile(r"(ResourceVersion in record )\(\d+\)"), r"\1(<version>)"),
    (re.compile(r'(resourceVersion\\*":\\*")\d+'), r"\1<version>"),
)
_ADDRESS = re.compile(r"\b(?:10\.96|127)\.\d+\.\d+(?:\.\d+)?\b")
_TIMES = frozenset(
    {"creationTimestamp", "deletionTimestamp", "time", "lastTransitionTime", "lastProbeTime", "eventTime"}
)


class Masker:
    """The names given so far in one scenario."""

    def __init__(self) -> None:
        self._uids: dict[str, str] = {}
        self._versions: dict[str, dict[str, str]] = {}

    def mask(self, value: Any) -> Any:
        """A copy of an answer's body with everything volatile named."""
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list):
            return [self.mask(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        if isinstance(value.get("columnDefinitions"), list):
            # What describes a column is prose, which nothing shows.
            columns = [column | {"description": ""} for column in value["columnDefinitions"]]
            value = value | {"columnDefinitions": columns}
        if value.get("kind") == "Table":
            value = value | {"rows": [_masked_row(row) for row in value.get("rows") or ()]}
        elif value.get("kind") == "Status":
            value = _in_order(value)
        uid = value.get("uid") if isinstance(value.get("uid"), str) else ""
        if uid and isinstance(value.get("name"), str):
            self._uids.setdefault(uid, self._new_uid(value.get("generateName") or value["name"]))
        masked: dict[str, Any] = {}
        for raw, item in value.items():
            name = self._text(raw)
            if name in _TIMES and isinstance(item, str):
                masked[name] = "<time>"
            elif name == "continue" and item:
                masked[name] = "<token>"
            elif name == "resourceVersion" and isinstance(item, str) and item:
                masked[name] = self._version(uid, item) if uid else "<version>"
            elif name in {"clusterIP", "clusterIPs"} and item not in (None, "None", ["None"]):
                masked[name] = "<address>"
            elif name == "managedFields" and isinstance(item, list):
                masked[name] = [self.mask(entry) for entry in sorted(item, key=_manager)]
            else:
                masked[name] = self.mask(item)
        if masked.get("generateName") and masked.get("name"):
            masked["name"] = masked["generateName"] + "<suffix>"
        return masked

    def _new_uid(self, name: str) -> str:
        taken = set(self._uids.values())
        names = (f"uid of {name}" + (f" ({number})" if number else "") for number in range(len(taken) + 1))
        return next(found for found in names if found not in taken)

    def _version(self, uid: str, version: str) -> str:
        versions = self._versions.setdefault(uid, {})
        return versions.setdefault(version, f"version {len(versions) + 1}")

    def _text(self, text: str) -> str:
        text = _UID.sub(lambda found: self._uids.get(found[0], "<uid>"), text)
        text = _TIME.sub("<time>", text)
        text = _ADDRESS.sub("<address>", text)
        for pattern, replacement in _VERSIONS:
            text = pattern.sub(replacement, text)
        return text


def _manager(entry: dict[str, Any]) -> tuple[str, ...]:
    """Entries are in the order of their times, which have seconds: a run decides which come first."""
    return tuple(str(entry.get(name, "")) for name in ("operation", "manager", "subresource", "apiVersion"))


def _masked_row(row: dict[str, Any]) -> dict[str, Any]:
    cells = ["<age>" if isinstance(cell, str) and _AGE.match(cell) else cell for cell in row.get("cells") or ()]
    return row | {"cells": cells}


def _in_order(status: dict[str, Any]) -> dict[str, Any]:
    """Causes are listed in the order of Go's maps, which is none; on updates the real server finds some twice."""
    causes = (status.get("details") or {}).get("causes") or ()
    if len(causes) < 2:
        return status
    different = {(cause.get("field", ""), cause.get("message", "")): cause for cause in causes}
    ordered = [different[key] for key in sorted(different)]
    message = status["message"]
    start = message.find(" is invalid: [")
    if start >= 0:
        listed = ", ".join(f"{cause.get('field')}: {cause.get('message')}" for cause in ordered)
        message = f"{message[:start]} is invalid: " + (f"[{listed}]" if len(ordered) > 1 else listed)
    return status | {"message": message, "details": status["details"] | {"causes": ordered}}
