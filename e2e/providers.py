"""Where scenarios run: what differs between a local session and a real Kubernetes is here and nowhere else.

A provider gives a kubeconfig, the name of the runtime image, how much slower than a local session the place may be
(``patience``, a factor on every deadline), whether network policies are enforced there, and two acts that need more
than an API server: the operator's abrupt end, and a container's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from e2e.api import Object
from e2e.eventually import eventually
from e2e.kubectl import Kubectl
from e2e.manifests import RUNTIME_CONTAINER
from shoal_operator.local.sweep import CONTAINER_MARK, SESSION_MARK, kill_marked, marked

UP_SECONDS: Final = 40.0
DOWN_SECONDS: Final = 20.0
OPERATOR_CONTAINER: Final = "operator"
OPERATOR_SELECTOR: Final = "app.kubernetes.io/name=shoal"
_OPERATOR_MODULE: Final = b"shoal_operator.main"
_KILL_ALL_BUT_INIT: Final = (
    "import os, signal\n"
    "own = os.getpid()\n"
    "for pid in sorted(int(p) for p in os.listdir('/proc') if p.isdigit()):\n"
    "    if pid not in (1, own):\n"
    "        os.kill(pid, signal.SIGKILL)\n"
)


class Provider(Protocol):
    """A place with Shoal in it."""

    kubeconfig: Path
    runtime_image: str
    patience: float
    enforces_network_policies: bool

    def restart_operator(self) -> None:
        """End the operator abruptly; returns when another one is there."""
        ...

    def kill_container(self, pod: Object) -> None:
        """Send SIGKILL to the processes of the pod's container ``shoal``."""
        ...

    def pause_head(self, pod: Object) -> Callable[[], None] | None:
        """Stop the head's process as it is, so that its port answers nothing; returns what lets it go on.

        The program's own process goes on. None where the place cannot do it.
        """
        ...

    def close(self) -> None:
        """Take down what was brought up, and check that nothing is left."""
        ...


