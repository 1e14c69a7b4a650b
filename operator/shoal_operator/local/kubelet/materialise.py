"""Laying down a pod's volumes on disk.

Invariant: everything is below the pod's own 0700 directory or reached by a link in it that ``remove_tree``
follows; files appear whole (written beside, then renamed).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from shoal_operator.local.kubelet.environment import ConfigError
from shoal_operator.local.kubelet.volumes import VolumePlan

MAX_HOME_LENGTH: Final = 68
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 (only private directories are made in it)


def lay_down(plan: VolumePlan, pod_directory: Path) -> str:
    """Make one volume; the real path that stands for it.

    Raises:
        ConfigError: a hostPath is not what the spec requires.
        OSError: the disk refuses.
    """
    if plan.host_path:
        return _host_path(plan)
    target = pod_directory / "volumes" / plan.name
    if plan.in_memory and os.access(_SHARED_MEMORY, os.W_OK):
        return _in_memory(target)
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for relative, (content, mode) in plan.files.items():
        _write(target / relative, content, mode)
    return str(target)


def _host_path(plan: VolumePlan) -> str:
    path = Path(plan.host_path)
    if plan.create == "directory":
        path.mkdir(parents=True, exist_ok=True)
    elif plan.create == "file":
        path.touch(exist_ok=True)
    if plan.require == "directory" and not path.is_dir():
        raise ConfigError(f"hostPath type check failed: {path} is not a directory")
    if plan.require == "file" and not path.is_file():
        raise ConfigError(f"hostPath type check failed: {path} is not a file")
    return str(path)


def _in_memory(target: Path) -> str:
    """A directory in shared memory, reached by a link so that removing the pod finds it."""
    if not target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The process in the name tells whose it is, when several sessions share the machine.
        target.symlink_to(tempfile.mkdtemp(prefix=f"shoal-volume-{os.getpid()}-", dir=_SHARED_MEMORY))
    return str(target.readlink())


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    # Group and others gain nothing by a wider mode: the pod's directory is closed to them.
    os.chmod(beside, mode & 0o700 | 0o400)
    os.replace(beside, path)


def make_home(pod_directory: Path) -> str:
    """A private directory for sockets, in the pod's own directory or, where that is too deep, reached by a link.

    A Unix socket's path has at most 107 bytes, and programs add directories of their own.
    """
    home = pod_directory / "volumes" / ".home"
    if len(str(home)) <= MAX_HOME_LENGTH:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return str(home)
    if not home.is_symlink():
        home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.symlink_to(tempfile.mkdtemp(prefix="shoal-pod-"))
    return str(home.readlink())


def remove_tree(pod_directory: Path) -> None:
    """Remove a pod's directory, and what is reached from it by a link: in-memory volumes, the home."""
    volumes = pod_directory / "volumes"
    if volumes.is_dir():
        for entry in volumes.iterdir():
            if entry.is_symlink():
                shutil.rmtree(entry.readlink(), ignore_errors=True)
    shutil.rmtree(pod_directory, ignore_errors=True)
