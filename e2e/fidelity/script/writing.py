"""Create, update, delete: the rules that hold for every kind, shown with ConfigMaps."""

from __future__ import annotations

from e2e.fidelity.script.objects import CONFIGMAPS, configmap, thing
from e2e.fidelity.steps import Scenario, delete, get, post, put

_A = f"{CONFIGMAPS}/a"
_STALE = {"name": "a", "resourceVersion": "${create.metadata.resourceVersion}"}

CREATE = Scenario(
    "create",
    (
        post("create", CONFIGMAPS, configmap(key="value")),
        post("again", CONFIGMAPS, configmap(key="value")),
        post(
            "with-version",
            CONFIGMAPS,
            thing("v1", "ConfigMap") | {"metadata": {"name": "{step}", "resourceVersion": "1"}},
        ),
        post("generate", CONFIGMAPS, thing("v1", "ConfigMap") | {"metadata": {"generateName": "gen-"}}),
        post("nameless", CONFIGMAPS, thing("v1", "ConfigMap") | {"metadata": {}}),
        post(
            "system-fields",
            CONFIGMAPS,
            thing("v1", "ConfigMap")
            | {
                "metadata": {
                    "name": "system",
                    "uid": "mine",
                    "generation": 7,
                    "creationTimestamp": "2020-01-01T00:00:00Z",
                }
            },
        ),
        post("other-namespace", CONFIGMAPS, configmap() | {"metadata": {"name": "{step}", "namespace": "elsewhere"}}),
        post("no-such-namespace", "/api/v1/namespaces/nowhere/configmaps", configmap()),
        post("wrong-kind", CONFIGMAPS, thing("v1", "Secret")),
        post("wrong-version", CONFIGMAPS, thing("v2", "ConfigMap")),
        post("no-kind", CONFIGMAPS, {"apiVersion": "v1", "metadata": {"name": "{step}"}}),
        post("no-api-version", CONFIGMAPS, {"kind": "ConfigMap", "metadata": {"name": "{step}"}}),
        post("bad-name", CONFIGMAPS, configmap("Bad_Name")),
        post("long-name", CONFIGMAPS, configmap("x" * 254)),
        post("bad-label", CONFIGMAPS, configmap("{step}", labels={"a": "b c", "-x": "y", "UP.example.com/k": "v"})),
        post("bad-annotation", CONFIGMAPS, configmap() | {"metadata": {"name": "{step}", "annotations": {"a b": "c"}}}),
        post("bad-finalizer", CONFIGMAPS, configmap() | {"metadata": {"name": "{step}", "finalizers": ["a b"]}}),
        post(
            "bad-owner",
            CONFIGMAPS,
            configmap() | {"metadata": {"name": "{step}", "ownerReferences": [{"kind": "Pod"}]}},
        ),
        post("data-not-text", CONFIGMAPS, configmap("{step}", key=1)),
        post("bad-data-key", CONFIGMAPS, configmap("{step}") | {"data": {"a b": "c"}}),
        post("label-not-text", CONFIGMAPS, configmap() | {"metadata": {"name": "{step}", "labels": {"a": 1}}}),
        post("metadata-not-object", CONFIGMAPS, configmap() | {"metadata": []}),
        post("no-json", CONFIGMAPS, "{nonsense"),
        post("a-list", CONFIGMAPS, "[]"),
        post("empty", CONFIGMAPS, ""),
        post("unknown-media-type", CONFIGMAPS, configmap("{step}"), content_type="text/plain"),
        post(
            "as-yaml",
            CONFIGMAPS,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: yaml}}",
            content_type="application/yaml",
        ),
        post("not-acceptable", CONFIGMAPS, configmap("{step}"), accept="text/csv"),
        post("without-namespace", "/api/v1/configmaps", configmap()),
        post("a-name-in-the-path", _A, configmap()),
        post(
            "too-large-object",
            CONFIGMAPS,
            configmap("{step}") | {"data": {"a": "x" * 900_000}, "binaryData": {"b": "x" * 900_000}},
        ),
        post("too-large-data", CONFIGMAPS, configmap("{step}", key="x" * (1024 * 1024 + 1))),
        post("too-large-body", CONFIGMAPS, configmap("{step}", key="x" * (3 * 1024 * 1024 + 1024))),
    ),
)

