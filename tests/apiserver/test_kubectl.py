"""The real kubectl against the server: what people type works, and says what it says on a cluster."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoal_operator.local.apiserver import ApiServer

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed here")


@dataclass
class Result:
    code: int
    out: str
    err: str


class Kubectl:
    """Runs kubectl with its own home and cache, so that nothing of the machine's configuration matters."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "KUBECACHEDIR": str(directory / "cache"),
            "KUBECONFIG": str(kubeconfig),
        }
        self._directory = directory

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            "kubectl", *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment
        )

    async def run(self, *arguments: str, stdin: Any = None) -> Result:
        process = await self.start(*arguments)
        sent = None if stdin is None else (stdin if isinstance(stdin, str) else json.dumps(stdin)).encode()
        out, err = await asyncio.wait_for(process.communicate(sent), 30)
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def __call__(self, *arguments: str, stdin: Any = None) -> str:
        """Run and expect success; returns what it printed."""
        result = await self.run(*arguments, stdin=stdin)
        assert result.code == 0, f"kubectl {' '.join(arguments)}: {result.err}"
        return result.out


@pytest.fixture
async def kubectl(kubeconfig: Path, tmp_path: Path, widget_definition: dict[str, Any]) -> Kubectl:
    found = Kubectl(kubeconfig, tmp_path)
    await found("apply", "-f", "-", stdin=widget_definition)
    return found


class FakeLogs:
    """Three lines, and with follow a fourth one later."""

    async def read(
        self,
        namespace: str,
        name: str,
        container: str,
        follow: bool,
        tail_lines: int | None,
        since_seconds: int | None,
        previous: bool,
        timestamps: bool,
    ) -> AsyncIterator[bytes]:
        if previous:
            raise LookupError(f'previous terminated container "{container}" in pod "{name}" not found')
        lines = [f"{namespace}/{name}/{container} {number}\n".encode() for number in range(3)]
        for line in lines[-tail_lines:] if tail_lines else lines:
            yield line
        if follow:
            await asyncio.sleep(0.4)
            yield b"later\n"


async def test_apply_creates_then_changes_then_leaves_alone(kubectl: Kubectl, new_pod: Any) -> None:
    body = new_pod()
    assert await kubectl("apply", "-f", "-", stdin=body) == "pod/p created\n"
    assert await kubectl("apply", "-f", "-", stdin=body) == "pod/p unchanged\n"
    body["metadata"]["labels"] = {"tier": "x"}
    assert await kubectl("apply", "-f", "-", stdin=body) == "pod/p configured\n"
    del body["metadata"]["labels"]
    assert await kubectl("apply", "-f", "-", stdin=body) == "pod/p configured\n"
    assert "tier" not in await kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.labels}")


async def test_server_side_apply_and_its_conflicts(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=new_widget(replicas=2))
    refused = await kubectl.run(
        "apply", "--server-side", "--field-manager=two", "-f", "-", stdin=new_widget(replicas=3)
    )
    assert refused.code == 1
    assert 'conflict with "one": .spec.replicas' in refused.err
    forced = ("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-")
    await kubectl(*forced, stdin=new_widget(replicas=3))
    assert await kubectl("get", "wg", "w", "-o", "jsonpath={.spec.replicas}") == "3"


