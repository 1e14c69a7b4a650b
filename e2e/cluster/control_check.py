"""The check of a Kubernetes of which only the control plane is built: chart, kinds and operator against its API.

Invariant: the nodes are fake, so pods come up but nothing runs in them; what is checked is what the API server says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from e2e import manifests
from e2e.cluster import commands
from e2e.cluster.commands import Daemon
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.errors import CommandError, ProviderError

NAMESPACE = "control-check"
JOB = "job"
TIMEOUT_SECONDS = 60.0


def check(plane: ControlPlane, logs: Path) -> None:
    """Run the operator beside the cluster, see it make a job's pods, and see it clear them away.

    The chart has to be installed, for its kinds.

    Raises:
        ProviderError: something was not in time, or nonsense was accepted.
    """
    operator = _start_operator(plane, logs)
    plane.apply(manifests.namespace(NAMESPACE), _job(JOB, {"minReplicas": 1}))
    commands.wait_until(
        "the operator made the job's head and worker", lambda: len(_pods(plane)) == 2, TIMEOUT_SECONDS, [operator]
    )
    commands.wait_until("the job has conditions", lambda: bool(_conditions(plane)), TIMEOUT_SECONDS, [operator])
    _refuses_nonsense(plane)
    plane.kubectl("delete", "computejob", JOB, "-n", NAMESPACE, "--timeout=60s")
    commands.wait_until("the job's pods are gone", lambda: not _pods(plane), TIMEOUT_SECONDS, [operator])
    plane.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", timeout_seconds=90)


def _start_operator(plane: ControlPlane, logs: Path) -> Daemon:
    program = Path(sys.executable).with_name("shoal-operator")
    arguments = [f"--kubeconfig={plane.kubeconfig()}", "--all-namespaces", "--no-leader-election", "--log-level=debug"]
    return Daemon("shoal-operator", plane.host.inside(program, *arguments), logs / "operator.log", plane.directory)


def _job(name: str, group: dict[str, Any]) -> manifests.Manifest:
    spec = {
        "entrypoint": "true",
        "clusterSpec": {"image": "shoal/runtime:none", "workerGroups": [manifests.group(**group)]},
    }
    return {
        "apiVersion": manifests.API_VERSION,
        "kind": "ComputeJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def _pods(plane: ControlPlane) -> list[str]:
    return plane.kubectl("get", "pods", "-n", NAMESPACE, "-o", "name").split()


def _conditions(plane: ControlPlane) -> list[Any]:
    job = json.loads(plane.kubectl("get", "computejob", JOB, "-n", NAMESPACE, "-o", "json"))
    found: list[Any] = job.get("status", {}).get("conditions", [])
    return found


def _refuses_nonsense(plane: ControlPlane) -> None:
    """The rules of the kinds are in force: written for a newer server, an old one might drop them."""
    try:
        plane.apply(_job("wrong", {"minReplicas": 3, "maxReplicas": 2}))
    except CommandError as refused:
        if "minReplicas" not in str(refused):
            raise
        return
    raise ProviderError("a worker group with minReplicas above maxReplicas was accepted")
