"""However the work is divided, the report is the one that a single process computes."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from duplicates import Found, groups_across_files, merge
from reference import reference_report
from report import build_report, comparable, histogram, summary
from settings import Settings
from sources import Source, batches, choose, find_sources, sources_under
from stages import map_batch, merge_tallies, reduce_partition


def divided_report(sources: list[Source], settings: Settings, batch: int, partitions: int) -> dict[str, Any]:
    """The two stages one after the other, without a cluster."""
    mapped = [map_batch(files, settings, partitions) for files in batches(sources, batch)]
    found = merge(reduce_partition([parts[n] for _, parts in mapped], settings) for n in range(partitions))
    return build_report(merge_tallies([tally for tally, _ in mapped]), found, settings)


@pytest.fixture(scope="module")
def standard_library() -> list[Source]:
    return choose(sources_under(Path(sysconfig.get_paths()["stdlib"]), "stdlib"), 60)


def test_the_report_of_a_small_tree(tree: list[Source]) -> None:
    report = reference_report(tree, Settings())
    totals = report["totals"]
    assert totals["files"] == 11
    assert totals["files_parsed"] == 7
    assert totals["functions"] == 5
    assert totals["functions_compared"] == 4
    assert set(report["failures"]["files"]) == {
        "tree/bad/deep.py",
        "tree/bad/latin.py",
        "tree/bad/null.py",
        "tree/bad/python2.py",
    }
    [group] = report["near_duplicates"]
    assert group["members"] == [
        "tree/a/original.py:2 total",
        "tree/b/near.py:2 total",
        "tree/b/renamed.py:3 Ledger.summe",
    ]
    assert 0.8 <= group["similarity_min"] < 1
    assert [(f["name"], f["complexity"]) for f in report["most_complex"]] == [
        ("total", 7),
        ("walk", 7),
        ("total", 7),
        ("Ledger.summe", 7),
        ("short", 1),
    ]
    assert "7 of 11 files parsed" in summary(report)


@pytest.mark.parametrize(("batch", "partitions"), [(1, 1), (2, 3), (4, 8), (100, 2)])
def test_division_does_not_change_the_report(tree: list[Source], batch: int, partitions: int) -> None:
    assert divided_report(tree, Settings(), batch, partitions) == reference_report(tree, Settings())


@pytest.mark.parametrize("settings", [Settings(), Settings(seed=7, similarity_min=0.5, tokens_min=20, bucket_max=3)])
def test_division_does_not_change_the_report_of_the_standard_library(
    standard_library: list[Source], settings: Settings
) -> None:
    expected = reference_report(standard_library, settings)
    assert divided_report(standard_library, settings, 7, 4) == expected
    assert expected["totals"]["functions"] > 100
    assert expected["totals"]["near_duplicate_pairs"] > 0


def test_full_buckets_are_cut_and_counted(tmp_path: Path) -> None:
    body = "\n".join(f"    x.step_{n}(a, b)" for n in range(30))
    for n in range(6):
        (tmp_path / f"f{n}.py").write_text(f"def f():\n{body}\n    x.last_{n}()\n")
    sources = sources_under(tmp_path, "t")
    settings = Settings(bucket_max=4)
    report = reference_report(sources, settings)
    assert report["totals"]["bodies_dropped_by_cap"] > 0
    assert report["totals"]["buckets_capped"] > 0
    assert divided_report(sources, settings, 2, 3) == report
    assert reference_report(sources, Settings())["totals"]["near_duplicate_pairs"] == 15


def test_a_file_that_is_gone_or_too_large_is_counted(tmp_path: Path) -> None:
    large = tmp_path / "large.py"
    large.write_text("x = 1\n" * 100)
    sources = [Source("gone.py", str(tmp_path / "gone.py")), Source("large.py", str(large))]
    report = divided_report(sources, Settings(file_bytes_max=599), 1, 1)
    assert report["failures"]["files"] == {
        "gone.py": "cannot be read: No such file or directory",
        "large.py": "larger than 599 bytes",
    }
    assert reference_report(sources, Settings(file_bytes_max=600))["totals"]["files_parsed"] == 1


def test_groups_join_chains_and_leave_out_single_files() -> None:
    a, b, c, d, e = ((f"{name}.py", 1, "f") for name in "abcde")
    also_e = ("e.py", 9, "g")
    groups = groups_across_files({(a, b): 0.9, (b, c): 0.8, (e, also_e): 1.0})
    assert [(group.members, group.similarity_min) for group in groups] == [((a, b, c), 0.8)]
    assert d not in groups[0].members


def test_merging_parts_keeps_each_pair_once() -> None:
    pair = (("a.py", 1, "f"), ("b.py", 1, "f"))
    merged = merge([Found({pair: 0.9}, 1, 0, 0), Found({pair: 0.9}, 2, 1, 5)])
    assert merged == Found({pair: 0.9}, 3, 1, 5)


def test_histogram_ranges_hold_every_value() -> None:
    counts = histogram([1, 2, 3, 4, 5, 6, 10, 11, 20, 21, 50, 51, 1000])
    assert counts == {"1": 1, "2": 1, "3": 1, "4-5": 2, "6-10": 2, "11-20": 2, "21-50": 2, "over 50": 2}


def test_the_choice_of_files_is_even_and_repeatable() -> None:
    every = find_sources()
    chosen = choose(every, 10)
    assert chosen == choose(find_sources(), 10)
    assert len(set(chosen)) == 10
    assert {source.path.split("/")[0] for source in chosen} <= {"stdlib", "site-packages"}
    assert choose(every[:3], 10) == every[:3]
    dealt = batches(every[:10], 4)
    assert sorted(source for batch in dealt for source in batch) == every[:10]
    assert max(map(len, dealt)) <= 4


def test_a_report_is_json_and_compares_without_timings(tree: list[Source]) -> None:
    report = reference_report(tree, Settings())
    read_again = json.loads(json.dumps({**report, "timings": {"parse_seconds": 1.0}}))
    assert comparable(read_again) == report
