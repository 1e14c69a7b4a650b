"""The three patches, by example; the documents they are given stay as they were."""

from __future__ import annotations

from typing import Any

import pytest

from shoal_operator.local.apiserver.patches import PatchError, json_patch, merge_patch, strategic_merge
from shoal_operator.local.apiserver.schemas import BUILTIN_SCHEMAS
from shoal_operator.local.apiserver.values import clone

POD = BUILTIN_SCHEMAS["Pod"]


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/b", "value": 2}], {"a": [1, 2], "b": 2}),
        ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3]}),
        ([{"op": "add", "path": "/a/0", "value": 0}], {"a": [0, 1, 2]}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ([{"op": "replace", "path": "/a/1", "value": 9}], {"a": [1, 9]}),
        ([{"op": "copy", "from": "/a", "path": "/c~1d"}], {"a": [1, 2], "c/d": [1, 2]}),
        ([{"op": "move", "from": "/a", "path": "/e"}], {"e": [1, 2]}),
        ([{"op": "test", "path": "/a/0", "value": 1}], {"a": [1, 2]}),
        ([{"op": "replace", "path": "", "value": {"x": 1}}], {"x": 1}),
    ],
)
def test_json_patch(operations: Any, result: Any) -> None:
    document = {"a": [1, 2]}
    assert json_patch(document, operations) == result
    assert document == {"a": [1, 2]}


@pytest.mark.parametrize(
    "operations",
    [
        {},
        [1],
        [{"op": "add"}],
        [{"op": "nonsense", "path": "/a"}],
        [{"op": "remove", "path": "/x"}],
        [{"op": "add", "path": "/a/7", "value": 1}],
        [{"op": "add", "path": "/x/y", "value": 1}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "test", "path": "/a/0", "value": 2}],
        [{"op": "replace", "path": "", "value": 1}],
    ],
)
def test_json_patches_that_do_not_fit(operations: Any) -> None:
    with pytest.raises(PatchError):
        json_patch({"a": [1, 2]}, operations)


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": None}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": [1]}, {"a": [2, 3]}, {"a": [2, 3]}),
        ({"a": 1}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    ],
)
def test_merge_patch(document: Any, patch: Any, result: Any) -> None:
    before = clone(document)
    assert merge_patch(document, patch) == result
    assert document == before


def spec(**fields: Any) -> Any:
    return {"spec": fields}


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        (
            spec(containers=[{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]),
            spec(containers=[{"name": "b", "image": "2"}]),
            spec(containers=[{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]),
        ),
        (
            spec(containers=[{"name": "a", "env": [{"name": "X", "value": "1"}]}]),
            spec(containers=[{"name": "a", "env": [{"name": "Y", "value": "2"}]}]),
            spec(containers=[{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}]),
        ),
        (
            spec(containers=[{"name": "a"}, {"name": "b"}]),
            spec(containers=[{"name": "a", "$patch": "delete"}]),
            spec(containers=[{"name": "b"}]),
        ),
        (
            spec(containers=[{"name": "a"}]),
            spec(containers=[{"$patch": "replace"}, {"name": "z"}]),
            spec(containers=[{"name": "z"}]),
        ),
        (
            spec(volumes=[{"name": "v", "emptyDir": {}}]),
            spec(volumes=[{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]),
            spec(volumes=[{"name": "v", "secret": {"secretName": "s"}}]),
        ),
        (
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
        ),
        (
            {"metadata": {"finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
            {"metadata": {"finalizers": ["a", "b"]}},
        ),
        (
            spec(containers=[{"name": "a"}, {"name": "b"}]),
            spec(
                **{
                    "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
                    "containers": [{"name": "a", "image": "2"}],
                }
            ),
            spec(containers=[{"name": "b"}, {"name": "a", "image": "2"}]),
        ),
        (spec(tolerations=[{"key": "a"}]), spec(tolerations=[{"key": "b"}]), spec(tolerations=[{"key": "b"}])),
        (spec(nodeName="n", hostname="h"), spec(hostname=None), spec(nodeName="n")),
        (
            {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]}},
            {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "True"}]}},
        ),
    ],
)
def test_strategic_merge(document: Any, patch: Any, result: Any) -> None:
    before = clone(document)
    assert strategic_merge(document, patch, POD) == result
    assert document == before


def test_a_list_item_without_its_key_does_not_fit() -> None:
    with pytest.raises(PatchError, match="does not contain declared merge key: name"):
        strategic_merge(spec(containers=[{"name": "a"}]), spec(containers=[{"image": "x"}]), POD)
