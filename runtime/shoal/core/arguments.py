"""How references among the arguments of a call are told from values.

Invariant: only references at the top level of the arguments are replaced by their values before the call; nested ones
stay references (Ray's rule).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Argument:
    """Stands for the n-th dependency in serialized arguments."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return Argument, (self.index,)


def replace(
    args: tuple[Any, ...], kwargs: dict[str, Any], substitute: Callable[[Any], Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with ``substitute`` applied to each top-level one."""
    return tuple(substitute(value) for value in args), {name: substitute(value) for name, value in kwargs.items()}


def fill(args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the values of the dependencies where ``Argument`` stands."""
    if not values:
        return args, kwargs
    return replace(args, kwargs, lambda value: values[value.index] if type(value) is Argument else value)
