"""CustomResourceDefinitions and the objects of a custom kind."""

from __future__ import annotations

from typing import Any

from e2e.fidelity.script.objects import GADGETS, crd, definition, gadget, thing
from e2e.fidelity.steps import APPLY, JSON_PATCH, MERGE, STRATEGIC, TABLE, Scenario, delete, get, patch, post, put

_A = f"{GADGETS}/a"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

_BAD: dict[str, dict[str, Any]] = {
    "not-in-enum": {"size": "Huge"},
    "too-small": {"replicas": -1},
    "too-big": {"replicas": 101},
    "not-a-multiple": {"ratio": 0.7},
    "wrong-type": {"replicas": "three"},
    "float-for-integer": {"replicas": 1.5},
    "text-for-list": {"tags": "x"},
    "number-for-text": {"name": 3},
    "no-match": {"name": "UPPER"},
    "too-short": {"name": "x"},
    "too-long": {"name": "abcdefghijk"},
    "bad-date": {"when": "yesterday"},
    "bad-port": {"port": True},
    "too-many-items": {"tags": ["a", "b", "c", "d"]},
    "too-few-items": {"tags": []},
    "same-in-set": {"tags": ["a", "a"]},
    "same-in-map": {"groups": [{"name": "a"}, {"name": "a"}]},
    "missing-key": {"groups": [{"count": 1}]},
    "too-many-properties": {"options": {"a": "1", "b": "2", "c": "3"}},
    "wrong-value-type": {"options": {"a": 1}},
    "rule": {"min": 3, "max": 2},
    "rule-with-expression": {"max": 70},
    "both-rules": {"min": 90, "max": 80},
    "null-for-text": {"name": None},
    "several": {"size": "Huge", "replicas": 1000, "name": "UPPER"},
}

