"""Get, list, watch, tables and discovery."""

from __future__ import annotations

from e2e.fidelity.script.objects import CONFIGMAPS, PODS, configmap, pod, thing
from e2e.fidelity.steps import MERGE, PARTIAL, PARTIAL_LIST, TABLE, Scenario, delete, get, patch, post, put

_NAMES = "metadata,items.0.metadata.name,items.1.metadata.name,items.2.metadata.name"
_SETUP = tuple(
    post(f"create-{name}", CONFIGMAPS, configmap(name, labels={"tier": tier, "app": "x"}, k=name), keep="-")
    for name, tier in (("a", "front"), ("b", "back"), ("c", "back"))
)


def _list(name: str, query: str, *, keep: str = _NAMES, accept: str = "application/json"):  # type: ignore[no-untyped-def]
    return get(name, f"{CONFIGMAPS}?{query}", keep=keep, accept=accept)


LIST = Scenario(
    "list",
    (
        *_SETUP,
        get("whole", CONFIGMAPS),
        _list("equal", "labelSelector=tier%3Dback"),
        _list("unequal", "labelSelector=tier!%3Dback"),
        _list("in", "labelSelector=tier%20in%20(front,none),app"),
        _list("absent", "labelSelector=!tier"),
        _list("bad-labels", "labelSelector=tier%20on%20(x)"),
        _list("bad-label-value", "labelSelector=tier%3Da%20b"),
        _list("bad-label-key", "labelSelector=-a%3Db"),
        _list("field", "fieldSelector=metadata.name%3Db"),
        _list("field-not", "fieldSelector=metadata.name!%3Db"),
        _list("field-unknown", "fieldSelector=data.k%3Db"),
        _list("field-nonsense", "fieldSelector=name"),
        _list("page-1", "limit=2"),
        _list("page-2", "limit=2&continue=${page-1.metadata.continue}"),
        _list("page-selected", "limit=1&labelSelector=tier%3Dback"),
        _list("page-nonsense", "limit=2&continue=nonsense"),
        _list("limit-nonsense", "limit=two"),
        _list("limit-negative", "limit=-1"),
        _list("any-version", "resourceVersion=0"),
        _list("not-older", "resourceVersion=${create-a.metadata.resourceVersion}&resourceVersionMatch=NotOlderThan"),
        _list("exact", "resourceVersion=${create-a.metadata.resourceVersion}&resourceVersionMatch=Exact"),
        _list("match-without-version", "resourceVersionMatch=Exact"),
        _list("match-nonsense", "resourceVersion=1&resourceVersionMatch=Roughly"),
        _list("exact-zero", "resourceVersion=0&resourceVersionMatch=Exact"),
        _list("version-nonsense", "resourceVersion=x"),
        _list("version-with-continue", "limit=2&resourceVersion=5&continue=${page-1.metadata.continue}"),
        _list("initial-events-of-list", "sendInitialEvents=true"),
        _list("all-namespaces", "labelSelector=tier", keep="kind"),
        get("across", "/api/v1/configmaps?labelSelector=tier%3Dfront", keep=_NAMES),
        get("no-such-namespace", "/api/v1/namespaces/nowhere/configmaps", keep="kind,items"),
        get("no-such-resource", "/api/v1/namespaces/{ns}/nonsense"),
        get("no-such-version", "/api/v9/namespaces/{ns}/configmaps"),
        get("no-such-group", "/apis/none.example.com/v1/things"),
        get("get-with-version", f"{CONFIGMAPS}/a?resourceVersion=0", keep="metadata.name"),
        get("get-version-nonsense", f"{CONFIGMAPS}/a?resourceVersion=x"),
    ),
)

TABLES = Scenario(
    "tables",
    (
        *_SETUP,
        get("list", CONFIGMAPS, accept=TABLE),
        get("one", f"{CONFIGMAPS}/a", accept=TABLE),
        get("none", f"{CONFIGMAPS}/missing", accept=TABLE),
        get("objects", f"{CONFIGMAPS}?includeObject=Object&limit=1", accept=TABLE),
        get("no-objects", f"{CONFIGMAPS}?includeObject=None", accept=TABLE),
        get("include-nonsense", f"{CONFIGMAPS}?includeObject=Some", accept=TABLE),
        get("partial", f"{CONFIGMAPS}/a", accept=PARTIAL),
        get("partial-list", CONFIGMAPS, accept=PARTIAL_LIST),
        get("fallback", CONFIGMAPS, accept=f"application/yaml;as=Nonsense,{TABLE},application/json", keep="kind"),
        get("unknown-form", CONFIGMAPS, accept="application/json;as=Nonsense;v=v1;g=meta.k8s.io"),
        get("any", CONFIGMAPS, accept="*/*", keep="kind"),
    ),
)

