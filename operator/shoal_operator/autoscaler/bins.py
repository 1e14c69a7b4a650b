"""Nodes alike as bins with a count, and the arithmetic on what they have free.

Invariant: a bin is never changed in place, but replaced: passes share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

Amounts: TypeAlias = tuple[int, ...]
"""Ten-thousandths, by dimension."""
Needs: TypeAlias = tuple[tuple[int, int], ...]
"""Pairs of dimension and amount above 0; no resource that is not asked for."""

JOINED: Final = 0
COMING: Final = 1
NEW: Final = 2


@dataclass(slots=True)
class Bin:
    """``count`` nodes alike."""

    stage: int
    """JOINED, COMING or NEW."""
    group: int
    """-1 for nodes of no known group: the head, and nodes of groups that are gone."""
    free: Amounts
    labels: int
    count: int
    members: tuple[str, ...] = ()
    """Names of their pods; empty for nodes that do not exist yet."""
    age: int = 0
    """Of coming nodes: older ones have lower numbers."""


def units_per_node(needs: Needs, free: Amounts, most: int) -> int:
    """How many units fit into one node, at most ``most``.

    Example:
        >>> units_per_node(((0, 2),), (5,), 100)
        2
    """
    for dimension, amount in needs:
        units = free[dimension] // amount
        if units < most:
            if units <= 0:
                return 0
            most = units
    return most


def minus(free: Amounts, needs: Needs, units: int) -> Amounts:
    """What a node has left."""
    left = list(free)
    for dimension, amount in needs:
        left[dimension] -= amount * units
    return tuple(left)


def piece(source: Bin, start: int, count: int, free: Amounts) -> Bin:
    """Part of a bin, with so much free in each node."""
    members = source.members[start : start + count] if source.members else ()
    return Bin(source.stage, source.group, free, source.labels, count, members, source.age)


def joined_bin(one: Bin, other: Bin) -> Bin:
    """Two bins of nodes alike as one; pods with names come first."""
    members = (*one.members, *other.members)
    return Bin(one.stage, one.group, one.free, one.labels, one.count + other.count, members, one.age)
