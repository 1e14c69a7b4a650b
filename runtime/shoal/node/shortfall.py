"""Tells a program what this machine can never run for it.

Invariants: said once for each name and need; never on a node of a cluster, where a bigger node may join and the
operator explains what waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from shoal.resources import ResourceSet, describe

TOLD_MAX: Final = 100

Show = Callable[[str, str], None]


class Shortfall:
    """Looks at what is asked for.

    Args:
        total: what the machine has; None for a node of a cluster.
        show: called with a job's id and the words for its program.
    """

    def __init__(self, total: ResourceSet | None, show: Show) -> None:
        self._total = total
        self._show = show
        self._told: set[tuple[str, ResourceSet]] = set()

    def check(self, job_id: str, subject: str, shape: Any) -> None:
        """Say so when ``shape`` (pairs of name and amount) is more than there is; ``subject`` as "task `f`"."""
        if self._total is None or len(self._told) >= TOLD_MAX:
            return
        need = ResourceSet(dict(shape))
        lacking = need.lacks(self._total)
        if not lacking or (subject, need) in self._told:
            return
        self._told.add((subject, need))
        has = ", ".join(
            describe({name: self._total[name]}) if name in self._total else f"no {name}" for name in lacking
        )
        self._show(job_id, f"{subject} needs {describe(need)}, this machine has {has}: it can never start here")
