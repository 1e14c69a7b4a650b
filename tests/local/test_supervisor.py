"""Whole sessions, as ``shoal local`` starts them: supervisor, node process and operator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.polling import until

from shoal_operator.local.client import Access, ApiClient
from shoal_operator.local.sweep import SESSION_MARK, carries, marked, processes

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "none", "command": ["sh", "-c", "setsid sleep 1000 & sleep 1000"]}]},
}

JOB = """\
apiVersion: shoal.dev/v1alpha1
kind: ComputeJob
metadata: {name: x}
spec:
  entrypoint: python main.py
  source: {directory: program}
"""


class Sessions:
    """Starts ``shoal local`` in a root of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "root"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._logs = tmp_path

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self._logs / f"out{len(self.processes)}").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "shoal.cli.main", "local", *arguments],
            stdout=log,
            stderr=log,
            env={**os.environ, "SHOAL_HOME": str(self.root)},
            start_new_session=True,
        )
        log.close()
        self.processes.append(process)
        return process

    def output(self, process: subprocess.Popen[bytes]) -> str:
        return (self._logs / f"out{self.processes.index(process)}").read_text()

    def up(self, *arguments: str) -> Up:
        process = self.start("up", *arguments)
        until(lambda: "export KUBECONFIG=" in self.output(process) or process.poll() is not None)
        assert process.poll() is None, self.output(process)
        kubeconfig = Path(self.output(process).rpartition("export KUBECONFIG=")[2].split()[0])
        return Up(self, process, kubeconfig)

    def kill_all(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


class Up:
    """A session that is up."""

    def __init__(self, sessions: Sessions, process: subprocess.Popen[bytes], kubeconfig: Path) -> None:
        self.sessions = sessions
        self.process = process
        self.kubeconfig = kubeconfig
        self.session_id = kubeconfig.parent.name

    @property
    def output(self) -> str:
        return self.sessions.output(self.process)

    def pids(self) -> list[int]:
        return marked(SESSION_MARK, self.session_id)

    def pid_of(self, module: str) -> int:
        return next(pid for pid in self.pids() if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())

    def request(self, method: str, path: str, body: Any = None) -> Any:
        async def call() -> Any:
            async with ApiClient(Access.from_kubeconfig(self.kubeconfig)) as client:
                return await client.request(method, path, body)

        return asyncio.run(call())

    def run_pod(self) -> dict[str, Any]:
        self.request("POST", "/api/v1/namespaces/default/pods", POD)

        def ready() -> Any:
            pod = self.request("GET", "/api/v1/namespaces/default/pods/p")
            return pod if pod["status"].get("phase") == "Running" else None

        found: dict[str, Any] = until(ready)
        until(lambda: len(self.pids()) >= 5)
        return found

    def nothing_is_left(self, seconds: float = 10.0) -> None:
        until(lambda: not self.pids(), seconds, f"still there: {self.pids()}")
        until(lambda: not self.kubeconfig.parent.exists(), seconds, "the directory is still there")


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    started = Sessions(tmp_path)
    yield started
    started.kill_all()


def test_ctrl_c_ends_everything(sessions: Sessions) -> None:
    up = sessions.up()
    up.run_pod()
    assert up.kubeconfig.stat().st_mode & 0o777 == 0o600
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(15) == 0
    up.nothing_is_left(0.5)


def test_a_second_ctrl_c_is_immediate(sessions: Sessions) -> None:
    up = sessions.up()
    stubborn = {"terminationGracePeriodSeconds": 60, "containers": [{**POD["spec"]["containers"][0]}]}  # type: ignore[index]
    stubborn["containers"][0]["command"] = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]  # type: ignore[index]
    up.request("POST", "/api/v1/namespaces/default/pods", {**POD, "spec": stubborn})
    operator = up.pid_of("shoal_operator.main")
    os.kill(operator, signal.SIGSTOP)
    up.process.send_signal(signal.SIGINT)
    until(lambda: "stopping" in up.output)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(1.0) == 130
    up.nothing_is_left(2)