_STATUS = {
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.9",
        "podIPs": [{"ip": "10.0.0.9"}],
        "containerStatuses": [
            {
                "name": "main",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "image": "i",
                "imageID": "i",
                "state": {"running": {"startedAt": "2020-01-01T00:00:00Z"}},
                "lastState": {},
            }
        ],
    }
}
_KINDS: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    ("secrets", "/api/v1", "Secret", {"stringData": {"k": "v"}}),
    ("services", "/api/v1", "Service", {"spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "name": "web"}]}}),
    ("serviceaccounts", "/api/v1", "ServiceAccount", {}),
    (
        "persistentvolumeclaims",
        "/api/v1",
        "PersistentVolumeClaim",
        {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    ),
    ("leases", "/apis/coordination.k8s.io/v1", "Lease", {"spec": {"holderIdentity": "me"}}),
    (
        "poddisruptionbudgets",
        "/apis/policy/v1",
        "PodDisruptionBudget",
        {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    ),
    (
        "networkpolicies",
        "/apis/networking.k8s.io/v1",
        "NetworkPolicy",
        {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}},
    ),
    ("roles", "/apis/rbac.authorization.k8s.io/v1", "Role", {"rules": []}),
    (
        "rolebindings",
        "/apis/rbac.authorization.k8s.io/v1",
        "RoleBinding",
        {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "x"}],
        },
    ),
)

KIND_TABLES = Scenario(
    "kind-tables",
    (
        post("create-pod", PODS, pod(nodeName="node-1"), keep="-"),
        patch("pod-status", f"{PODS}/a/status", MERGE, _STATUS, keep="-"),
        get("pods", PODS, accept=TABLE, keep="columnDefinitions,rows.0.cells"),
        *(
            step
            for plural, prefix, kind, fields in _KINDS
            for step in (
                post(
                    f"create-{plural}",
                    f"{prefix}/namespaces/{{ns}}/{plural}",
                    thing(prefix.split("/", 2)[2], kind, "a", **fields),
                ),
                get(
                    f"list-{plural}",
                    f"{prefix}/namespaces/{{ns}}/{plural}?fieldSelector=metadata.name%3Da",
                    accept=TABLE,
                    keep="columnDefinitions,rows.0.cells",
                ),
            )
        ),
        get(
            "namespaces",
            "/api/v1/namespaces?fieldSelector=metadata.name%3D{ns}",
            accept=TABLE,
            keep="columnDefinitions,rows.0.cells",
        ),
    ),
)

_VERSION = "${start.metadata.resourceVersion}"


def _watch(name: str, query: str, **options: str):  # type: ignore[no-untyped-def]
    return get(name, f"{CONFIGMAPS}?watch=true&timeoutSeconds=1&{query}", **options)


