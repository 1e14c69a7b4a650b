"""The Node object: what this machine declares to the scheduler and to ``kubectl get nodes``.

Invariant: what is declared is what pods are fitted against; it is never measured.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

from shoal_operator.local.client import Object
from shoal_operator.local.kubelet.status import timestamp


@dataclass(frozen=True)
class NodeSettings:
    """What the node declares. Local pods share one machine, so the default capacity only bounds nonsense."""

    name: str = "local"
    capacity: Mapping[str, str] = field(
        default_factory=lambda: {
            "cpu": "1024",
            "memory": "4Ti",
            "ephemeral-storage": "16Ti",
            "pods": "2000",
        }
    )
    labels: Mapping[str, str] = field(default_factory=dict)


def node_object(settings: NodeSettings, now: float) -> Object:
    """The Node object."""
    at = timestamp(now)
    conditions = [
        {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": at,
            "lastTransitionTime": at,
        }
    ]
    labels = {
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": platform.system().lower(),
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        **settings.labels,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": settings.name, "labels": labels},
        "spec": {},
        "status": {
            "capacity": dict(settings.capacity),
            "allocatable": dict(settings.capacity),
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": settings.name},
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.33.0-shoal",
                "operatingSystem": "linux",
                "architecture": labels["kubernetes.io/arch"],
                "containerRuntimeVersion": "process://1",
                "kernelVersion": platform.release(),
                "osImage": "local processes",
                "kubeProxyVersion": "",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
            },
        },
    }