@pytest.mark.parametrize("moment", ["mkdir", "node", "operator"])
def test_ctrl_c_while_it_starts(sessions: Sessions, moment: str) -> None:
    process = sessions.start("up")
    if moment == "mkdir":
        until(lambda: list(sessions.root.glob("s*")))
    elif moment == "node":
        until(lambda: list(sessions.root.glob("s*/logs/node/0.log")))
    else:
        until(lambda: list(sessions.root.glob("s*/logs/operator/0.log")))
    process.send_signal(signal.SIGINT)
    assert process.wait(15) in (0, 130)
    assert list(sessions.root.glob("s*")) == []
    needle = str(sessions.root).encode()
    until(lambda: not any(needle in _words(pid) for pid in processes()), 5)
    assert "Traceback" not in sessions.output(process)


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_killed_supervisor_takes_everything_down(sessions: Sessions) -> None:
    up = sessions.up()
    up.run_pod()
    up.process.kill()
    up.process.wait()
    up.nothing_is_left()


def test_a_killed_operator_is_started_again_and_pods_stay(sessions: Sessions) -> None:
    up = sessions.up()
    before = up.run_pod()
    operator = up.pid_of("shoal_operator.main")
    os.kill(operator, signal.SIGKILL)
    until(lambda: "operator: was killed by signal 9; starting it again" in up.output)

    def restarted() -> bool:
        others = (pid for pid in up.pids() if pid != operator)
        return any(b"shoal_operator.main" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in others)

    until(restarted)
    after = up.request("GET", "/api/v1/namespaces/default/pods/p")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    up.process.send_signal(signal.SIGTERM)
    up.process.wait(15)


def test_a_killed_node_ends_the_session_with_a_reason(sessions: Sessions) -> None:
    up = sessions.up()
    up.run_pod()
    os.kill(up.pid_of("shoal_operator.local.node"), signal.SIGKILL)
    assert up.process.wait(10) == 1
    assert "error: the node process was killed by signal 9" in up.output
    assert "Traceback" not in up.output
    up.nothing_is_left(0.5)


def test_after_killing_all_at_once_the_next_start_leaves_nothing(sessions: Sessions) -> None:
    up = sessions.up()
    up.run_pod()
    node, operator = up.pid_of("shoal_operator.local.node"), up.pid_of("shoal_operator.main")
    for pid in (up.process.pid, node, operator):
        os.kill(pid, signal.SIGKILL)
    up.process.wait()
    again = sessions.up()
    up.nothing_is_left(0.5)
    again.process.send_signal(signal.SIGINT)
    assert again.process.wait(15) == 0