async def test_moving_from_client_side_to_server_side_apply(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("apply", "-f", "-", stdin=new_widget(replicas=2, name="a"))
    await kubectl("apply", "--server-side", "-f", "-", stdin=new_widget(replicas=3))
    found = json.loads(await kubectl("get", "wg", "w", "-o", "json", "--show-managed-fields"))
    assert found["spec"] == {"size": "Small", "replicas": 3}
    assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {"kubectl", "kubectl-last-applied"}


async def test_diff_shows_what_apply_would_change(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("apply", "-f", "-", stdin=new_widget(replicas=2))
    for flags in ((), ("--server-side", "--force-conflicts")):
        result = await kubectl.run("diff", *flags, "-f", "-", stdin=new_widget(replicas=4))
        assert result.code == 1, result.err
        assert "-  replicas: 2" in result.out
        assert "+  replicas: 4" in result.out
    assert (await kubectl.run("diff", "-f", "-", stdin=new_widget(replicas=2))).code == 0


async def test_get_in_every_form(kubectl: Kubectl, new_widget: Any, new_pod: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_widget(replicas=2))
    await kubectl("create", "-f", "-", stdin=new_pod())
    header, row = (await kubectl("get", "widgets")).splitlines()
    assert header.split() == ["NAME", "REPLICAS", "READY", "AGE"]
    assert row.split()[:2] == ["w", "2"]
    wide = (await kubectl("get", "pods", "-o", "wide")).splitlines()
    assert wide[0].split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "0/1" in wide[1]
    assert await kubectl("get", "wg", "-o", "name") == "widget.example.com/w\n"
    assert json.loads(await kubectl("get", "wg", "w", "-o", "json"))["kind"] == "Widget"
    assert "kind: Widget" in await kubectl("get", "wg", "w", "-o", "yaml")
    assert await kubectl("get", "pods", "--chunk-size=1", "-o", "name") == "pod/p\n"
    missing = await kubectl.run("get", "pod", "nobody")
    assert missing.err == 'Error from server (NotFound): pods "nobody" not found\n'


async def test_get_watch_shows_changes_as_they_come(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_widget())
    process = await kubectl.start("get", "wg", "-w")
    assert process.stdout is not None
    try:
        assert (await asyncio.wait_for(process.stdout.readline(), 10)).split()[0] == b"NAME"
        assert (await asyncio.wait_for(process.stdout.readline(), 10)).split()[:2] == [b"w", b"1"]
        await kubectl("patch", "wg", "w", "--type=merge", "-p", '{"spec":{"replicas":7}}')
        assert (await asyncio.wait_for(process.stdout.readline(), 10)).split()[:2] == [b"w", b"7"]
    finally:
        process.kill()
        await process.communicate()


async def test_describe_shows_events(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_widget())
    uid = await kubectl("get", "wg", "w", "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "w.1", "namespace": "default"},
        "regarding": {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "name": "w",
            "namespace": "default",
            "uid": uid,
        },
        "eventTime": "2030-01-01T00:00:00.000000Z",
        "reportingController": "shoal.dev/operator",
        "reportingInstance": "one",
        "action": "Reconcile",
        "reason": "Waiting",
        "note": "needs 8 CPU",
        "type": "Warning",
    }
    await kubectl("create", "-f", "-", stdin=event)
    described = await kubectl("describe", "wg", "w")
    assert "needs 8 CPU" in described
    assert "Waiting" in described
    assert "needs 8 CPU" in await kubectl("get", "events")
    assert "needs 8 CPU" in await kubectl("events", "--for", "widget/w")


async def test_delete_in_background_takes_dependents_along(kubectl: Kubectl, new_widget: Any, new_pod: Any) -> None:
    owner = json.loads(await kubectl("create", "-o", "json", "-f", "-", stdin=new_widget()))
    await kubectl("create", "-f", "-", stdin=new_pod(owner=owner))
    assert await kubectl("delete", "wg", "w") == 'widget.example.com "w" deleted\n'
    await kubectl("wait", "--for=delete", "pod/p", "--timeout=10s")


async def test_delete_in_foreground_waits_for_dependents(kubectl: Kubectl, new_widget: Any, new_pod: Any) -> None:
    owner = json.loads(await kubectl("create", "-o", "json", "-f", "-", stdin=new_widget()))
    held = new_pod(owner=owner)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await kubectl("create", "-f", "-", stdin=held)
    await kubectl("delete", "wg", "w", "--cascade=foreground", "--wait=false")
    assert await kubectl("get", "wg", "w", "-o", "jsonpath={.metadata.finalizers}") == '["foregroundDeletion"]'
    await kubectl("patch", "pod", "p", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    await kubectl("wait", "--for=delete", "wg/w", "--timeout=10s")
    assert (await kubectl.run("get", "pod", "p")).code == 1


async def test_delete_with_orphans_leaves_dependents(kubectl: Kubectl, new_widget: Any, new_pod: Any) -> None:
    owner = json.loads(await kubectl("create", "-o", "json", "-f", "-", stdin=new_widget()))
    await kubectl("create", "-f", "-", stdin=new_pod(owner=owner))
    await kubectl("delete", "wg", "w", "--cascade=orphan")
    assert await kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.ownerReferences}") == ""


async def test_delete_of_a_running_pod_waits_for_its_kubelet(
    kubectl: Kubectl, new_pod: Any, http: aiohttp.ClientSession
) -> None:
    await kubectl("create", "-f", "-", stdin=new_pod(nodeName="node"))
    deleting = asyncio.create_task(kubectl("delete", "pod", "p"))
    path = "/api/v1/namespaces/default/pods/p"
    async with asyncio.timeout(10):
        while "deletionTimestamp" not in (await (await http.get(path)).json())["metadata"]:
            await asyncio.sleep(0.02)
    assert not deleting.done()
    assert "Terminating" in await kubectl("get", "pods")
    await http.delete(path, json={"gracePeriodSeconds": 0})
    assert await deleting == 'pod "p" deleted\n'


async def test_logs(kubectl: Kubectl, new_pod: Any, server: ApiServer) -> None:
    server.register_log_source(FakeLogs())
    await kubectl("create", "-f", "-", stdin=new_pod(nodeName="node"))
    assert await kubectl("logs", "p") == "".join(f"default/p/main {i}\n" for i in range(3))
    assert await kubectl("logs", "p", "--tail=1") == "default/p/main 2\n"
    assert (await kubectl("logs", "-f", "p", "-c", "main")).endswith("later\n")
    refused = await kubectl.run("logs", "p", "--previous")
    assert refused.code == 1
    assert "previous terminated container" in refused.err
    refused = await kubectl.run("logs", "p", "-c", "other")
    assert "container other is not valid for pod p" in refused.err


async def test_label_annotate_patch_replace_and_edit(kubectl: Kubectl, new_widget: Any, new_pod: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_widget())
    await kubectl("create", "-f", "-", stdin=new_pod())
    await kubectl("label", "wg", "w", "a=b")
    await kubectl("annotate", "wg", "w", "note=hello")
    assert await kubectl("get", "wg", "-l", "a in (b,c)", "-o", "name") == "widget.example.com/w\n"
    await kubectl("label", "wg", "w", "a-")
    await kubectl("patch", "wg", "w", "--type=json", "-p", '[{"op":"add","path":"/spec/tags","value":["x"]}]')
    image = '{"spec":{"containers":[{"name":"main","image":"image:2"}]}}'
    await kubectl("patch", "pod", "p", "-p", image)
    assert await kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[*].image}") == "image:2"
    current = json.loads(await kubectl("get", "wg", "w", "-o", "json"))
    assert current["spec"]["tags"] == ["x"]
    assert current["metadata"]["annotations"]["note"] == "hello"
    current["spec"]["size"] = "Large"
    await kubectl("replace", "-f", "-", stdin=current)
    stale = await kubectl.run("replace", "-f", "-", stdin=current)
    assert "the object has been modified" in stale.err
    await kubectl("patch", "wg", "w", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":3}}')
    assert await kubectl("get", "wg", "w", "-o", "jsonpath={.status.replicas}") == "3"


async def test_scale(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_widget())
    await kubectl("scale", "wg", "w", "--replicas=5")
    await kubectl("scale", "wg", "w", "--current-replicas=5", "--replicas=6")
    assert await kubectl("get", "wg", "w", "-o", "jsonpath={.spec.replicas}") == "6"
    refused = await kubectl.run("scale", "wg", "w", "--replicas=101")
    assert "should be less than or equal to 100" in refused.err


async def test_wait_for_a_condition(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_widget())
    waiting = asyncio.create_task(kubectl("wait", "--for=condition=Ready", "wg/w", "--timeout=15s"))
    ready = '{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Done"}]}}'
    await kubectl("patch", "wg", "w", "--subresource=status", "--type=merge", "-p", ready)
    assert await waiting == "widget.example.com/w condition met\n"


async def test_explain_and_api_resources(kubectl: Kubectl) -> None:
    explained = await kubectl("explain", "widget.spec.size")
    assert "How big." in explained
    assert "Large" in explained
    assert "FIELD: containers <[]Container>" in await kubectl("explain", "pod.spec.containers")
    assert "ports\t<[]ServicePort>" in await kubectl("explain", "service", "--recursive")
    rows = [line.split() for line in (await kubectl("api-resources", "--no-headers")).splitlines()]
    assert ["widgets", "wg", "example.com/v1", "true", "Widget"] in rows
    assert ["pods", "po", "v1", "true", "Pod"] in rows
    assert "example.com/v1" in await kubectl("api-versions")


async def test_authorization_and_raw_paths(kubectl: Kubectl) -> None:
    assert await kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "shoal-local" in await kubectl("auth", "whoami")
    assert await kubectl("get", "--raw", "/readyz") == "ok"
    assert json.loads(await kubectl("version", "-o", "json"))["serverVersion"]["major"] == "1"


async def test_typed_create_commands(kubectl: Kubectl) -> None:
    await kubectl("create", "namespace", "other")
    await kubectl("create", "configmap", "c", "-n", "other", "--from-literal=key=value")
    await kubectl("create", "secret", "generic", "s", "-n", "other", "--from-literal=key=value")
    await kubectl("create", "serviceaccount", "a", "-n", "other")
    await kubectl("create", "role", "r", "-n", "other", "--verb=get", "--resource=pods")
    assert await kubectl("get", "cm", "c", "-n", "other", "-o", "jsonpath={.data}") == '{"key":"value"}'
    assert await kubectl("get", "secret", "s", "-n", "other", "-o", "jsonpath={.data.key}") == "dmFsdWU="
    await kubectl("delete", "namespace", "other", "--timeout=10s")
    assert (await kubectl.run("get", "ns", "other")).code == 1


async def test_edit_opens_the_object_and_sends_what_changed(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_widget())
    kubectl.environment["KUBE_EDITOR"] = "sed -i s/Small/Large/"
    assert await kubectl("edit", "wg", "w") == "widget.example.com/w edited\n"
    assert await kubectl("get", "wg", "w", "-o", "jsonpath={.spec.size}") == "Large"


async def test_what_is_not_offered_says_so(kubectl: Kubectl, new_pod: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_pod())
    refused = await kubectl.run("exec", "p", "--", "ls")
    assert "exec is not offered by the embedded API server" in refused.err


async def test_quotas_are_made_shown_and_kept(kubectl: Kubectl, new_pod: Any) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    applied = await kubectl("apply", "-f", "-", stdin=quota | {"spec": {"hard": {"pods": "1", "limits.cpu": "2"}}})
    assert applied == "resourcequota/small created\n"
    await kubectl("create", "quota", "objects", "--hard=count/pods=5,cpu=1", "--scopes=NotTerminating")
    sized = new_pod("p")
    sized["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "500m"}}
    await kubectl("create", "-f", "-", stdin=sized)
    await kubectl("wait", "quota/small", "--for=jsonpath={.status.used.pods}=1", "--timeout=10s")
    lines = [line.split() for line in (await kubectl("get", "quota")).splitlines()]
    assert lines[0] == ["NAME", "REQUEST", "LIMIT", "AGE"]
    assert lines[1][:5] == ["objects", "count/pods:", "1/5,", "cpu:", "500m/1"]
    assert lines[2][:5] == ["small", "pods:", "1/1", "limits.cpu:", "500m/2"]
    sized["metadata"]["name"] = "q"
    refused = await kubectl.run("create", "-f", "-", stdin=sized)
    assert "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1" in refused.err


async def test_evictions_keep_budgets(kubectl: Kubectl, new_pod: Any) -> None:
    for name in ("p", "q"):
        body = new_pod(name)
        body["metadata"]["labels"] = {"app": "x"}
        await kubectl("create", "-f", "-", stdin=body)
        ready = '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}'
        await kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", ready)
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
    budget |= {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
    await kubectl("create", "-f", "-", stdin=budget)
    path = "/api/v1/namespaces/default/pods/{}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    await kubectl("create", "--raw", path.format("p"), "-f", "-", stdin=eviction)
    assert await kubectl("get", "pods", "-o", "name") == "pod/q\n"
    eviction["metadata"] = {"name": "q"}
    refused = await kubectl.run("create", "--raw", path.format("q"), "-f", "-", stdin=eviction)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.err
    broken = '{"status":{"conditions":[{"type":"Ready","status":"False"}]}}'
    await kubectl("patch", "pod", "q", "--subresource=status", "--type=merge", "-p", broken)
    assert (await kubectl.run("create", "--raw", path.format("q"), "-f", "-", stdin=eviction)).code == 1
    always = '{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}'
    await kubectl("patch", "pdb", "b", "--type=merge", "-p", always)
    await kubectl("create", "--raw", path.format("q"), "-f", "-", stdin=eviction)
    assert await kubectl("get", "pods", "-o", "name") == ""


async def test_mistakes_are_explained(kubectl: Kubectl, new_widget: Any, new_pod: Any) -> None:
    unknown = await kubectl.run("apply", "-f", "-", stdin=new_widget(sise="Small"))
    assert 'strict decoding error: unknown field "spec.sise"' in unknown.err
    wrong = await kubectl.run("create", "-f", "-", stdin=new_widget(size="Huge", replicas=-1))
    assert 'spec.size: Unsupported value: "Huge": supported values: "Small", "Large"' in wrong.err
    assert "spec.replicas in body should be greater than or equal to 0" in wrong.err
    rule = await kubectl.run("create", "-f", "-", stdin=new_widget(min=3, max=2))
    assert "must be less than or equal to `max`" in rule.err
    nameless = new_pod()
    del nameless["spec"]["containers"][0]["image"]
    bad = await kubectl.run("create", "--validate=false", "-f", "-", stdin=nameless)
    assert "spec.containers[0].image: Required value" in bad.err
    lenient = await kubectl.run("create", "--validate=warn", "-f", "-", stdin=new_widget(sise="Small"))
    assert 'Warning: unknown field "spec.sise"' in lenient.err
    again = await kubectl.run("create", "-f", "-", stdin=new_widget())
    assert again.err.endswith('widgets.example.com "w" already exists\n')


async def test_delete_of_a_definition_takes_its_objects(kubectl: Kubectl, new_widget: Any) -> None:
    await kubectl("create", "-f", "-", stdin=new_widget())
    await kubectl("delete", "crd", "widgets.example.com", "--timeout=10s")
    gone = await kubectl.run("get", "widgets")
    assert "the server could not find the requested resource" in gone.err
