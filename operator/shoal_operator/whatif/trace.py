"""Reading traces: JSON lines, each some work that comes, or a call of ``request_resources``.

Invariant: a trace is understood as a whole or refused with the lines that are wrong; it is read line by line, and not
beyond a limit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shoal.core.demand import MAX_SHAPES
from shoal.core.floors import MAX_UNITS
from shoal.core.labels import problem
from shoal.core.placement_group import MAX_BUNDLES
from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Bundle, Demand, GangStrategy, Labels
from shoal_operator.whatif.work import FloorChange, Kind, Need, Trace, Work

LINES_MAX: Final = 100_000
LINE_BYTES_MAX: Final = 256 * 1024
UNITS_MAX: Final = 1_000_000
"""Of all lines together: each is simulated."""
NEEDS_MAX: Final = MAX_SHAPES
"""Different shapes, as many as a head tells the operator of."""
BUNDLES_MAX: Final = MAX_BUNDLES
"""Of a gang; of ``request_resources`` as many different ones as a head takes."""
SECONDS_MAX: Final = 366 * 86_400.0
AMOUNT_MAX: Final = 10**14
NAME_LENGTH_MAX: Final = 200
PROBLEMS_SHOWN: Final = 20

_WORK: Final = {"at", "count", "resources", "duration_seconds", "over_seconds", "labels", "kind", "name"}
_GANG: Final = {"at", "count", "gang", "duration_seconds", "over_seconds", "name"}
_FLOOR: Final = {"at", "request_resources"}


class TraceError(Exception):
    """A trace that is not understood.

    Attributes:
        name: of the trace.
        problems: one line each, ``line 3: field: what is wrong``.
    """

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        super().__init__(name, tuple(problems))
        self.name = name
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(f"{self.name}: {problem}" for problem in self.problems)


@dataclass
class _Wrong(Exception):
    """One fault of one line."""

    field: str
    text: str


def parse_trace(lines: Iterable[str | bytes], name: str) -> Trace:
    """Read a trace; empty lines and lines that begin with ``#`` say nothing.

    Args:
        lines: the text; no line after a limit is asked for.
        name: the file's, for messages.

    Raises:
        TraceError: with the first ``PROBLEMS_SHOWN`` faults.

    Example:
        >>> trace = parse_trace(['{"at": 5, "count": 3, "resources": {"CPU": 2}, "duration_seconds": 30}'], "t.jsonl")
        >>> trace.work[0].at, trace.units
        (5.0, 3)
    """
    reading = _Reading(name)
    for number, line in enumerate(lines, 1):
        if not reading.take(number, line):
            break
    if reading.problems:
        raise TraceError(name, reading.problems)
    if not reading.work and not reading.floors:
        raise TraceError(name, ["there is no work in it; a line of work is such as " + EXAMPLE])
    return Trace(
        name,
        tuple(sorted(reading.work, key=_time)),
        tuple(sorted(reading.floors, key=lambda item: (item.at, item.line))),
    )


EXAMPLE: Final = '{"at": 0, "count": 10, "resources": {"CPU": 1}, "duration_seconds": 30}'


def _time(work: Work) -> tuple[float, int]:
    return work.at, work.line


class _Reading:
    """What has been read so far, and what is wrong with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work: list[Work] = []
        self.floors: list[FloorChange] = []
        self.problems: list[str] = []
        self._units = 0
        self._needs: dict[Need, Need] = {}

    def take(self, number: int, line: str | bytes) -> bool:
        """Read one line; False when no other shall follow."""
        if number > LINES_MAX:
            text = f"a trace has at most {LINES_MAX} lines: say equal work in one line with `count` and `over_seconds`"
            self.problems.append(f"line {number}: {text}")
            return False
        try:
            document = _document(line)
            if document is not None:
                self._add(number, document)
        except _Wrong as wrong:
            place = f"{wrong.field}: " if wrong.field else ""
            self.problems.append(f"line {number}: {place}{wrong.text}")
        return len(self.problems) < PROBLEMS_SHOWN

    def _add(self, number: int, document: Mapping[str, Any]) -> None:
        if "request_resources" in document:
            _known(document, _FLOOR)
            self.floors.append(FloorChange(number, _at(document), _floors(document["request_resources"])))
            return
        work = _gang(number, document) if "gang" in document else _units(number, document)
        self._units += work.count
        if self._units > UNITS_MAX:
            raise _Wrong("count", f"that makes {self._units} units of work, the most that are simulated is {UNITS_MAX}")
        if len(self._needs) >= NEEDS_MAX and work.need not in self._needs:
            raise _Wrong("resources", f"is the {NEEDS_MAX + 1}th different shape, the most is {NEEDS_MAX}")
        self._needs.setdefault(work.need, work.need)
        self.work.append(work)


