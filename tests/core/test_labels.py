"""Label selectors: what is taken, what is refused with which words, and that what is taken means one thing."""

from __future__ import annotations

import pytest

from shoal.core.labels import checked, matches


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"zone": "a"},
        {"zone": "!a", "kind": "in(a, b)"},
        {"zone": " !in(a) "},
        {"topology.kubernetes.io/zone": "eu-west-1a"},
        {"ray.io/node-id": "f" * 56},
        {"k" * 63: "v" * 63, "d" * 253 + "/k": "1.2_3"},
    ],
)
def test_what_is_taken(selector: dict[str, str]) -> None:
    assert checked("here", selector) == tuple(sorted(selector.items()))


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        (["zone"], "^here must be a dict of labels"),
        ({"zone": 1}, "^here must be a dict of labels"),
        ({1: "zone"}, "^here must be a dict of labels"),
        ({"a b": "c"}, "^here: 'a b' is no name of a label: those are 1 to 63 letters"),
        ({"": "c"}, "^here: '' is no name"),
        ({"k" * 64: "c"}, "is no name"),
        ({"Bad_Domain/k": "c"}, "^here: 'Bad_Domain/k' is no name"),
        ({"/k": "c"}, "is no name"),
        ({"a/b/c": "c"}, "is no name"),
        ({"zone": "in(a,b"}, r"^here: 'zone' has 'in\(a,b', which is none of"),
        ({"zone": "in(a,,b)"}, "has"),
        ({"zone": "in()"}, "has"),
        ({"zone": "in (a)"}, "has"),
        ({"zone": "!"}, "has '!'"),
        ({"zone": "!!a"}, "has '!!a'"),
        ({"zone": ""}, "has ''"),
        ({"zone": "v" * 64}, "has"),
    ],
)
def test_what_is_refused(selector: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checked("here", selector)


@pytest.mark.parametrize(
    ("expression", "value", "holds"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", None, False),
        ("!a", "a", False),
        ("!a", "b", True),
        ("!a", None, True),
        ("in(a,b)", "b", True),
        ("in(a,b)", "c", False),
        ("in(a,b)", None, False),
        ("!in(a, b)", "b", False),
        ("!in(a, b)", "c", True),
        ("!in(a, b)", None, True),
        # None of the four forms; a head of another version might let them through.
        ("", "", True),
        ("", None, False),
        ("!", "", False),
        ("in(a", "in(a", True),
        ("in()", "", True),
    ],
)
def test_what_an_expression_means_to_scheduler_and_planner(expression: str, value: str | None, holds: bool) -> None:
    labels = {} if value is None else {"zone": value}
    assert matches((("zone", expression),), labels) is holds
    both = (("kind", "spot"), ("zone", expression))
    assert matches(both, {**labels, "kind": "spot"}) is holds, "all have to hold"
    assert not matches(both, labels)


def test_blanks_around_an_expression_are_no_part_of_it() -> None:
    assert matches((("zone", " !in( a , b ) "),), {"zone": "c"})
    assert not matches((("zone", " !in( a , b ) "),), {"zone": "b"})
