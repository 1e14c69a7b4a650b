"""Making a pod's place: its address, its directories, its volumes, and the objects its spec refers to.

Invariant: a pod's place is made once and removed once; what it refers to is read from the API server each
time a container starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal_operator.local.client import ApiClient
from shoal_operator.local.kubelet.environment import Context, Sources
from shoal_operator.local.kubelet.events import EventRecorder
from shoal_operator.local.kubelet.lifecycle import RestartPolicy
from shoal_operator.local.kubelet.logs import LogLimits
from shoal_operator.local.kubelet.materialise import lay_down, make_home
from shoal_operator.local.kubelet.proxy import ServiceAddresses
from shoal_operator.local.kubelet.rewrite import Rewriter
from shoal_operator.local.kubelet.translate import Host, PodPlace
from shoal_operator.local.kubelet.volumes import plan_volume
from shoal_operator.local.loopback import LoopbackPool

Object = Mapping[str, Any]

_CLAIM: Final = "PersistentVolumeClaim"
_PLURALS: Final = {"ConfigMap": "configmaps", "Secret": "secrets", _CLAIM: "persistentvolumeclaims"}


@dataclass(frozen=True)
class NodeContext:
    """What every pod worker of a node shares.

    ``root`` holds ``pods/`` and ``logs/``. ``allocatable`` is what the Node object declares.
    """

    client: ApiClient
    events: EventRecorder
    host: Host
    root: Path
    pool: LoopbackPool
    service_addresses: ServiceAddresses
    node_name: str
    allocatable: Mapping[str, str]
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    log_limits: LogLimits = field(default_factory=LogLimits)


def referenced(pod: Object) -> set[tuple[str, str]]:
    """The ``(kind, name)`` of every ConfigMap, Secret and claim that a pod's spec names."""
    spec = pod.get("spec") or {}
    found: set[tuple[str, str]] = set()
    for volume in spec.get("volumes") or []:
        found.update(_of_volume(volume))
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for source in container.get("envFrom") or []:
            found.update(_named(source, "configMapRef", "secretRef"))
        for entry in container.get("env") or []:
            found.update(_named(entry.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef"))
    return found


def _named(source: Object, config_map_key: str, secret_key: str) -> Iterator[tuple[str, str]]:
    for key, kind in ((config_map_key, "ConfigMap"), (secret_key, "Secret")):
        reference = source.get(key) or {}
        name = reference.get("name") or reference.get("secretName")
        if name:
            yield kind, str(name)


def _of_volume(volume: Object) -> Iterator[tuple[str, str]]:
    yield from _named(volume, "configMap", "secret")
    if volume.get("persistentVolumeClaim"):
        yield _CLAIM, str(volume["persistentVolumeClaim"].get("claimName") or "")
    for source in (volume.get("projected") or {}).get("sources") or []:
        yield from _named(source, "configMap", "secret")


async def context_of(pod: Object, node: NodeContext, pod_ip: str) -> Context:
    """Read what the pod refers to, and the Services it may name.

    Raises:
        ApiError: the API server does not answer.
    """
    namespace = pod["metadata"]["namespace"]
    base = f"/api/v1/namespaces/{namespace}"
    objects: dict[tuple[str, str], Object] = {}
    for kind, name in sorted(referenced(pod)):
        found = await node.client.find(f"{base}/{_PLURALS[kind]}/{name}")
        if found is not None:
            objects[kind, name] = found
    services: dict[str, str] = {}
    for service in (await node.client.get("/api/v1/services")).get("items") or []:
        address = node.service_addresses.of(service)
        if address is not None:
            metadata = service["metadata"]
            services[f"{metadata['name']}.{metadata['namespace']}"] = address
    return Context(
        pod=pod,
        sources=Sources(objects),
        addresses={"status.podIP": pod_ip, "status.hostIP": node.host.host_ip},
        rewriter=Rewriter(namespace, services=services),
        allocatable=node.allocatable,
        claims_directory=str(node.root / "claims"),
    )


def make_place(pod: Object, node: NodeContext, context: Context, pod_ip: str) -> PodPlace:
    """Make the pod's directories and volumes.

    Raises:
        ConfigError: a volume refers to something missing.
        OSError: the disk refuses.
    """
    metadata = pod["metadata"]
    # Half of the uid is unique enough here, and keeps paths short enough for Unix sockets.
    directory = node.root / "pods" / str(metadata["uid"]).replace("-", "")[:12]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    spec = pod["spec"]
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        (directory / "containers" / container["name"]).mkdir(parents=True, exist_ok=True, mode=0o700)
    volume_paths = {
        volume["name"]: lay_down(plan_volume(volume, context), directory) for volume in spec.get("volumes") or []
    }
    return PodPlace(directory, log_directory(node.root, pod), pod_ip, volume_paths, make_home(directory))


def log_directory(root: Path, pod: Object) -> Path:
    """Where the logs of a pod's containers are."""
    metadata = pod["metadata"]
    return root / "logs" / "pods" / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
