"""What programs and messages ask for: taken whole, or refused with words that say where it was given."""

from __future__ import annotations

import pytest

from shoal.core.shapes import MAX_NAMES, given, received
from shoal.resources import LARGEST, UNITS, ResourceSet


def test_what_makes_sense_is_taken() -> None:
    assert given("bundles[0]", {"CPU": 0.5, "GPU": 0}) == ResourceSet({"CPU": 5_000})
    assert received("resources", {"CPU": 5_000, "GPU": 0}) == ResourceSet({"CPU": 5_000})
    assert received("resources", {}, may_be_empty=True) == ResourceSet()
    assert received("resources", {"memory": LARGEST * UNITS})["memory"] == LARGEST * UNITS


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (None, r"^here must be a dict of resources such as \{\"CPU\": 1\}, got None$"),
        ([("CPU", 1)], "must be a dict"),
        ({}, "^here asks for nothing"),
        ({"CPU": 0.0}, "^here asks for nothing"),
        ({"CPU": -1}, "^here: resource 'CPU' must not be negative"),
        ({"CPU": "1"}, "^here: the quantity of 'CPU' must be a number, got '1'"),
        ({"CPU": True}, "must be a number"),
        ({"CPU": None}, "must be a number"),
        ({"CPU": float("nan")}, "finite"),
        ({"CPU": float("-inf")}, "finite"),
        ({"CPU": 0.00001}, "precision"),
        ({"CPU": 10**15}, r"must be at most 1e\+14"),
        ({"": 1}, "^here: a resource's name has 1 to 256 characters, got ''"),
        ({"x" * 257: 1}, "a resource's name has 1 to 256 characters"),
        ({5: 1}, "got 5"),
        ({f"r{n}": 1 for n in range(MAX_NAMES + 1)}, "^here has 1001 resources, at most 1000 are taken"),
    ],
)
def test_what_programs_give_and_is_refused(units: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        given("here", units)


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ({}, "^here asks for nothing"),
        ({"CPU": 0}, "^here asks for nothing"),
        ({"CPU": -10_000}, "^here: resource 'CPU' must not be negative, got -1"),
        ({"": 1}, "a resource's name"),
        ({"x" * 257: 1}, "a resource's name"),
        ({"CPU": 2**63 - 1}, r"^here: resource 'CPU' must be at most 1e\+14, got 9.22337e\+14"),
        ({f"r{n}": 1 for n in range(MAX_NAMES + 1)}, "has 1001 resources"),
    ],
)
def test_what_messages_have_and_is_refused(amounts: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        received("here", amounts)