OPTIONS = Scenario(
    "options",
    (
        post("dry-run", f"{CONFIGMAPS}?dryRun=All", configmap()),
        get("dry-run-left-nothing", _A),
        post("dry-run-other", f"{CONFIGMAPS}?dryRun=Some", configmap()),
        post("manager", f"{CONFIGMAPS}?fieldManager=me", configmap()),
        post("manager-too-long", f"{CONFIGMAPS}?fieldManager={'x' * 129}", configmap("{step}")),
        post("validation-other", f"{CONFIGMAPS}?fieldValidation=Some", configmap("{step}")),
        post("strict-unknown", f"{CONFIGMAPS}?fieldValidation=Strict", configmap("{step}") | {"date": {}, "kine": 1}),
        post(
            "strict-unknown-metadata",
            f"{CONFIGMAPS}?fieldValidation=Strict",
            configmap() | {"metadata": {"name": "{step}", "label": {}}},
        ),
        post(
            "strict-duplicate",
            f"{CONFIGMAPS}?fieldValidation=Strict",
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"{step}","name":"c"},"data":{"k":"1","k":"2"}}',
        ),
        post(
            "strict-duplicate-yaml",
            f"{CONFIGMAPS}?fieldValidation=Strict",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {step}\ndata:\n  k: '1'\n  k: '2'\n",
            content_type="application/yaml",
        ),
        post("warn-unknown", f"{CONFIGMAPS}?fieldValidation=Warn", configmap("warn") | {"date": {}}),
        post(
            "warn-duplicate",
            f"{CONFIGMAPS}?fieldValidation=Warn",
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"twice"},"data":{"k":"1","k":"2"}}',
        ),
        post("ignore-unknown", f"{CONFIGMAPS}?fieldValidation=Ignore", configmap("ignore") | {"date": {}}),
        post("default-unknown", CONFIGMAPS, configmap("default") | {"date": {}}),
        put("dry-run-update", f"{_A}?dryRun=All", configmap(key="new")),
        get("dry-run-changed-nothing", _A),
        delete("dry-run-delete", f"{_A}?dryRun=All"),
        get("dry-run-deleted-nothing", _A, keep="metadata.name"),
    ),
)

UPDATE = Scenario(
    "update",
    (
        post("create", CONFIGMAPS, configmap(key="value")),
        get("get", _A),
        get("missing", f"{CONFIGMAPS}/missing"),
        put("update", _A, configmap(key="new")),
        put("same", _A, configmap(key="new")),
        put("stale", _A, configmap(key="newer") | {"metadata": _STALE}),
        put("future", _A, configmap(key="newer") | {"metadata": {"name": "a", "resourceVersion": "99999999999999"}}),
        put("nonsense-version", _A, configmap(key="newer") | {"metadata": {"name": "a", "resourceVersion": "x"}}),
        put("other-uid", _A, configmap() | {"metadata": {"name": "a", "uid": "00000000-0000-0000-0000-000000000000"}}),
        put("other-name", _A, configmap("b")),
        put("nameless", _A, configmap() | {"metadata": {}}),
        put("other-namespace", _A, configmap() | {"metadata": {"name": "a", "namespace": "elsewhere"}}),
        put(
            "missing-with-version",
            f"{CONFIGMAPS}/missing",
            configmap("missing") | {"metadata": {"name": "missing", "resourceVersion": "5"}},
        ),
        put("missing-without-version", f"{CONFIGMAPS}/missing", configmap("missing")),
        put(
            "current",
            _A,
            configmap(key="newest")
            | {"metadata": {"name": "a", "resourceVersion": "${update.metadata.resourceVersion}"}},
        ),
        put("managed-fields-cleared", _A, configmap(key="newest") | {"metadata": {"name": "a", "managedFields": [{}]}}),
        put("immutable", _A, configmap(key="newest") | {"immutable": True}),
        put("immutable-changed", _A, configmap(key="other") | {"immutable": True}),
        put("immutable-unset", _A, configmap(key="newest")),
        put("collection", CONFIGMAPS, configmap()),
        put("status-that-is-none", f"{_A}/status", configmap()),
    ),
)

_HELD = configmap("held") | {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}

