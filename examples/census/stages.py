"""The two stages of the census: what one map task and one reduce task compute.

Invariant: a function's bucket is in exactly one partition, the same in every process; so no pair is lost at
the border between partitions, and none is found that a single process would not find.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from duplicates import Found, FunctionId, find_pairs
from functions import Function, UnparsableError, measure
from settings import Settings
from shingles import Hashing, pack
from sources import Source


@dataclass(slots=True)
class Tally:
    """What a map task tells the driver: the figures of its files."""

    files: int = 0
    source_bytes: int = 0
    source_lines: int = 0
    functions: list[Function] = field(default_factory=list)
    compared: int = 0
    """Functions long enough to be compared."""
    failures: dict[str, str] = field(default_factory=dict)
    """Path to reason."""


@dataclass(slots=True)
class Part:
    """What a map task leaves for one reduce task: functions by bucket, and the bodies to compare."""

    buckets: dict[int, list[FunctionId]] = field(default_factory=lambda: defaultdict(list))
    bodies: dict[FunctionId, bytes] = field(default_factory=dict)


def read(source: Source, limit_bytes: int) -> bytes:
    """The file's bytes.

    Raises:
        UnparsableError: too large, or it cannot be read; the message is the reason.
    """
    try:
        with Path(source.location).open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise UnparsableError(f"cannot be read: {error.strerror}") from error
    if len(data) > limit_bytes:
        raise UnparsableError(f"larger than {limit_bytes} bytes")
    return data


def map_batch(sources: Sequence[Source], settings: Settings, partitions: int) -> tuple[Tally, list[Part]]:
    """Stage 1: parse some files, measure their functions, and put each into its buckets' partitions."""
    tally = Tally()
    parts = [Part() for _ in range(partitions)]
    hashing = Hashing(settings)
    for source in sources:
        tally.files += 1
        try:
            data = read(source, settings.file_bytes_max)
            measured = measure(source.path, data)
        except UnparsableError as error:
            tally.failures[source.path] = str(error)
            continue
        tally.source_bytes += len(data)
        tally.source_lines += data.count(b"\n")
        for function, body in measured:
            tally.functions.append(function)
            shingles = hashing.shingles(body)
            if not shingles:
                continue
            tally.compared += 1
            identity = (function.path, function.line, function.name)
            packed = pack(shingles)
            for key in hashing.bucket_keys(shingles):
                part = parts[key % partitions]
                part.buckets[key].append(identity)
                part.bodies[identity] = packed
    return tally, parts


def reduce_partition(parts: Sequence[Part], settings: Settings) -> Found:
    """Stage 2: bring together what all map tasks have for one partition, and compare within buckets."""
    buckets: dict[int, list[FunctionId]] = defaultdict(list)
    bodies: dict[FunctionId, bytes] = {}
    for part in parts:
        for key, members in part.buckets.items():
            buckets[key].extend(members)
        bodies.update(part.bodies)
    return find_pairs(buckets, bodies, settings)


def merge_tallies(tallies: Sequence[Tally]) -> Tally:
    """One tally of all files."""
    merged = Tally()
    for tally in tallies:
        merged.files += tally.files
        merged.source_bytes += tally.source_bytes
        merged.source_lines += tally.source_lines
        merged.functions.extend(tally.functions)
        merged.compared += tally.compared
        merged.failures.update(tally.failures)
    return merged


def failure_reasons(tally: Tally) -> dict[str, int]:
    """How many files failed for which reason, most frequent first."""
    counts = Counter(tally.failures.values())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
