"""The answer of a census: a report for programs and a summary for people. Pure.

Invariant: apart from ``timings`` a report follows from files and settings alone, down to the order of lists.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from duplicates import Found, Group, groups_across_files
from settings import Settings
from stages import Tally, failure_reasons

TOP = 20
"""How many of the most complex and of the largest functions a report names."""
GROUPS_MAX = 50
"""How many groups of near-duplicates a report lists; all are counted."""
MEMBERS_MAX = 20
"""How many functions of one group a report names; all are counted."""
_BOUNDS = (1, 2, 3, 5, 10, 20, 50)

Report = dict[str, Any]


def build_report(tally: Tally, found: Found, settings: Settings) -> Report:
    """Everything that was found, ready for JSON; the caller adds ``timings``."""
    groups = groups_across_files(found.pairs)
    by_size = sorted(tally.functions, key=lambda f: (-f.lines, f))
    by_complexity = sorted(tally.functions, key=lambda f: (-f.complexity, f))
    return {
        "python": platform.python_version(),
        "parameters": {**asdict(settings), "groups_max": GROUPS_MAX, "members_max": MEMBERS_MAX},
        "totals": {
            "files": tally.files,
            "files_parsed": tally.files - len(tally.failures),
            "source_bytes": tally.source_bytes,
            "source_lines": tally.source_lines,
            "functions": len(tally.functions),
            "functions_compared": tally.compared,
            "near_duplicate_pairs": len(found.pairs),
            "near_duplicate_groups": len(groups),
            "functions_in_groups": sum(len(group.members) for group in groups),
            "buckets_shared": found.buckets,
            "buckets_capped": found.buckets_capped,
            "bodies_dropped_by_cap": found.dropped,
        },
        "failures": {"reasons": failure_reasons(tally), "files": dict(sorted(tally.failures.items()))},
        "complexity_histogram": histogram([function.complexity for function in tally.functions]),
        "most_complex": [asdict(function) for function in by_complexity[:TOP]],
        "largest": [asdict(function) for function in by_size[:TOP]],
        "near_duplicates": [_group(group) for group in groups[:GROUPS_MAX]],
    }


def histogram(values: Sequence[int]) -> dict[str, int]:
    """How many values lie in each range: ``{"1": …, "2": …, "3": …, "4-5": …, …, "over 50": …}``."""
    names = [
        str(bound) if bound - below == 1 else f"{below + 1}-{bound}"
        for below, bound in zip((0, *_BOUNDS), _BOUNDS, strict=False)
    ]
    counts = dict.fromkeys([*names, f"over {_BOUNDS[-1]}"], 0)
    ranges = list(counts)
    for value in values:
        counts[ranges[bisect_left(_BOUNDS, value)]] += 1
    return counts


def _group(group: Group) -> dict[str, Any]:
    return {
        "functions": len(group.members),
        "files": len({path for path, _, _ in group.members}),
        "similarity_min": group.similarity_min,
        "members": [f"{path}:{line} {name}" for path, line, name in group.members[:MEMBERS_MAX]],
    }


def comparable(report: Mapping[str, Any]) -> Report:
    """The report without what differs from run to run."""
    return {key: value for key, value in report.items() if key != "timings"}


def summary(report: Mapping[str, Any]) -> str:
    """The report in some thirty lines for a terminal."""
    totals = report["totals"]
    lines = [
        (
            f"{totals['files_parsed']} of {totals['files']} files parsed, {totals['source_lines']:,} lines, "
            f"{totals['functions']:,} functions ({totals['functions_compared']:,} long enough to compare)"
        ),
    ]
    lines += [f"  not parsed: {count} x {reason}" for reason, count in report["failures"]["reasons"].items()]
    lines += ["", "complexity   functions"]
    largest = max(report["complexity_histogram"].values(), default=0) or 1
    for name, count in report["complexity_histogram"].items():
        lines.append(f"{name:>10}   {count:>9,}  {'#' * round(40 * count / largest)}")
    lines += ["", "most complex functions      complexity  lines"]
    lines += [_row(function) for function in report["most_complex"][:5]]
    lines += ["", "near-duplicates across files   functions  files  similarity"]
    lines += [_group_row(group) for group in report["near_duplicates"][:5]]
    lines.append(
        f"{totals['near_duplicate_groups']:,} groups with {totals['functions_in_groups']:,} functions, "
        f"{totals['near_duplicate_pairs']:,} pairs; "
        f"{totals['bodies_dropped_by_cap']:,} bodies left out of {totals['buckets_capped']:,} full buckets"
    )
    return "\n".join(lines)


def _row(function: Mapping[str, Any]) -> str:
    where = f"{function['path']}:{function['line']}"
    return f"{function['complexity']:>38}  {function['lines']:>5}  {function['name']}  ({where})"


def _group_row(group: Mapping[str, Any]) -> str:
    first = group["members"][0]
    return f"{group['functions']:>40}  {group['files']:>5}  {group['similarity_min']:>10.2f}  {first}"
