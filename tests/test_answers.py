"""docs/kuberay.md: every row with an answer names tests that exist, or says why it has none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from shoal_operator.api.unknown import KUBERAY_NAMES

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "kuberay.md"
SHOWN_BY = "Shown by"
TEST = re.compile(r"`((?:tests|e2e/scenarios)/[\w/]+\.py)::(\w+)(?:\[([^`]+)\])?`")
WITHOUT = re.compile(r"none: \S.*")
ROWS_MIN = 100
"""Fewer rows than there are mean that the document is not read as it was."""


@dataclass(frozen=True)
class Row:
    """One row of a table with the column ``Shown by``."""

    line: int
    subject: str
    shown_by: str


def cells(line: str) -> list[str]:
    """The cells of a row; a bar within backticks or after a backslash is text."""
    parts = re.findall(r"(?:`[^`]*`|\\.|[^|`])*", line.strip().strip("|"))
    return [part.strip() for part in parts if part.strip()]


def rows(text: str) -> Iterator[Row]:
    """Every row of every table whose last column is ``Shown by``."""
    is_ours = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|"):
            is_ours = False
        elif cells(line)[-1] == SHOWN_BY:
            is_ours = True
        elif is_ours and not set(line) <= set("|-: "):
            found = cells(line)
            yield Row(number, found[0], found[-1] if len(found) == 3 else "")


@cache
def functions(path: str) -> frozenset[str]:
    """Names of the test functions of a file; none when it is not there."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    defined = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in defined if node.name.startswith("test_"))


def faults(text: str) -> list[str]:
    """What is wrong with a document."""
    found = []
    for row in rows(text):
        tests = TEST.findall(row.shown_by)
        rest = TEST.sub("", row.shown_by).replace(",", "").strip()
        if not tests and not WITHOUT.fullmatch(row.shown_by):
            found.append(f"line {row.line}: no test and no reason: {row.subject}")
        elif tests and rest:
            found.append(f"line {row.line}: not the name of a test: {rest}")
    for path, name, case in TEST.findall(text):
        if name not in functions(path):
            found.append(f"{path} has no test {name}")
        elif case not in (ROOT / path).read_text(encoding="utf-8"):
            found.append(f"{path} has no case {case} of {name}")
    return found


def test_every_answer_is_shown_by_a_test_that_exists() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert faults(text) == []
    assert len(list(rows(text))) >= ROWS_MIN


def test_fields_that_lint_knows_stand_in_the_tables_of_names() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    named = [found for line in lines if line.startswith("|") and len(found := cells(line)) == 2]
    missing = [
        f"{theirs}: {ours}"
        for theirs, ours in KUBERAY_NAMES.items()
        if not any(theirs in left and ours in right for left, right in named)
    ]
    assert missing == []


HEAD = "| Complaint | Here | Shown by |\n|---|---|---|\n"
GOOD = "`tests/test_answers.py::test_every_answer_is_shown_by_a_test_that_exists`"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (f"| a | b | {GOOD} |", []),
        (f"| a `x|y` | b | {GOOD}, {GOOD} |", []),
        ("| a | b | none: for a reason |", []),
        ("| a | b | none: |", ["no test and no reason"]),
        ("| a | b | |", ["no test and no reason"]),
        ("| a | b |", ["no test and no reason"]),
        ("| a | b | some day |", ["no test and no reason"]),
        (f"| a | b | {GOOD} and more |", ["not the name of a test: and more"]),
        ("| a | b | `tests/test_answers.py::test_absent` |", ["has no test test_absent"]),
        ("| a | b | `tests/test_tidy.py::test_every_module_says_what_it_is_for[an id]` |", ["has no case an id"]),
        ("| a | b | `tests/test_absent.py::test_it` |", ["tests/test_absent.py has no test"]),
        ("| a | b | `tests/test_answers.py::faults` |", ["has no test faults"]),
    ],
)
def test_the_check_finds_what_is_missing(row: str, words: list[str]) -> None:
    found = faults(HEAD + row)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True)), found
