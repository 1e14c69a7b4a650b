"""What programs ask to be there in total, used or not: ``request_resources``.

Invariant: a request is taken whole or refused with words; what is taken is bounded, positive and grouped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from shoal.core.demand import MAX_SHAPES, NodeDemand, aggregate
from shoal.core.labels import checked as checked_selector
from shoal.core.shapes import given
from shoal.resources import ResourceSet

KIND: Final = "request"
"""How people are told of them: `2 requests of 1 GPU`."""
MAX_UNITS: Final = 1_000_000
"""Of all shapes together."""


def requested(num_cpus: Any, bundles: Any, bundle_label_selectors: Any) -> list[NodeDemand]:
    """What a call of ``request_resources`` asks for; empty: nothing any more.

    Raises:
        ValueError: says which argument is wrong, and what it should be.

    Example:
        >>> [(floor.count, floor.shape.to_units()) for floor in requested(4, [{"GPU": 1}] * 2, None)]
        [(4, {'CPU': 1.0}), (2, {'GPU': 1.0})]
    """
    floors = []
    if num_cpus is not None:
        if not isinstance(num_cpus, int) or isinstance(num_cpus, bool) or num_cpus < 0:
            raise ValueError(f"num_cpus must be a whole number of at least 0, got {num_cpus!r}")
        floors.append(NodeDemand(ResourceSet.from_units({"CPU": 1}), num_cpus, KIND))
    shapes = _sequence("bundles", bundles)
    selectors = _sequence("bundle_label_selectors", bundle_label_selectors)
    if selectors and len(selectors) != len(shapes):
        words = f"{len(shapes)} bundles and {len(selectors)} bundle_label_selectors were given"
        raise ValueError(f"{words}: give one for each bundle, an empty dict for any node")
    if len(shapes) > MAX_UNITS:
        raise ValueError(f"request_resources takes at most {MAX_UNITS} bundles, got {len(shapes)}")
    for index, bundle in enumerate(shapes):
        labels = _labels(index, selectors[index]) if selectors else ()
        floors.append(NodeDemand(given(f"bundles[{index}]", bundle), 1, KIND, labels))
    return checked(floors)


def checked(floors: Iterable[NodeDemand]) -> list[NodeDemand]:
    """Floors that a head takes, grouped.

    Raises:
        ValueError: there are too many, or one asks for nothing.
    """
    whole = aggregate(floors, max_shapes=None)
    if len(whole) > MAX_SHAPES:
        raise ValueError(f"request_resources takes at most {MAX_SHAPES} different bundles, got {len(whole)}")
    if sum(floor.count for floor in whole) > MAX_UNITS:
        raise ValueError(f"request_resources takes at most {MAX_UNITS} bundles and CPUs together")
    if any(not floor.shape for floor in whole):
        raise ValueError("a bundle of request_resources asks for nothing: leave it out, or give it a quantity above 0")
    return whole


def _sequence(name: str, value: Any) -> Sequence[Any]:
    if value is None or value == {}:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError(f"{name} must be a list of dicts, got {value!r:.200}")
    return value


def _labels(index: int, labels: Any) -> tuple[tuple[str, str], ...]:
    if not labels:
        return ()
    return checked_selector(f"bundle_label_selectors[{index}]", labels)