DELETE = Scenario(
    "delete",
    (
        post("create", CONFIGMAPS, configmap()),
        delete("wrong-uid", _A, {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}),
        delete("wrong-version", _A, {"preconditions": {"resourceVersion": "1"}}),
        delete("wrong-policy", _A, {"propagationPolicy": "Sometimes"}),
        delete("policy-and-orphan", _A, {"propagationPolicy": "Orphan", "orphanDependents": True}),
        delete("negative-grace", _A, {"gracePeriodSeconds": -1}),
        delete("typed-options", f"{CONFIGMAPS}/typed", {"kind": "DeleteOptions", "apiVersion": "v1"}),
        delete("nonsense-options", _A, {"gracePeriodSeconds": "soon"}),
        delete("query-options", f"{_A}?propagationPolicy=Background&gracePeriodSeconds=0"),
        delete("gone", _A),
        post("create-held", CONFIGMAPS, _HELD),
        delete("delete-held", f"{CONFIGMAPS}/held"),
        delete("delete-held-again", f"{CONFIGMAPS}/held"),
        get("still-there", f"{CONFIGMAPS}/held"),
        put(
            "add-finalizer",
            f"{CONFIGMAPS}/held",
            configmap("held") | {"metadata": {"name": "held", "finalizers": ["example.com/hold", "example.com/late"]}},
        ),
        put("change-while-deleted", f"{CONFIGMAPS}/held", _HELD | {"data": {"k": "v"}}),
        put("release", f"{CONFIGMAPS}/held", configmap("held") | {"metadata": {"name": "held"}}),
        get("released", f"{CONFIGMAPS}/held"),
        post("one", CONFIGMAPS, configmap("one", labels={"app": "x"})),
        post("two", CONFIGMAPS, configmap("two", labels={"app": "x"})),
        post("three", CONFIGMAPS, configmap("three", labels={"app": "y"})),
        delete("collection", f"{CONFIGMAPS}?labelSelector=app%3Dx"),
        get("left", f"{CONFIGMAPS}?labelSelector=app", keep="items.0.metadata.name,kind"),
        delete("collection-bad-selector", f"{CONFIGMAPS}?labelSelector=app%3D%3D%3Dx"),
    ),
)

_OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "${owner.metadata.uid}"}


def _dependent(name: str, *, blocks: bool = False) -> dict[str, object]:
    meta = {"name": name, "ownerReferences": [_OWNER | ({"blockOwnerDeletion": True} if blocks else {})]}
    return configmap(name) | {"metadata": meta}


COLLECTION = Scenario(
    "collection",
    (
        post("owner", CONFIGMAPS, configmap("owner")),
        post("dependent", CONFIGMAPS, _dependent("dependent")),
        delete("background", f"{CONFIGMAPS}/owner", {"propagationPolicy": "Background"}),
        get("dependent-goes", f"{CONFIGMAPS}/dependent", until=404),
    ),
)

FOREGROUND = Scenario(
    "foreground",
    (
        post("owner", CONFIGMAPS, configmap("owner")),
        post("dependent", CONFIGMAPS, _dependent("dependent", blocks=True)),
        delete("foreground", f"{CONFIGMAPS}/owner", {"propagationPolicy": "Foreground"}),
        get("dependent-goes", f"{CONFIGMAPS}/dependent", until=404),
        get("owner-goes", f"{CONFIGMAPS}/owner", until=404),
    ),
)

ORPHAN = Scenario(
    "orphan",
    (
        post("owner", CONFIGMAPS, configmap("owner")),
        post("dependent", CONFIGMAPS, _dependent("dependent")),
        delete("orphan", f"{CONFIGMAPS}/owner", {"propagationPolicy": "Orphan"}),
        get("owner-goes", f"{CONFIGMAPS}/owner", until=404),
        get("dependent-stays", f"{CONFIGMAPS}/dependent", keep="metadata.name,metadata.ownerReferences"),
    ),
)

_SPACE = "/api/v1/namespaces/fidelity-extra"

NAMESPACES = Scenario(
    "namespaces",
    (
        post("create", "/api/v1/namespaces", thing("v1", "Namespace", "fidelity-extra")),
        post("bad-name", "/api/v1/namespaces", thing("v1", "Namespace", "a.b")),
        post(
            "inside",
            f"{_SPACE}/configmaps",
            configmap() | {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}},
        ),
        delete("delete", _SPACE, keep="kind,metadata.name,spec,status.phase"),
        post("late", f"{_SPACE}/configmaps", configmap("late")),
        get(
            "emptied",
            f"{_SPACE}/configmaps/a",
            keep="metadata.name,metadata.deletionGracePeriodSeconds",
            until_field=("metadata.deletionGracePeriodSeconds", 0),
        ),
        put("release", f"{_SPACE}/configmaps/a", configmap(), keep="-"),
        get("gone", _SPACE, until=404),
    ),
)

SCENARIOS = (CREATE, OPTIONS, UPDATE, DELETE, COLLECTION, FOREGROUND, ORPHAN, NAMESPACES)
