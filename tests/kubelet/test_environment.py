from __future__ import annotations

import base64
from typing import Any

import pytest

from shoal_operator.local.kubelet.environment import (
    ConfigError,
    Context,
    Sources,
    command_line,
    expand,
    variables,
)
from shoal_operator.local.kubelet.rewrite import Rewriter
from shoal_operator.local.kubelet.volumes import mount_targets, plan_volume

POD: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "namespace": "default",
        "uid": "u1",
        "labels": {"app": "x", "b": "2"},
        "annotations": {"note": "hello"},
    },
    "spec": {
        "nodeName": "local",
        "containers": [
            {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "2Gi"}, "requests": {"cpu": "1"}}}
        ],
    },
}
SECRET = {"data": {"token": base64.b64encode(b"s3cret").decode()}}
CLAIM = {"metadata": {"name": "p", "uid": "claim-uid"}}
CONFIG = {"data": {"a": "1", "b": "two"}, "binaryData": {"raw": base64.b64encode(b"\x00\x01").decode()}}


def context(services: dict[str, str] | None = None) -> Context:
    return Context(
        pod=POD,
        sources=Sources({("Secret", "s"): SECRET, ("ConfigMap", "m"): CONFIG, ("PersistentVolumeClaim", "p"): CLAIM}),
        addresses={"status.podIP": "127.1.0.1", "status.hostIP": "127.0.0.1"},
        rewriter=Rewriter("default", services=services or {}),
        allocatable={"cpu": "8", "memory": "16Gi"},
        claims_directory="/session/claims",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$A $", "$A $"),
        ("$(", "$("),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "p"),
        ({"fieldRef": {"fieldPath": "metadata.namespace"}}, "default"),
        ({"fieldRef": {"fieldPath": "metadata.uid"}}, "u1"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "x"),
        ({"fieldRef": {"fieldPath": "metadata.annotations['none']"}}, ""),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "local"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "127.1.0.1"),
        ({"fieldRef": {"fieldPath": "status.hostIPs"}}, "127.0.0.1"),
        ({"secretKeyRef": {"name": "s", "key": "token"}}, "s3cret"),
        ({"configMapKeyRef": {"name": "m", "key": "b"}}, "two"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "2"),
        ({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}, "1500"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "2048"),
        ({"resourceFieldRef": {"resource": "requests.memory"}}, "0"),
        ({"resourceFieldRef": {"resource": "limits.memory", "containerName": "c"}}, str(2 * 1024**3)),
    ],
)
def test_value_from(reference: dict[str, Any], expected: str) -> None:
    container = {**POD["spec"]["containers"][0], "env": [{"name": "X", "valueFrom": reference}]}
    assert variables(container, context()) == {"X": expected}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        ({"configMapKeyRef": {"name": "m", "key": "zz"}}, "couldn't find key zz in ConfigMap default/m"),
        ({"fieldRef": {"fieldPath": "status.phase"}}, "unsupported fieldPath"),
        ({"resourceFieldRef": {"resource": "cpu"}}, "unsupported container resource"),
        ({}, "names no source"),
    ],
)
def test_a_reference_that_leads_nowhere(reference: dict[str, Any], message: str) -> None:
    container = {"name": "c", "env": [{"name": "X", "valueFrom": reference or {"other": 1}}]}
    with pytest.raises(ConfigError, match=message):
        variables(container, context())


def test_optional_references_leave_the_variable_out() -> None:
    reference = {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}
    container = {
        "name": "c",
        "env": [{"name": "X", "valueFrom": reference}],
        "envFrom": [{"configMapRef": {"name": "none", "optional": True}}],
    }
    assert variables(container, context()) == {}


def test_env_comes_after_env_from_and_uses_earlier_values() -> None:
    container = {
        "name": "c",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}}],
        "env": [{"name": "P_a", "value": "$(P_b)!"}, {"name": "LATE", "value": "$(LATER)"}, {"name": "LATER"}],
    }
    found = variables(container, context())
    assert found["P_a"] == "two!"
    assert found["token"] == "s3cret"
    assert found["LATE"] == "$(LATER)"
    assert found["LATER"] == ""


def test_a_pod_that_is_named_like_its_service_keeps_its_name() -> None:
    container = {
        "name": "c",
        "command": ["shoal"],
        "args": ["start", "--address", "p:7380", "--pod-name", "$(POD_NAME)"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    }
    inside = context({"p.default": "127.3.0.1"})
    words = command_line(container, inside, variables(container, inside))
    assert words == ["shoal", "start", "--address", "127.3.0.1:7380", "--pod-name", "p"]


def test_without_a_command_there_is_nothing_to_run() -> None:
    with pytest.raises(ConfigError, match="has no command"):
        command_line({"name": "c", "args": ["x"]}, context(), {})


@pytest.mark.parametrize(
    ("volume", "files"),
    [
        ({"name": "v", "secret": {"secretName": "s", "defaultMode": 0o400}}, {"token": (b"s3cret", 0o400)}),
        (
            {"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "d/x", "mode": 0o755}]}},
            {"d/x": (b"1", 0o755)},
        ),
        ({"name": "v", "configMap": {"name": "none", "optional": True}}, {}),
        (
            {
                "name": "v",
                "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]},
            },
            {"labels": (b'app="x"\nb="2"', 0o644)},
        ),
        (
            {
                "name": "v",
                "projected": {
                    "sources": [
                        {"secret": {"name": "s"}},
                        {"configMap": {"name": "m", "items": [{"key": "b", "path": "b"}]}},
                    ]
                },
            },
            {"token": (b"s3cret", 0o644), "b": (b"two", 0o644)},
        ),
        ({"name": "v", "emptyDir": {}}, {}),
    ],
)
def test_volumes_become_files(volume: dict[str, Any], files: dict[str, tuple[bytes, int]]) -> None:
    assert plan_volume(volume, context()).files == files


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"name": "v", "secret": {"secretName": "none"}}, 'secret "none" not found'),
        ({"name": "v", "configMap": {"name": "m", "items": [{"key": "zz", "path": "x"}]}}, "non-existent"),
        ({"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "../x"}]}}, "must not contain"),
        ({"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "/x"}]}}, "must be relative"),
        ({"name": "v", "nfs": {}}, "kind nfs"),
        ({"name": "v", "persistentVolumeClaim": {"claimName": "q"}}, 'persistentvolumeclaim "q" not found'),
    ],
)
def test_volumes_that_cannot_be(volume: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_volume(volume, context())


def test_a_claim_is_a_directory_of_its_own() -> None:
    plan = plan_volume({"name": "v", "persistentVolumeClaim": {"claimName": "p"}}, context())
    assert (plan.host_path, plan.create) == ("/session/claims/claim-uid", "directory")


def test_mounts_with_a_sub_path() -> None:
    mounts = [{"name": "v", "mountPath": "/a/", "subPath": "x/y"}, {"name": "v", "mountPath": "/b"}]
    assert mount_targets({"volumeMounts": mounts}, {"v": "/real"}) == {"/a": "/real/x/y", "/b": "/real"}
    with pytest.raises(ConfigError, match="which the pod does not have"):
        mount_targets({"volumeMounts": [{"name": "w", "mountPath": "/b"}]}, {"v": "/real"})
