"""Build the Go programs that a cluster is made of. Invariant: what is in the cache fits its go.sum and compiler."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import commands
from e2e.cluster.errors import ProviderError

TOOLS = Path(__file__).parent.parent / "tools"
BUILD_TIMEOUT_SECONDS = 45 * 60
BUILDS_KEPT = 2
"""Of each tool, so that going back and forth between two branches builds nothing."""
RELEASES = {"newest": "kubernetes", "oldest": "kubernetes-oldest"}
"""Which Kubernetes are supported, and the module that builds each. Of the oldest only the control plane is built."""


def cache_folder() -> Path:
    """Where builds are kept between runs, outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "shoal-e2e"


@dataclass(frozen=True)
class Tool:
    """One module under `e2e/tools`: `programs` are the names that `go install tool` gives its binaries."""

    name: str
    programs: tuple[str, ...]

    @property
    def module(self) -> Path:
        return TOOLS / self.name


CONTROL_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE_PROGRAMS = ("kube-proxy", "kubelet")
ETCD = Tool("etcd", ("server",))
COREDNS = Tool("coredns", ("coredns",))
HELM = Tool("helm", ("helm",))
KWOK = Tool("kwok", ("kwok",))
PAUSE = Tool("pause", ("pause",))
KUBE_ROUTER = Tool("kube-router", ("kube-router",))


def kubernetes(release: str) -> Tool:
    """The tool that builds a release: `newest`, `oldest`, or a version such as `1.31` or `v1.31.14`.

    Raises:
        ProviderError: no module builds that version.
    """
    programs = {"newest": CONTROL_PROGRAMS + NODE_PROGRAMS, "oldest": CONTROL_PROGRAMS}
    known = {name: Tool(folder, programs[name]) for name, folder in RELEASES.items()}
    wanted = "v" + release.removeprefix("v")
    for name, tool in known.items():
        version = kubernetes_version(tool)
        if release == name or wanted == version or version.startswith(f"{wanted}."):
            return tool
    choices = ", ".join(f"{name} ({kubernetes_version(tool)})" for name, tool in known.items())
    raise ProviderError(f"no module under e2e/tools builds Kubernetes {release!r}; there are: {choices}")


def kubernetes_version(tool: Tool) -> str:
    """Version with a leading v, as the module requires it."""
    found = re.search(r"k8s\.io/kubernetes (v[0-9.]+)", (tool.module / "go.mod").read_text())
    if found is None:
        raise ProviderError(f"{tool.module / 'go.mod'} requires no k8s.io/kubernetes")
    return found[1]


def linker_flags(tool: Tool) -> str:
    """What the linker writes into the programs; without it Kubernetes says that it is version 0.0.0."""
    if tool.name not in RELEASES.values():
        return "-s -w"
    version = kubernetes_version(tool)
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())])


def go_version() -> str:
    """What `go env GOVERSION` says.

    Raises:
        ProviderError: there is no Go.
    """
    return commands.run(["go", "env", "GOVERSION"], folder=TOOLS).strip()


def key(tool: Tool, compiler: str) -> str:
    """What a build depends on, as twelve hexadecimal digits: sources of its module, compiler, flags."""
    digest = hashlib.sha256(f"{compiler}\0{linker_flags(tool)}\0{' '.join(tool.programs)}".encode())
    for path in sorted(tool.module.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def build(tool: Tool, log: Path) -> Path:
    """Return the folder with the tool's programs, built when they are not in the cache yet.

    Raises:
        CommandError: the build failed; the rest of its output is in `log`.
    """
    builds = cache_folder() / "bin"
    builds.mkdir(parents=True, exist_ok=True)
    done = builds / f"{tool.name}-{key(tool, go_version())}"
    with (builds / f".{tool.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _compile(tool, done, log)
            _forget_old(tool, builds)
        done.touch()
    return done


def _compile(tool: Tool, done: Path, log: Path) -> None:
    with tempfile.TemporaryDirectory(dir=done.parent, prefix=".building-") as scratch:
        arguments = ["go", "install", "-trimpath", "-buildvcs=false", "-ldflags", linker_flags(tool)]
        package = "." if (tool.module / "main.go").exists() else "tool"
        environment = {"CGO_ENABLED": "0", "GOBIN": scratch, "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
        commands.run_logged(
            [*arguments, package],
            log,
            timeout_seconds=BUILD_TIMEOUT_SECONDS,
            folder=tool.module,
            environment=environment,
        )
        missing = set(tool.programs) - {path.name for path in Path(scratch).iterdir()}
        if missing:
            raise ProviderError(f"{tool.module} builds no {', '.join(sorted(missing))}: see its `tool` lines")
        Path(scratch).chmod(0o755)
        shutil.copytree(scratch, f"{scratch}.done")
        Path(f"{scratch}.done").rename(done)


def _forget_old(tool: Tool, builds: Path) -> None:
    pattern = re.compile(rf"{re.escape(tool.name)}-[0-9a-f]{{12}}")
    found = [path for path in builds.iterdir() if pattern.fullmatch(path.name)]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[BUILDS_KEPT:]:
        shutil.rmtree(path)