class LocalProvider:
    """`shoal local up`: the embedded API server, pods as processes."""

    patience = 1.0
    enforces_network_policies = False

    def __init__(self, directory: Path, runtime_image: str) -> None:
        self.runtime_image = runtime_image
        self._log_path = directory / "session.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shoal.cli.main", "local", "up"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "SHOAL_HOME": str(directory / "home")},
                start_new_session=True,
            )
        eventually(lambda: "export KUBECONFIG=" in self.log or self._process.poll() is not None, "it is up", UP_SECONDS)
        assert self._process.poll() is None, self.log
        self.kubeconfig = Path(self.log.rpartition("export KUBECONFIG=")[2].split()[0])
        self._session_id = self.kubeconfig.parent.name

    @property
    def log(self) -> str:
        """What the supervisor has printed."""
        return self._log_path.read_text()

    def _operators(self) -> list[int]:
        pids = marked(SESSION_MARK, self._session_id)
        return [pid for pid in pids if _OPERATOR_MODULE in _command_line(pid)]

    def restart_operator(self) -> None:
        """SIGKILL; the supervisor starts the next one."""
        (before,) = self._operators()
        os.kill(before, signal.SIGKILL)
        eventually(lambda: [pid for pid in self._operators() if pid != before], "the operator is back", 10.0)

    def kill_container(self, pod: Object) -> None:
        """SIGKILL to all that carry the container's mark."""
        identity = _container_id(pod)
        assert marked(CONTAINER_MARK, identity), f"nothing runs in {identity}"
        kill_marked(CONTAINER_MARK, identity)

    def pause_head(self, pod: Object) -> Callable[[], None] | None:
        """SIGSTOP to the head's process."""
        return _pause(pid for pid in marked(CONTAINER_MARK, _container_id(pod)) if _is_head(pid))

    def close(self) -> None:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(DOWN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            kill_marked(SESSION_MARK, self._session_id)
            raise AssertionError(f"`shoal local up` goes on after Ctrl-C:\n{self.log}") from None
        left = [f"{pid} {_command_line(pid)!r}" for pid in marked(SESSION_MARK, self._session_id)]
        assert code == 0, f"`shoal local up` ended with {code}:\n{self.log}"
        assert not left, f"`shoal local up` left processes: {left}"
        assert not self.kubeconfig.parent.exists(), "`shoal local up` left its directory"


class ClusterProvider:
    """A Kubernetes that somebody else started and installed Shoal into."""

    patience = 4.0
    enforces_network_policies = True

    def __init__(self, kubeconfig: Path, runtime_image: str, home: Path) -> None:
        self.kubeconfig = kubeconfig
        self.runtime_image = runtime_image
        self._kubectl = Kubectl(kubeconfig, home)

    def _operator_pods(self, namespace: str, selector: str) -> list[Object]:
        found = self._kubectl.within(namespace)("get", "pods", "--selector", selector, "-o", "json")
        return [pod for pod in json.loads(found)["items"] if "deletionTimestamp" not in pod["metadata"]]

    def _deployment(self) -> tuple[str, str]:
        """Namespace of the operator's Deployment, and the selector of its pods."""
        listed = self._kubectl("get", "deployments", "-A", "--selector", OPERATOR_SELECTOR, "-o", "json")
        items = json.loads(listed)["items"]
        assert len(items) == 1, f"{len(items)} Deployments have the label {OPERATOR_SELECTOR}; one is expected"
        labels = items[0]["spec"]["selector"]["matchLabels"]
        return items[0]["metadata"]["namespace"], ",".join(f"{key}={value}" for key, value in labels.items())

    def restart_operator(self) -> None:
        """Delete the operator's pods; the Deployment brings others."""
        namespace, selector = self._deployment()
        old = {pod["metadata"]["uid"] for pod in self._operator_pods(namespace, selector)}
        self._kubectl.within(namespace)("delete", "pods", "--selector", selector, "--wait=false", "--grace-period=1")

        def others_are_ready() -> bool:
            pods = [pod for pod in self._operator_pods(namespace, selector) if pod["metadata"]["uid"] not in old]
            return bool(pods) and all(_is_ready(pod) for pod in pods)

        eventually(others_are_ready, "the operator is back", 60.0)

    def scale_operator(self, replicas: int) -> None:
        """Have so many pods of the operator, all ready."""
        namespace, selector = self._deployment()
        kubectl = self._kubectl.within(namespace)
        kubectl("scale", "deployment", "--selector", selector, f"--replicas={replicas}")

        def are_ready() -> bool:
            pods = self._operator_pods(namespace, selector)
            return len(pods) == replicas and all(_is_ready(pod) for pod in pods)

        eventually(are_ready, f"{replicas} operators are ready", 120.0)

    def holder(self) -> str:
        """Who holds the operator's Lease, one process of one pod, or nothing."""
        namespace, _ = self._deployment()
        leases = json.loads(self._kubectl.within(namespace)("get", "leases", "-o", "json"))["items"]
        return next((str(one["spec"].get("holderIdentity") or "") for one in leases), "")

    def leader(self) -> str:
        """Name of the pod that holds the operator's Lease, or nothing."""
        return self.holder().partition("_")[0]

    def end_leader(self, pod_name: str) -> None:
        """SIGTERM, as a drain or an upgrade sends it; returns at once."""
        self._kubectl.within(self._deployment()[0])("delete", "pod", pod_name, "--wait=false")

    def kill_leader(self, pod_name: str) -> bool:
        """SIGKILL to its processes, from the node. Returns whether that was possible: the node is this machine."""
        pods = self._operator_pods(*self._deployment())
        (pod,) = (one for one in pods if one["metadata"]["name"] == pod_name)
        pids = _pids_in_cgroup(_container_id(pod, OPERATOR_CONTAINER))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def kill_container(self, pod: Object) -> None:
        """SIGKILL from the node when that is this machine; else, inside, to all but the first process.

        The first process of a container takes no SIGKILL from within it (pid_namespaces(7)).
        """
        pids = _pids_in_cgroup(_container_id(pod))
        if pids:
            for pid in pids:
                with suppress(ProcessLookupError):  # its parent's end took it along
                    os.kill(pid, signal.SIGKILL)
            return
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        kubectl = self._kubectl.within(namespace)
        kubectl("exec", name, "-c", RUNTIME_CONTAINER, "--", "python", "-c", _KILL_ALL_BUT_INIT)

    def pause_head(self, pod: Object) -> Callable[[], None] | None:
        """SIGSTOP from the node, when that is this machine."""
        return _pause(pid for pid in _pids_in_cgroup(_container_id(pod)) if _is_head(pid))

    def close(self) -> None:
        """It stays up; whoever started it ends it."""


def _container_id(pod: Object, container: str = RUNTIME_CONTAINER) -> str:
    statuses = pod["status"]["containerStatuses"]
    found = next(status["containerID"] for status in statuses if status["name"] == container)
    return str(found).partition("://")[2]


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is_head(pid: int) -> bool:
    words = _command_line(pid).split(b"\0")
    return b"start" in words and b"--head" in words


def _pause(pids: Iterable[int]) -> Callable[[], None] | None:
    found = list(pids)
    for pid in found:
        os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return go_on if found else None


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _pids_in_cgroup(container_id: str) -> list[int]:
    """The processes of a container, by the id that container runtimes put into the name of its cgroup."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if container_id in Path(f"/proc/{entry}/cgroup").read_text():
                found.append(int(entry))
        except OSError:
            continue
    return found
