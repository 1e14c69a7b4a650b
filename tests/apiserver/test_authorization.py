"""Roles and bindings decide about requests that are somebody else's, in the words of a real server."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoal_operator.local.apiserver import authorization
from shoal_operator.local.apiserver.authorization import Attributes, User
from shoal_operator.local.apiserver.store import Key, Store

RBAC = "rbac.authorization.k8s.io"
ROBOT = "system:serviceaccount:tools:robot"
PODS = "/api/v1/namespaces/default/pods"


def bound(
    rules: list[dict[str, Any]], *, namespace: str = "", kind: str = "ServiceAccount", name: str = "robot"
) -> Store:
    """A store with one role and one binding, over the whole cluster or in a namespace."""
    store = Store()
    prefix = "" if namespace else "cluster"
    reference = {"kind": "Role" if namespace else "ClusterRole", "name": "work"}
    subject = {"kind": kind, "name": name} | ({"namespace": "tools"} if kind == "ServiceAccount" else {})
    metadata = {"name": "work"}
    store.put(Key(f"{prefix}roles.{RBAC}", namespace, "work"), {"metadata": dict(metadata), "rules": rules})
    binding = {"metadata": dict(metadata), "roleRef": reference, "subjects": [subject]}
    store.put(Key(f"{prefix}rolebindings.{RBAC}", namespace, "work"), binding)
    return store


def rule(verbs: str, resources: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **more}


@pytest.mark.parametrize(
    ("rules", "wanted", "allowed"),
    [
        ([rule("get list", "pods")], Attributes("get", "", "pods", namespace="a"), True),
        ([rule("get list", "pods")], Attributes("watch", "", "pods", namespace="a"), False),
        ([rule("get", "pods")], Attributes("get", "apps", "pods", namespace="a"), False),
        ([rule("get", "pods")], Attributes("get", "", "pods", "log", "a"), False),
        ([rule("get", "pods/log")], Attributes("get", "", "pods", "log", "a"), True),
        ([rule("get", "*/log")], Attributes("get", "", "pods", "log", "a"), True),
        ([rule("get", "*")], Attributes("get", "", "pods", "log", "a"), True),
        ([rule("*", "pods")], Attributes("deletecollection", "", "pods", namespace="a"), True),
        ([rule("get", "leases", resourceNames=["x"])], Attributes("get", "", "leases", namespace="a", name="x"), True),
        ([rule("get", "leases", resourceNames=["x"])], Attributes("get", "", "leases", namespace="a", name="y"), False),
        ([rule("create", "leases", resourceNames=["x"])], Attributes("create", "", "leases", namespace="a"), False),
        ([], Attributes("get", "", "pods", namespace="a"), False),
    ],
)
def test_rules(rules: list[dict[str, Any]], wanted: Attributes, allowed: bool) -> None:
    assert authorization.allows(bound(rules), authorization.user_of(ROBOT, []), wanted) is allowed


@pytest.mark.parametrize(
    ("kind", "name", "user"),
    [
        ("ServiceAccount", "robot", ROBOT),
        ("User", "ann", "ann"),
        ("Group", "system:serviceaccounts:tools", ROBOT),
        ("Group", "system:authenticated", "ann"),
    ],
)
def test_subjects(kind: str, name: str, user: str) -> None:
    store = bound([rule("get", "pods")], kind=kind, name=name)
    wanted = Attributes("get", "", "pods", namespace="a")
    assert authorization.allows(store, authorization.user_of(user, []), wanted)
    assert not authorization.allows(store, User("stranger"), wanted)


def test_a_role_ends_at_its_namespace() -> None:
    store = bound([rule("list", "pods")], namespace="a")
    robot = authorization.user_of(ROBOT, [])
    assert authorization.allows(store, robot, Attributes("list", "", "pods", namespace="a"))
    assert not authorization.allows(store, robot, Attributes("list", "", "pods", namespace="b"))
    assert not authorization.allows(store, robot, Attributes("list", "", "pods"))


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        (
            "GET",
            PODS,
            'pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            "GET",
            "/api/v1/pods",
            'pods is forbidden: User "ann" cannot list resource "pods" in API group "" at the cluster scope',
        ),
        (
            "DELETE",
            "/apis/coordination.k8s.io/v1/namespaces/x/leases/y",
            (
                'leases.coordination.k8s.io "y" is forbidden: User "ann" cannot delete resource "leases" '
                'in API group "coordination.k8s.io" in the namespace "x"'
            ),
        ),
    ],
)
async def test_a_refusal_says_who_what_and_where(
    http: aiohttp.ClientSession, method: str, path: str, words: str
) -> None:
    async with http.request(method, path, headers={"Impersonate-User": "ann"}) as response:
        document = await response.json()
    assert (response.status, document["reason"], document["message"]) == (403, "Forbidden", words)


async def test_an_apply_that_creates_needs_both_rights(http: aiohttp.ClientSession, new_pod: Any) -> None:
    role = {"metadata": {"name": "work"}, "rules": [rule("patch", "pods")]}
    role |= {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole"}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "work"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "work"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "ann"}],
    }
    for plural, body in (("clusterroles", role), ("clusterrolebindings", binding)):
        async with http.post(f"/apis/{RBAC}/v1/{plural}", json=body) as response:
            assert response.status == 201, await response.text()
    pod = new_pod()
    headers = {"Impersonate-User": "ann", "Content-Type": "application/apply-patch+yaml"}
    path = f"{PODS}/{pod['metadata']['name']}?fieldManager=x"
    async with http.patch(path, json=pod, headers=headers) as response:
        assert response.status == 403
        assert "cannot create" in (await response.json())["message"]
    async with http.patch(path, json=pod, headers={**headers, "Impersonate-User": ""}) as response:
        assert response.status == 201
    async with http.patch(path, json=pod, headers=headers) as response:
        assert response.status == 200


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
@pytest.mark.parametrize(("who", "answer"), [((), "yes"), (("--as", "ann"), "no")], ids=["the holder", "somebody"])
async def test_kubectl_asks(kubeconfig: Path, who: tuple[str, ...], answer: str) -> None:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "auth", "can-i", "create", "pods", *who]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=subprocess.DEVNULL)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert output.decode().split()[0] == answer
