"""A census of the Python code on this machine: how large, how complex, and what is there more than once.

    python census.py                  600 files of the standard library and of the installed packages
    python census.py --all            all of them

Stage 1 parses batches of files in parallel. Each task returns one object for the driver (its figures) and one
per partition, which go from worker to worker through the object store: the driver never sees them. Stage 2
compares, per partition, the functions that share a bucket. The driver joins the results into one report.

Invariant: batches and partitions change how fast the answer comes, never the answer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shoal
from duplicates import Found, merge
from report import Report, build_report, summary
from settings import Settings
from sources import Source, batches, choose, find_sources
from stages import Tally, map_batch, merge_tallies, reduce_partition

FILES_DEFAULT = 600


@shoal.remote
def parse_files(sources: Sequence[Source], settings: Settings, partitions: int) -> list[Any]:
    """Stage 1; as many results as partitions and one."""
    tally, parts = map_batch(sources, settings, partitions)
    return [tally, *parts]


@shoal.remote
def find_duplicates(settings: Settings, *parts: Any) -> Found:
    """Stage 2; the parts arrive as values because they are passed as references."""
    return reduce_partition(parts, settings)


def take_census(sources: Sequence[Source], settings: Settings, batch_size: int, partitions: int) -> Report:
    """Run both stages on the cluster and build the report."""
    began = time.perf_counter()
    shared = shoal.put(settings)
    stage = parse_files.options(num_returns=partitions + 1)
    results = [stage.remote(batch, shared, partitions) for batch in batches(sources, batch_size)]
    tally = _gather_tallies([tally for tally, *_ in results], len(sources))
    parsed = time.perf_counter()

    columns = zip(*(parts for _, *parts in results), strict=True)
    found = merge(_in_order([find_duplicates.remote(shared, *column) for column in columns]))
    compared = time.perf_counter()

    report = build_report(tally, found, settings)
    report["timings"] = {
        "parse_seconds": round(parsed - began, 3),
        "compare_seconds": round(compared - parsed, 3),
        "report_seconds": round(time.perf_counter() - compared, 3),
        "batches": len(results),
        "partitions": partitions,
    }
    return report


def _gather_tallies(pending: list[Any], files: int) -> Tally:
    order = list(pending)
    done = 0
    while pending:
        ready, pending = shoal.wait(pending, num_returns=1)
        done += sum(shoal.get(reference).files for reference in ready)
        print(f"parsed {done}/{files} files", flush=True)
    return merge_tallies(shoal.get(order))


def _in_order(references: list[Any]) -> list[Found]:
    pending = references
    while pending:
        _, pending = shoal.wait(pending, num_returns=1)
        print(f"compared {len(references) - len(pending)}/{len(references)} partitions", flush=True)
    found: list[Found] = shoal.get(references)
    return found


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _new_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in a folder that exists, got {text!r}")
    return path


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="census.py", description=(__doc__ or "").splitlines()[0])
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--files", type=_positive, default=FILES_DEFAULT, help="how many files (default: %(default)s)")
    amount.add_argument("--all", action="store_true", help="all files")
    parser.add_argument("--report", type=_new_file, default=Path("census-report.json"), help="where the report goes")
    parser.add_argument("--parse-batch", type=_positive, default=20, help="files a task (default: %(default)s)")
    parser.add_argument("--partitions", type=_positive, default=4, help="reduce tasks (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=Settings().seed, help="of the hash functions (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Take the census and write the report. 0, or 2 when there is nothing to read."""
    arguments = _arguments(argv)
    every = find_sources()
    sources = every if arguments.all else choose(every, arguments.files)
    if not sources:
        print("error: no .py files in this Python installation", file=sys.stderr)
        return 2
    print(f"census of {len(sources)} of {len(every)} files", flush=True)
    shoal.init()
    report = take_census(sources, Settings(seed=arguments.seed), arguments.parse_batch, arguments.partitions)
    arguments.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    timings = report["timings"]
    print(f"\n{summary(report)}\n")
    print(
        f"parsed in {timings['parse_seconds']:.1f} s, compared in {timings['compare_seconds']:.1f} s; "
        f"report: {arguments.report}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
