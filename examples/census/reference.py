"""The same census in one process and in plain steps: what the distributed one must agree with.

Shares the functions that look at one function or at two; how work is divided, brought together and grouped is
done another way here, so that a mistake in that shows as a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from duplicates import Found, FunctionId
from functions import UnparsableError, measure
from report import Report, build_report
from settings import Settings
from shingles import Hashing, similarity
from sources import Source
from stages import Tally, read


def reference_report(sources: Sequence[Source], settings: Settings) -> Report:
    """The report, without timings."""
    tally = Tally(files=len(sources))
    shingles_of: dict[FunctionId, frozenset[int]] = {}
    for source in sources:
        try:
            data = read(source, settings.file_bytes_max)
            functions = measure(source.path, data)
        except UnparsableError as error:
            tally.failures[source.path] = str(error)
            continue
        tally.source_bytes += len(data)
        tally.source_lines += data.count(b"\n")
        for function, body in functions:
            tally.functions.append(function)
            shingles = Hashing(settings).shingles(body)
            if shingles:
                shingles_of[function.path, function.line, function.name] = shingles
    tally.compared = len(shingles_of)
    return build_report(tally, _found(shingles_of, settings), settings)


def _found(shingles_of: dict[FunctionId, frozenset[int]], settings: Settings) -> Found:
    hashing = Hashing(settings)
    buckets: dict[int, list[FunctionId]] = defaultdict(list)
    for function in sorted(shingles_of):
        for key in hashing.bucket_keys(shingles_of[function]):
            buckets[key].append(function)
    found = Found(buckets=sum(len(members) > 1 for members in buckets.values()))
    for members in buckets.values():
        bodies: dict[frozenset[int], FunctionId] = {}
        for member in members:
            bodies.setdefault(shingles_of[member], member)
        twins = [(bodies[shingles_of[member]], member) for member in members]
        kept = sorted(bodies.values())[: settings.bucket_max]
        found.buckets_capped += len(kept) < len(bodies)
        found.dropped += len(bodies) - len(kept)
        for one, other in [*combinations(kept, 2), *(pair for pair in twins if pair[0] != pair[1])]:
            alike = similarity(shingles_of[one], shingles_of[other])
            if alike >= settings.similarity_min:
                found.pairs[one, other] = alike
    return found
