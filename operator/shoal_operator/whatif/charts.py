"""Curves and bars as SVG, without a library: over time stacked steps, stacked slopes and lines; bars of shares.

Invariants: every text is escaped; colours are classes of the page's style, so that they follow its light or dark; a
chart has a bounded number of points, and a peak is never lost for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from shoal_operator.whatif.scales import Scale, ticks

WIDTH: Final = 640
LEFT: Final = 48
RIGHT: Final = 12
TOP: Final = 10
BOTTOM: Final = 26
COLUMNS: Final = 400
"""Columns of time into which longer curves are gathered; each shows the largest value in it."""
COLOURS: Final = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: values from a time on, until the next."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    """A class of the page's style: c0 to c7, or a word such as `idle`."""


def stacked(title: str, series: Sequence[Series], end: float, scale: Scale, *, height: int = 170) -> str:
    """Curves on top of each other, as areas of steps.

    Args:
        title: for people who hear the page.
        series: the lowest first.
        end: the last second that is shown; 0 shows one.
        scale: in which the largest sum fits.
        height: of the chart, in pixels.
    """
    plot = _Plot(end or 1.0, scale, height)
    edges, columns = _columns(series, end)
    stops = [*edges[1:], plot.end]
    return _layers(title, plot, series, columns, lambda values: plot.steps(edges, stops, values))


def slopes(title: str, series: Sequence[Series], end: float, scale: Scale, *, height: int = 170) -> str:
    """Curves on top of each other, as areas between points; all of them have points at the same times."""
    plot = _Plot(end or 1.0, scale, height)
    times = [at for at, _ in series[0].points]
    columns = [[value for _, value in each.points] for each in series]
    return _layers(title, plot, series, columns, lambda values: plot.along(times, values))


def lines(title: str, series: Sequence[Series], end: float, scale: Scale, *, height: int = 170) -> str:
    """Curves over each other, as lines of steps; the first one is drawn last."""
    plot = _Plot(end or 1.0, scale, height)
    parts = plot.grid()
    for each in reversed(series):
        edges, values = [at for at, _ in each.points], [value for _, value in each.points]
        if any(values):
            path = "M" + "L".join(plot.steps(edges, [*edges[1:], plot.end], values))
            parts.append(f'<path class="line {each.colour}" d="{path}"><title>{escape(each.name)}</title></path>')
    return _chart(title, height, parts)


def _layers(
    title: str,
    plot: _Plot,
    series: Sequence[Series],
    columns: Sequence[Sequence[float]],
    edge: Callable[[Sequence[float]], list[str]],
) -> str:
    parts = plot.grid()
    below = [0.0] * max(map(len, columns), default=0)
    for each, column in zip(series, columns, strict=True):
        above = [low + value for low, value in zip(below, column, strict=True)]
        if any(column):
            path = "M" + "L".join([*edge(above), *reversed(edge(below))]) + "Z"
            parts.append(f'<path class="{each.colour}" d="{path}"><title>{escape(each.name)}</title></path>')
        below = above
    return _chart(title, plot.height, parts)


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
    drawn = []
    left = 0.0
    for words, length, colour in parts:
        width = WIDTH * length / whole if whole else 0.0
        if width > 0:
            drawn.append(
                f'<rect class="{colour}" x="{left:.1f}" y="0" width="{width:.1f}" height="{height}">'
                f"<title>{escape(words)}</title></rect>"
            )
        left += width
    return _svg(title, height, drawn)


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Words and the colours that stand for them."""
    items = (f'<span class="key"><i class="{colour}"></i>{escape(name)}</span>' for name, colour in names)
    return f'<p class="legend">{"".join(items)}</p>'


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _chart(title: str, height: int, parts: Sequence[str]) -> str:
    """It has words in it, so that it does not shrink beyond what can be read."""
    return f'<div class="chart">{_svg(title, height, parts)}</div>'


@dataclass(frozen=True, slots=True)
class _Plot:
    end: float
    scale: Scale
    height: int

    def x(self, at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(at, self.end) / self.end

    def y(self, value: float) -> float:
        return self.height - BOTTOM - (self.height - BOTTOM - TOP) * value / self.scale.top

    def grid(self) -> list[str]:
        """Lines and words of both axes."""
        parts = []
        for value in (0.0, self.scale.top / 2, self.scale.top):
            y, words = self.y(value), self.scale.words(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{words}</text>')
        base = self.height - BOTTOM
        for at, words in ticks(self.end):
            x = self.x(at)
            is_last = x > WIDTH - 30
            place = f'x="{WIDTH}" text-anchor="end"' if is_last else f'x="{x:.1f}" text-anchor="middle"'
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
            parts.append(f'<text class="axis" {place} y="{base + 18}">{words}</text>')
        return parts

    def along(self, times: Sequence[float], values: Sequence[float]) -> list[str]:
        """Points of a path."""
        return [f"{self.x(at):.1f} {self.y(value):.1f}" for at, value in zip(times, values, strict=True)]

    def steps(self, starts: Sequence[float], stops: Sequence[float], values: Sequence[float]) -> list[str]:
        """Points of a path along steps."""
        times = [at for both in zip(starts, stops, strict=True) for at in both]
        return self.along(times, [value for value in values for _ in range(2)])


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
