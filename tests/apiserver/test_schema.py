"""Structural schemas: what is pruned, defaulted and refused, in the real server's words."""

from __future__ import annotations

from typing import Any

import pytest

from shoal_operator.local.apiserver import schema
from shoal_operator.local.apiserver.jsonpath import find, parse

STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("known", "value", "words"),
    [
        ({"type": "string"}, 1, 'f: Invalid value: "integer": f in body must be of type string: "integer"'),
        ({"type": "integer"}, "1", 'f: Invalid value: "string": f in body must be of type integer: "string"'),
        ({"type": "integer"}, True, 'f: Invalid value: "boolean": f in body must be of type integer: "boolean"'),
        ({"type": "integer"}, 1.5, 'f: Invalid value: "number": f in body must be of type integer: "number"'),
        ({"type": "integer"}, None, 'f: Invalid value: "null": f in body must be of type integer: "null"'),
        ({"type": "integer"}, 1.0, ""),
        ({"type": "number"}, 1, ""),
        ({"type": "string", "nullable": True}, None, ""),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'f: Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "integer", "minimum": 1}, 0, "f: Invalid value: 0: f in body should be greater than or equal to 1"),
        ({"type": "integer", "maximum": 1}, 2, "f: Invalid value: 2: f in body should be less than or equal to 1"),
        (
            {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
            1,
            "f: Invalid value: 1: f in body should be greater than 1",
        ),
        ({"type": "integer", "multipleOf": 2}, 3, "f: Invalid value: 3: f in body should be a multiple of 2"),
        ({"type": "string", "maxLength": 2}, "abc", "f: Too long: may not be more than 2 bytes"),
        ({"type": "string", "minLength": 1}, "", 'f: Invalid value: "": f in body should be at least 1 chars long'),
        ({"type": "string", "pattern": "^a+$"}, "b", "f: Invalid value: \"b\": f in body should match '^a+$'"),
        ({"type": "string", "pattern": "^a+$"}, "a\n", "f: Invalid value: \"a\\n\": f in body should match '^a+$'"),
        ({"type": "string", "format": "date-time"}, "2030-01-01T00:00:00Z", ""),
        ({"type": "array", "items": STRING, "maxItems": 1}, ["a", "b"], "f: Too many: 2: must have at most 1 items"),
        (
            {"type": "array", "items": STRING, "minItems": 1},
            [],
            "f: Invalid value: 0: f in body should have at least 1 items",
        ),
        (
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
            ["a", "a"],
            'f[1]: Duplicate value: "a"',
        ),
        (
            {
                "type": "array",
                "items": {"type": "object"},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["n"],
            },
            [{"n": 1}, {"n": 1}],
            'f[1]: Duplicate value: {"n":1}',
        ),
        ({"type": "object", "required": ["a"]}, {}, "f.a: Required value"),
        ({"type": "object", "maxProperties": 1}, {"a": 1, "b": 2}, "f: Too many: 2: must have at most 1 items"),
        (
            {"type": "object", "additionalProperties": STRING},
            {"a": 1},
            'f.a: Invalid value: "integer": f.a in body must be of type string: "integer"',
        ),
        ({"x-kubernetes-int-or-string": True}, "50%", ""),
        ({"x-kubernetes-int-or-string": True}, 5, ""),
        (
            {"x-kubernetes-int-or-string": True},
            [],
            'f: Invalid value: "array": f in body must be of type integer,string: "array"',
        ),
        (
            {"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]},
            3,
            'f: Invalid value: "": f in body must validate at least one schema (anyOf)',
        ),
        (
            {"type": "integer", "not": {"minimum": 5}},
            6,
            'f: Invalid value: "": f in body must not validate the schema (not)',
        ),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"any": [1, {}]}, ""),
    ],
)
def test_validation(known: Any, value: Any, words: str) -> None:
    problems = schema.validate(known, value, "f")
    assert [problem.text() for problem in problems] == ([words] if words else [])


def test_every_problem_is_reported_with_its_place() -> None:
    items = {"type": "object", "required": ["name"], "properties": {"count": {"type": "integer", "minimum": 0}}}
    known = {"type": "object", "properties": {"groups": {"type": "array", "items": items}}}
    problems = schema.validate(known, {"groups": [{"name": "a", "count": -1}, {"count": 1}]}, "spec")
    assert [problem.path for problem in problems] == ["spec.groups[0].count", "spec.groups[1].name"]


def test_a_flood_of_problems_is_cut() -> None:
    problems = schema.validate({"type": "array", "items": STRING}, [1] * 10_000, "f")
    assert len(problems) == schema.MAX_ERRORS


TREE = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "known": STRING,
                "open": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"in": {"type": "object", "properties": {}}},
                },
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": STRING}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": STRING}}},
            },
        }
    },
}


def test_unknown_fields_are_pruned_and_named() -> None:
    value = {
        "apiVersion": "v1",
        "kind": "X",
        "metadata": {"name": "n"},
        "other": 1,
        "spec": {
            "known": "a",
            "foo": 1,
            "open": {"anything": {"at": "all"}, "in": {"pruned": 1}},
            "list": [{"a": "1", "b": 2}],
            "map": {"k": {"a": "1", "b": 2}},
        },
    }
    found = schema.prune(TREE, value)
    assert sorted(found) == ["other", "spec.foo", "spec.list[0].b", "spec.map.k.b", "spec.open.in.pruned"]
    assert value["spec"] == {
        "known": "a",
        "open": {"anything": {"at": "all"}, "in": {}},
        "list": [{"a": "1"}],
        "map": {"k": {"a": "1"}},
    }
    assert schema.prune(TREE, value) == []


def test_defaults_fill_from_the_outside_in() -> None:
    group = {"type": "object", "properties": {"count": {"type": "integer", "default": 2}}}
    known = {
        "type": "object",
        "properties": {
            "scaling": {"type": "object", "default": {}, "properties": {"on": {"type": "boolean", "default": True}}},
            "groups": {"type": "array", "items": group},
            "byName": {"type": "object", "additionalProperties": group},
            "absent": {"type": "object", "properties": {"x": {"type": "integer", "default": 1}}},
            "maybe": {"type": "integer", "nullable": True, "default": 3},
            "never": {"type": "integer", "default": 4},
        },
    }
    value = {"groups": [{}, {"count": 5}], "byName": {"a": {}}, "maybe": None, "never": None}
    schema.apply_defaults(known, value)
    assert value == {
        "groups": [{"count": 2}, {"count": 5}],
        "byName": {"a": {"count": 2}},
        "maybe": None,
        "never": 4,
        "scaling": {"on": True},
    }


def test_defaults_are_never_shared_between_objects() -> None:
    known = {"type": "object", "properties": {"list": {"type": "array", "default": []}}}
    one: Any = {}
    other: Any = {}
    schema.apply_defaults(known, one)
    one["list"].append(1)
    schema.apply_defaults(known, other)
    assert other == {"list": []}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        (".a['b']", [1]),
        (".list[0].n", ["x"]),
        (".list[-1].n", ["y"]),
        (".list[*].n", ["x", "y"]),
        ('.list[?(@.n=="y")].v', [2]),
        (".a.missing", []),
        (".list[9]", []),
        (r".labels.example\.com/x", ["z"]),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    document = {"a": {"b": 1}, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "labels": {"example.com/x": "z"}}
    assert find(path, document) == found


def test_a_json_path_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read JSON path"):
        parse(".a[?(@.b>1)]")
