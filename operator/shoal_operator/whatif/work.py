"""The words of a trace: which work comes when, and what programs ask to be there.

Invariant: values only; amounts are ``ResourceSet`` (ten-thousandths), times are seconds since the start of the trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from shoal.resources import ResourceSet, describe
from shoal_operator.autoscaler.model import Bundle, Demand, GangStrategy, Labels

Kind: TypeAlias = Literal["task", "actor", "gang"]


@dataclass(frozen=True, slots=True)
class Need:
    """What units of work have in common that are counted as one: the scheduler's class."""

    kind: Kind
    shape: ResourceSet
    """Of a gang: all of its bundles together."""
    label_selector: Labels = ()
    strategy: GangStrategy | None = None
    bundles: tuple[Bundle, ...] = ()

    def __str__(self) -> str:
        """For people: ``2 CPU``, ``PACK of 4 x 8 GPU``."""
        if self.strategy is not None:
            return f"{self.strategy} of " + " + ".join(f"{b.count} x ({describe(b.shape)})" for b in self.bundles)
        where = (
            " on " + ", ".join(f"{key}={value}" for key, value in self.label_selector) if self.label_selector else ""
        )
        return f"{'actor of ' if self.kind == 'actor' else ''}{describe(self.shape)}{where}"


@dataclass(frozen=True, slots=True)
class Work:
    """One line of a trace: ``count`` equal units."""

    line: int
    at: float
    count: int
    need: Need
    duration_seconds: float | None
    """How long a unit runs once it has been placed; None: to the end of the trace."""
    over_seconds: float = 0.0
    """The units come evenly spread over so long; 0: all at once."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class FloorChange:
    """``request_resources`` was called: this replaces what was asked for before."""

    line: int
    at: float
    floors: tuple[Demand, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace, by time; lines of the same time in the order of the file."""

    name: str
    work: tuple[Work, ...]
    floors: tuple[FloorChange, ...] = ()

    @property
    def units(self) -> int:
        """How many units of work there are."""
        return sum(item.count for item in self.work)
