"""The rules of Pod Security "restricted" as one pure function, written from the standard's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUMES_ALLOWED = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
PROFILES_ALLOWED = {"RuntimeDefault", "Localhost"}
SYSCTLS_ALLOWED = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}
SELINUX_TYPES_ALLOWED = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def violations(spec: dict[str, Any]) -> list[str]:
    """What keeps a pod of this spec out of a namespace that enforces "restricted"; empty: nothing."""
    pod = spec.get("securityContext") or {}
    found = [*_of_the_pod(spec, pod)]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or []:
            found += [f"{container['name']}: {words}" for words in _of_a_container(container, pod)]
    return found


def _of_the_pod(spec: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{name} is true"
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES_ALLOWED:
            yield f"volume {volume['name']} is of a kind that is not allowed: {kinds}"
    for sysctl in pod.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS_ALLOWED:
            yield f"sysctl {sysctl['name']}"
    yield from _of_both(pod)


def _of_a_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    yield from _of_both(own)
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "does not drop ALL capabilities"
    if not set(capabilities.get("add") or []) <= {"NET_BIND_SERVICE"}:
        yield f"adds capabilities {capabilities['add']}"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    profile = own.get("seccompProfile") or pod.get("seccompProfile") or {}
    if profile.get("type") not in PROFILES_ALLOWED:
        yield f"seccompProfile is {profile.get('type')}"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield "has a hostPort"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        for handler in ("httpGet", "tcpSocket"):
            if ((container.get(probe) or {}).get(handler) or {}).get("host"):
                yield f"{probe} names a host"


def _of_both(context: dict[str, Any]) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield "seccompProfile is Unconfined"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield "appArmorProfile is Unconfined"
    options = context.get("seLinuxOptions") or {}
    if options.get("type", "") not in SELINUX_TYPES_ALLOWED or options.get("user") or options.get("role"):
        yield f"seLinuxOptions are {options}"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "is a host process"
