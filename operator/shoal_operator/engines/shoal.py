"""The bundled runtime: command lines, ports, environment and probes of its head and workers.

Invariant: this is the only place that knows how a Shoal process is started. Pure: it returns parts of pods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from shoal.resources import UNITS, ResourceSet

CONTROL_PORT: Final = 7380
FRAMES_PORT: Final = 7381
CONTROL_PORT_NAME: Final = "control"
FRAMES_PORT_NAME: Final = "frames"
TOKEN_DIRECTORY: Final = "/var/run/shoal/token"  # noqa: S105 - a directory
TOKEN_FILE: Final = f"{TOKEN_DIRECTORY}/token"
TLS_DIRECTORY: Final = "/var/run/shoal/tls"
SOURCE_DIRECTORY: Final = "/var/run/shoal/source"
SOURCE_VARIABLE: Final = "SHOAL_SOURCE_DIRECTORY"
"""Environment variable of the head: where the job's ConfigMap is mounted."""
OUTPUT_SECRET_DIRECTORY: Final = "/var/run/shoal/output-secret"  # noqa: S105 - a directory
"""Where the head has the keys of ``spec.output.secretRef``, a file each."""
OUTPUT_SECRET_VARIABLE: Final = "SHOAL_OUTPUT_SECRET_DIRECTORY"  # noqa: S105 - a variable's name
"""Environment variable of the head: where that really is (local pods have no mounts of their own)."""
STATE_DIRECTORY: Final = "/var/lib/shoal"
DRAIN_SECONDS: Final = 20
"""What a worker takes at most to hand over what it holds when its pod is deleted."""
COMMAND: Final = ("shoal",)
STATE_PASSWORD: Final = "SHOAL_STATE_PASSWORD"  # noqa: S105 - the name of a variable


def head_arguments(
    group: str, resources: ResourceSet, labels: Mapping[str, str], *, keeps_state: bool = False
) -> list[str]:
    """Arguments of the head process.

    Args:
        group: the name under which the head's own node joins.
        resources: logical resources of the head; CPU 0 unless the user wants work there.
        labels: labels of the node, for label selectors.
        keeps_state: whether STATE_DIRECTORY is a volume that outlives the pod.
    """
    custom = {name: amount for name, amount in resources.items() if name != "CPU"}
    cpus = to_numbers({"CPU": resources["CPU"]})["CPU"]
    extra = ["--resources", _json(custom)] if custom else []
    return [
        "start",
        "--head",
        *("--node-ip", "$(POD_IP)"),
        *("--control-port", str(CONTROL_PORT)),
        *("--frames-port", str(FRAMES_PORT)),
        *("--num-cpus", str(cpus)),
        *("--token-file", TOKEN_FILE),
        *("--pod-name", "$(POD_NAME)"),
        *("--group", group),
        *extra,
        *_labels(labels),
        *(("--state-dir", STATE_DIRECTORY) if keeps_state else ()),
    ]


def worker_arguments(
    head_service: str,
    group: str,
    resources: ResourceSet,
    labels: Mapping[str, str],
    *,
    drain_seconds: int = DRAIN_SECONDS,
) -> list[str]:
    """Arguments of a worker process.

    Args:
        head_service: name of the head's Service.
        group: name of the worker group.
        resources: logical resources of one worker.
        labels: labels of the node, for label selectors.
        drain_seconds: how long tasks may go on after SIGTERM.
    """
    return [
        "start",
        *("--address", f"{head_service}:{CONTROL_PORT}"),
        *("--node-ip", "$(POD_IP)"),
        *("--frames-port", str(FRAMES_PORT)),
        *("--resources", _json(resources)),
        *("--token-file", TOKEN_FILE),
        *("--pod-name", "$(POD_NAME)"),
        *("--drain-seconds", str(drain_seconds)),
        *("--group", group),
        *_labels(labels),
    ]


def redis_arguments(url: str, name: str, retention_seconds: int) -> list[str]:
    """What a head needs in addition to keep its tables in Redis; the password is in the variable STATE_PASSWORD."""
    retention = str(retention_seconds)
    return ["--state-url", url, "--state-name", name, "--state-retention-seconds", retention]


def tls_arguments() -> list[str]:
    """What both need in addition to encrypt what they send over the network."""
    return ["--tls-dir", TLS_DIRECTORY]


def environment() -> list[dict[str, Any]]:
    """Environment of both: what the arguments refer to."""
    return [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]


def place(replica: int, host: int, hosts: int) -> list[dict[str, Any]]:
    """Environment of a worker in a replica of several hosts."""
    values = {"SHOAL_REPLICA_INDEX": replica, "SHOAL_HOST_INDEX": host, "SHOAL_HOSTS_PER_REPLICA": hosts}
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def ports(*, head: bool) -> list[dict[str, Any]]:
    """Ports of the container."""
    frames = {"name": FRAMES_PORT_NAME, "containerPort": FRAMES_PORT, "protocol": "TCP"}
    control = {"name": CONTROL_PORT_NAME, "containerPort": CONTROL_PORT, "protocol": "TCP"}
    return [control, frames] if head else [frames]


def probes(*, head: bool) -> dict[str, Any]:
    """Startup, readiness and liveness: the port that peers need takes connections.

    Liveness never depends on another pod, and is slow to judge: a busy process is not a dead one.
    """
    socket = {"tcpSocket": {"port": CONTROL_PORT if head else FRAMES_PORT}}
    return {
        "startupProbe": {**socket, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**socket, "periodSeconds": 5, "timeoutSeconds": 1, "failureThreshold": 2},
        "livenessProbe": {**socket, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
    }


def to_numbers(resources: Mapping[str, int]) -> dict[str, int | float]:
    """Amounts in units for a command line: whole numbers stay integers.

    Example:
        >>> to_numbers(ResourceSet.from_units({"CPU": 1, "GPU": 0.5}))
        {'CPU': 1, 'GPU': 0.5}
    """
    return {
        name: amount // UNITS if amount % UNITS == 0 else amount / UNITS for name, amount in sorted(resources.items())
    }


def _labels(labels: Mapping[str, str]) -> list[str]:
    return ["--labels", json.dumps(dict(sorted(labels.items())), separators=(",", ":"))] if labels else []


def _json(resources: Mapping[str, int]) -> str:
    return json.dumps(to_numbers(resources), separators=(",", ":"))
