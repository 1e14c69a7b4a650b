"""Reading the API server through `kubectl proxy`: cheap enough to poll and to watch.

The proxy listens on a Unix socket in a private directory, so nobody else gets in by it. Scenarios change things
with kubectl, as people do; this only looks.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from pathlib import Path
from typing import Any, Final

from e2e.eventually import eventually
from e2e.kubectl import Kubectl

READ_SECONDS: Final = 30.0
GROUP: Final = "/apis/shoal.dev/v1alpha1"

Object = dict[str, Any]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """Reads from the API server. ``socket_path`` is the proxy's."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def find(self, path: str) -> Object | None:
        """The answer to GET; None for 404.

        Raises:
            ConnectionError: the server answers with another error.
        """
        connection = UnixConnection(self._socket_path, READ_SECONDS)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.NOT_FOUND:
            return None
        if answer.status != http.HTTPStatus.OK:
            raise ConnectionError(f"GET {path}: {answer.status} {body.decode('utf-8', 'replace')[:500]}")
        found: Object = json.loads(body)
        return found

    def list(self, path: str) -> list[Object]:
        """The items of a collection; none when there is no such collection."""
        return list((self.find(path) or {}).get("items") or [])

    def stream(self, path: str) -> tuple[UnixConnection, http.client.HTTPResponse]:
        """An open watch; the caller reads lines and closes the connection."""
        connection = UnixConnection(self._socket_path, None)
        connection.request("GET", path, headers={"Accept": "application/json"})
        return connection, connection.getresponse()


class Proxy:
    """`kubectl proxy` for one test session."""

    def __init__(self, kubectl: Kubectl, directory: Path) -> None:
        self._path = directory / "proxy.sock"
        self._log = (directory / "proxy.log").open("wb")
        self._process = subprocess.Popen(
            kubectl.command("proxy", f"--unix-socket={self._path}", "--reject-paths=^$"),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=kubectl.environment,
        )
        eventually(self._path.exists, "kubectl proxy listens", 20.0)
        self.api = Api(self._path)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._path.unlink(missing_ok=True)
