"""A node process of its own for each test: the embedded API server and the kubelet, reached over HTTPS."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from shoal_operator.local.client import Access, ApiClient, ApiError
from shoal_operator.local.sweep import SESSION_MARK, marked

Pod = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"


class Node:
    """A running node process and a client of it."""

    def __init__(self, process: subprocess.Popen[str], client: ApiClient, directory: Path, session: str) -> None:
        self.process = process
        self.client = client
        self.directory = directory
        self.session = session

    async def run_pod(self, name: str, script: str, **spec: Any) -> Pod:
        """Create a pod whose one container runs a shell script; ``container`` adds to the container."""
        container = {"name": "c", "image": "none", "command": ["sh", "-c", script], **spec.pop("container", {})}
        metadata = {"name": name, "labels": spec.pop("labels", {})}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}
        return await self.client.create(PODS, pod)

    async def pod(self, name: str) -> Pod:
        return await self.client.get(f"{PODS}/{name}")

    async def until(self, name: str, condition: Callable[[Pod], Any], seconds: float = 10.0) -> Pod:
        """Wait until a pod is as described."""
        pod: Pod = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    pod = await self.pod(name)
                    if condition(pod):
                        return pod
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"pod {name} did not become as wanted: {pod.get('status')}")

    async def phase(self, name: str, wanted: str) -> Pod:
        return await self.until(name, lambda pod: pod["status"]["phase"] == wanted)

    async def gone(self, name: str, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while await self.client.find(f"{PODS}/{name}") is not None:
                await asyncio.sleep(0.02)

    async def log(self, name: str, **query: str) -> str:
        """What ``kubectl logs`` would show; empty while there is none."""
        try:
            return await self.client.text(f"{PODS}/{name}/log", query)
        except ApiError as error:
            if error.code in (400, 404):
                return ""
            raise

    async def log_has(self, name: str, text: str, seconds: float = 10.0) -> str:
        found = ""
        try:
            async with asyncio.timeout(seconds):
                while text not in (found := await self.log(name)):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"the log of {name} never had {text!r}: {found!r}")
        return found

    async def events(self, name: str) -> dict[str, str]:
        """Reason to message of a pod's Events."""
        items = (await self.client.get("/api/v1/namespaces/default/events")).get("items") or []
        return {item["reason"]: item["message"] for item in items if item["involvedObject"]["name"] == name}


def state(pod: Pod) -> dict[str, Any]:
    """The state of the first container."""
    statuses = pod["status"].get("containerStatuses") or [{}]
    found: dict[str, Any] = statuses[0].get("state") or {}
    return found


def restarts(pod: Pod) -> int:
    """How often the first container was restarted."""
    statuses = pod["status"].get("containerStatuses") or [{}]
    return int(statuses[0].get("restartCount") or 0)


def is_ready(pod: Pod) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node whose crash loops wait 0.3 s at first."""
    directory = tmp_path / "session"
    directory.mkdir(mode=0o700)
    session = f"s-test-{os.getpid()}-{tmp_path.name}"
    command = [sys.executable, "-m", "shoal_operator.local.node", "--session-id", session]
    command += ["--directory", str(directory), "--restart-base-seconds", "0.3"]
    with (directory / "node.err").open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, SESSION_MARK: session},
        )
    assert process.stdout is not None
    try:
        line = await asyncio.to_thread(process.stdout.readline)
        assert "url" in line, (directory / "node.err").read_text()
        async with ApiClient(Access.from_kubeconfig(directory / "kubeconfig")) as client:
            yield Node(process, client, directory, session)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 15)
        process.stdout.close()
    assert marked(SESSION_MARK, session) == []
