"""What differs between a golden recording and a new one.

Invariant: pure; every difference has one address (`scenario/step` and a path into the record) and says both sides.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ABSENT: Any = object()
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Difference:
    """`step` is "scenario/step", `path` e.g. "body.spec.replicas"; `golden` and `now` are JSON text, or "absent"."""

    step: str
    path: str
    golden: str
    now: str

    def __str__(self) -> str:
        return f"{self.step} {self.path}: real {self.golden}, embedded {self.now}"


@dataclass(frozen=True, slots=True)
class Expected:
    """A difference that is meant. `step` and `path` may have `*`; `why` names a row of docs/api-server.md."""

    step: str
    path: str
    why: str

    def covers(self, difference: Difference) -> bool:
        return fnmatch.fnmatchcase(difference.step, self.step) and _fits(difference.path, self.path)


def _fits(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path.replace("[", "<"), pattern.replace("[", "<"))


def differences(
    scenario: str, golden: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> list[Difference]:
    """All differences between two recordings of one scenario, in the order of its steps."""
    found: list[Difference] = []
    ours = {record["step"]: record for record in now}
    for record in golden:
        where = f"{scenario}/{record['step']}"
        found += [Difference(where, *rest) for rest in _walk(record, ours.pop(record["step"], {}), "")]
    found += [Difference(f"{scenario}/{name}", "", "absent", _show(record)) for name, record in ours.items()]
    return found


def _walk(golden: Any, now: Any, path: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(golden, dict) and isinstance(now, dict):
        for name in sorted(golden.keys() | now.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _walk(golden.get(name, _ABSENT), now.get(name, _ABSENT), inner)
    elif isinstance(golden, list) and isinstance(now, list):
        for index in range(max(len(golden), len(now))):
            one = golden[index] if index < len(golden) else _ABSENT
            other = now[index] if index < len(now) else _ABSENT
            yield from _walk(one, other, f"{path}[{index}]")
    elif type(golden) is not type(now) or golden != now:
        yield path, _show(golden), _show(now)


def _show(value: Any) -> str:
    text = "absent" if value is _ABSENT else json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def unexpected(found: Iterable[Difference], expected: Sequence[Expected]) -> list[Difference]:
    """The differences that nobody meant."""
    return [difference for difference in found if not any(item.covers(difference) for item in expected)]


def unused(found: Sequence[Difference], expected: Iterable[Expected]) -> list[Expected]:
    """Expectations that no difference meets any more."""
    return [item for item in expected if not any(item.covers(difference) for difference in found)]
