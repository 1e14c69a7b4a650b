"""Logical resources: exact fixed-point sets, and the one ``fits()`` of the product.

The scheduler in a node and the autoscaler in the operator answer the same question, "does this need fit
there?", with this module and nothing else, so they can never disagree.

Invariant: a ``ResourceSet`` holds strictly positive integers in ten-thousandths of a unit (Ray's precision);
a resource that is absent is zero. Sets are immutable and hashable, so they serve as keys of demand by shape.

This module is pure and imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

UNITS: Final = 10_000
"""How many steps one unit has: quantities are exact down to 0.0001."""
LARGEST: Final = 10**14
"""The most units of a resource that anything may have or need: messages carry 64 bits of steps."""

COUNTED_IN_BYTES: Final = frozenset({"memory", "object_store_memory"})
"""Resources whose unit is a byte."""


class ResourceSet(Mapping[str, int]):
    """An immutable set of logical resources, in ten-thousandths.

    Example:
        >>> need = ResourceSet.from_units({"CPU": 1, "GPU": 0.5})
        >>> need["CPU"], need.to_units()
        (10000, {'CPU': 1.0, 'GPU': 0.5})
        >>> need.fits(ResourceSet.from_units({"CPU": 4}))
        False
    """

    __slots__ = ("_amounts", "_hash")

    def __init__(self, amounts: Mapping[str, int] | None = None) -> None:
        cleaned = {name: amount for name, amount in (amounts or {}).items() if amount != 0}
        for name, amount in cleaned.items():
            if amount < 0:
                raise ValueError(f"resource {name!r} must not be negative, got {amount / UNITS:g}")
        self._amounts = dict(sorted(cleaned.items()))
        self._hash: int | None = None

    @classmethod
    def from_units(cls, units: Mapping[str, float]) -> ResourceSet:
        """Build a set from quantities in whole units.

        Args:
            units: name to quantity, ``{"CPU": 0.5}``. Zero quantities are dropped.

        Raises:
            ValueError: a quantity is negative, not finite, finer than 0.0001, or more than ``LARGEST``.
        """
        return cls({name: to_fixed(name, quantity) for name, quantity in units.items()})

    def to_units(self) -> dict[str, float]:
        """The quantities in whole units, for people and for Ray's API."""
        return {name: amount / UNITS for name, amount in self._amounts.items()}

    def __getitem__(self, name: str) -> int:
        return self._amounts.get(name, 0)

    def __contains__(self, name: object) -> bool:
        return name in self._amounts

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(tuple(self._amounts.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResourceSet):
            return self._amounts == other._amounts
        return NotImplemented

    def __reduce__(self) -> tuple[type[ResourceSet], tuple[dict[str, int]]]:
        return ResourceSet, (self._amounts,)

    def __repr__(self) -> str:
        return f"ResourceSet({describe(self)})"

    def fits(self, available: Mapping[str, int]) -> bool:
        """Whether this need can be taken from ``available``."""
        return all(available.get(name, 0) >= amount for name, amount in self._amounts.items())

    def lacks(self, available: Mapping[str, int]) -> dict[str, int]:
        """By how much each failing resource exceeds ``available``; empty when the need fits."""
        return {
            name: amount - available.get(name, 0)
            for name, amount in self._amounts.items()
            if available.get(name, 0) < amount
        }

    def __add__(self, other: ResourceSet) -> ResourceSet:
        names = {**self._amounts, **other._amounts}
        return ResourceSet({name: self[name] + other[name] for name in names})

    def __sub__(self, other: ResourceSet) -> ResourceSet:
        """Take ``other`` away.

        Raises:
            ValueError: ``other`` does not fit in this set.
        """
        missing = other.lacks(self._amounts)
        if missing:
            raise ValueError(f"cannot take {describe(other)} from {describe(self)}")
        return ResourceSet({name: amount - other[name] for name, amount in self._amounts.items()})

    def times(self, count: int) -> ResourceSet:
        """This set ``count`` times."""
        return ResourceSet({name: amount * count for name, amount in self._amounts.items()})


def to_fixed(name: str, quantity: float) -> int:
    """A quantity in ten-thousandths.

    Raises:
        ValueError: no number, negative, not finite, more than ``LARGEST``, or finer than 0.0001 (Ray's rule and words).
    """
    try:
        exact = Decimal(str(quantity))
    except InvalidOperation:
        raise ValueError(f"resource {name!r} must be a number, got {quantity!r:.200}") from None
    if not exact.is_finite():
        raise ValueError(f"resource {name!r} must be a finite number, got {quantity!r}")
    if exact < 0:
        raise ValueError(f"resource {name!r} must not be negative, got {quantity!r}")
    if exact > LARGEST:
        raise ValueError(f"resource {name!r} must be at most {LARGEST:g}, got {quantity!r}")
    scaled = exact * UNITS
    if scaled != scaled.to_integral_value():
        raise ValueError(
            f"The precision of the fractional quantity of resource {name} cannot go beyond 0.0001, got {quantity!r}"
        )
    return int(scaled)


def amount_text(name: str, amount: int) -> str:
    """An amount of one resource for people: ``8``, ``0.5``; what is counted in bytes as ``4 GiB``.

    Example:
        >>> amount_text("memory", 3 * 1024**3 * UNITS)
        '3 GiB'
    """
    size, unit = amount / UNITS, ""
    if name in COUNTED_IN_BYTES:
        for larger in ("KiB", "MiB", "GiB", "TiB"):
            if abs(size) < 1024:
                break
            size, unit = size / 1024, f" {larger}"
        unit = unit or " B"
    return f"{size:.4g}{unit}" if unit else f"{size:g}"


def describe(resources: Mapping[str, int]) -> str:
    """For people: ``8 CPU, 0.5 GPU, 4 GiB memory``; ``nothing`` when empty."""
    if not resources:
        return "nothing"
    return ", ".join(f"{amount_text(name, amount)} {name}" for name, amount in sorted(resources.items()))
