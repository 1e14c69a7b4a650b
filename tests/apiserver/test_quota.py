"""ResourceQuotas: what they count, what they keep out, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.test_writes import refusal

from shoal_operator.local.apiserver import quota
from shoal_operator.local.apiserver.errors import StatusError

Json = dict[str, Any]


def new_quota(name: str = "small", /, *, scopes: Any = None, **hard: str) -> Json:
    spec: Json = {"hard": {key.replace("_", "."): amount for key, amount in hard.items()}}
    if scopes is not None:
        spec["scopes"] = scopes
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}


def sized(body: Json, **parts: Json) -> Json:
    """A pod whose container has resources."""
    body["spec"]["containers"][0]["resources"] = parts
    return body


def status(api: Any, name: str = "small") -> Json:
    quota.refresh(api.context)
    found: Json = api.get("ResourceQuota", name)["status"]
    return found


def test_a_pod_beyond_the_quota_is_refused_and_room_that_is_freed_is_used(api: Any, new_pod: Any) -> None:
    api.create(new_quota(pods="1"))
    assert status(api) == {"hard": {"pods": "1"}, "used": {"pods": "0"}}
    api.create(new_pod("a"))
    words = 'pods "b" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1'
    for options in ({}, {"dry_run": True}):
        with refusal(403, words) as refused:
            api.create(new_pod("b"), **options)
    assert (refused.value.reason, refused.value.message) == ("Forbidden", words)
    with refusal(403, words):
        api.apply(new_pod("b"), "someone")
    assert not api.exists("Pod", "b")
    assert status(api)["used"] == {"pods": "1"}
    api.delete("Pod", "a")
    api.create(new_pod("b"))
    assert status(api)["used"] == {"pods": "1"}
    api.patch("ResourceQuota", "small", {"spec": {"hard": {"pods": "2"}}})
    api.create(new_pod("c"))
    assert status(api) == {"hard": {"pods": "2"}, "used": {"pods": "2"}}


def test_pods_that_have_ended_hold_an_object_and_nothing_else(api: Any, new_pod: Any) -> None:
    api.create(new_quota(**{"pods": "1", "count/pods": "2"}))
    for name in ("a", "b"):
        api.create(new_pod(name))
        api.patch("Pod", name, {"status": {"phase": "Succeeded"}}, subresource="status")
    assert status(api)["used"] == {"pods": "0", "count/pods": "2"}
    with refusal(403, "exceeded quota: small, requested: count/pods=1, used: count/pods=2, limited: count/pods=2"):
        api.create(new_pod("c"))


def test_requests_and_limits_are_added_up_and_every_one_exceeded_is_named(api: Any, new_pod: Any) -> None:
    hard = {"requests_cpu": "1", "memory": "64Mi", "limits_cpu": "2", "limits_memory": "1Gi"}
    api.create(new_quota(**hard, **{"requests_nvidia.com/gpu": "1"}))
    limits = {"cpu": "1", "memory": "512Mi", "nvidia.com/gpu": "1"}
    api.create(sized(new_pod("a"), requests={"cpu": "600m", "memory": "32Mi"}, limits=limits))
    used = {"requests.cpu": "600m", "memory": "32Mi", "limits.cpu": "1", "limits.memory": "512Mi"}
    assert status(api)["used"] == used | {"requests.nvidia.com/gpu": "1"}
    words = "exceeded quota: small, requested: memory=48Mi,requests.cpu=500m, used: memory=32Mi,requests.cpu=600m, "
    with refusal(403, f"{words}limited: memory=64Mi,requests.cpu=1"):
        body = sized(new_pod("b"), requests={"cpu": "0.5", "memory": "48Mi"}, limits={"cpu": "1", "memory": "512Mi"})
        api.create(body)
    api.create(sized(new_pod("b"), requests={"cpu": "400m", "memory": "32Mi"}, limits={"cpu": "1", "memory": "512Mi"}))
    assert status(api)["used"]["limits.memory"] == "1Gi"


def test_a_pod_has_to_say_what_is_counted(api: Any, new_pod: Any) -> None:
    api.create(new_quota(limits_memory="1Gi", requests_cpu="1"))
    silent = new_pod()
    silent["spec"]["initContainers"] = [{"name": "first", "image": "i", "resources": {"requests": {"cpu": "1"}}}]
    with refusal(403, "failed quota: small: must specify limits.memory for: first,main; requests.cpu for: main"):
        api.create(silent)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [("BestEffort", False), ("NotBestEffort", True), ("Terminating", False), ("NotTerminating", True)],
)
def test_scopes_say_which_pods_count(scope: str, covered: bool, api: Any, new_pod: Any) -> None:
    selector = {"matchExpressions": [{"scopeName": scope, "operator": "Exists"}]}
    for body in (new_quota(scopes=[scope], pods="0"), new_quota("other", pods="0")):
        if body["metadata"]["name"] == "other":
            body["spec"]["scopeSelector"] = selector
        api.create(body)
        one = sized(new_pod(), requests={"memory": "32Mi"})
        if covered:
            with refusal(403, "exceeded quota"):
                api.create(one)
        else:
            api.create(one)
            api.delete("Pod", "p")
        api.delete("ResourceQuota", body["metadata"]["name"])


def test_other_kinds_are_counted_by_number_each_namespace_for_itself(api: Any, new_widget: Any) -> None:
    api.create(new_quota(**{"count/widgets.example.com": "1", "configmaps": "0", "resourcequotas": "1"}))
    api.create(new_widget("a"))
    with refusal(403, 'widgets.example.com "b" is forbidden: exceeded quota: small, requested: count/widgets'):
        api.create(new_widget("b"))
    data = {"apiVersion": "v1", "kind": "ConfigMap"}
    with refusal(403, "requested: configmaps=1, used: configmaps=0, limited: configmaps=0"):
        api.create(data | {"metadata": {"name": "c"}})
    with refusal(403, "resourcequotas=1"):
        api.create(new_quota("more"))
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}, namespace=None)
    api.create(data | {"metadata": {"name": "c"}}, namespace="n")
    assert status(api)["used"] == {"count/widgets.example.com": "1", "configmaps": "0", "resourcequotas": "1"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"hard": {"requests.storage": "1Gi"}}, "spec.hard[requests.storage]: Invalid value"),
        ({"hard": {"services.loadbalancers": "1"}}, "the embedded API server does not count this"),
        ({"hard": {"pods": "-1"}}, "must be greater than or equal to 0"),
        ({"hard": {}, "scopes": ["PriorityClass"]}, "spec.scopes[0]: Unsupported value"),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "BestEffort", "operator": "In", "values": ["x"]}]}},
            "operator: Unsupported value",
        ),
    ],
)
def test_what_is_not_counted_is_refused(spec: Json, words: str, api: Any) -> None:
    with refusal(422, words):
        api.create(new_quota() | {"spec": spec})


@pytest.mark.parametrize("amount", ["one", "1 Gi"])
def test_amounts_that_are_none_change_nothing(amount: str, api: Any) -> None:
    with pytest.raises(StatusError):
        api.create(new_quota(pods=amount))
    assert not api.exists("ResourceQuota", "small")


def test_amounts_beyond_bounds_stop_at_them(api: Any, new_pod: Any) -> None:
    api.create(new_quota(memory="1e1000", cpu="1"))
    api.create(sized(new_pod(), requests={"memory": "1e2000", "cpu": "1e-2000"}))
    assert status(api)["used"] == {"memory": str(2**63 - 1), "cpu": "0"}


def test_statuses_come_to_rest(api: Any, new_pod: Any) -> None:
    api.create(new_quota(memory="1Gi"))
    api.create(sized(new_pod(), requests={"memory": "100M"}))
    assert status(api)["used"] == {"memory": "100M"}
    before = api.context.store.resource_version
    quota.refresh(api.context)
    assert api.context.store.resource_version == before