WATCH = Scenario(
    "watch",
    (
        get("start", CONFIGMAPS, keep="-"),
        post("create", CONFIGMAPS, configmap(labels={"tier": "front"}, k="1"), keep="-"),
        put("update", f"{CONFIGMAPS}/a", configmap(labels={"tier": "back"}, k="2"), keep="-"),
        put("again", f"{CONFIGMAPS}/a", configmap(labels={"tier": "back"}, k="3"), keep="-"),
        delete("delete", f"{CONFIGMAPS}/a", keep="-"),
        post("other", CONFIGMAPS, configmap("other"), keep="-"),
        _watch("from-version", f"resourceVersion={_VERSION}"),
        _watch("selected", f"resourceVersion={_VERSION}&labelSelector=tier%3Dfront"),
        _watch("by-name", f"resourceVersion={_VERSION}&fieldSelector=metadata.name%3Dother"),
        _watch("as-table", f"resourceVersion={_VERSION}&fieldSelector=metadata.name%3Dother", accept=TABLE),
        _watch("as-partial", f"resourceVersion={_VERSION}&fieldSelector=metadata.name%3Dother", accept=PARTIAL),
        _watch("from-now", ""),
        _watch("from-zero", "resourceVersion=0"),
        _watch("future", "resourceVersion=99999999999999"),
        _watch("nonsense", "resourceVersion=x"),
        _watch("too-old", "resourceVersion=1"),
        _watch("initial-events", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"),
        _watch(
            "initial-events-from",
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            f"&allowWatchBookmarks=true&resourceVersion={_VERSION}",
        ),
        _watch("initial-events-without-match", "sendInitialEvents=true&allowWatchBookmarks=true"),
        _watch("initial-events-exact", "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1"),
        _watch(
            "no-initial-events", f"sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion={_VERSION}"
        ),
        _watch("match-alone", "resourceVersionMatch=NotOlderThan&resourceVersion=1"),
        _watch("bad-selector", "labelSelector=a%20b"),
        _watch("bad-field", "fieldSelector=data.k%3Dx"),
        get("one-object", f"{CONFIGMAPS}/other?watch=true&timeoutSeconds=1", keep="-"),
        get("old-style", "/api/v1/watch/namespaces/{ns}/configmaps?timeoutSeconds=1", keep="-"),
    ),
)

_ABOUT = {
    "kind": "Pod",
    "namespace": "{ns}",
    "name": "a",
    "uid": "11111111-1111-1111-1111-111111111111",
    "apiVersion": "v1",
}
_EVENTS = "/api/v1/namespaces/{ns}/events"
_NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/{ns}/events"
_OLD_EVENT = thing(
    "v1",
    "Event",
    "old",
    involvedObject=_ABOUT,
    reason="Started",
    message="It began.",
    type="Normal",
    source={"component": "me"},
    firstTimestamp="2020-01-01T00:00:00Z",
    lastTimestamp="2020-01-01T00:00:00Z",
    count=3,
)
_NEW_EVENT = thing(
    "events.k8s.io/v1",
    "Event",
    "new",
    regarding=_ABOUT,
    reason="Ended",
    note="It ended.",
    type="Warning",
    action="End",
    eventTime="2020-01-01T00:00:00.000000Z",
    reportingController="example.com/me",
    reportingInstance="me-1",
)

EVENTS = Scenario(
    "events",
    (
        post("old", _EVENTS, _OLD_EVENT),
        post("new", _NEW_EVENTS, _NEW_EVENT),
        get("old-as-new", f"{_NEW_EVENTS}/old"),
        get("new-as-old", f"{_EVENTS}/new"),
        get("about-pod", f"{_EVENTS}?fieldSelector=involvedObject.name%3Da,type%3DWarning", keep=_NAMES),
        get("regarding-pod", f"{_NEW_EVENTS}?fieldSelector=regarding.name%3Da,type%3DWarning", keep=_NAMES),
        get("table", _EVENTS, accept=TABLE, keep="columnDefinitions,rows.0.cells,rows.1.cells"),
        get("new-table", _NEW_EVENTS, accept=TABLE, keep="columnDefinitions,rows.0.cells,rows.1.cells"),
        post("incomplete", _NEW_EVENTS, thing("events.k8s.io/v1", "Event", "{step}", regarding=_ABOUT)),
        post("elsewhere", _EVENTS, thing("v1", "Event", "{step}", involvedObject=_ABOUT | {"namespace": "other"})),
        patch(
            "count",
            f"{_EVENTS}/old",
            MERGE,
            {"count": 4, "lastTimestamp": "2020-01-02T00:00:00Z"},
            keep="count,lastTimestamp",
        ),
        patch(
            "series",
            f"{_NEW_EVENTS}/new",
            MERGE,
            {"series": {"count": 2, "lastObservedTime": "2020-01-02T00:00:00.000000Z"}},
            keep="series",
        ),
        patch("forbidden-change", f"{_NEW_EVENTS}/new", MERGE, {"reason": "Other"}),
        delete("delete", f"{_NEW_EVENTS}/old"),
        get("gone", f"{_EVENTS}/old"),
    ),
)

DISCOVERY = Scenario(
    "discovery",
    (
        get("readyz", "/readyz"),
        get("livez", "/livez"),
        get("healthz", "/healthz"),
        get("core-versions", "/api", keep="kind,versions"),
        get("group", "/apis/policy"),
        get("no-such-group", "/apis/none.example.com"),
        get("resources", "/apis/events.k8s.io/v1"),
        get("leases", "/apis/coordination.k8s.io/v1"),
        get("definitions", "/apis/apiextensions.k8s.io/v1"),
        get("policies", "/apis/policy/v1"),
        get("no-such-path", "/nonsense"),
        get("deep-nonsense", "/api/v1/namespaces/{ns}/pods/a/b/c"),
        get("no-subresource", f"{PODS}/a/nonsense"),
        post("post-to-path", "/readyz", {}),
        get("version", "/version", keep="major,platform"),
        post(
            "self-review",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            thing("authentication.k8s.io/v1", "SelfSubjectReview") | {"metadata": {}},
            keep="kind,apiVersion",
        ),
        post(
            "can-i",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            thing(
                "authorization.k8s.io/v1",
                "SelfSubjectAccessReview",
                spec={"resourceAttributes": {"verb": "create", "resource": "pods"}},
            )
            | {"metadata": {}},
            keep="kind,apiVersion,spec,status.allowed",
        ),
        get("list-reviews", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
    ),
)

SCENARIOS = (LIST, TABLES, KIND_TABLES, WATCH, EVENTS, DISCOVERY)
