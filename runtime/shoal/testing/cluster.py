"""Several real nodes on one machine, each with a loopback address of its own, joined by TCP as in a real cluster.

Plays the part of Ray's ``ray.cluster_utils.Cluster``. Programs connect through the head's node; nodes come and go while
they run.

Invariant: all nodes end with the cluster, or with the process that made it, however that ends (each holds the reading
end of a pipe whose writing end only that process has).
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal.core.membership import SILENCE_SECONDS
from shoal.exceptions import SystemFailureError

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
CONTROL_PORT: Final = 7380
FRAMES_PORT: Final = 7381


@dataclass(slots=True)
class LocalNode:
    """One node process."""

    process: subprocess.Popen[bytes]
    ip: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def node_id(self) -> str:
        """The node's id, 32 hex digits."""
        return str(self.facts["node_id"])

    def kill(self) -> None:
        """``kill -9``: the node is gone from one moment to the next."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Ask the node to end, and end it if it does not."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


class LocalCluster:
    """A head without CPUs and any number of worker nodes.

    Args:
        head_cpus: logical CPUs of the head's node.
        state_dir: where the head keeps what outlives its process; empty: nowhere.
        state_url: the same in a Redis server; its password in the environment.
        tls_dir: with ca.crt, tls.crt and tls.key; empty: nothing between the nodes is encrypted.
        silence_seconds: a node that says nothing for so long is lost.

    Raises:
        SystemFailureError: the head did not start; its output is on stderr.

    Example:
        >>> with LocalCluster() as cluster:
        ...     cluster.add_node(num_cpus=2)
        ...     cluster.connect()
        ...     print(shoal.cluster_resources())
    """

    def __init__(
        self,
        head_cpus: float = 0,
        tls_dir: str = "",
        state_dir: str = "",
        state_url: str = "",
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._tls_dir, self._state_dir, self._state_url = tls_dir, state_dir, state_url
        self._silence_seconds = silence_seconds
        self._head_cpus = head_cpus
        self._root = Path(tempfile.mkdtemp(prefix="shoal-c"))
        self._network = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}"
        self._lifeline_read, self._lifeline_write = os.pipe2(os.O_CLOEXEC)
        self._count = 0
        self.nodes: list[LocalNode] = []
        self._token_file = self._root / "token"
        self._token_file.touch(mode=0o600)
        self._token_file.write_text(secrets.token_hex(32))
        try:
            self.head = self._start_head(None)
        except BaseException:
            self.shutdown()
            raise

    @property
    def address(self) -> str:
        """The head's control port, ``ip:port``."""
        return f"{self.head.ip}:{CONTROL_PORT}"

    @property
    def token_file(self) -> Path:
        """The file that holds the cluster's token."""
        return self._token_file

    def add_node(
        self,
        num_cpus: float = 1,
        *,
        resources: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
        object_store_bytes: int | None = None,
        drain_seconds: float = 0.0,
    ) -> LocalNode:
        """Start a worker node and wait until it listens (it joins the head a moment later).

        Args:
            num_cpus: logical CPUs.
            resources: further logical resources.
            labels: for label selectors.
            object_store_bytes: the most that its objects may take.
            drain_seconds: how long SIGTERM lets it finish what runs there.

        Raises:
            SystemFailureError: it did not start; its output is on stderr.
        """
        role = ["--address", self.address, "--drain-seconds", str(drain_seconds)]
        node = self._start(role, num_cpus, resources or {}, labels or {}, object_store_bytes)
        self.nodes.append(node)
        return node

    def restart_head(self) -> LocalNode:
        """Start a new head process at the address of the old one, which must have ended.

        Raises:
            SystemFailureError: it did not start; its output is on stderr.
        """
        self.head = self._start_head(self.head.ip)
        return self.head

    def _start_head(self, ip: str | None) -> LocalNode:
        role = ["--head", "--control-port", str(CONTROL_PORT), "--silence-seconds", str(self._silence_seconds)]
        role += ["--state-dir", self._state_dir] if self._state_dir else []
        role += ["--state-url", self._state_url, "--state-name", self._root.name] if self._state_url else []
        return self._start(role, self._head_cpus, {}, {}, None, ip)

    def connect(self, **options: Any) -> None:
        """``shoal.init()`` of the calling program on the head's node."""
        import shoal

        os.environ["SHOAL_NODE_SOCKET"] = self.head.facts["socket"]
        try:
            shoal.init(**options)
        finally:
            del os.environ["SHOAL_NODE_SOCKET"]

    def shutdown(self) -> None:
        """Disconnect and end all nodes. Idempotent."""
        import shoal

        shoal.shutdown()
        head = getattr(self, "head", None)
        everyone = [*self.nodes, *([head] if head is not None else [])]
        for node in everyone:
            node.process.send_signal(signal.SIGTERM)
        for node in everyone:
            node.stop()
        self.nodes.clear()
        for fd in (self._lifeline_read, self._lifeline_write):
            if fd >= 0:
                os.close(fd)
        self._lifeline_read = self._lifeline_write = -1
        shutil.rmtree(self._root, ignore_errors=True)

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.shutdown()

    def _start(
        self,
        role: list[str],
        num_cpus: float,
        resources: dict[str, float],
        labels: dict[str, str],
        object_store_bytes: int | None,
        ip: str | None = None,
    ) -> LocalNode:
        self._count += 1
        ip = ip or f"{self._network}.{self._count}"
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        command = [sys.executable, "-m", "shoal.cli.start", *role, "--node-ip", ip]
        command += ["--frames-port", str(FRAMES_PORT), "--token-file", str(self._token_file)]
        command += ["--tls-dir", self._tls_dir] if self._tls_dir else []
        command += ["--num-cpus", str(num_cpus), "--resources", json.dumps(resources), "--labels", json.dumps(labels)]
        command += ["--session-dir", str(self._root / str(self._count)), "--pod-name", f"local-{self._count}"]
        command += ["--owner-pid", str(os.getpid()), "--lifeline-fd", str(self._lifeline_read)]
        command += ["--ready-fd", str(ready_write)]
        if object_store_bytes is not None:
            command += ["--object-store-bytes", str(object_store_bytes)]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(self._lifeline_read, ready_write))
        finally:
            os.close(ready_write)
        try:
            return LocalNode(process, ip, _read_facts(ready_read, process))
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            os.close(ready_read)


def _read_facts(fd: int, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        readable, _, _ = select.select([fd], [], [], START_SECONDS)
        chunk = os.read(fd, 65536) if readable else b""
        if not chunk:
            raise SystemFailureError(f"a node did not start (exit code {process.poll()}); its output is on stderr")
        data += chunk
    facts: dict[str, Any] = json.loads(data)
    return facts
