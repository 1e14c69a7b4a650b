"""The curves of outcomes, with scales and colours in common.

Invariant: one need has one colour on the whole page, and charts that stand side by side have the same scales.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate
from typing import Final, Literal

from shoal_operator.whatif.charts import COLOURS, COLUMNS, Series, legend, lines, peak, slopes, stacked
from shoal_operator.whatif.figures import seconds_text
from shoal_operator.whatif.ledger import GroupPoint
from shoal_operator.whatif.outcome import NeedOutcome, Outcome
from shoal_operator.whatif.scales import counts, durations
from shoal_operator.whatif.summary import cut
from shoal_operator.whatif.timeline import Grid
from shoal_operator.whatif.work import Need

NEEDS_DRAWN: Final = COLOURS - 1
"""Needs with a colour of their own; the others are one curve."""
OTHERS: Final = f"c{NEEDS_DRAWN}"
MEANINGS: Final = {
    "used": "the share of a node's scarcest resource that was taken",
    "unfilled": "the rest of nodes that ran something",
    "idle": "nothing ran",
    "starting": "asked for and not joined yet",
    "draining": "on the way out",
}
"""The classes of node-seconds."""
WAIT_COLOURS: Final = {"half of the units": "used", "to 90 %": "c0", "to 99 %": "c1", "to the longest": "c4"}
NOT_THERE: Final = '<p class="note">there is none</p>'


class Drawing:
    """Charts of one outcome, or of several side by side.

    Args:
        outcomes: at least one.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._outcomes = outcomes
        self._end = max(each.lasted for each in outcomes)
        counts: Counter[Need] = Counter()
        for outcome in outcomes:
            for item in outcome.needs:
                counts[item.need] += item.waits.units + item.left_waiting
        self._colours = {need: f"c{index}" for index, (need, _) in enumerate(counts.most_common(NEEDS_DRAWN))}
        self._has_others = len(counts) > len(self._colours)

    def work(self, what: Literal["waiting", "running"]) -> str:
        """Units over time, by what they need."""
        return self._row([self._needs(each, what) for each in self._outcomes], f"units {what}") + self._legend()

    def workers(self) -> str:
        """Nodes over time, a row for each group."""
        names = dict.fromkeys(group.name for outcome in self._outcomes for group in outcome.groups)
        rows = [
            f"<h3>group {escape(name)}</h3>"
            + self._row([_group(each, name) for each in self._outcomes], f"nodes of group {name}")
            for name in names
        ]
        return "".join(rows) + legend([(name, name) for name in ("ready", "starting", "draining")])

    def ages(self) -> str:
        """For how long the oldest unit has waited, over time, by need."""
        charts = [self._ages(each) for each in self._outcomes]
        scale = durations(max((value for series in charts for each in series for _, value in each.points), default=0))
        title = "how long the oldest unit has waited"
        drawn = [lines(title, series, self._end, scale) if series else NOT_THERE for series in charts]
        return self.side_by_side(drawn) + self._legend()

    def starts(self) -> str:
        """For how long units had waited that started, over time."""
        scale = durations(max(column.waits.longest for each in self._outcomes for column in each.timeline.columns))
        title = "waits of units that started"
        return self.side_by_side([stacked(title, _waits(each), self._end, scale) for each in self._outcomes])

    def starts_within(self) -> str:
        """The time that starts are gathered over, for people."""
        return seconds_text(max(each.timeline.width_seconds for each in self._outcomes))

    def spending(self) -> str:
        """Nodes over time, by what they did."""
        charts = [_spending(each, self._end) for each in self._outcomes]
        return self._row(charts, "nodes by what they did")

    def spent(self) -> str:
        """Node-seconds so far, over time."""
        scale = durations(max(each.seconds.paid for each in self._outcomes))
        title = "node-seconds so far"
        return self.side_by_side([slopes(title, _spent(each, self._end), self._end, scale) for each in self._outcomes])

    def side_by_side(self, parts: Sequence[str]) -> str:
        """Each outcome's part under its name."""
        if len(parts) == 1:
            return parts[0]
        names = [escape(outcome.name) for outcome in self._outcomes]
        cells = (f"<div><h4>{name}</h4>{part}</div>" for name, part in zip(names, parts, strict=True))
        return f'<div class="pair">{"".join(cells)}</div>'

    def _row(self, charts: Sequence[list[Series]], title: str) -> str:
        scale = counts(max(peak(series, self._end) for series in charts))
        drawn = (stacked(title, series, self._end, scale) if series else NOT_THERE for series in charts)
        return self.side_by_side(list(drawn))

    def _legend(self) -> str:
        names = [(cut(str(need)), colour) for need, colour in self._colours.items()]
        return legend([*names, ("others", OTHERS)] if self._has_others else names)

    def _ages(self, outcome: Outcome) -> list[Series]:
        grid = Grid(self._end or 1.0, (self._end or 1.0) / COLUMNS)
        found: dict[str, list[float]] = {}
        for item in outcome.needs:
            ages, colour = grid.ages(item.curve), self._colours.get(item.need, OTHERS)
            found[colour] = [max(pair) for pair in zip(found.get(colour, ages), ages, strict=True)]
        names = {colour: cut(str(need)) for need, colour in self._colours.items()}
        return [
            Series(names.get(colour, "others"), [(index * grid.width, age) for index, age in enumerate(ages)], colour)
            for colour, ages in sorted(found.items())
        ]

    def _needs(self, outcome: Outcome, what: Literal["waiting", "running"]) -> list[Series]:
        own = [
            Series(cut(str(item.need)), _points(item, what), self._colours[item.need])
            for item in sorted(outcome.needs, key=lambda each: self._colours.get(each.need, OTHERS))
            if item.need in self._colours
        ]
        others = [_points(item, what) for item in outcome.needs if item.need not in self._colours]
        return [*own, Series("others", _summed(others), OTHERS)] if others else own


