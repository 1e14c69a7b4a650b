"""Runs and what they leave behind. Invariant: a run can be removed by its id alone, by anybody, more than once."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import cgroups, commands

ROOT = Path("/var/lib/shoal-e2e")
PREFIX = "shoal-e2e-"
RUN_ID = re.compile(r"[0-9a-f]{6}\Z")
KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What a kubelet changes on the whole machine; put back when the last run is gone."""


OUTSIDE_FOLDERS = (
    "/run/containerd/s",
    "/run/containerd",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
    "/usr/libexec/kubernetes/kubelet-plugins/volume",
    "/usr/libexec/kubernetes/kubelet-plugins",
    "/usr/libexec/kubernetes",
    "/etc/cni/net.d",
    "/etc/cni",
)
"""What containerd, kubelet and the network plugins make at places that nobody can choose, deepest first."""


@dataclass(frozen=True)
class Run:
    """One cluster's place on this machine. `id` is six hexadecimal digits."""

    id: str
    root: Path = ROOT

    @property
    def directory(self) -> Path:
        return self.root / self.id

    @property
    def group(self) -> str:
        """Name of its control group, and of its container network."""
        return f"{PREFIX}{self.id}"

    @property
    def owner_file(self) -> Path:
        return self.directory / "owner.json"


def begin(root: Path = ROOT) -> tuple[Run, Guard]:
    """Make a new run owned by this process, guard it, and put this process into the run's control group."""
    run = Run(secrets.token_hex(3), root)
    owner = {
        "pid": os.getpid(),
        "started": started_at(os.getpid()),
        "kept": False,
        "settings": {name: Path("/proc/sys", name).read_text().strip() for name in KERNEL_SETTINGS},
        "absent": [name for name in OUTSIDE_FOLDERS if not Path(name).exists()],
    }
    with _alone(root):
        run.directory.mkdir(mode=0o700)
        run.owner_file.write_text(json.dumps(owner))
    guard = Guard(run)  # before the group is entered: whoever ends the group must not end the guard
    cgroups.make(run.group)
    cgroups.enter(f"{run.group}/maker")
    return run, guard


def keep(run: Run) -> None:
    """Let the run outlive its owner: only `clean` removes it."""
    run.owner_file.write_text(json.dumps({**_owner(run), "kept": True}))
    cgroups.leave()


def _owner(run: Run) -> dict[str, Any]:
    try:
        owner = json.loads(run.owner_file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def started_at(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when there is none. Tells a pid from its reuse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_owned(run: Run) -> bool:
    """Whether the process that began the run still runs, or it was kept on purpose."""
    owner = _owner(run)
    pid = owner.get("pid")
    return bool(owner.get("kept")) or (isinstance(pid, int) and started_at(pid) == owner.get("started"))


def all_runs(root: Path = ROOT) -> list[Run]:
    """Every run that has a directory, which is the first thing that a run makes and the last that is removed."""
    return [Run(path.name, root) for path in sorted(root.glob("*")) if RUN_ID.match(path.name)]


def remove_leftovers(root: Path = ROOT) -> list[str]:
    """Remove the runs whose owner is gone, and return their ids."""
    with _alone(root):
        gone = [run for run in all_runs(root) if not is_owned(run)]
        for run in gone:
            _remove(run)
    return [run.id for run in gone]


def remove(run: Run) -> None:
    """End the run's processes and remove its mounts, namespaces, control groups and files."""
    with _alone(run.root):
        _remove(run)


def _remove(run: Run) -> None:
    if _in_group(run):
        cgroups.leave()
    cgroups.kill(run.group)
    _remove_outside_files(run)
    owner = _owner(run)
    for mount in reversed(mounts_below(Path("/proc/self/mountinfo").read_text(), run.directory)):
        commands.run(["umount", "--lazy", mount])
    cgroups.remove(run.group)
    if run.directory.exists():
        shutil.rmtree(run.directory)
    if not all_runs(run.root):
        _restore(owner)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One at a time: the guard of a killed run and the next run may both remove it."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _in_group(run: Run) -> bool:
    return os.getpid() in set(cgroups.processes(run.group))


def mounts_below(mountinfo: str, folder: Path) -> list[str]:
    """Mount points at or below `folder` in the text of /proc/self/mountinfo, in the order they were made.

    >>> mounts_below("9 1 0:3 / /a/b rw - tmpfs t rw", Path("/a"))
    ['/a/b']
    """
    points = (
        re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split(" ")[4]) for line in mountinfo.splitlines()
    )
    return [point for point in points if Path(point).is_relative_to(folder)]


def _remove_outside_files(run: Run) -> None:
    for address in run.directory.glob("*/containerd/state/*task*/*/*/address"):
        Path(address.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)
    for result in Path("/var/lib/cni/results").glob("*"):
        if str(run.directory) in result.read_text(errors="replace"):
            result.unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and Path(os.readlink(link)).is_relative_to(run.directory):
            link.unlink(missing_ok=True)


def _restore(owner: Mapping[str, Any]) -> None:
    """Put back what the kubelets changed on the whole machine, and folders that were not there."""
    for name, value in owner.get("settings", {}).items():
        path = Path("/proc/sys", name)
        if path.read_text().strip() != value:
            path.write_text(value)
    for name in owner.get("absent", []):
        with suppress(OSError):  # not empty: somebody else's by now
            Path(name, "kubelet.sock").unlink(missing_ok=True)
            Path(name).rmdir()


class Guard:
    """A process that removes the run as soon as its owner is gone, however it went.

    It waits at the other end of a pipe; `dismiss` tells it that there is nothing to do.
    """

    def __init__(self, run: Run) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "e2e.cluster", "guard", run.id, "--root", str(run.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
            cwd="/",
            start_new_session=True,
        )

    def dismiss(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"done\n")
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it was killed, so it needs no word
        self._process.wait(10)


def stand_guard(run: Run) -> None:
    """The guard's own work: wait for the owner's word or end, and remove the run in the second case."""
    if not sys.stdin.buffer.read():
        remove(run)
