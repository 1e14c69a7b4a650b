"""Pods on a real node process, seen through the API server."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.kubelet.conftest import PODS, Node, is_ready, restarts, state

from shoal_operator.local.sweep import CONTAINER_MARK, SESSION_MARK, marked

Json = dict[str, Any]


async def test_a_pod_runs_to_its_end(node: Node) -> None:
    await node.run_pod("p", "echo out; echo $HOSTNAME; echo $0; exit 0", restartPolicy="Never")
    pod = await node.phase("p", "Succeeded")
    assert pod["spec"]["nodeName"] == "local"
    assert state(pod)["terminated"]["exitCode"] == 0
    assert await node.log("p") == "out\np\nsh\n"
    assert not is_ready(pod)
    assert {"Scheduled", "Started"} <= set(await node.events("p"))


async def test_a_failing_pod_fails(node: Node) -> None:
    await node.run_pod("p", "exit 5", restartPolicy="Never")
    assert state(await node.phase("p", "Failed"))["terminated"]["exitCode"] == 5


async def test_every_pod_has_an_address_of_its_own(node: Node) -> None:
    listen = "exec python -m http.server --bind $POD_IP 8000"
    env = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    probe = {"tcpSocket": {"port": 8000}}
    for name in ("a", "b"):
        await node.run_pod(name, listen, container={"env": env, "readinessProbe": probe})
    found = [(await node.until(name, is_ready))["status"]["podIP"] for name in ("a", "b")]
    assert len(set(found)) == 2
    assert all(address.startswith("127.") and not address.startswith("127.0.") for address in found)


async def test_volumes_and_environment_reach_the_process(node: Node) -> None:
    base = "/api/v1/namespaces/default"
    await node.client.create(
        f"{base}/configmaps",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"key": "from-map"}},
    )
    token = base64.b64encode(b"from-secret").decode()
    await node.client.create(
        f"{base}/secrets",
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"token": token}},
    )
    script = "cat /etc/map/key; cat $TOKEN_FILE; echo x >/scratch/f; cat /scratch/f; echo $KEY $MEMORY; ls -d /scratch"
    mounts = [
        {"name": "map", "mountPath": "/etc/map"},
        {"name": "secret", "mountPath": "/etc/secret"},
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "memory", "mountPath": "/memory"},
    ]
    env = [
        {"name": "TOKEN_FILE", "value": "/etc/secret/token"},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "key"}}},
        {"name": "MEMORY", "value": "/memory"},
    ]
    volumes = [
        {"name": "map", "configMap": {"name": "m"}},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]
    container = {"volumeMounts": mounts, "env": env}
    await node.run_pod("p", script, container=container, volumes=volumes, restartPolicy="Never")
    await node.phase("p", "Succeeded")
    words = (await node.log("p")).split()
    assert words[0] == "from-mapfrom-secretx"
    assert words[1] == "from-map"
    memory, scratch = Path(words[2]), Path(words[3])
    assert str(memory).startswith("/dev/shm/")
    assert scratch.is_dir()
    await node.client.request("DELETE", f"{PODS}/p")
    await node.gone("p")
    async with asyncio.timeout(5):
        while memory.exists() or scratch.exists():
            await asyncio.sleep(0.02)


async def test_a_missing_reference_is_waited_for(node: Node) -> None:
    source = {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}
    await node.run_pod("p", "echo got $X", container={"env": [source]}, restartPolicy="Never")
    pod = await node.until("p", lambda pod: "waiting" in state(pod) and "late" in str(state(pod)))
    assert state(pod)["waiting"]["reason"] == "CreateContainerConfigError"
    await node.client.create(
        "/api/v1/namespaces/default/configmaps",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"k": "v"}},
    )
    await node.phase("p", "Succeeded")
    assert await node.log("p") == "got v\n"


async def test_a_missing_volume_source_stands_in_the_status(node: Node) -> None:
    volumes = [{"name": "map", "configMap": {"name": "later"}}]
    mounts = [{"name": "map", "mountPath": "/etc/map"}]
    await node.run_pod("p", "sleep 600", container={"volumeMounts": mounts}, volumes=volumes)
    pod = await node.until("p", lambda p: "later" in str(p.get("status", {}).get("containerStatuses", "")))
    waiting = state(pod)["waiting"]
    assert waiting["reason"] == "ContainerCreating"
    assert 'configmap "later" not found' in waiting["message"]


async def test_init_containers_run_first_and_in_order(node: Node) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    init = [
        {"name": "one", "image": "none", "command": ["sh", "-c", "echo 1 >>/v/f"], **mount},
        {"name": "two", "image": "none", "command": ["sh", "-c", "echo 2 >>/v/f"], **mount},
    ]
    await node.run_pod(
        "p",
        "cat /v/f",
        container=mount,
        initContainers=init,
        volumes=[{"name": "v", "emptyDir": {}}],
        restartPolicy="Never",
    )
    await node.phase("p", "Succeeded")
    assert await node.log("p", container="c") == "1\n2\n"


async def test_a_crash_loop_backs_off_and_keeps_the_log_of_the_run_before(node: Node) -> None:
    await node.run_pod("p", "echo run; exit 3")
    pod = await node.until("p", lambda pod: restarts(pod) >= 3)
    pod = await node.until("p", lambda pod: "waiting" in state(pod))
    assert state(pod)["waiting"]["reason"] == "CrashLoopBackOff"
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
    assert pod["status"]["phase"] == "Running"
    assert await node.log("p", previous="true") == "run\n"
    assert "BackOff" in await node.events("p")


async def test_a_command_that_is_not_there(node: Node) -> None:
    await node.run_pod("p", "", container={"command": ["nosuch"]}, restartPolicy="Never")
    ended = state(await node.phase("p", "Failed"))["terminated"]
    assert ended["reason"] == "StartError"
    assert 'exec: "nosuch": executable file not found in $PATH' in ended["message"]


async def test_a_pod_that_cannot_be_placed_waits_with_a_reason(node: Node) -> None:
    await node.run_pod("p", "true", nodeSelector={"zone": "mars"})
    await node.run_pod("q", "true", container={"resources": {"requests": {"cpu": "99999"}}})

    def refused(pod: Json) -> Any:
        return next((c for c in pod["status"].get("conditions") or [] if c["reason"] == "Unschedulable"), None)

    pod = await node.until("p", refused)
    assert pod["status"]["phase"] == "Pending"
    assert "didn't match Pod's node affinity/selector" in refused(pod)["message"]
    assert "1 Insufficient cpu" in refused(await node.until("q", refused))["message"]
    await node.client.request("DELETE", f"{PODS}/p")
    await node.gone("p")


NODE = "/api/v1/nodes/local"
CAPACITY = {"cpu": "1024", "memory": "4Ti", "pods": "2000", "example.com/slot": "1"}


def waits_for(words: str) -> Callable[[Json], bool]:
    """Whether a pod says that it waits, and why."""
    return lambda pod: any(words in str(one.get("message")) for one in pod["status"].get("conditions") or ())


@pytest.mark.parametrize(
    ("path", "closed", "opened", "spec", "words"),
    [
        (NODE, {}, {"metadata": {"labels": {"disk": "nvme"}}}, {"nodeSelector": {"disk": "nvme"}}, "selector"),
        (
            NODE,
            {"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}},
            {"spec": {"taints": None}},
            {},
            "untolerated taint",
        ),
        (NODE, {"spec": {"unschedulable": True}}, {"spec": {"unschedulable": None}}, {}, "were unschedulable"),
        (
            f"{NODE}/status",
            {},
            {"status": {"allocatable": CAPACITY, "capacity": CAPACITY}},
            {"container": {"resources": {"limits": {"example.com/slot": "1"}, "requests": {"example.com/slot": "1"}}}},
            "Insufficient example.com/slot",
        ),
    ],
    ids=["label", "taint", "cordon", "capacity"],
)
async def test_a_pod_that_waits_is_looked_at_again_when_its_node_changes(
    node: Node, path: str, closed: Json, opened: Json, spec: Json, words: str
) -> None:
    if closed:
        await node.client.patch(path, closed)
        # The scheduler hears of the node by a watch of its own: a pod that it refuses shows that it has.
        await asyncio.wait_for(_refused(node, words), 10)
    await node.run_pod("p", "exit 0", restartPolicy="Never", **spec)
    await node.until("p", waits_for(words))
    await node.client.patch(path, opened)
    await node.phase("p", "Succeeded")


async def _refused(node: Node, words: str) -> None:
    for number in itertools.count():
        name = f"try-{number}"
        await node.run_pod(name, "exit 0", restartPolicy="Never")
        pod = await node.until(name, lambda one: waits_for(words)(one) or one["spec"].get("nodeName"))
        if waits_for(words)(pod):
            return


async def test_a_pod_that_waits_is_looked_at_again_when_room_is_freed_or_its_gate_is_taken_off(node: Node) -> None:
    await node.client.patch(f"{NODE}/status", {"status": {"allocatable": CAPACITY, "capacity": CAPACITY}})
    slot = {"resources": {"limits": {"example.com/slot": "1"}, "requests": {"example.com/slot": "1"}}}
    await node.run_pod("deleted", "exec sleep 600", container=slot, terminationGracePeriodSeconds=0)
    await node.phase("deleted", "Running")
    await node.run_pod("ended", "exec sleep 0.2", container=slot, restartPolicy="Never")
    await node.run_pod("last", "exit 0", container=slot, restartPolicy="Never", schedulingGates=[{"name": "g"}])
    await node.until("ended", waits_for("Insufficient example.com/slot"))
    await node.until("last", waits_for("gates: g"))
    await node.client.request("DELETE", f"{PODS}/deleted")
    await node.phase("ended", "Succeeded")
    await node.client.patch(f"{PODS}/last", {"spec": {"schedulingGates": None}})
    await node.phase("last", "Succeeded")


async def test_readiness_follows_the_probe(node: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/v/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    mount = [{"name": "v", "mountPath": "/v"}]
    script = "echo /v; sleep 1000"
    await node.run_pod(
        "p",
        script,
        container={"readinessProbe": probe, "volumeMounts": mount},
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    volume = Path((await node.log_has("p", "\n")).strip())
    assert not is_ready(await node.pod("p"))
    (volume / "ready").touch()
    await node.until("p", is_ready)
    (volume / "ready").unlink()
    await node.until("p", lambda pod: not is_ready(pod))
    assert "Readiness probe failed" in (await node.events("p"))["Unhealthy"]


async def test_a_failing_liveness_probe_restarts_the_container(node: Node) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/v/sick"]}, "periodSeconds": 1, "failureThreshold": 1}
    mount = [{"name": "v", "mountPath": "/v"}]
    await node.run_pod(
        "p",
        "rm -f /v/sick; echo /v; trap 'exit 0' TERM; while :; do sleep 0.05; done",
        container={"livenessProbe": probe, "volumeMounts": mount},
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    (Path((await node.log_has("p", "\n")).strip()) / "sick").touch()
    await node.until("p", lambda pod: restarts(pod) == 1)
    await node.until("p", lambda pod: "running" in state(pod))
    assert "failed liveness probe" in (await node.events("p"))["Killing"]


async def test_deletion_lets_the_pod_end_in_order(node: Node) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >/v/order"]}}}
    script = "trap 'cat /v/order; echo term; sleep 0.3; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    await node.run_pod(
        "p",
        script,
        container={"lifecycle": hook, "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    await node.log_has("p", "up")
    text: list[str] = []
    follower = asyncio.create_task(node.client.text(f"{PODS}/p/log", {"follow": "true"}))
    await asyncio.sleep(0.1)
    await node.client.request("DELETE", f"{PODS}/p")
    assert "deletionTimestamp" in (await node.pod("p"))["metadata"]
    text.append(await asyncio.wait_for(follower, 10))
    await node.gone("p")
    assert text == ["up\nhook\nterm\n"]
    assert marked(SESSION_MARK, node.session) == [node.process.pid]


async def test_a_pod_that_will_not_end_is_killed_after_its_grace(node: Node) -> None:
    await node.run_pod("p", "trap '' TERM; echo up; while :; do sleep 0.05; done", terminationGracePeriodSeconds=1)
    await node.log_has("p", "up")
    began = time.monotonic()
    await node.client.request("DELETE", f"{PODS}/p")
    await node.gone("p")
    assert 0.9 < time.monotonic() - began < 4


async def test_a_forced_deletion_ends_the_processes_too(node: Node) -> None:
    pod = await node.run_pod("p", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    await node.log_has("p", "up")
    mark = f"{pod['metadata']['uid']}-c-0"
    assert marked(CONTAINER_MARK, mark)
    await node.client.request("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
    await node.gone("p")
    async with asyncio.timeout(5):
        while marked(CONTAINER_MARK, mark):
            await asyncio.sleep(0.02)


async def test_a_service_leads_to_ready_pods_only(node: Node) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    await node.client.create("/api/v1/namespaces/default/services", service)
    async with asyncio.timeout(5):
        while not (
            address := (await node.client.get("/api/v1/namespaces/default/services/web"))["spec"].get("clusterIP")
        ):
            await asyncio.sleep(0.02)
    serve = "mkdir w && cd w && echo $HOSTNAME >index.html && exec python -m http.server --bind $IP 8000"
    container = {
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"tcpSocket": {"port": "http"}},
    }
    for name in ("a", "b"):
        await node.run_pod(name, serve, container=container, labels={"app": "web"})
        await node.until(name, is_ready)

    async def fetch() -> str:
        reader, writer = await asyncio.open_connection(address, 80)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer.decode().split("\r\n\r\n")[-1].strip()

    assert {await fetch() for _ in range(4)} == {"a", "b"}
    await node.client.request("DELETE", f"{PODS}/a")
    await node.gone("a")
    assert {await fetch() for _ in range(4)} == {"b"}
    client = 'import os,urllib.request as u; print(u.urlopen(os.environ["URL"]).read().decode())'
    env = [{"name": "URL", "value": "http://web.default.svc:80/"}]
    await node.run_pod("c", "", container={"command": ["python", "-c", client], "env": env}, restartPolicy="Never")
    await node.phase("c", "Succeeded")
    assert (await node.log("c")).strip() == "b"
    await node.client.request("DELETE", f"{PODS}/b")
    await node.gone("b")
    with socket.create_connection((address, 80), 5) as closed:
        closed.settimeout(5)
        with suppress(ConnectionResetError):
            assert closed.recv(1) == b""


async def test_grandchildren_of_a_killed_pod_do_not_stay(node: Node) -> None:
    pod = await node.run_pod("p", "setsid sleep 1000 & sleep 1001 & echo $$$$; wait")
    main = int(await node.log_has("p", "\n"))
    mark = f"{pod['metadata']['uid']}-c-0"
    async with asyncio.timeout(5):
        while len(marked(CONTAINER_MARK, mark)) < 3:
            await asyncio.sleep(0.02)
    os.kill(main, signal.SIGKILL)
    await node.until("p", lambda pod: restarts(pod) >= 1)
    assert marked(CONTAINER_MARK, mark) == []


async def test_the_end_of_the_node_ends_every_pod(node: Node) -> None:
    await node.run_pod("p", "trap '' TERM; setsid sleep 1000 & echo up; while :; do sleep 0.05; done")
    await node.log_has("p", "up")
    node.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(node.process.wait, 10)
    assert marked(SESSION_MARK, node.session) == []


async def test_two_hundred_statuses_cost_no_more_writes_than_changes(node: Node) -> None:
    await node.run_pod("p", "sleep 1000")
    pod = await node.until("p", is_ready)
    before = pod["metadata"]["resourceVersion"]
    await node.run_pod("other", "exit 0", restartPolicy="Never")
    await node.phase("other", "Succeeded")
    assert (await node.pod("p"))["metadata"]["resourceVersion"] == before
