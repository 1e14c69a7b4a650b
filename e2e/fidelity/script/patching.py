"""The four patches and the ownership of fields."""

from __future__ import annotations

from typing import Any

from e2e.fidelity.script.objects import CONFIGMAPS, PODS, configmap, pod
from e2e.fidelity.steps import APPLY, JSON_PATCH, MERGE, STRATEGIC, Scenario, get, patch, post, put

_A = f"{CONFIGMAPS}/a"
_P = f"{PODS}/a"

PATCH = Scenario(
    "patch",
    (
        post("create", CONFIGMAPS, configmap(one="1", two="2")),
        patch("merge", _A, MERGE, {"data": {"one": None, "three": "3"}}),
        patch("merge-nothing", _A, MERGE, {}),
        patch("merge-stale", _A, MERGE, {"metadata": {"resourceVersion": "${create.metadata.resourceVersion}"}}),
        patch("merge-name", _A, MERGE, {"metadata": {"name": "b"}}),
        patch("merge-a-list", _A, MERGE, []),
        patch("merge-nonsense", _A, MERGE, "{nonsense"),
        patch("merge-wrong-type", _A, MERGE, {"data": {"one": 1}}),
        patch("merge-unknown-strict", f"{_A}?fieldValidation=Strict", MERGE, {"date": {"x": "y"}}),
        patch("merge-unknown-warn", f"{_A}?fieldValidation=Warn", MERGE, {"date": {"x": "y"}}),
        patch("missing", f"{CONFIGMAPS}/missing", MERGE, {"data": {"one": "1"}}),
        patch(
            "json",
            _A,
            JSON_PATCH,
            [
                {"op": "test", "path": "/data/two", "value": "2"},
                {"op": "replace", "path": "/data/two", "value": "two"},
                {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
                {"op": "remove", "path": "/data/three"},
                {"op": "copy", "from": "/data/two", "path": "/data/copied"},
                {"op": "move", "from": "/data/two", "path": "/data/moved"},
            ],
        ),
        patch("json-test-fails", _A, JSON_PATCH, [{"op": "test", "path": "/data/moved", "value": "no"}]),
        patch("json-remove-missing", _A, JSON_PATCH, [{"op": "remove", "path": "/data/none"}]),
        patch("json-replace-missing", _A, JSON_PATCH, [{"op": "replace", "path": "/data/none", "value": "x"}]),
        patch("json-add-below-missing", _A, JSON_PATCH, [{"op": "add", "path": "/none/x", "value": "x"}]),
        patch("json-unknown-op", _A, JSON_PATCH, [{"op": "twist", "path": "/data"}]),
        patch("json-no-list", _A, JSON_PATCH, {"op": "remove", "path": "/data"}),
        patch("strategic", _A, STRATEGIC, {"data": {"moved": None, "four": "4"}}),
        patch("unknown-type", _A, "application/json", {"data": {}}),
        patch("invalid-result", _A, MERGE, {"metadata": {"labels": {"a": "b c"}}}),
        get("end", _A),
    ),
)

_TWO: list[dict[str, Any]] = [
    {"name": "main", "image": "example.com/image:1"},
    {"name": "side", "image": "example.com/side:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
]

STRATEGIC_PATCH = Scenario(
    "strategic",
    (
        post("create", PODS, pod(containers=_TWO), keep="-"),
        patch(
            "image",
            _P,
            STRATEGIC,
            {"spec": {"containers": [{"name": "side", "image": "example.com/side:2"}]}},
            keep="spec.containers",
        ),
        patch(
            "by-directive",
            _P,
            STRATEGIC,
            {"metadata": {"labels": {"$patch": "replace", "only": "this"}}},
            keep="metadata.labels",
        ),
        patch(
            "order",
            _P,
            STRATEGIC,
            {
                "metadata": {
                    "$setElementOrder/finalizers": ["b.example.com/x", "a.example.com/x"],
                    "finalizers": ["a.example.com/x", "b.example.com/x"],
                }
            },
            keep="metadata.finalizers",
        ),
        patch(
            "delete-from-primitive-list",
            _P,
            STRATEGIC,
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.example.com/x", "b.example.com/x"]}},
            keep="metadata.finalizers",
        ),
        patch(
            "tolerations",
            _P,
            STRATEGIC,
            {"spec": {"tolerations": [{"key": "extra", "operator": "Exists"}]}},
            keep="spec.tolerations",
        ),
        patch("without-merge-key", _P, STRATEGIC, {"spec": {"containers": [{"image": "x"}]}}),
        patch("unknown-directive", _P, STRATEGIC, {"metadata": {"labels": {"$patch": "twist"}}}),
        patch("immutable", _P, STRATEGIC, {"spec": {"restartPolicy": "Never"}}, keep="reason,message"),
        patch(
            "remove-container",
            _P,
            STRATEGIC,
            {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}},
            keep="reason",
        ),
    ),
)


def _apply(name: str, body: Any, manager: str = "one", *, path: str = _A, more: str = "", **options: Any) -> Any:
    return patch(name, f"{path}?fieldManager={manager}{more}", APPLY, body, **options)


APPLIED = Scenario(
    "apply",
    (
        _apply("create", configmap(labels={"a": "1"}, key="value", other="x")),
        _apply("same", configmap(labels={"a": "1"}, key="value", other="x")),
        _apply("change", configmap(labels={"a": "1"}, key="new", other="x")),
        _apply("conflict", configmap(key="mine"), "two"),
        _apply("conflicts", configmap(labels={"a": "2"}, key="mine", other="mine"), "two"),
        _apply("shared", configmap(key="new"), "two"),
        _apply("force", configmap(key="mine", other="mine"), "two", more="&force=true"),
        _apply("give-up", configmap(labels={"a": "1"}, key="mine"), "one"),
        _apply("drop", configmap(), "two"),
        put("update", f"{_A}?fieldManager=three", configmap(labels={"a": "3"}, key="three")),
        _apply("conflict-with-update", configmap(labels={"a": "1"}, key="mine"), "one"),
        _apply("dry-run", configmap(labels={"b": "1"}), "four", more="&dryRun=All"),
        _apply("strict", configmap() | {"date": {}}, more="&fieldValidation=Strict"),
        _apply("managed-fields", configmap() | {"metadata": {"name": "a", "managedFields": [{"manager": "x"}]}}),
        _apply("other-name", configmap("b")),
        _apply("nameless", {"apiVersion": "v1", "kind": "ConfigMap"}),
        _apply("wrong-kind", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}),
        _apply("typed-wrong", configmap(key=1)),
        _apply("no-yaml", "{nonsense"),
        _apply(
            "stale", configmap() | {"metadata": {"name": "a", "resourceVersion": "${create.metadata.resourceVersion}"}}
        ),
        _apply(
            "as-yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yaml\ndata:\n  on: 'yes'\n",
            path=f"{CONFIGMAPS}/yaml",
        ),
        patch("without-manager", _A, APPLY, configmap()),
        patch("force-of-merge", f"{_A}?force=true", MERGE, {}),
        get("end", _A),
    ),
)


def _containers(*names: str, **fields: Any) -> dict[str, Any]:
    listed = [{"name": name, "image": f"example.com/{name}:1"} | fields for name in names]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": listed}}


APPLIED_PODS = Scenario(
    "apply-pods",
    (
        _apply("create", _containers("main", ports=[{"containerPort": 80}]), path=_P),
        _apply("same", _containers("main", ports=[{"containerPort": 80}]), path=_P, keep="metadata.managedFields"),
        _apply(
            "image",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a"},
                "spec": {"containers": [{"name": "main", "image": "example.com/other:1"}]},
            },
            "two",
            path=_P,
        ),
        _apply("duplicate-key", _containers("main", "main"), path=_P),
        patch(
            "status",
            f"{_P}/status?fieldManager=kubelet",
            APPLY,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a"},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]
                },
            },
            keep="metadata.managedFields,status",
        ),
        patch(
            "status-conflict",
            f"{_P}/status?fieldManager=other",
            APPLY,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a"},
                "status": {
                    "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"}]
                },
            },
        ),
    ),
)

SCENARIOS = (PATCH, STRATEGIC_PATCH, APPLIED, APPLIED_PODS)
