"""ARCHITECTURE.md names every decision's file, and no file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
OPERATOR = ROOT / "operator/shoal_operator"
PLACES = (
    ROOT,
    OPERATOR,
    OPERATOR / "domain",
    OPERATOR / "domain/cluster",
    OPERATOR / "domain/job",
    OPERATOR / "autoscaler",
)
RUNTIME = (ROOT / "runtime/shoal", ROOT / "runtime/shoal/core", ROOT / "runtime/shoal/head")


@pytest.mark.parametrize("folder", ["cluster", "job"])
def test_every_decision_has_a_place_on_the_map(folder):
    table = TEXT.partition(f"| question | `domain/{folder}` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+\.py)`", table))
    there = {path.name for path in (OPERATOR / "domain" / folder).glob("*.py")} - {"__init__.py"}
    assert there - named == set()


def test_every_file_that_is_named_exists():
    named = sorted(set(re.findall(r"`((?:\w+/)*\w+\.py)`", TEXT)))
    assert len(named) > 30
    assert [name for name in named if not any((place / name).is_file() for place in PLACES + RUNTIME)] == []
