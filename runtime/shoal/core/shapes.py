"""Resources that somebody asks for, checked: as a program gives them, and as they come in a message.

Invariant: what is returned asks for something (or may ask for nothing), has names of a bounded length and amounts that
every message can carry; everything else is a ``ValueError`` that says where it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shoal.resources import LARGEST, UNITS, ResourceSet

MAX_NAME_LENGTH: Final = 256
MAX_NAMES: Final = 1_000
"""Different resources in one need."""
_NOTHING: Final = "asks for nothing: leave it out, or give it a quantity above 0"


def given(where: str, units: Any) -> ResourceSet:
    """A bundle as a program gives it.

    Args:
        where: what it was given as, for the message.
        units: ``{"CPU": 0.5, "GPU": 1}``, in whole units.

    Raises:
        ValueError: no dict, a name or a quantity makes no sense, or it asks for nothing.

    Example:
        >>> given("bundles[0]", {"CPU": 0})
        Traceback (most recent call last):
        ValueError: bundles[0] asks for nothing: leave it out, or give it a quantity above 0
    """
    if not isinstance(units, Mapping):
        raise ValueError(f'{where} must be a dict of resources such as {{"CPU": 1}}, got {units!r:.200}')
    _check_names(where, units)
    for name, quantity in units.items():
        if not isinstance(quantity, int | float) or isinstance(quantity, bool):
            raise ValueError(f"{where}: the quantity of {name!r} must be a number, got {quantity!r:.200}")
    try:
        shape = ResourceSet.from_units(units)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not shape:
        raise ValueError(f"{where} {_NOTHING}")
    return shape


def received(where: str, amounts: Mapping[str, int], *, may_be_empty: bool = False) -> ResourceSet:
    """A need as a message has it, in ten-thousandths. Raises ValueError as ``given`` does."""
    _check_names(where, amounts)
    try:
        shape = ResourceSet(amounts)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    for name, amount in shape.items():
        if amount > LARGEST * UNITS:
            raise ValueError(f"{where}: resource {name!r} must be at most {LARGEST:g}, got {amount / UNITS:g}")
    if not shape and not may_be_empty:
        raise ValueError(f"{where} {_NOTHING}")
    return shape


def _check_names(where: str, amounts: Mapping[Any, Any]) -> None:
    if len(amounts) > MAX_NAMES:
        raise ValueError(f"{where} has {len(amounts)} resources, at most {MAX_NAMES} are taken")
    for name in amounts:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
            raise ValueError(f"{where}: a resource's name has 1 to {MAX_NAME_LENGTH} characters, got {name!r:.300}")
