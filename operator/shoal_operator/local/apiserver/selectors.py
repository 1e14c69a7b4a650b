"""Label and field selectors: parsed once, then asked for every object.

Invariant: text that the real server would refuse raises `SelectorError`; nothing is matched by guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_LABEL_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|=|!|<|>|\(|\)|,)|(?P<word>[^\s=!<>(),]+))")


class SelectorError(ValueError):
    """A selector that cannot be parsed, or that names a field nobody can select by."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label or field. `operator`: =, !=, in, notin, exists, !, gt, lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, value: str | None) -> bool:
        """`value` is None where the label is absent."""
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "gt" | "lt":
                return _compare(value, self.values[0], self.operator)
        raise AssertionError(self.operator)


def _compare(value: str | None, bound: str, operator: str) -> bool:
    try:
        number = int(value or "")
    except ValueError:
        return False
    return number > int(bound) if operator == "gt" else number < int(bound)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements that must all hold; an empty selector matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        held = labels or {}
        return all(need.matches(held.get(need.key)) for need in self.requirements)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Requirements over named fields (= and != only)."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, field_value: Callable[[str], str]) -> bool:
        """`field_value` gives a field's text, "" where it is absent."""
        return all(need.matches(field_value(need.key)) for need in self.requirements)

    def exact(self, key: str) -> str | None:
        """The value that `key` must have, when the selector pins it."""
        pinned = (need.values[0] for need in self.requirements if need.key == key and need.operator == "=")
        return next(pinned, None)


ALL_LABELS = LabelSelector()
ALL_FIELDS = FieldSelector()
"""The selectors that match everything."""


_OPERATORS = "in, notin, =, ==, !=, gt, lt"


class _LabelParser:
    """Recursive descent over the tokens of one label selector."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, bool]] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            found = _LABEL_TOKEN.match(stripped, position)
            if found is None:
                raise SelectorError(f"unable to parse requirement: invalid character in {text!r}")
            self.tokens.append((found["op"] or found["word"], found["word"] is not None))
            position = found.end()
        self.index = 0

    def peek(self) -> str | None:
        return self.tokens[self.index][0] if self.index < len(self.tokens) else None

    def take(self, *, word: bool = False) -> str:
        if self.index >= len(self.tokens):
            raise SelectorError(f"unable to parse requirement: unexpected end of {self.text!r}")
        token, is_word = self.tokens[self.index]
        if word and not is_word:
            raise SelectorError(f"unable to parse requirement: found '{token}', expected: identifier")
        self.index += 1
        return token

    def requirements(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while self.peek() is not None:
            found.append(self.requirement())
            if self.peek() is not None and self.take() != ",":
                raise SelectorError(f"found '{self.tokens[self.index - 1][0]}', expected: ',' or 'end of string'")
        return tuple(found)

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self.take()
            return Requirement(self.take(word=True), "!")
        key = self.take(word=True)
        operator = self.peek()
        if operator in (None, ","):
            return Requirement(key, "exists")
        self.take()
        match operator:
            case "=" | "==" | "!=":
                empty = self.peek() in (None, ",")
                value = "" if empty else self.take(word=True)
                return Requirement(key, "!=" if operator == "!=" else "=", (value,))
            case "in" | "notin":
                return Requirement(key, operator, self.value_set())
            case ">" | "<":
                return Requirement(key, "gt" if operator == ">" else "lt", (self.number(),))
        raise SelectorError(f"unable to parse requirement: found '{operator}', expected: {_OPERATORS}")

    def number(self) -> str:
        bound = self.take(word=True)
        if not bound.lstrip("-").isdigit():
            raise SelectorError(f"unable to parse requirement: for 'Gt', 'Lt' the value must be an integer: {bound}")
        return bound

    def value_set(self) -> tuple[str, ...]:
        if self.take() != "(":
            raise SelectorError(f"unable to parse requirement: expected '(' in {self.text!r}")
        values: list[str] = []
        while True:
            token = self.peek()
            values.append("" if token in (",", ")") else self.take(word=True))
            closing = self.take()
            if closing == ")":
                return tuple(values)
            if closing != ",":
                raise SelectorError(f"unable to parse requirement: expected ',' or ')' in {self.text!r}")


def parse_labels(text: str) -> LabelSelector:
    """Read `a=b,c!=d,e in (x,y),f notin (z),g,!h`; raises SelectorError."""
    return LabelSelector(_LabelParser(text).requirements())


def parse_fields(text: str) -> FieldSelector:
    r"""Read `metadata.name=x,status.phase!=Running`; `\\`, `\,` and `\=` are escapes; raises SelectorError."""
    found = []
    for term in re.split(r"(?<!\\),", text):
        if not term.strip():
            continue
        parts = re.fullmatch(r"\s*([^=!]+?)\s*(==|!=|=)(.*)", term, re.DOTALL)
        if parts is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        value = re.sub(r"\\([\\,=])", r"\1", parts[3])
        found.append(Requirement(parts[1], "!=" if parts[2] == "!=" else "=", (value,)))
    return FieldSelector(tuple(found))
