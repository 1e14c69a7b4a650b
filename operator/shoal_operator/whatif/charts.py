"""Curves and bars as SVG, without a library: stacked steps over time, and bars of shares.

Invariants: every text is escaped; colours are classes of the page's style, so that they follow its light or dark; a
chart has a bounded number of points, and a peak is never lost for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Final

from shoal_operator.whatif.figures import clock_text

WIDTH: Final = 640
LEFT: Final = 48
RIGHT: Final = 12
TOP: Final = 10
BOTTOM: Final = 26
COLUMNS: Final = 400
"""Columns of time into which longer curves are gathered; each shows the largest value in it."""
COLOURS: Final = 8
_STEPS_OF_TIME: Final = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400),
    *(172_800, 604_800, 1_209_600, 2_592_000),
)


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: values from a time on, until the next."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    """A class of the page's style: c0 to c7, or a word such as `idle`."""


def stacked(title: str, series: Sequence[Series], end: float, top: float, *, height: int = 170) -> str:
    """Curves on top of each other, as areas of steps.

    Args:
        title: for people who hear the page.
        series: the lowest first.
        end: the last second that is shown; 0 shows one.
        top: the largest sum that has to fit.
        height: of the chart, in pixels.
    """
    plot = _Plot(end or 1.0, _round_up(top), height)
    edges, values = _columns(series, end)
    parts = [_head(title, height), *plot.grid()]
    below = [0.0] * len(edges)
    for each, column in zip(series, values, strict=True):
        above = [low + value for low, value in zip(below, column, strict=True)]
        if any(column):
            path = plot.area(edges, below, above)
            parts.append(f'<path class="{each.colour}" d="{path}"><title>{escape(each.name)}</title></path>')
        below = above
    parts.append("</svg>")
    return "".join(parts)


def peak(series: Sequence[Series], end: float) -> float:
    """The largest sum of curves, as ``stacked`` would show it."""
    _, columns = _columns(series, end)
    return max((sum(values) for values in zip(*columns, strict=True)), default=0.0)


def bar(title: str, parts: Sequence[tuple[str, float, str]], whole: float, *, height: int = 18) -> str:
    """A bar of parts side by side.

    Args:
        title: for people who hear the page.
        parts: words, length and colour of each.
        whole: the length that fills the width.
        height: in pixels.
    """
    drawn = [_head(title, height)]
    left = 0.0
    for words, length, colour in parts:
        width = WIDTH * length / whole if whole else 0.0
        if width > 0:
            drawn.append(
                f'<rect class="{colour}" x="{left:.1f}" y="0" width="{width:.1f}" height="{height}">'
                f"<title>{escape(words)}</title></rect>"
            )
        left += width
    return "".join([*drawn, "</svg>"])


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Words and the colours that stand for them."""
    items = (f'<span class="key"><i class="{colour}"></i>{escape(name)}</span>' for name, colour in names)
    return f'<p class="legend">{"".join(items)}</p>'


def _head(title: str, height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'


@dataclass(frozen=True, slots=True)
class _Plot:
    end: float
    top: float
    height: int

    def x(self, at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(at, self.end) / self.end

    def y(self, value: float) -> float:
        return self.height - BOTTOM - (self.height - BOTTOM - TOP) * value / self.top

    def grid(self) -> list[str]:
        """Lines and words of both axes."""
        parts = []
        for share in (0.0, 0.5, 1.0):
            y, value = self.y(self.top * share), self.top * share
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_count(value)}</text>')
        step = next((s for s in _STEPS_OF_TIME if self.end / s <= 8), self.end / 4)
        for index in range(int(self.end / step) + 1):
            x, words = self.x(index * step), clock_text(index * step)
            base, anchor = self.height - BOTTOM, "middle" if self.x(index * step) < WIDTH - 30 else "end"
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
            parts.append(f'<text class="axis" x="{x:.1f}" y="{base + 18}" text-anchor="{anchor}">{words}</text>')
        return parts

    def area(self, edges: Sequence[float], below: Sequence[float], above: Sequence[float]) -> str:
        """A path along the steps above, and back along those below."""
        ends = [*edges[1:], self.end]
        there = [
            f"{self.x(x):.1f} {self.y(value):.1f}"
            for start, stop, value in zip(edges, ends, above, strict=True)
            for x in (start, stop)
        ]
        back = [
            f"{self.x(x):.1f} {self.y(value):.1f}"
            for start, stop, value in zip(reversed(edges), reversed(ends), reversed(below), strict=True)
            for x in (stop, start)
        ]
        return "M" + "L".join([*there, *back]) + "Z"


def _columns(series: Sequence[Series], end: float) -> tuple[list[float], list[list[float]]]:
    """Times, and the values of each curve from each of them to the next.

    Where something changes too often to be shown, times are columns of equal width; a column has the values of that
    moment in it at which the sum of all curves was largest.
    """
    moments: dict[float, list[float]] = {}
    now = [0.0] * len(series)
    changes = sorted((at, index, value) for index, each in enumerate(series) for at, value in each.points)
    for at, index, value in [(0.0, 0, now[0]), *changes] if series else []:
        now[index] = value
        if at < end or not at:
            moments[at] = list(now)
    times = list(moments)
    if len(times) <= COLUMNS:
        return times, [[moments[at][index] for at in times] for index in range(len(series))]
    edges = [end * column / COLUMNS for column in range(COLUMNS)]
    largest: list[list[float]] = []
    position, last = 0, moments[times[0]]
    for column in range(COLUMNS):
        stop = edges[column + 1] if column + 1 < COLUMNS else end
        best = last if position >= len(times) or times[position] > edges[column] else []
        while position < len(times) and times[position] < stop:
            last = moments[times[position]]
            best = last if not best or sum(last) > sum(best) else best
            position += 1
        largest.append(best or last)
    return edges, [[values[index] for values in largest] for index in range(len(series))]


def _round_up(value: float) -> float:
    """The next value of which the half reads well, too.

    Example:
        >>> [_round_up(value) for value in (0, 3, 7, 41, 900)]
        [2.0, 4.0, 8.0, 50.0, 1000.0]
    """
    if value <= 10:
        return next(even for even in (2.0, 4.0, 6.0, 8.0, 10.0) if value <= even)
    unit = 10.0 ** floor(log10(value))
    return next(unit * step for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if value <= unit * step)


def _count(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
