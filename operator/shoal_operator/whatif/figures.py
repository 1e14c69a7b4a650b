"""Amounts of time and shares in words, and columns of text that stand below each other.

Invariant: the same words in the terminal and in the report.
"""

from __future__ import annotations

from collections.abc import Sequence


def seconds_text(seconds: float) -> str:
    """A duration for people, to three digits or so.

    Example:
        >>> [seconds_text(value) for value in (0, 0.25, 9.04, 75, 3_700, 200_000)]
        ['0 s', '0.25 s', '9.04 s', '1 min 15 s', '1 h 2 min', '55.6 h']
    """
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 59.95 else "60 s"
    if seconds < 3_600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if seconds < 36_000:
        hours, rest = divmod(round(seconds / 60), 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{seconds / 3_600:,.1f} h"


def clock_text(seconds: float) -> str:
    """A time since the start: ``1:02:05.3``.

    Example:
        >>> clock_text(75.31), clock_text(3_725)
        ('1:15.3', '1:02:05')
    """
    tenths = round(seconds * 10)
    whole, tenth = divmod(tenths, 10)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{text}.{tenth}" if tenth else text


def share_text(part: float, whole: float) -> str:
    """A share of something: ``52 %``."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


def table(rows: Sequence[Sequence[str]], indent: str = "", left: int = 1) -> list[str]:
    """Lines with columns; the first ``left`` columns are aligned to the left, the others to the right.

    Args:
        rows: of equal length, the head first.
        indent: before every line.
        left: how many columns hold words.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return [
        indent
        + "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