def _points(item: NeedOutcome, what: Literal["waiting", "running"]) -> list[tuple[float, float]]:
    return [(point.at, point.waiting if what == "waiting" else point.running) for point in item.curve]


def _summed(curves: Sequence[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The sum of curves."""
    changes = sorted((at, index, value) for index, curve in enumerate(curves) for at, value in curve)
    values = [0.0] * len(curves)
    total, points = 0.0, []
    for at, index, value in changes:
        total += value - values[index]
        values[index] = value
        points.append((at, total))
    return points


def _group(outcome: Outcome, name: str) -> list[Series]:
    curve: Sequence[GroupPoint] = next((group.curve for group in outcome.groups if group.name == name), ())
    if not curve:
        return []
    return [
        Series("ready", [(point.at, point.ready) for point in curve], "ready"),
        Series("starting", [(point.at, point.starting) for point in curve], "starting"),
        Series("draining", [(point.at, point.draining) for point in curve], "draining"),
    ]


def _waits(outcome: Outcome) -> list[Series]:
    """Each column of time as the bar of its units: half of them waited up to the first mark, and so on."""
    columns = outcome.timeline.columns
    marks = [(0.0, w.p50, w.p90, w.p99, w.longest) for w in (column.waits for column in columns)]
    return [
        Series(words, [(c.at, m[place + 1] - m[place]) for c, m in zip(columns, marks, strict=True)], colour)
        for place, (words, colour) in enumerate(WAIT_COLOURS.items())
    ]


def _spending(outcome: Outcome, end: float) -> list[Series]:
    columns, width = outcome.timeline.columns, outcome.timeline.width_seconds
    lasted = [min(width, end - column.at) or width for column in columns]
    return [
        Series(kind, [(c.at, getattr(c.seconds, kind) / each) for c, each in zip(columns, lasted, strict=True)], kind)
        for kind in MEANINGS
    ]


def _spent(outcome: Outcome, end: float) -> list[Series]:
    columns, width = outcome.timeline.columns, outcome.timeline.width_seconds
    times = [0.0, *(min(column.at + width, end) for column in columns)]
    return [
        Series(kind, list(zip(times, _sums([getattr(c.seconds, kind) for c in columns]), strict=True)), kind)
        for kind in MEANINGS
    ]


def _sums(parts: Sequence[float]) -> Iterator[float]:
    """Of none, of the first, of the first two, and so on."""
    return accumulate(parts, initial=0.0)
