"""Work, waits, nodes and node-seconds over time, in columns of equal width.

Invariants: every unit that started and every node-second is in exactly one column, so that columns add up to the
totals; what is largest in a column was so at one moment of it; there are at most ``COLUMNS_MAX`` columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil, inf
from typing import Final

from shoal_operator.whatif.ledger import NODE_CLASSES, NodeSeconds, Records, WorkPoint
from shoal_operator.whatif.waits import Waits, waits_of

COLUMNS_MAX: Final = 120
WIDTHS_SECONDS: Final = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400),
    *(21_600, 43_200, 86_400, 172_800, 345_600),
)
SAME: Final = 1e-9
"""Of a column: so close to its end a time counts as the next one's, because 0.3 / 0.1 is less than 3."""


@dataclass(frozen=True, slots=True)
class Column:
    """What happened from ``at`` on, up to the next column."""

    at: float
    waits: Waits
    """Of the units that started in it."""
    oldest: float
    """For how long the unit had waited that had waited longest, at most; 0 when none waited."""
    waiting: int
    """The most units at once."""
    running: int
    nodes: int
    seconds: NodeSeconds
    """Spent in it, by nodes of all groups."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """One simulation over time."""

    width_seconds: float
    """Of a column."""
    columns: tuple[Column, ...]


def width_for(end: float) -> float:
    """The width of columns, in seconds, such that few enough cover a time.

    Example:
        >>> width_for(90), width_for(86_400)
        (1, 900)
    """
    return next((width for width in WIDTHS_SECONDS if end <= width * COLUMNS_MAX), end / COLUMNS_MAX)


def timeline_of(
    end: float,
    work: Sequence[Sequence[WorkPoint]],
    nodes: Sequence[Sequence[tuple[float, int]]],
    starts: Records,
    spans: Records,
) -> Timeline:
    """Gather what was written down while a simulation ran.

    Args:
        end: its last second.
        work: the curve of each need.
        nodes: times and numbers of nodes, of each group.
        starts: rows of time, wait and number of units.
        spans: rows of start, end, class and used share of a node's time.
    """
    grid = Grid(end, width_for(end))
    waits: list[Counter[float]] = [Counter() for _ in range(grid.columns)]
    for at, waited, units in starts:
        waits[grid.column(at)][waited] += int(units)
    ages = [grid.ages(curve) for curve in work]
    waiting = grid.peaks([[(point.at, point.waiting) for point in curve] for curve in work])
    running = grid.peaks([[(point.at, point.running) for point in curve] for curve in work])
    wanted, seconds = grid.peaks(nodes), grid.seconds(spans)
    return Timeline(
        grid.width,
        tuple(
            Column(
                at=round(index * grid.width, 6),
                waits=waits_of(waits[index]),
                oldest=max((age[index] for age in ages), default=0.0),
                waiting=waiting[index],
                running=running[index],
                nodes=wanted[index],
                seconds=seconds[index],
            )
            for index in range(grid.columns)
        ),
    )


class Grid:
    """Columns of time.

    Args:
        end: the last second that is covered.
        width: of a column, in seconds.
    """

    def __init__(self, end: float, width: float) -> None:
        self.end, self.width = end, width
        self.columns = max(1, ceil(end / width - SAME))

    def column(self, at: float) -> int:
        """Where a time belongs."""
        return min(int(at / self.width + SAME), self.columns - 1)

    def ages(self, curve: Sequence[WorkPoint]) -> list[float]:
        """For how long the oldest unit of a need had waited in each column, at most."""
        most = [0.0] * self.columns
        for point, stop in zip(curve, [*(point.at for point in curve[1:]), self.end], strict=True):
            if point.oldest_since is not None:
                for index, _, until in self._parts(point.at, stop):
                    most[index] = max(most[index], until - point.oldest_since)
        return [round(age, 6) for age in most]

    def peaks(self, curves: Sequence[Sequence[tuple[float, int]]]) -> list[int]:
        """The largest sum of curves in each column."""
        most = [0] * self.columns
        totals = [*_totals(curves), (self.end, 0)]
        for (start, total), (stop, _) in pairwise(totals):
            for index, _, _ in self._parts(start, stop):
                most[index] = max(most[index], total)
        return most

    def seconds(self, spans: Records) -> list[NodeSeconds]:
        """Node-seconds of each column."""
        found = [NodeSeconds() for _ in range(self.columns)]
        for start, stop, kind, share in spans:
            for index, since, until in self._parts(start, stop):
                found[index].book(NODE_CLASSES[int(kind)], until - since, share)
        return found

    def _parts(self, start: float, stop: float) -> Iterator[tuple[int, float, float]]:
        """The columns that a stretch of time covers, each with the part that is in it."""
        index = self.column(start)
        while start < stop:
            edge = (index + 1) * self.width if index + 1 < self.columns else inf
            until = min(edge, stop)
            yield index, start, until
            start, index = until, index + 1


def _totals(curves: Sequence[Sequence[tuple[float, int]]]) -> Iterator[tuple[float, int]]:
    """The sum of curves, wherever it changes."""
    changes = sorted((at, index, value) for index, curve in enumerate(curves) for at, value in curve)
    values = [0] * len(curves)
    for at, found in groupby(changes, key=lambda change: change[0]):
        for _, index, value in found:
            values[index] = value
        yield at, sum(values)
