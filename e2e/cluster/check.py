"""Whether the cluster itself works, before anything of the product is in it.

Invariant: what fails here is the cluster's fault, what fails later is the product's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from e2e.cluster import commands
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.errors import ProviderError

NAMESPACE = "cluster-check"
ANSWER = "here I am"
TIMEOUT_SECONDS = 60.0
SERVE = (
    "import http.server\n"
    "class Handler(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200)\n"
    "        self.end_headers()\n"
    f"        self.wfile.write(b'{ANSWER}')\n"
    "http.server.HTTPServer(('', 8000), Handler).serve_forever()\n"
)
ASK = (
    "import time, urllib.request\n"
    "for _ in range(200):\n"
    "    try:\n"
    f"        print(urllib.request.urlopen('http://server.{NAMESPACE}.svc.cluster.local', timeout=2).read().decode())\n"
    "        break\n"
    "    except OSError as error:\n"
    "        print(error)\n"
    "        time.sleep(0.1)\n"
)


def check(plane: ControlPlane, image: str, nodes: Sequence[str]) -> None:
    """Run a server on the last node and ask it from the first: pods, Services, DNS, logs and exec.

    `image` needs a `python3` and has to be on the nodes.

    Raises:
        ProviderError: one of them does not work; says what the pods look like.
    """
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    commands.wait_until("the namespace has its service account", lambda: _has_account(plane), TIMEOUT_SECONDS)
    ports = [{"port": 80, "targetPort": 8000}]
    named = {"name": "server", "namespace": NAMESPACE}
    plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {"selector": {"app": "server"}, "ports": ports},
        },
        _pod("server", image, nodes[-1], SERVE),
        _pod("client", image, nodes[0], ASK),
    )
    try:
        commands.wait_until(
            "a pod reaches another through its Service's name", lambda: _answered(plane), TIMEOUT_SECONDS
        )
    except ProviderError as error:
        pods = plane.kubectl("describe", "pods", "-n", NAMESPACE)
        raise ProviderError(f"{error}\n{pods}") from None
    inside = plane.kubectl("exec", "server", "-n", NAMESPACE, "--", "python3", "-c", "print(6 * 7)")
    if inside.strip() != "42":
        raise ProviderError(f"kubectl exec printed {inside!r} instead of 42")
    plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _has_account(plane: ControlPlane) -> bool:
    return bool(plane.kubectl("get", "serviceaccount", "default", "-n", NAMESPACE, "-o", "name"))


def _answered(plane: ControlPlane) -> bool:
    return ANSWER in plane.kubectl("logs", "client", "-n", NAMESPACE)


def _pod(name: str, image: str, node: str, program: str) -> Mapping[str, object]:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "-c", program],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }
