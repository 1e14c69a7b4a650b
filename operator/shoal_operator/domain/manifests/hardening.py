"""What makes a pod fit Pod Security "restricted", and lets it run with a read-only root file system.

Invariants:
- each field is a default of its own: what the user's template says stays, also when it says ``null`` (none);
- defaults never contradict what the template asks for (a container that is to run as root is not told to run as
  somebody else), because a pod that contradicts itself is refused or never starts;
- Pod Security looks at every container, so sidecars and init containers get the defaults too, except for the
  read-only root file system, which only our own container is known to bear.
"""

from __future__ import annotations

from typing import Any, Final

from shoal_operator.domain.quantities import RUNTIME_CONTAINER, parse_quantity

USER_ID: Final = 65532
"""User and group of the pods, as in our images; any image can run as a user that it does not know."""
SCRATCH_VOLUME: Final = "shoal-tmp"
SCRATCH_PATH: Final = "/tmp"  # noqa: S108 - an emptyDir of the pod's own
SHARED_MEMORY_VOLUME: Final = "shoal-shm"
SHARED_MEMORY_PATH: Final = "/dev/shm"  # noqa: S108 - the same, in memory
SHARED_MEMORY_DEFAULT: Final = "1Gi"
"""Size of /dev/shm where the container has no memory limit; with one it is half of that."""

_MEBIBYTE: Final = 1024 * 1024
_ESCALATING: Final = {"SYS_ADMIN", "CAP_SYS_ADMIN", "ALL"}


def harden(spec: dict[str, Any]) -> None:
    """Fill in what ``spec``, a pod's, does not say about its security. Changes it in place."""
    spec.setdefault("automountServiceAccountToken", False)
    own = _context_of(spec)
    if own is None:
        return  # `securityContext: null`: the user wants none of it
    root = own.get("runAsUser") == 0
    if not root:
        own.setdefault("runAsNonRoot", True)
        if own["runAsNonRoot"]:
            own.setdefault("runAsUser", USER_ID)
    own.setdefault("runAsGroup", own.get("runAsUser"))
    own.setdefault("fsGroup", own["runAsGroup"])
    for name in ("runAsGroup", "fsGroup"):
        if own[name] is None:
            del own[name]
    own.setdefault("fsGroupChangePolicy", "OnRootMismatch")
    own.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or []:
            _harden_container(container)


def _harden_container(container: dict[str, Any]) -> None:
    own = _context_of(container)
    if own is None or own.get("privileged"):
        return
    if own.get("runAsUser") == 0:
        own.setdefault("runAsNonRoot", False)  # else the pod's own answer would forbid what this one asks for
        return
    capabilities = own.get("capabilities") or {}
    if not _ESCALATING.intersection(capabilities.get("add") or ()):
        own.setdefault("allowPrivilegeEscalation", False)
    if own.setdefault("capabilities", {}) is not None:
        own["capabilities"].setdefault("drop", ["ALL"])
    if container.get("name") == RUNTIME_CONTAINER:
        own.setdefault("readOnlyRootFilesystem", True)


def _context_of(holder: dict[str, Any]) -> dict[str, Any] | None:
    context: dict[str, Any] | None = holder.setdefault("securityContext", {})
    return context


def add_scratch(spec: dict[str, Any], container: dict[str, Any]) -> None:
    """Give the runtime's container a /tmp and a sized /dev/shm, unless the template mounts its own there."""
    size = {"medium": "Memory", "sizeLimit": shared_memory_size(container)}
    for name, path, source in (
        (SCRATCH_VOLUME, SCRATCH_PATH, {}),
        (SHARED_MEMORY_VOLUME, SHARED_MEMORY_PATH, size),
    ):
        mounts = container.setdefault("volumeMounts", [])
        if any(str(mount.get("mountPath", "")).rstrip("/") == path for mount in mounts):
            continue
        mounts.append({"name": name, "mountPath": path})
        volumes = spec.setdefault("volumes", [])
        if not any(volume.get("name") == name for volume in volumes):
            volumes.append({"name": name, "emptyDir": source})


def shared_memory_size(container: dict[str, Any]) -> str:
    """Half of the container's memory limit as a quantity: what lies in /dev/shm counts against that limit.

    Example:
        >>> shared_memory_size({"resources": {"limits": {"memory": "4Gi"}}})
        '2048Mi'
    """
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    if limit is None:
        return SHARED_MEMORY_DEFAULT
    try:
        mebibytes = int(parse_quantity(limit)) // 2 // _MEBIBYTE
    except ValueError:
        return SHARED_MEMORY_DEFAULT  # the API server says what is wrong with the limit itself
    return f"{max(mebibytes, 1)}Mi"
