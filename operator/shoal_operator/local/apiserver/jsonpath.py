"""The JSONPath subset that printer columns and scale paths are written in.

Invariant: `find` never raises for a path that `parse` accepted; a value that is not there is just not found.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\]\\])+)
      | \[(?P<index>-?\d+)\]
      | \[(?P<every>\*)\]
      | \['(?P<quoted>[^']*)'\]
      | \["(?P<quoted2>[^"]*)"\]
      | \[\?\(@\.(?P<key>[\w.\-/]+)\s*==\s*(?P<literal>"[^"]*"|'[^']*'|[\w.\-]+)\)\]""",
    re.VERBOSE,
)

Step = tuple[str, Any]


@lru_cache(maxsize=256)
def parse(path: str) -> tuple[Step, ...]:
    """Steps of a path like `.status.conditions[?(@.type=="Ready")].status`; raises ValueError."""
    text = path.strip().removeprefix("{").removesuffix("}")
    text = text if text.startswith((".", "[")) else f".{text}"
    steps: list[Step] = []
    position = 0
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            raise ValueError(f"cannot read JSON path {path!r} at {text[position:]!r}")
        steps.append(_step(found))
        position = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    if found["index"] is not None:
        return ("index", int(found["index"]))
    if found["every"] is not None:
        return ("every", None)
    if found["key"] is not None:
        return ("where", (tuple(found["key"].split(".")), found["literal"].strip("'\"")))
    name = found["name"] or found["quoted"] or found["quoted2"] or ""
    return ("field", re.sub(r"\\(.)", r"\1", name))


def find(path: str, value: Any) -> list[Any]:
    """Every value that the path leads to; [] where it leads nowhere."""
    values = [value]
    for kind, argument in parse(path):
        values = [found for held in values for found in _advance(kind, argument, held)]
    return values


def _advance(kind: str, argument: Any, value: Any) -> list[Any]:
    match kind:
        case "field":
            return [value[argument]] if isinstance(value, dict) and argument in value else []
        case "index":
            inside = isinstance(value, list) and -len(value) <= argument < len(value)
            return [value[argument]] if inside else []
        case "every":
            return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    names, literal = argument
    return [item for item in value if _text(item, names) == literal] if isinstance(value, list) else []


def _text(value: Any, names: tuple[str, ...]) -> str | None:
    for name in names:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return str(value).lower() if isinstance(value, bool) else str(value)
