"""From a pod's spec to what is run: environment, command line, directories.

Invariant: pure; a process gets the machine's ``PATH`` with this installation first, and nothing else of the
kubelet's own environment that could carry a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shoal_operator.local.kubelet.container import ProcessSpec
from shoal_operator.local.kubelet.environment import Context, Object, command_line, expand, variables
from shoal_operator.local.kubelet.quantity import parse
from shoal_operator.local.kubelet.rewrite import Rewriter
from shoal_operator.local.kubelet.volumes import mount_targets
from shoal_operator.local.sweep import SESSION_MARK

PASSED_ON: Final = (
    "LANG",
    "LC_ALL",
    "TZ",
    "USER",
    "LOGNAME",
    "SHELL",
    "HOME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
)
"""What a local process gets of the environment that the kubelet was started with, besides ``SHOAL_*``."""

HOME_VARIABLE: Final = "SHOAL_HOME"
"""Where Shoal's processes keep sockets: one place a pod, so that they go with it."""


@dataclass(frozen=True)
class Host:
    """The machine as pods see it.

    ``environment`` is the kubelet's own, ``bin_directory`` has the ``shoal`` command.
    """

    session_id: str
    environment: Mapping[str, str]
    bin_directory: str
    host_ip: str = "127.0.0.1"


@dataclass(frozen=True)
class PodPlace:
    """Where a pod lives: its directory, log directory, address, laid-down volumes, and ``SHOAL_HOME``."""

    directory: Path
    log_directory: Path
    pod_ip: str
    volume_paths: Mapping[str, str]
    home: str = ""

    def container_directory(self, name: str) -> Path:
        """The working directory of a container that names none."""
        return self.directory / "containers" / name

    def log_path(self, name: str, restart_count: int) -> Path:
        """The log of one run."""
        return self.log_directory / name / f"{restart_count}.log"


def context_for(pod: Object, context: Context, container: Object, place: PodPlace) -> Context:
    """The context of one container: its mounts on top of the pod's Service names.

    Raises:
        ConfigError: a mount names no volume.
    """
    rewriter = Rewriter(
        namespace=(pod.get("metadata") or {}).get("namespace", ""),
        mounts=mount_targets(container, place.volume_paths),
        services=context.rewriter.services,
    )
    return Context(pod, context.sources, context.addresses, rewriter, context.allocatable)


def base_environment(pod: Object, host: Host) -> dict[str, str]:
    """What every process of the pod gets before its spec speaks."""
    environment = {
        name: value for name, value in host.environment.items() if name in PASSED_ON or name.startswith("SHOAL_")
    }
    path = host.environment.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
    environment["PATH"] = f"{host.bin_directory}:{path}"
    environment["HOSTNAME"] = str((pod.get("spec") or {}).get("hostname") or pod["metadata"]["name"])
    environment[SESSION_MARK] = host.session_id
    return environment


def process_spec(
    pod: Object,
    container: Object,
    context: Context,
    place: PodPlace,
    host: Host,
    *,
    container_id: str,
    restart_count: int,
) -> ProcessSpec:
    """What to run for one container.

    Args:
        context: the pod's context; mounts of the container are added here.

    Raises:
        ConfigError: a reference leads nowhere or there is no command.
    """
    own = context_for(pod, context, container, place)
    declared = variables(container, own)
    environment = {**base_environment(pod, host), HOME_VARIABLE: place.home, **declared}
    return ProcessSpec(
        container_id=container_id,
        command=command_line(container, own, environment),
        environment=environment,
        directory=_directory(container, own, place),
        log_path=place.log_path(container["name"], restart_count),
        limits=rlimits(container),
    )


def hook_spec(running: ProcessSpec, command: list[str], own: Context) -> ProcessSpec:
    """A command that is run beside a container: same environment, directory and mark."""
    words = [expand(word, running.environment) for word in own.rewriter.arguments(command)]
    return ProcessSpec(running.container_id, words, running.environment, running.directory, running.log_path)


def _directory(container: Object, own: Context, place: PodPlace) -> Path:
    wanted = str(container.get("workingDir") or "")
    if not wanted:
        return place.container_directory(container["name"])
    return Path(own.rewriter.path(wanted))


def rlimits(container: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Limits of the process: no core dumps. Those for cpu and memory are recorded, not enforced."""
    limits = (container.get("resources") or {}).get("limits") or {}
    for amount in limits.values():
        parse(amount)
    return {"CORE": (0, 0)}
