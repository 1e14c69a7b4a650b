"""What stands at the axes of charts: round numbers, and words for them.

Invariant: the top of an axis is not below what has to fit, and its half reads as well as itself; words at an axis of
time have room beside each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log10
from typing import Final

from shoal_operator.whatif.figures import clock_text

TICKS_MAX: Final = 8
_STEPS_OF_TIME: Final = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400),
    *(172_800, 604_800, 1_209_600, 2_592_000),
)
_TOPS_OF_TIME: Final = (2, 4, 10, 20, 30, 60, 120, 240, 600, 1_200, 1_800, 3_600)


@dataclass(frozen=True, slots=True)
class Scale:
    """The axis of values."""

    top: float
    words: Callable[[float], str]


def counts(most: float) -> Scale:
    """For numbers of things, up to the largest."""
    return Scale(round_up(most), _count)


def durations(most: float) -> Scale:
    """For seconds, up to the most."""
    return Scale(round_up_seconds(most), _duration)


def ticks(end: float) -> list[tuple[float, str]]:
    """Times to name, and their words, up to an end."""
    step = next((step for step in _STEPS_OF_TIME if end / step <= TICKS_MAX), end / 4)
    return [(index * step, clock_text(index * step)) for index in range(int(end / step) + 1)]


def round_up(value: float) -> float:
    """The next value of which the half reads well, too.

    Example:
        >>> [round_up(value) for value in (0, 3, 7, 41, 900)]
        [2.0, 4.0, 8.0, 50.0, 1000.0]
    """
    if value <= 10:
        return next(even for even in (2.0, 4.0, 6.0, 8.0, 10.0) if value <= even)
    unit = 10.0 ** floor(log10(value))
    return next(unit * step for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if value <= unit * step)


def round_up_seconds(value: float) -> float:
    """The next duration of which the half reads well, too.

    Example:
        >>> [round_up_seconds(value) for value in (0, 13.1, 148, 9_000)]
        [2, 20, 240, 14400.0]
    """
    return next((top for top in _TOPS_OF_TIME if value <= top), 0) or 3_600 * round_up(value / 3_600)


def _count(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 3_600 else f"{_count(seconds / 3_600)} h"
