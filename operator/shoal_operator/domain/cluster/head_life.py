"""Heads that end: when the next one is made, and what is said meanwhile.

The count of heads that soon ended stands in an annotation of the pod and, while there is no pod, in the status. The
wait is counted from the creation of the last pod, so that nothing has to be remembered.

Invariant: two heads in a row are made at least ``backoff_seconds`` apart, unless the first had run for long.
"""

from __future__ import annotations

from typing import Final

from shoal_operator.domain.cluster.observed import PodView

BACKOFF_FIRST_SECONDS: Final = 10.0
BACKOFF_MAX_SECONDS: Final = 300.0
STEADY_SECONDS: Final = 600.0
"""A head that was made longer ago than this is not part of a row of failures."""


def backoff_seconds(attempt: int) -> float:
    """How long after head number ``attempt`` in a row the next one may be made.

    Example:
        >>> [backoff_seconds(attempt) for attempt in (1, 2, 3, 9)]
        [10.0, 20.0, 40.0, 300.0]
    """
    return min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(attempt - 1, 10))


def wait_seconds(ended: PodView, age_seconds: float) -> float:
    """How long an ended head still stands in the way of the next one; 0 or less: not at all."""
    return 0.0 if age_seconds >= STEADY_SECONDS else backoff_seconds(ended.head_attempt) - age_seconds


def failures(head: PodView | None, ended: PodView | None, age_seconds: float, before: int) -> int:
    """How many heads in a row have soon ended.

    Args:
        head: the head pod that lives, if there is one.
        ended: the head pod that has ended, if there is one.
        age_seconds: of whichever of both is there.
        before: what the status says; it counts while there is no pod.
    """
    if age_seconds >= STEADY_SECONDS:
        return 0
    if ended is not None:
        return ended.head_attempt
    return before if head is None else head.head_attempt - 1


def loop_text(pod: PodView, words: str) -> str:
    """For people: the last head's end, and when the next one comes."""
    wait = backoff_seconds(pod.head_attempt)
    return f"head number {pod.head_attempt} in a row ended, the next one is made {wait:g} s after it was: {words}"
