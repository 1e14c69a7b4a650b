"""How long each step of a run took. Invariant: a step that fails is timed too."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


def say(text: str) -> None:
    """Write a line for the person who waits; at once, so that it stays in order with the output of commands."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass
class Timings:
    """Steps in the order in which they began."""

    steps: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say what begins, and remember how long it took."""
        say(f"e2e: {name}")
        started = time.monotonic()
        try:
            yield
        finally:
            self.steps.append((name, time.monotonic() - started))

    def table(self) -> str:
        """The steps, one a line, with their sum."""
        width = max(len(name) for name, _ in [*self.steps, ("in all", 0.0)])
        rows = [*self.steps, ("in all", sum(seconds for _, seconds in self.steps))]
        return "\n".join(f"  {name:<{width}}  {seconds:7.1f} s" for name, seconds in rows)