OBJECTS = Scenario(
    "custom",
    (
        post(
            "create", GADGETS, gadget(nested={}, groups=[{"name": "g"}], port="http", maybe=None, template={"free": 1})
        ),
        post("again", GADGETS, gadget()),
        post("no-spec", GADGETS, thing("fidelity.example.com/v1", "Gadget", "{step}")),
        post("no-size", GADGETS, thing("fidelity.example.com/v1", "Gadget", "{step}", spec={})),
        *(post(name, GADGETS, gadget("{step}", **spec)) for name, spec in _BAD.items()),
        post("unknown-dropped", GADGETS, gadget("loose", colour="red", nested={"far": 1}), keep="spec"),
        post("unknown-strict", f"{GADGETS}?fieldValidation=Strict", gadget("{step}", colour="red", nested={"far": 1})),
        post("unknown-warn", f"{GADGETS}?fieldValidation=Warn", gadget("warn", colour="red"), keep="spec"),
        post("unknown-root", f"{GADGETS}?fieldValidation=Strict", gadget("{step}") | {"specs": {}}),
        post(
            "unknown-metadata",
            f"{GADGETS}?fieldValidation=Strict",
            gadget() | {"metadata": {"name": "{step}", "label": {}}},
        ),
        post(
            "duplicate-strict",
            f"{GADGETS}?fieldValidation=Strict",
            '{"apiVersion":"fidelity.example.com/v1","kind":"Gadget","metadata":{"name":"{step}"},'
            '"spec":{"size":"Small","size":"Large"}}',
        ),
        post("too-large-object", GADGETS, gadget("{step}", template={"a": "x" * 2_000_000})),
        post("status-dropped", GADGETS, gadget("status") | {"status": {"replicas": 3}}),
        put(
            "update",
            _A,
            gadget(size="Large") | {"metadata": {"name": "a", "resourceVersion": "${create.metadata.resourceVersion}"}},
        ),
        put(
            "stale",
            _A,
            gadget(size="Small") | {"metadata": {"name": "a", "resourceVersion": "${create.metadata.resourceVersion}"}},
        ),
        put("without-version", _A, gadget()),
        patch(
            "labels-keep-generation",
            _A,
            MERGE,
            {"metadata": {"labels": {"a": "b"}}},
            keep="metadata.generation,metadata.labels",
        ),
        patch("merge", _A, MERGE, {"spec": {"replicas": 5}}, keep="metadata.generation,spec"),
        patch("fixed-first", _A, MERGE, {"spec": {"fixed": "x"}}, keep="spec.fixed"),
        patch("fixed-change", _A, MERGE, {"spec": {"fixed": "y"}}),
        patch("json", _A, JSON_PATCH, [{"op": "add", "path": "/spec/tags", "value": ["x"]}], keep="spec.tags"),
        patch("strategic", _A, STRATEGIC, {"spec": {"replicas": 6}}),
        patch("invalid", _A, MERGE, {"spec": {"size": "Huge"}}),
        patch(
            "status",
            f"{_A}/status",
            MERGE,
            {"status": {"replicas": 5, "conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"replicas": 99}},
        ),
        patch(
            "status-invalid", f"{_A}/status", MERGE, {"status": {"conditions": [{"type": "Ready", "status": "Maybe"}]}}
        ),
        put("status-put", f"{_A}/status", gadget() | {"status": {"replicas": 4}}),
        get("scale", f"{_A}/scale"),
        put(
            "scale-put",
            f"{_A}/scale",
            {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 7}},
        ),
        patch("scale-patch", f"{_A}/scale", MERGE, {"spec": {"replicas": 8}}),
        patch("scale-invalid", f"{_A}/scale", MERGE, {"spec": {"replicas": 101}}),
        patch("scale-negative", f"{_A}/scale", MERGE, {"spec": {"replicas": -1}}),
        get("scaled", _A, keep="metadata.generation,spec.replicas"),
        get("table", GADGETS, accept=TABLE),
        get("by-field", f"{GADGETS}?fieldSelector=spec.size%3DLarge", keep="items.0.metadata.name,kind,apiVersion"),
        get("by-unknown-field", f"{GADGETS}?fieldSelector=spec.replicas%3D1"),
        delete("delete", _A),
        delete("missing", _A),
        delete("all", GADGETS),
    ),
    (definition(),),
)


def _apply(name: str, manager: str, more: str = "", **spec: Any) -> Any:
    body = thing("fidelity.example.com/v1", "Gadget", "a", spec=spec)
    return patch(name, f"{_A}?fieldManager={manager}{more}", APPLY, body)


APPLIED = Scenario(
    "custom-apply",
    (
        _apply("create", "one", size="Small", tags=["x"], groups=[{"name": "g", "count": 1}], plain=[1]),
        _apply("same", "one", size="Small", tags=["x"], groups=[{"name": "g", "count": 1}], plain=[1]),
        _apply("extend-lists", "two", tags=["y"], groups=[{"name": "h"}]),
        _apply("conflict-item", "two", tags=["y"], groups=[{"name": "h"}, {"name": "g", "count": 9}]),
        _apply("conflict-atomic", "two", plain=[2], size="Large"),
        _apply("default-conflict", "two", replicas=4),
        _apply("force", "two", "&force=true", plain=[2], tags=["y"]),
        _apply("drop-item", "one", size="Small", plain=[1]),
        _apply("invalid", "one", "&force=true", size="Huge"),
        _apply("unknown", "one", "&force=true", size="Small", colour="red"),
        _apply("unknown-strict", "one", "&force=true&fieldValidation=Strict", size="Small", colour="red"),
        _apply("wrong-type", "one", "&force=true", size="Small", tags="x"),
        patch(
            "status",
            f"{_A}/status?fieldManager=controller",
            APPLY,
            thing(
                "fidelity.example.com/v1", "Gadget", "a", status={"conditions": [{"type": "Ready", "status": "True"}]}
            ),
        ),
        patch(
            "status-missing",
            f"{GADGETS}/none/status?fieldManager=controller",
            APPLY,
            thing("fidelity.example.com/v1", "Gadget", "none", status={}),
        ),
    ),
    (definition(),),
)


def _version(name: str = "v1", schema: Any = None, **fields: Any) -> dict[str, Any]:
    found = {"type": "object", "properties": schema or {}}
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": found}} | fields


def _bad_schema(name: str, schema: dict[str, Any]) -> Any:
    return post(name, _DEFINITIONS, crd("bads", "Bad", [_version(schema={"spec": schema})]))


_RULES = "x-kubernetes-validations"

DEFINITIONS = Scenario(
    "definitions",
    (
        post("create", _DEFINITIONS, crd("parts", "Part", [_version(), _version("v2", storage=False)])),
        get("served", "/apis/fidelity.example.com/v1/parts", until=200),
        get(
            "established",
            f"{_DEFINITIONS}/parts.fidelity.example.com",
            until_field=("status.conditions.1.status", "True"),
        ),
        post("wrong-name", _DEFINITIONS, crd("bads", "Bad", [_version()]) | {"metadata": {"name": "x.example.com"}}),
        post("no-storage", _DEFINITIONS, crd("bads", "Bad", [_version(storage=False)])),
        post("two-storages", _DEFINITIONS, crd("bads", "Bad", [_version(), _version("v2")])),
        post("no-versions", _DEFINITIONS, crd("bads", "Bad", [])),
        post("no-schema", _DEFINITIONS, crd("bads", "Bad", [{"name": "v1", "served": True, "storage": True}])),
        post("bad-scope", _DEFINITIONS, crd("bads", "Bad", [_version()], scope="Galaxy")),
        _bad_schema("no-type", {"description": "what"}),
        _bad_schema("unknown-type", {"type": "text"}),
        _bad_schema("no-items", {"type": "array"}),
        _bad_schema(
            "both-properties",
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}},
        ),
        _bad_schema("bad-pattern", {"type": "string", "pattern": "("}),
        _bad_schema("bad-default", {"type": "integer", "default": "x"}),
        _bad_schema("no-map-keys", {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}),
        _bad_schema(
            "optional-map-key",
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "properties": {"n": {"type": "string"}}},
            },
        ),
        _bad_schema("bad-list-type", {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "bag"}),
        _bad_schema("rule-unparsable", {"type": "integer", _RULES: [{"rule": "self >"}]}),
        _bad_schema(
            "rule-unknown-field",
            {"type": "object", "properties": {"a": {"type": "integer"}}, _RULES: [{"rule": "self.b > 1"}]},
        ),
        _bad_schema("rule-unknown-function", {"type": "integer", _RULES: [{"rule": "nonsense(self)"}]}),
        _bad_schema("rule-not-boolean", {"type": "integer", _RULES: [{"rule": "self + 1"}]}),
        _bad_schema("rule-empty", {"type": "integer", _RULES: [{"rule": ""}]}),
        post("uses-reference", _DEFINITIONS, crd("bads", "Bad", [_version(schema={"spec": {"$ref": "#/x"}})])),
        patch(
            "change-group",
            f"{_DEFINITIONS}/parts.fidelity.example.com",
            MERGE,
            {"spec": {"group": "other.example.com"}},
        ),
        patch("change-scope", f"{_DEFINITIONS}/parts.fidelity.example.com", MERGE, {"spec": {"scope": "Cluster"}}),
        post("object", "/apis/fidelity.example.com/v2/namespaces/{ns}/parts", thing("fidelity.example.com/v2", "Part")),
        get("object-as-v1", "/apis/fidelity.example.com/v1/namespaces/{ns}/parts/a"),
        get("discovery", "/apis/fidelity.example.com/v1", keep="kind,groupVersion"),
        delete("delete", f"{_DEFINITIONS}/parts.fidelity.example.com", keep="kind,status,metadata.finalizers"),
        get("no-longer-served", "/apis/fidelity.example.com/v1/parts", until=404),
        get("gone", f"{_DEFINITIONS}/parts.fidelity.example.com", until=404),
    ),
)

SCENARIOS = (OBJECTS, APPLIED, DEFINITIONS)
