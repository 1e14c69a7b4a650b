"""Kubernetes quantities (``500m``, ``2Gi``) as exact numbers.

Invariant: no binary floating point; ``parse("0.1")`` is one tenth.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_QUANTITY: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([numkMGTPE]|[KMGTPE]i)?")


def parse(text: str | int | float) -> Decimal:
    """The number a quantity stands for.

    Example:
        >>> parse("1500m"), parse("1Ki")
        (Decimal('1.500'), Decimal('1024'))

    Raises:
        ValueError: not a quantity.
    """
    matched = _QUANTITY.fullmatch(str(text))
    if matched is None:
        raise ValueError(f"{text!r} is not a quantity like 500m, 2 or 1Gi")
    return Decimal(matched.group(1)) * _SUFFIXES[matched.group(2) or ""]
