"""Gangs: bundles that are placed all together or not at all, as the operator hears of them.

Invariant: what is told is bounded, and says how many gangs it leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from shoal.core.packing import Strategy
from shoal.resources import ResourceSet

MAX_GANGS: Final = 1000
MAX_PARTS: Final = 20_000
"""Bundles, equal ones of a gang counted once, and occupied nodes of all gangs that are told: some 50 bytes each."""


@dataclass(frozen=True)
class GangBundle:
    """``count`` equal bundles of a gang."""

    shape: ResourceSet
    count: int = 1
    label_selector: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Gang:
    """A placement group that waits: ``bundles`` are those that are not placed yet, on top of ``occupied_node_ids``."""

    gang_id: str
    name: str
    strategy: Strategy
    bundles: tuple[GangBundle, ...]
    occupied_node_ids: tuple[str, ...] = ()


def told(gangs: Sequence[Gang], most: int = MAX_GANGS, most_parts: int = MAX_PARTS) -> tuple[list[Gang], int]:
    """The gangs to tell of, the oldest first as they were given, and how many are left out.

    Example:
        >>> told([Gang("a", "", "PACK", ()), Gang("b", "", "PACK", ())], most=1)[1]
        1
    """
    shown: list[Gang] = []
    parts = 0
    for gang in gangs[:most]:
        whole = replace(gang, bundles=grouped(gang.bundles))
        parts += len(whole.bundles) + len(whole.occupied_node_ids)
        if parts > most_parts and shown:
            break
        shown.append(whole)
    return shown, len(gangs) - len(shown)


def grouped(bundles: Sequence[GangBundle]) -> tuple[GangBundle, ...]:
    """Equal bundles as one, in the order in which they came first.

    Example:
        >>> one = GangBundle(ResourceSet.from_units({"GPU": 1}))
        >>> [bundle.count for bundle in grouped([one, one])]
        [2]
    """
    counts: dict[tuple[ResourceSet, tuple[tuple[str, str], ...]], int] = {}
    for bundle in bundles:
        key = (bundle.shape, bundle.label_selector)
        counts[key] = counts.get(key, 0) + bundle.count
    return tuple(GangBundle(shape, count, labels) for (shape, labels), count in counts.items())