def _document(line: str | bytes) -> Mapping[str, Any] | None:
    if len(line) > LINE_BYTES_MAX:
        raise _Wrong("", f"has more than the {LINE_BYTES_MAX} bytes of a line")
    try:
        text = (line.decode() if isinstance(line, bytes) else line).strip()
        if not text or text.startswith("#"):
            return None
        document = json.loads(text)
    except UnicodeDecodeError as error:
        raise _Wrong("", f"is not UTF-8 ({error.reason} at byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise _Wrong("", f"is not JSON ({error}); one object a line, such as {EXAMPLE}") from error
    if not isinstance(document, dict):
        raise _Wrong("", f"must be an object such as {EXAMPLE}, is {_shown(document)}")
    return document


def _units(number: int, document: Mapping[str, Any]) -> Work:
    _known(document, _WORK)
    kind: Kind = document.get("kind", "task")
    if kind not in ("task", "actor"):  # a tuple: what is given may have no hash
        raise _Wrong("kind", f'must be "task" or "actor", is {_shown(kind)}')
    need = Need(kind, _shape("resources", document.get("resources")), _labels("labels", document.get("labels")))
    return _work(number, document, need, lasts=kind == "actor")


def _gang(number: int, document: Mapping[str, Any]) -> Work:
    _known(document, _GANG)
    gang = document["gang"]
    if not isinstance(gang, dict):
        raise _Wrong("gang", f'must be such as {{"strategy": "PACK", "bundles": [{{"CPU": 1}}]}}, is {_shown(gang)}')
    _known(gang, {"strategy", "bundles", "bundle_label_selectors"}, "gang.")
    strategy = gang.get("strategy", "PACK")
    if strategy not in tuple(GangStrategy):
        raise _Wrong("gang.strategy", f"must be one of {', '.join(GangStrategy)}, is {_shown(strategy)}")
    bundles = _bundles(
        "gang.bundles", gang.get("bundles"), "gang.bundle_label_selectors", gang.get("bundle_label_selectors")
    )
    if not bundles:
        raise _Wrong("gang.bundles", 'must have one bundle at least, such as [{"CPU": 1}]')
    total = ResourceSet()
    for bundle in bundles:
        total += bundle.shape.times(bundle.count)
    return _work(number, document, Need("gang", total, (), GangStrategy(strategy), bundles), lasts=False)


def _work(number: int, document: Mapping[str, Any], need: Need, *, lasts: bool) -> Work:
    count = document.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= UNITS_MAX:
        raise _Wrong("count", f"must be a whole number from 1 to {UNITS_MAX}, is {_shown(count)}")
    name = document.get("name", "")
    if not isinstance(name, str) or len(name) > NAME_LENGTH_MAX:
        raise _Wrong("name", f"must be a text of at most {NAME_LENGTH_MAX} characters, is {_shown(name)}")
    at, duration = _at(document), None
    if document.get("duration_seconds") is not None or not lasts:
        duration = _seconds(document, "duration_seconds", "how long a unit runs")
    over = _seconds(document, "over_seconds", "") if "over_seconds" in document else 0.0
    return Work(number, at, count, need, duration, over, name)


def _floors(value: object) -> tuple[Demand, ...]:
    """Ray's arguments of ``request_resources``."""
    where = "request_resources"
    if not isinstance(value, dict):
        raise _Wrong(where, f'must be such as {{"num_cpus": 8}} or {{"bundles": [{{"GPU": 1}}]}}, is {_shown(value)}')
    _known(value, {"num_cpus", "bundles", "bundle_label_selectors"}, f"{where}.")
    floors = []
    cpus = value.get("num_cpus", 0)
    if not isinstance(cpus, int) or isinstance(cpus, bool) or not 0 <= cpus <= UNITS_MAX:
        raise _Wrong(f"{where}.num_cpus", f"must be a whole number from 0 to {UNITS_MAX}, is {_shown(cpus)}")
    if cpus:
        floors.append(Demand(ResourceSet.from_units({"CPU": 1}), cpus, kind="request"))
    selectors, given = value.get("bundle_label_selectors"), value.get("bundles", [])
    bundles = _bundles(f"{where}.bundles", given, f"{where}.bundle_label_selectors", selectors, most=MAX_UNITS)
    if len(bundles) > MAX_SHAPES:
        raise _Wrong(f"{where}.bundles", f"must be at most {MAX_SHAPES} different bundles, are {len(bundles)}")
    return (*floors, *(Demand(bundle.shape, bundle.count, bundle.label_selector, "request") for bundle in bundles))


def _bundles(
    where: str, shapes: object, selectors_where: str, selectors: object, most: int = BUNDLES_MAX
) -> tuple[Bundle, ...]:
    """Ray's lists of bundles and of their selectors; equal ones as one."""
    if not isinstance(shapes, list) or len(shapes) > most:
        raise _Wrong(where, f"must be a list of at most {most} bundles, is {_shown(shapes)}")
    if selectors is not None and (not isinstance(selectors, list) or len(selectors) != len(shapes)):
        raise _Wrong(selectors_where, f"must be a list of {len(shapes)} selectors, one for each bundle")
    counts: dict[tuple[ResourceSet, Labels], int] = {}
    for index, units in enumerate(shapes):
        labels = _labels(f"{selectors_where}[{index}]", selectors[index]) if selectors else ()
        key = (_shape(f"{where}[{index}]", units), labels)
        counts[key] = counts.get(key, 0) + 1
    return tuple(Bundle(shape, labels, count) for (shape, labels), count in counts.items())


def _known(document: Mapping[str, Any], names: set[str], path: str = "") -> None:
    for name in document:
        if name not in names:
            raise _Wrong(path + name[:60], f"is not a field here; those are {', '.join(sorted(names))}")


def _shape(where: str, units: object) -> ResourceSet:
    if not isinstance(units, dict):
        raise _Wrong(where, f'must be resources such as {{"CPU": 1}}, is {_shown(units)}')
    for name, amount in units.items():
        if not name or len(name) > NAME_LENGTH_MAX:
            raise _Wrong(where, f"a resource's name has 1 to {NAME_LENGTH_MAX} characters, this is {_shown(name)}")
        if isinstance(amount, bool) or not isinstance(amount, int | float) or amount > AMOUNT_MAX:
            raise _Wrong(f"{where}.{name}", f"must be a number of at most {AMOUNT_MAX:g}, is {_shown(amount)}")
    try:
        shape = ResourceSet.from_units(units)
    except ValueError as error:
        raise _Wrong(where, str(error)) from error
    if not shape:
        raise _Wrong(where, "asks for nothing; give one resource a quantity above 0")
    return shape


def _labels(where: str, labels: object) -> Labels:
    if labels is None:
        return ()
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise _Wrong(where, f'must be such as {{"zone": "a"}}, is {_shown(labels)}')
    if words := problem(labels):
        raise _Wrong(where, words)
    return tuple(sorted(labels.items()))


def _at(document: Mapping[str, Any]) -> float:
    return _seconds(document, "at", "when it comes")


def _seconds(document: Mapping[str, Any], field: str, meaning: str) -> float:
    value = document.get(field)
    if value is None and meaning:
        raise _Wrong(field, f"is missing: {meaning}, in seconds")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= (value or 0) <= SECONDS_MAX:
        raise _Wrong(field, f"must be seconds from 0 to {SECONDS_MAX:.0f}, is {_shown(value)}")
    return float(value or 0)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
