"""Selectors match what kubectl's documentation says, and refuse what it does not."""

from __future__ import annotations

import pytest

from shoal_operator.local.apiserver.selectors import SelectorError, parse_fields, parse_labels

LABELS = {"app": "web", "tier": "front", "size": "3", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        (" app = web , tier = front ", True),
        ("app=db", False),
        ("app!=db", True),
        ("missing!=x", True),
        ("missing=", False),
        ("empty=", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("app in (web,db)", True),
        ("app in (db)", False),
        ("missing in (x)", False),
        ("app notin (db, x)", True),
        ("app notin (web)", False),
        ("missing notin (x)", True),
        ("empty in ()", True),
        ("size>2", True),
        ("size<3", False),
        ("app>1", False),
        ("example.com/app,app=web", False),
        ("app in (web),tier in (front),!x", True),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert parse_labels(text).matches(LABELS) is matches


def test_objects_without_labels_match_what_asks_for_none() -> None:
    assert parse_labels("!app").matches(None)
    assert not parse_labels("app").matches(None)


@pytest.mark.parametrize(
    "text", ["=", "a in", "a in (", "a in x", "a in (b", "a=b c=d", "a>x", "(a)", "a=b=c", "!", ","]
)
def test_label_selectors_that_make_no_sense(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_labels(text)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=p", True),
        ("metadata.name==p,status.phase!=Running", True),
        ("status.phase=Running", False),
        ("metadata.name!=p", False),
        ("absent=", True),
        (r"comma=a\,b", True),
        ("", True),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    values = {"metadata.name": "p", "status.phase": "Pending", "comma": "a,b"}
    assert parse_fields(text).matches(lambda name: values.get(name, "")) is matches


@pytest.mark.parametrize("text", ["nonsense", "=x", "a>b"])
def test_field_selectors_that_make_no_sense(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_fields(text)
