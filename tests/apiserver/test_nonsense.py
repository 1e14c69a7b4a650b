"""Whatever JSON comes in, the answer is an object or a refusal, never a failure of the server."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_operator.local.apiserver import writes
from shoal_operator.local.apiserver.errors import StatusError
from shoal_operator.local.apiserver.values import clone

NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.sampled_from(["", "a", "name"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "a", ""]), inner, max_size=2),
    max_leaves=5,
)


NAMING = {("kind",), ("apiVersion",), ("metadata",), ("metadata", "name"), ("metadata", "namespace")}


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a document, but for what names it."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path and path not in NAMING else []
    for key, item in entries:
        found += paths(item, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], nonsense: Any) -> Any:
    copied = clone(value)
    holder = copied
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = nonsense
    return copied


def everything(new_pod: Any, new_widget: Any) -> list[Any]:
    meta = {
        "name": "x",
        "namespace": "default",
        "labels": {"a": "b"},
        "annotations": {"a": "b"},
        "finalizers": ["a.b/c"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "u"}],
    }
    pod = new_pod(volumes=[{"name": "v", "secret": {"secretName": "s"}}], nodeSelector={"a": "b"})
    pod["spec"]["containers"][0] |= {
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"containerPort": 80}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "resources": {"limits": {"cpu": "1"}},
        "readinessProbe": {"httpGet": {"port": 80}},
    }
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 1}], "selector": {"a": "b"}}}
    secret = {"apiVersion": "v1", "kind": "Secret", "data": {"a": "Yg=="}, "stringData": {"c": "d"}}
    widget = new_widget(groups=[{"name": "a"}], tags=["t"], options={"a": "b"}, min=1, max=2, template={"a": [1]})
    return [document | {"metadata": meta} for document in (pod, service, secret, widget)]


def test_no_document_makes_the_server_fail(api: Any, new_pod: Any, new_widget: Any) -> None:
    documents = everything(new_pod, new_widget)

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def throw(data: st.DataObject) -> None:
        document = data.draw(st.sampled_from(documents), label="document")
        path = data.draw(st.sampled_from(paths(document)), label="path")
        odd = replaced(document, path, data.draw(NONSENSE, label="nonsense"))
        resource = api.resource(document["apiVersion"], document["kind"])
        for body in (odd, document):
            with contextlib.suppress(StatusError):
                api.create(clone(body))
        for attempt in (
            lambda: api.apply(clone(odd), "one", force=True),
            lambda: api.patch(document["kind"], "x", clone(odd), api_version=document["apiVersion"]),
            lambda: writes.patch(
                api.context, resource, "default", "x", writes.STRATEGIC_PATCH, clone(odd), writes.WriteOptions()
            ),
            lambda: api.update(clone(odd)),
            lambda: api.delete(document["kind"], "x", document["apiVersion"], propagation="Foreground"),
        ):
            with contextlib.suppress(StatusError):
                attempt()
        api.collect()

    throw()
