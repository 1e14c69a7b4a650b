"""The program as people run it, on the runtime of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import census
from reference import reference_report
from report import comparable
from settings import Settings
from sources import choose, find_sources

PROGRAM = Path(census.__file__)


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # As from a shell: with make's PYTHONSAFEPATH a program would not find the modules beside it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_the_cluster_finds_what_one_process_finds(tmp_path: Path) -> None:
    ended = run(tmp_path, "--files", "60", "--parse-batch", "7", "--partitions", "3", "--report", "found.json")
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "found.json").read_text())
    assert comparable(report) == reference_report(choose(find_sources(), 60), Settings())
    assert report["timings"]["batches"] == 9
    lines = ended.stdout.splitlines()
    assert "parsed 60/60 files" in lines
    assert "compared 3/3 partitions" in lines
    assert f"{report['totals']['near_duplicate_groups']:,} groups with" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--files", "0"), "must be at least 1, got 0"),
        (("--files", "many"), "must be a whole number, got 'many'"),
        (("--files", "5", "--all"), "not allowed with argument"),
        (("--report", "no/such/folder/report.json"), "no/such/folder"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    ended = run(tmp_path, *arguments)
    assert ended.returncode == 2
    assert complaint in ended.stderr
    assert "parsed" not in ended.stdout
