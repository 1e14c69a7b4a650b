"""Nodes that exist in the API only, kept alive by kwok.

Invariant: where there are real nodes, nothing lands on fake ones by mistake.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from e2e.cluster import binaries, commands
from e2e.cluster.control_plane import ControlPlane

KEY = "kwok.x-k8s.io/node"
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
READY_TIMEOUT_SECONDS = 120.0


def start(plane: ControlPlane, program: Path, count: int, *, tainted: bool) -> None:
    """Start kwok, make `count` nodes of 64 cores and 256 GiB, and return when they are Ready.

    `tainted` keeps pods away that do not tolerate it: where there are real nodes too.
    """
    stages = plane.directory / "stages.yaml"
    stages.write_text("\n---\n".join(_stages()))
    plane.start_daemon(
        "kwok",
        program / "kwok",
        f"--config={stages}",
        f"--kubeconfig={plane.kubeconfig('kwok')}",
        f"--manage-nodes-with-annotation-selector={KEY}=fake",
        "--node-lease-duration-seconds=40",
    )
    plane.apply(*(fake_node(index, tainted=tainted) for index in range(count)))
    commands.wait_until(
        f"{count} fake nodes are Ready", lambda: _ready(plane) == count, READY_TIMEOUT_SECONDS, plane.daemons
    )


def _stages() -> list[str]:
    downloaded = commands.run(["go", "mod", "download", "-json", "sigs.k8s.io/kwok"], folder=binaries.KWOK.module)
    folder = Path(json.loads(downloaded)["Dir"]) / "kustomize" / "stage"
    files = [path for name in STAGES for path in sorted((folder / name).glob("*.yaml"))]
    return [path.read_text() for path in files if path.name != "kustomization.yaml"]


def _ready(plane: ControlPlane) -> int:
    path = "jsonpath={range .items[*]}{.status.conditions[?(@.type=='Ready')].status} {end}"
    return plane.kubectl("get", "nodes", "-l", "type=kwok", "-o", path).split().count("True")


def fake_node(index: int, *, tainted: bool) -> Mapping[str, object]:
    """The Node object number `index`."""
    size = {"cpu": "64", "memory": "256Gi", "pods": "500"}
    name = f"fake-{index}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {KEY: "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": KEY, "value": "fake", "effect": "NoSchedule"}] if tainted else []},
        "status": {"capacity": size, "allocatable": size},
    }
