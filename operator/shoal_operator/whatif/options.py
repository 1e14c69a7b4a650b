"""How pods start, as a command line says it: one value for all groups, or ``GROUP=VALUE``.

Invariant: what is said of a group holds for it alone, whatever the order; what is said twice is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from shoal_operator.whatif.startup import StartModel, StartModels, parse_duration

COUNT_MAX: Final = 1_000_000


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= COUNT_MAX:
        raise ValueError(f"{text!r} is not a whole number from 1 to {COUNT_MAX}")
    return int(text)


_READERS: Final = {
    "--scheduling-seconds": ("scheduling", parse_duration),
    "--image-pull-seconds": ("image_pull", parse_duration),
    "--pod-start-seconds": ("process", parse_duration),
    "--pods-per-machine": ("pods_per_machine", _count),
    "--pods-max": ("pods_max", _count),
}


def read_starts(options: Mapping[str, Iterable[str]], seed: int = 0) -> StartModels:
    """The start models that options ask for.

    Args:
        options: the name of each to the texts that it was given.
        seed: of times that vary.

    Raises:
        ValueError: naming the option.

    Example:
        >>> read_starts({"--pods-max": ["gpu=4"]}).model("gpu").pods_max
        4
    """
    said: dict[str, dict[str, Any]] = {"": {}}
    for option, texts in options.items():
        field, read = _READERS[option]
        for text in texts:
            group, _, value = text.rpartition("=")
            if field in said.setdefault(group, {}):
                raise ValueError(f"{option} is given twice for {f'group `{group}`' if group else 'all groups'}")
            try:
                said[group][field] = read(value)
            except ValueError as error:
                raise ValueError(f"{option}: {error}") from None
    default = replace(StartModel(), **said.pop(""))
    return StartModels(default, {group: replace(default, **fields) for group, fields in said.items()}, seed)
