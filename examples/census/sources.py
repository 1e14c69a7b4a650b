"""Which files a census reads: those of this Python installation and of the packages installed into it.

Invariant: the same installation gives the same files in the same order, under names that do not depend on
where it lies.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """One file."""

    path: str
    """Its name in the report: ``stdlib/…`` or ``site-packages/…``."""
    location: str
    """Where it is on this machine."""


def find_sources() -> list[Source]:
    """Every ``.py`` file of the standard library and of site-packages, sorted by name."""
    paths = sysconfig.get_paths()
    standard = Path(paths["stdlib"])
    installed = {Path(paths["purelib"]), Path(paths["platlib"])}
    found = {source for root in installed for source in sources_under(root, "site-packages")}
    found.update(
        source for source in sources_under(standard, "stdlib") if "site-packages" not in Path(source.path).parts
    )
    return sorted(found)


def sources_under(root: Path, label: str) -> list[Source]:
    """Every ``.py`` file below ``root``, sorted, named ``label/…``."""
    return sorted(
        Source(f"{label}/{file.relative_to(root).as_posix()}", str(file))
        for file in root.rglob("*.py")
        if file.is_file()
    )


def choose(sources: Sequence[Source], count: int) -> list[Source]:
    """``count`` of them at even distances, so that every package is there in proportion; all if fewer."""
    if count >= len(sources):
        return list(sources)
    return [sources[index * len(sources) // count] for index in range(count)]


def batches(sources: Sequence[Source], size: int) -> list[list[Source]]:
    """Batches of at most ``size``, dealt out in turn: neighbours, often alike in size, are kept apart."""
    count = -(-len(sources) // size)
    return [list(sources[start::count]) for start in range(count)]
