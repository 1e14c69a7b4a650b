"""Whose turn it is, where a plan cannot look at all that waits.

Invariant: whatever a plan can look at, each comes first in some turn, and soon: the turns that follow one another
begin far apart. Nothing is remembered; the number of the turn is the caller's, and changes with time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

TURN_SECONDS: Final = 20.0
"""How long a turn lasts."""
STRIDE: Final = 618_034
"""How much further on each turn begins, in millionths of all: by the golden section, so that the beginnings of any
number of turns are spread evenly."""
OTHER_STRIDE: Final = 414_214
"""Another one, by the root of 2: for choices within a choice, so that the two never keep step."""

_T = TypeVar("_T")


def turn_at(seconds: float) -> int:
    """The turn at a time; seconds of any clock."""
    return int(seconds // TURN_SECONDS)


def in_turn(waiting: Sequence[_T], turn: int, stride: int = STRIDE) -> list[_T]:
    """All of them, those first whose turn it is.

    Example:
        >>> [in_turn("abcd", turn)[0] for turn in range(4)]
        ['a', 'c', 'a', 'd']
    """
    first = turn * stride % 1_000_000 * len(waiting) // 1_000_000
    return [*waiting[first:], *waiting[:first]]
