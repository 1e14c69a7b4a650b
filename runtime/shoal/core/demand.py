"""What waits in the whole cluster, grouped by shape: the autoscaler's input.

Invariant: counts are exact sums; however many shapes wait, the list is bounded and says how much it
leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from shoal.resources import ResourceSet

MAX_SHAPES: Final = 1000
MAX_EXAMPLES: Final = 3
MAX_EXAMPLE_LENGTH: Final = 200


@dataclass(frozen=True)
class NodeDemand:
    """``count`` units of work that each need ``shape``, waiting in one place.

    ``kind`` is ``task``, ``actor`` or ``job`` (``other``: the summary of shapes beyond the bound);
    ``examples`` are names for people.
    """

    shape: ResourceSet
    count: int
    kind: str = "task"
    label_selector: tuple[tuple[str, str], ...] = ()
    examples: tuple[str, ...] = field(default=(), compare=False)


def selector(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """A label selector in the one order that makes equal ones compare equal."""
    return tuple(sorted(labels.items()))


def aggregate(demands: Iterable[NodeDemand], max_shapes: int = MAX_SHAPES) -> list[NodeDemand]:
    """Sum demands of equal shape, kind and selector; equal worlds give equal lists.

    Sorted by count, largest first, then by shape.
    Beyond ``max_shapes`` the rest is one entry of kind ``other`` with an empty shape, the sum of the
    counts, and how many shapes it stands for as its example.

    Example:
        >>> one_cpu = ResourceSet.from_units({"CPU": 1})
        >>> [d.count for d in aggregate([NodeDemand(one_cpu, 2), NodeDemand(one_cpu, 3)])]
        [5]
    """
    counts: dict[tuple[ResourceSet, str, tuple[tuple[str, str], ...]], int] = {}
    names: dict[tuple[ResourceSet, str, tuple[tuple[str, str], ...]], dict[str, None]] = {}
    for demand in demands:
        if demand.count <= 0:
            continue
        key = (demand.shape, demand.kind, demand.label_selector)
        counts[key] = counts.get(key, 0) + demand.count
        examples = names.setdefault(key, {})
        for example in demand.examples:
            if len(examples) < MAX_EXAMPLES:
                examples[example[:MAX_EXAMPLE_LENGTH]] = None
    summed = [
        NodeDemand(shape, count, kind, labels, tuple(names[shape, kind, labels]))
        for (shape, kind, labels), count in counts.items()
    ]
    summed.sort(key=lambda d: (-d.count, tuple(d.shape.items()), d.kind, d.label_selector))
    return summed[:max_shapes] + _summary(summed[max_shapes:])


def _summary(rest: list[NodeDemand]) -> list[NodeDemand]:
    if not rest:
        return []
    return [NodeDemand(ResourceSet(), sum(d.count for d in rest), "other", (), (f"{len(rest)} more shapes",))]
