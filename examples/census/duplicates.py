"""Functions in buckets -> pairs that are alike -> groups. Pure.

Invariant: the outcome for one bucket depends on its members only, never on their order or on which other
buckets are looked at together with it. That is why the buckets can be divided among processes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from settings import Settings
from shingles import similarity, unpack

FunctionId = tuple[str, int, str]
"""Path, line and qualified name: a function among all files."""
Pairs = dict[tuple[FunctionId, FunctionId], float]
"""Two functions, the lesser first, and how similar they are."""


@dataclass(slots=True)
class Found:
    """What the buckets gave."""

    pairs: Pairs = field(default_factory=dict)
    buckets: int = 0
    """Buckets with more than one function."""
    buckets_capped: int = 0
    """Buckets with more different bodies than are compared."""
    dropped: int = 0
    """Bodies left out of such buckets, summed over buckets."""


@dataclass(frozen=True, slots=True)
class Group:
    """Functions that are alike, directly or through others of the group."""

    members: tuple[FunctionId, ...]
    similarity_min: float


def find_pairs(
    buckets: Mapping[int, Iterable[FunctionId]], bodies: Mapping[FunctionId, bytes], settings: Settings
) -> Found:
    """Compare the functions of each bucket.

    Functions with the same shingles count as one body, for which the first of them stands, so a body that
    occurs a thousand times is compared once. Of more than ``bucket_max`` bodies the first are taken.

    Args:
        buckets: key to functions.
        bodies: the packed shingles of every function in the buckets.
        settings: limit of similarity and size of a bucket.
    """
    found = Found()
    sets: dict[FunctionId, frozenset[int]] = {}
    compared: set[tuple[FunctionId, FunctionId]] = set()
    for key in sorted(buckets):
        members = sorted(buckets[key])
        if len(members) < 2:
            continue
        found.buckets += 1
        firsts: dict[bytes, FunctionId] = {}
        for member in members:
            first = firsts.setdefault(bodies[member], member)
            if first != member:
                found.pairs[first, member] = 1.0
        different = list(firsts.values())
        if len(different) > settings.bucket_max:
            found.buckets_capped += 1
            found.dropped += len(different) - settings.bucket_max
        candidates = different[: settings.bucket_max]
        for member in candidates:
            if member not in sets:
                sets[member] = unpack(bodies[member])
        for pair in combinations(candidates, 2):
            if pair not in compared:
                compared.add(pair)
                alike = _compare(sets[pair[0]], sets[pair[1]], settings.similarity_min)
                if alike:
                    found.pairs[pair] = alike
    return found


def _compare(one: frozenset[int], other: frozenset[int], at_least: float) -> float:
    """Their similarity, or 0 when it is less than ``at_least``; sizes alone often say so."""
    if min(len(one), len(other)) < at_least * max(len(one), len(other)):
        return 0.0
    alike = similarity(one, other)
    return alike if alike >= at_least else 0.0


def merge(parts: Iterable[Found]) -> Found:
    """All parts in one. Pairs found in several parts are equal, and are kept once."""
    merged = Found()
    for part in parts:
        merged.pairs.update(part.pairs)
        merged.buckets += part.buckets
        merged.buckets_capped += part.buckets_capped
        merged.dropped += part.dropped
    return merged


def groups_across_files(pairs: Pairs) -> list[Group]:
    """Connected functions, where they lie in more than one file; largest groups first."""
    parents: dict[FunctionId, FunctionId] = {}

    def root(function: FunctionId) -> FunctionId:
        parents.setdefault(function, function)
        while parents[function] != function:
            parents[function] = parents[parents[function]]
            function = parents[function]
        return function

    for one, other in pairs:
        parents[root(other)] = root(one)
    members: dict[FunctionId, list[FunctionId]] = defaultdict(list)
    for function in parents:
        members[root(function)].append(function)
    lowest: dict[FunctionId, float] = defaultdict(lambda: 1.0)
    for (one, _), alike in pairs.items():
        lowest[root(one)] = min(lowest[root(one)], alike)
    groups = [
        Group(tuple(sorted(functions)), lowest[start])
        for start, functions in members.items()
        if len({path for path, _, _ in functions}) > 1
    ]
    return sorted(groups, key=lambda group: (-len(group.members), group.members))
