"""Options of tasks and actors: which there are, what they may be, and what they mean for placing.

Pure. Names, defaults and words follow Ray 2.60 (``ray._common.ray_option_utils``).

Invariant: an option that Shoal does not know is refused with the list of those it does; none is silently ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fractions import Fraction
from numbers import Real
from typing import Any, Final

from shoal._api import strategies
from shoal.core import labels
from shoal.resources import ResourceSet

_SHARED: Final = frozenset(
    {
        "num_cpus",
        "num_gpus",
        "resources",
        "memory",
        "accelerator_type",
        "label_selector",
        "scheduling_strategy",
        "placement_group",
        "placement_group_bundle_index",
        "placement_group_capture_child_tasks",
        "name",
        "runtime_env",
        "enable_task_events",
    }
)
TASK_OPTIONS: Final = _SHARED | {"num_returns", "max_retries", "retry_exceptions", "max_calls"}
ACTOR_OPTIONS: Final = _SHARED | {
    "max_restarts",
    "max_task_retries",
    "max_concurrency",
    "lifetime",
    "namespace",
    "get_if_exists",
    "max_pending_calls",
}
METHOD_OPTIONS: Final = frozenset(
    {"num_returns", "max_task_retries", "retry_exceptions", "name", "concurrency_group", "enable_task_events"}
)
_LATER: Final = frozenset({"runtime_env", "concurrency_group", "max_calls", "max_pending_calls"})
"""Known to Ray, not carried out yet: refused loudly when given a value, never ignored."""
WHOLE_ABOVE_ONE: Final = ("GPU", "TPU", "NPU", "HPU", "neuron_cores")
DEFAULT_MAX_RETRIES: Final = 3
_NUMBERS: Final = {
    "num_cpus": "a number such as 2 or 0.5",
    "num_gpus": "a number such as 1 or 0.5",
    "memory": "a number of bytes such as 2 * 1024**3 (2 GiB)",
}
"""Options that are quantities, and what is right for them."""


def check(options: Mapping[str, Any], allowed: frozenset[str], kind: str) -> None:
    """Refuse unknown keywords and bad values.

    Args:
        options: what the user gave.
        allowed: one of the sets above.
        kind: "remote functions", "actors" or "actor methods", for the message.

    Raises:
        ValueError: naming the option, what is wrong, and the valid ones.
        TypeError: naming the option whose value is of a wrong type, and what is right.
    """
    for name, value in options.items():
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"Invalid option keyword {name} for {kind}.{hint} Valid ones are {sorted(allowed)}.")
        if name in _LATER and value:
            raise ValueError(f"option {name!r} for {kind} is not supported by this version of Shoal yet")
    _check_types(options)
    for name in ("max_retries", "max_restarts", "max_task_retries"):
        value = options.get(name)
        if value is not None and (not isinstance(value, int) or value < -1):
            raise ValueError(f"{name} must be -1 (without limit) or an integer of at least 0, got {value!r}")
    returns = options.get("num_returns")
    if returns is not None and (not isinstance(returns, int) or isinstance(returns, bool) or returns < 0):
        raise ValueError(f"num_returns must be an integer of at least 0, got {returns!r}")
    concurrency = options.get("max_concurrency")
    if concurrency is not None and (not isinstance(concurrency, int) or concurrency < 1):
        raise ValueError(f"max_concurrency must be an integer of at least 1, got {concurrency!r}")
    selector = options.get("label_selector")
    if selector is not None:
        labels.checked("label_selector", selector)
    lifetime = options.get("lifetime")
    if lifetime not in (None, "detached", "non_detached"):
        raise ValueError(f"lifetime must be None or 'detached', got {lifetime!r}")
    strategies.check(options)


def _check_types(options: Mapping[str, Any]) -> None:
    for name, right in _NUMBERS.items():
        value = options.get(name)
        if value is not None and not _is_number(value):
            raise TypeError(f"{name} must be {right}, got {value!r:.200}")
    for name in ("name", "namespace", "accelerator_type"):
        value = options.get(name)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a text, got {value!r:.200}")
    resources = options.get("resources")
    if resources is None:
        return
    if not isinstance(resources, Mapping):
        raise TypeError(f'resources must be a dict of quantities such as {{"disk": 1}}, got {resources!r:.200}')
    for resource, quantity in resources.items():
        if not isinstance(resource, str) or not resource:
            raise TypeError(f"resources: a resource's name must be a text that is not empty, got {resource!r:.200}")
        if not _is_number(quantity):
            raise TypeError(f"resources: the quantity of {resource!r:.200} must be a number, got {quantity!r:.200}")


def _is_number(value: Any) -> bool:
    # Numpy's numbers are among them; a fraction has no exact decimal.
    return isinstance(value, Real) and not isinstance(value, bool | Fraction)


def resource_need(options: Mapping[str, Any], default_cpus: float) -> ResourceSet:
    """What one task or actor needs.

    Raises:
        ValueError: a quantity is negative, too fine, or CPU/GPU are given under ``resources``.
    """
    named = dict(options.get("resources") or {})
    for reserved, keyword in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        if reserved in named:
            raise ValueError(f"Use the {keyword!r} keyword instead of {reserved!r} in 'resources'.")
    cpus = options.get("num_cpus")
    named["CPU"] = default_cpus if cpus is None else cpus
    if options.get("num_gpus"):
        named["GPU"] = options["num_gpus"]
    if options.get("memory"):
        named["memory"] = options["memory"]
    if options.get("accelerator_type"):
        named[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    for name in WHOLE_ABOVE_ONE:
        quantity = named.get(name, 0)
        if quantity > 1 and quantity % 1 != 0:  # what is infinite, too
            raise ValueError(f"{name} resource quantities >1 must be whole numbers, got {quantity}")
    return ResourceSet.from_units(named)


def actor_needs(options: Mapping[str, Any]) -> tuple[ResourceSet, ResourceSet]:
    """(held for life, needed for placing): with nothing given an actor needs 1 CPU to be placed and holds none."""
    given = any(options.get(name) is not None for name in ("num_cpus", "num_gpus", "resources", "memory"))
    if given:
        need = resource_need(options, 1)
        return need, need
    return resource_need(options, 0), resource_need(options, 1)