def test_two_sessions_do_not_disturb_each_other(sessions: Sessions) -> None:
    first, second = sessions.up(), sessions.up()
    addresses = [one.run_pod()["status"]["podIP"] for one in (first, second)]
    assert len(set(addresses)) == 2
    listed = subprocess.run(
        [sys.executable, "-m", "shoal.cli.main", "local", "ps"],
        env={**os.environ, "SHOAL_HOME": str(sessions.root)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(word in listed for word in (first.session_id, second.session_id, *addresses, "default/p"))
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(15) == 0
    assert second.request("GET", "/api/v1/namespaces/default/pods/p")["status"]["phase"] == "Running"
    down = sessions.start("down")
    assert down.wait(20) == 0
    assert sessions.output(down) == f"{second.session_id}: ended\n"
    assert second.process.wait(5) == 143
    second.nothing_is_left(0.5)


def test_a_port_in_use_is_named(sessions: Sessions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = sessions.start("up", "--port", str(taken.getsockname()[1]))
        assert process.wait(20) == 1
    output = sessions.output(process)
    assert f"error: port {taken.getsockname()[1] if taken.fileno() >= 0 else ''}"[:11] in output
    assert "is in use" in output
    assert "hint: choose another one with --port" in output
    assert list(sessions.root.glob("s*")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1\n", "not valid YAML"),
        (
            "apiVersion: shoal.dev/v1alpha1\nkind: ComputeJob\nmetadata: {name: x}\nspec: {entrypont: a}\n",
            "`entrypoint`",
        ),
    ],
)
def test_bad_manifests_start_nothing(sessions: Sessions, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    process = sessions.start("run", str(tmp_path / "job.yaml"))
    assert process.wait(20) == 2
    assert words in sessions.output(process)
    assert "Traceback" not in sessions.output(process)
    assert not sessions.root.exists()


def test_what_the_server_refuses_is_shown_with_its_line(sessions: Sessions, tmp_path: Path) -> None:
    text = (
        "apiVersion: shoal.dev/v1alpha1\nkind: ComputeCluster\nmetadata: {name: x}\nspec:\n  workerGroups:\n"
        "  - name: small\n    minReplicas: 5\n    maxReplicas: 2\n"
    )
    (tmp_path / "job.yaml").write_text(text)
    process = sessions.start("run", str(tmp_path / "job.yaml"))
    assert process.wait(30) in (1, 2)
    output = sessions.output(process)
    assert f"{tmp_path}/job.yaml:6" in output or f"{tmp_path}/job.yaml:7" in output, output
    assert "minReplicas" in output
    assert list(sessions.root.glob("s*")) == []


def test_a_job_runs_to_its_end(sessions: Sessions, tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "main.py").write_text("print('the answer is', 6 * 7)\n")
    (tmp_path / "job.yaml").write_text(JOB)
    process = sessions.start("run", str(tmp_path / "job.yaml"), "--timeout", "60")
    assert process.wait(90) == 0, sessions.output(process)
    output = sessions.output(process)
    assert output.count("the answer is 42\n") == 1
    assert "job x: Complete" in output
    assert "s from the operator's start to the end" in output
    assert list(sessions.root.glob("s*")) == []


def test_the_output_of_an_encrypted_cluster_is_followed(sessions: Sessions, tmp_path: Path) -> None:
    """More of it than the job's status keeps, so that it can only have come over the encrypted stream."""
    (tmp_path / "program").mkdir()
    program = (
        "import shoal\nfor number in range(1000):\n    print('line', number)\nshoal.get(shoal.remote(id).remote(1))\n"
    )
    (tmp_path / "program" / "main.py").write_text(program)
    (tmp_path / "job.yaml").write_text(f"{JOB}  clusterSpec: {{security: {{tls: {{mode: Operator}}}}}}\n")
    process = sessions.start("run", str(tmp_path / "job.yaml"), "--timeout", "60")
    assert process.wait(90) == 0, sessions.output(process)
    assert [f"line {number}" for number in range(1000) if f"line {number}\n" not in sessions.output(process)] == []


def test_a_failing_job_shows_its_traceback_once(sessions: Sessions, tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "main.py").write_text("raise ValueError('boom')\n")
    (tmp_path / "job.yaml").write_text(f"{JOB}---\n{JOB}")
    process = sessions.start("run", str(tmp_path / "job.yaml"), "--timeout", "60")
    assert process.wait(90) == 1, sessions.output(process)
    output = sessions.output(process)
    assert output.count("ValueError: boom") == 1
    assert output.count("error: job x failed: EntrypointFailed") == 1


def test_no_time_left(sessions: Sessions, tmp_path: Path) -> None:
    text = "apiVersion: shoal.dev/v1alpha1\nkind: ComputeCluster\nmetadata: {name: x}\n"
    (tmp_path / "c.yaml").write_text(text)
    process = sessions.start("run", str(tmp_path / "c.yaml"), "--timeout", "3")
    assert process.wait(20) == 124
    assert "error: not done after 3 s" in sessions.output(process)
    assert list(sessions.root.glob("s*")) == []


def test_the_api_server_refuses_a_caller_without_the_token(sessions: Sessions) -> None:
    up = sessions.up()
    access = Access.from_kubeconfig(up.kubeconfig)
    answer = subprocess.run(
        ["curl", "-sk", f"{access.url}/api/v1/secrets"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(answer)["code"] == 401
    assert not any(carries(pid, "KUBECONFIG_TOKEN", access.token) for pid in processes())
    assert all(access.token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in up.pids())
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(15) == 0
