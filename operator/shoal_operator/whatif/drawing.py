"""The curves of outcomes, with scales and colours in common.

Invariant: one need has one colour on the whole page, and charts that stand side by side have the same scales.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Final, Literal

from shoal_operator.whatif.charts import COLOURS, Series, legend, peak, stacked
from shoal_operator.whatif.ledger import GroupPoint
from shoal_operator.whatif.outcome import NeedOutcome, Outcome
from shoal_operator.whatif.summary import cut
from shoal_operator.whatif.work import Need

NEEDS_DRAWN: Final = COLOURS - 1
"""Needs with a colour of their own; the others are one curve."""
OTHERS: Final = f"c{NEEDS_DRAWN}"
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
        names = [(cut(str(need)), colour) for need, colour in self._colours.items()]
        if self._has_others:
            names.append(("others", OTHERS))
        return self._row([self._needs(each, what) for each in self._outcomes], f"units {what}") + legend(names)

    def workers(self) -> str:
        """Nodes over time, a row for each group."""
        names = dict.fromkeys(group.name for outcome in self._outcomes for group in outcome.groups)
        rows = [
            f"<h3>group {escape(name)}</h3>"
            + self._row([_group(each, name) for each in self._outcomes], f"nodes of group {name}")
            for name in names
        ]
        return "".join(rows) + legend([(name, name) for name in ("ready", "starting", "draining")])

    def side_by_side(self, parts: Sequence[str]) -> str:
        """Each outcome's part under its name."""
        if len(parts) == 1:
            return parts[0]
        names = [escape(outcome.name) for outcome in self._outcomes]
        cells = (f"<div><h4>{name}</h4>{part}</div>" for name, part in zip(names, parts, strict=True))
        return f'<div class="pair">{"".join(cells)}</div>'

    def _row(self, charts: Sequence[list[Series]], title: str) -> str:
        top = max(peak(series, self._end) for series in charts)
        drawn = (stacked(title, series, self._end, top) if series else NOT_THERE for series in charts)
        return self.side_by_side(list(drawn))

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
