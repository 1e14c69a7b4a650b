"""What waits in the whole cluster, grouped by shape: the autoscaler's input.

Invariant: counts are exact sums; however many shapes wait, the list is bounded and says how much it
leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from shoal.core.labels import Selector
from shoal.resources import ResourceSet

MAX_SHAPES: Final = 1000
MAX_EXAMPLES: Final = 3
MAX_EXAMPLE_LENGTH: Final = 200
OTHER: Final = "other"
OTHERS_NAME: Final = f"shapes beyond the first {MAX_SHAPES}"


class DemandKey(NamedTuple):
    """What demands have in common that are counted as one."""

    shape: ResourceSet
    kind: str
    label_selector: Selector

    @property
    def order(self) -> tuple[Any, ...]:
        """Keys in an order that is the same everywhere."""
        return tuple(self.shape.items()), self.kind, self.label_selector


@dataclass(frozen=True)
class NodeDemand:
    """``count`` units of work that each need ``shape``, waiting in one place.

    ``kind`` is ``task``, ``actor`` or ``job`` (``other``: the summary of shapes beyond the bound);
    ``examples`` are names for people; ``recent_count`` is the most that waited lately, where that is known.
    """

    shape: ResourceSet
    count: int
    kind: str = "task"
    label_selector: Selector = ()
    examples: tuple[str, ...] = field(default=(), compare=False)
    recent_count: int = 0

    @property
    def key(self) -> DemandKey:
        """See ``DemandKey``."""
        return DemandKey(self.shape, self.kind, self.label_selector)


def selector(labels: Mapping[str, str]) -> Selector:
    """A label selector in the one order that makes equal ones compare equal."""
    return tuple(sorted(labels.items()))


def aggregate(demands: Iterable[NodeDemand], max_shapes: int | None = MAX_SHAPES) -> list[NodeDemand]:
    """Sum demands of equal shape, kind and selector; equal worlds give equal lists.

    Sorted by count, largest first, then by shape; what was summed up before comes last.
    Beyond ``max_shapes`` (None: no bound) the rest is one entry of kind ``other`` with an empty shape and the sum of
    the counts.

    Example:
        >>> one_cpu = ResourceSet.from_units({"CPU": 1})
        >>> [d.count for d in aggregate([NodeDemand(one_cpu, 2), NodeDemand(one_cpu, 3)])]
        [5]
    """
    counts: dict[DemandKey, int] = {}
    names: dict[DemandKey, dict[str, None]] = {}
    for demand in demands:
        if demand.count <= 0:
            continue
        key = demand.key
        counts[key] = counts.get(key, 0) + demand.count
        examples = names.setdefault(key, {})
        for example in demand.examples:
            if len(examples) < MAX_EXAMPLES:
                examples[example[:MAX_EXAMPLE_LENGTH]] = None
    summed = [
        NodeDemand(key.shape, count, key.kind, key.label_selector, tuple(names[key])) for key, count in counts.items()
    ]
    summed.sort(key=lambda d: (d.kind == OTHER, -d.count, *d.key.order))
    return summed if max_shapes is None else bounded(summed, max_shapes)


def bounded(demands: list[NodeDemand], most: int) -> list[NodeDemand]:
    """The first ones, and one entry for those beyond ``most`` and all that was summed up before."""
    rest = demands[most:] + [demand for demand in demands[:most] if demand.kind == OTHER]
    if not rest:
        return demands
    recent = sum(max(d.count, d.recent_count) for d in rest) if any(d.recent_count for d in rest) else 0
    others = NodeDemand(ResourceSet(), sum(d.count for d in rest), OTHER, (), (OTHERS_NAME,), recent_count=recent)
    return [demand for demand in demands[:most] if demand.kind != OTHER] + [others]
