"""The catalogue of reasons: complete, without dead entries, each one word."""

import re
from pathlib import Path

import pytest

import shoal_operator
from shoal_operator.autoscaler import reasons as planner
from shoal_operator.domain.reasons import Action, ConditionType, Reason

OPERATOR = Path(shoal_operator.__file__).parent
SOURCE = "\n".join(path.read_text() for path in sorted(OPERATOR.rglob("*.py")) if path.name != "reasons.py")


@pytest.mark.parametrize("kind", [Action, ConditionType, Reason])
def test_every_entry_is_used_and_is_one_word(kind):
    # The planner, which knows no catalogue, gives its reasons by constants of the same names.
    given_as = f"(?:{kind.__name__}|reasons)"
    unused = [entry.name for entry in kind if not re.search(rf"\b{given_as}\.{entry.name}\b", SOURCE)]
    assert unused == []
    assert [entry for entry in kind if not re.fullmatch(r"([A-Z][a-z]+)+", entry)] == []
    assert len({entry.value for entry in kind}) == len(kind.__members__)


def test_the_planners_reasons_are_all_in_the_catalogue() -> None:
    words = {name: word for name, word in vars(planner).items() if name.isupper()}
    assert words
    assert {name: Reason.__members__.get(name) for name in words} == words


def test_conditions_and_events_take_their_reasons_from_the_catalogue():
    calls = re.sub(r'EventRecord\("(Normal|Warning)"', "EventRecord(type", SOURCE)
    assert re.findall(r'(?:Fact|EventRecord)\([^()"]*, "([A-Z][A-Za-z]+)"', calls) == []
