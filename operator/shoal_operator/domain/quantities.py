"""Kubernetes quantities and the logical resources of groups.

Invariant: "500m", "0.5" and 0.5 mean the same; amounts below 0.0001 of a unit are refused, never rounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from shoal.resources import LARGEST, UNITS, ResourceSet

RUNTIME_CONTAINER: Final = "shoal"
"""The container of a pod template that the runtime goes into."""

_SUFFIXES: Final[dict[str, Decimal]] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_PATTERN: Final = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)([numkMGTPEKi]*)")
_NAMES: Final = {
    "cpu": "CPU",
    "memory": "memory",
    "google.com/tpu": "TPU",
    "aws.amazon.com/neuroncore": "neuron_cores",
}
_SLICE_OF_A_GPU: Final = "nvidia.com/mig-"


def parse_quantity(quantity: int | float | str) -> Decimal:
    """A Kubernetes quantity as an exact number.

    Raises:
        ValueError: it is not a quantity.

    Example:
        >>> parse_quantity("500m"), parse_quantity("1Ki")
        (Decimal('0.500'), Decimal('1024'))
    """
    match = _PATTERN.fullmatch(str(quantity).strip())
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError(f'{quantity!r} is not a quantity; write a number such as 2, "0.5", "500m" or "4Gi"')
    return Decimal(match[1]) * _SUFFIXES[match[2]]


def resource_set(quantities: Mapping[str, int | float | str]) -> ResourceSet:
    """Logical resources from a map of quantities; zero quantities are dropped.

    Raises:
        ValueError: naming the resource that is no quantity, negative, or finer than 0.0001.
    """
    amounts: dict[str, int] = {}
    for name, quantity in quantities.items():
        try:
            scaled = parse_quantity(quantity) * UNITS
        except ValueError as error:
            raise ValueError(f"resource {name!r}: {error}") from None
        if scaled < 0:
            raise ValueError(f"resource {name!r}: {quantity!r} must not be negative")
        if scaled > LARGEST * UNITS:
            raise ValueError(f"resource {name!r}: {quantity!r} is more than {LARGEST:g}, the most there can be")
        if scaled != scaled.to_integral_value():
            raise ValueError(f"resource {name!r}: {quantity!r} is finer than 0.0001, the smallest step")
        amounts[name] = int(scaled)
    return ResourceSet(amounts)


def group_resources(explicit: Mapping[str, int | str], template: Mapping[str, Any] | None) -> ResourceSet:
    """Logical resources of one worker.

    Args:
        explicit: ``resources`` of the group; each entry wins over the template, 0 removes one.
        template: the group's pod template; requests (or limits) of the runtime's container count: cpu as CPU,
            memory as memory, devices as `logical_name` says, those of one name added up.

    Returns:
        CPU 1 when neither says anything.

    Raises:
        ValueError: a quantity is wrong.
    """
    container = runtime_container(template)
    asked = container.get("resources") or {}
    pod_wants: Mapping[str, Any] = {**(asked.get("limits") or {}), **(asked.get("requests") or {})}
    implied: dict[str, str | int] = {}
    for name, quantity in pod_wants.items():
        logical = logical_name(name)
        if logical in implied:
            implied[logical] = str(parse_quantity(implied[logical]) + parse_quantity(quantity))
        elif logical:
            implied[logical] = quantity
    if not explicit and "CPU" not in implied:
        implied["CPU"] = 1
    return resource_set({**implied, **explicit})


def logical_name(name: str) -> str:
    """What programs call a resource of a container; empty for those that they cannot ask for.

    Example:
        >>> [logical_name(name) for name in ("cpu", "amd.com/gpu", "nvidia.com/mig-1g.5gb", "ephemeral-storage")]
        ['CPU', 'GPU', 'GPU', '']
    """
    if name.endswith("gpu") or name.startswith(_SLICE_OF_A_GPU):
        return "GPU"
    return _NAMES.get(name, "")


def runtime_container(template: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The container named ``shoal`` of a pod template; empty when there is none."""
    spec = (template or {}).get("spec") or {}
    containers = spec.get("containers") or []
    return next((item for item in containers if item.get("name") == RUNTIME_CONTAINER), {})
