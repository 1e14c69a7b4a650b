"""Volumes of a pod as a plan of directories and files.

Invariant: pure; the plan names only paths inside the volume's own directory, whatever keys and paths the spec
holds, and its result depends on nothing but the arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from shoal_operator.domain.manifests.hardening import (
    SCRATCH_PATH,
    SCRATCH_VOLUME,
    SHARED_MEMORY_PATH,
    SHARED_MEMORY_VOLUME,
)
from shoal_operator.local.kubelet.environment import (
    ConfigError,
    Context,
    Object,
    field_value,
    resource_value,
)

_DEFAULT_MODE: Final = 0o644
_MACHINES_OWN: Final = {(SCRATCH_VOLUME, SCRATCH_PATH), (SHARED_MEMORY_VOLUME, SHARED_MEMORY_PATH)}
"""Mounts of every pod that a local process has anyway: it sees the machine's, and paths below stay what they are."""


@dataclass(frozen=True)
class VolumePlan:
    """One volume.

    ``host_path`` is set when the volume is a directory or file of the machine. ``create`` is what a hostPath
    may bring into being (``directory`` or ``file``), ``require`` what must be there. ``in_memory`` asks for
    tmpfs.
    """

    name: str
    host_path: str = ""
    create: str = ""
    require: str = ""
    in_memory: bool = False
    files: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)


def plan_volume(volume: Object, context: Context) -> VolumePlan:
    """What to lay down for one entry of ``spec.volumes``.

    Raises:
        ConfigError: it refers to something missing, or is of a kind that local mode cannot offer.
    """
    name = volume["name"]
    if "hostPath" in volume:
        return _host_path(name, volume["hostPath"] or {})
    if "emptyDir" in volume:
        return VolumePlan(name, in_memory=(volume["emptyDir"] or {}).get("medium") == "Memory")
    for kind in ("secret", "configMap", "downwardAPI"):
        if kind in volume:
            source = dict(volume[kind] or {})
            if kind == "secret" and "secretName" in source:
                source["name"] = source["secretName"]
            return VolumePlan(name, files=_files(kind, source, source.get("defaultMode"), context))
    if "persistentVolumeClaim" in volume:
        return _claim(name, volume["persistentVolumeClaim"] or {}, context)
    if "projected" in volume:
        return VolumePlan(name, files=_projected(volume["projected"] or {}, context))
    kinds = ", ".join(sorted(key for key in volume if key != "name")) or "none"
    raise ConfigError(f'volume "{name}" has kind {kinds}, which local mode does not offer')


def _host_path(name: str, source: Object) -> VolumePlan:
    kind = source.get("type") or ""
    create = {"DirectoryOrCreate": "directory", "FileOrCreate": "file"}.get(kind, "")
    require = {"Directory": "directory", "File": "file"}.get(kind, "")
    return VolumePlan(name, host_path=str(source.get("path", "")), create=create, require=require)


def _claim(name: str, source: Object, context: Context) -> VolumePlan:
    """A directory of the claim's own: another claim of the same name finds it empty."""
    claim = context.sources.objects.get(("PersistentVolumeClaim", str(source.get("claimName") or "")))
    if claim is None:
        raise ConfigError(f'persistentvolumeclaim "{source.get("claimName")}" not found')
    return VolumePlan(name, host_path=f"{context.claims_directory}/{claim['metadata']['uid']}", create="directory")


def _projected(source: Object, context: Context) -> dict[str, tuple[bytes, int]]:
    files: dict[str, tuple[bytes, int]] = {}
    for entry in source.get("sources") or []:
        for kind in ("secret", "configMap", "downwardAPI"):
            if entry.get(kind) is not None:
                files.update(_files(kind, entry[kind], source.get("defaultMode"), context))
        if "serviceAccountToken" in entry:
            raise ConfigError("projected service account tokens do not exist in local mode")
    return files


def _files(kind: str, source: Object, default_mode: int | None, context: Context) -> dict[str, tuple[bytes, int]]:
    mode = _DEFAULT_MODE if default_mode is None else int(default_mode)
    items: list[Mapping[str, Any]] = list(source.get("items") or [])
    files: dict[str, tuple[bytes, int]] = {}
    if kind == "downwardAPI":
        for item in items:
            content = _downward(item, context).encode()
            files[_inside(item["path"])] = (content, int(item.get("mode") or mode))
        return files
    optional = bool(source.get("optional"))
    wanted_kind = "Secret" if kind == "secret" else "ConfigMap"
    data = context.sources.data(wanted_kind, str(source.get("name", "")), optional)
    if data is None:
        return files
    if not items:
        return {_inside(key): (content, mode) for key, content in data.items()}
    for item in items:
        if item["key"] in data:
            files[_inside(item["path"])] = (data[item["key"]], int(item.get("mode") or mode))
        elif not optional:
            raise ConfigError(f"references non-existent {kind} key: {item['key']}")
    return files


def _downward(item: Object, context: Context) -> str:
    if item.get("fieldRef"):
        return field_value(context.pod, item["fieldRef"].get("fieldPath", ""), context.addresses)
    return resource_value(context.pod, {}, item.get("resourceFieldRef") or {}, context.allocatable)


def _inside(path: str) -> str:
    """The path, when it stays inside the volume.

    Raises:
        ConfigError: absolute, empty, or climbing out.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ConfigError(f"path {path!r} must be relative and must not contain '..'")
    return path


def mount_targets(container: Object, volume_paths: Mapping[str, str]) -> dict[str, str]:
    """Mount path to real path for one container.

    Args:
        volume_paths: volume name to the directory (or file) that holds it.

    Raises:
        ConfigError: a mount names a volume that the pod does not have.
    """
    targets: dict[str, str] = {}
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in volume_paths:
            raise ConfigError(f'volume mount names volume "{mount["name"]}", which the pod does not have')
        real = volume_paths[mount["name"]]
        if mount.get("subPath"):
            real = f"{real}/{_inside(mount['subPath'])}"
        path = str(mount["mountPath"]).rstrip("/") or "/"
        if (mount["name"], path) not in _MACHINES_OWN:
            targets[path] = real
    return targets
