"""Control groups of a run. Invariant: every process of a run is in its group, so one write ends them all."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster.errors import ProviderError

KILL_TIMEOUT_SECONDS = 30.0


def parse_mounts(mountinfo: str) -> list[Path]:
    """Mount points of control group hierarchies in the text of /proc/self/mountinfo, version 2 first.

    >>> parse_mounts("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    [PosixPath('/sys/fs/cgroup')]
    """
    found: list[tuple[bool, Path]] = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind = right.split(" ", 1)[0]
        if kind in {"cgroup", "cgroup2"}:
            found.append((kind == "cgroup", Path(left.split(" ")[4])))
    return [path for _, path in sorted(found)]


def hierarchies() -> list[Path]:
    """Where control groups are made on this machine; the first is the one that processes are found by.

    Raises:
        ProviderError: none is mounted.
    """
    found = parse_mounts(Path("/proc/self/mountinfo").read_text())
    if not found:
        raise ProviderError("no control groups are mounted; kubelet and runc need them (mount -t cgroup2 ...)")
    return found


def make(name: str) -> None:
    """Make the group in every hierarchy, with all controllers handed on where a hierarchy is version 2."""
    for root in hierarchies():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for group in (root, *_between(root, folder)):
            _hand_on_controllers(group)


def _between(root: Path, folder: Path) -> list[Path]:
    parts = folder.relative_to(root).parts
    return [root.joinpath(*parts[: count + 1]) for count in range(len(parts))]


def _hand_on_controllers(group: Path) -> None:
    control = group / "cgroup.subtree_control"
    if not control.exists():
        return
    for controller in (group / "cgroup.controllers").read_text().split():
        try:
            control.write_text(f"+{controller}")
        except OSError:
            continue  # held back by who made this machine's root group; kubelet names what it misses


def enter(name: str) -> None:
    """Put this process, and with it all that it starts, into the group."""
    target = hierarchies()[0] / name
    target.mkdir(parents=True, exist_ok=True)
    (target / "cgroup.procs").write_text(str(os.getpid()))


def leave() -> None:
    """Put this process into the root group, so that it survives the end of the group it was in."""
    (hierarchies()[0] / "cgroup.procs").write_text(str(os.getpid()))


def processes(name: str) -> Iterator[int]:
    """Ids of all processes in the group and the groups below it."""
    for root, _, _ in os.walk(hierarchies()[0] / name):
        try:
            yield from map(int, (Path(root) / "cgroup.procs").read_text().split())
        except OSError:
            continue  # gone in between


def kill(name: str) -> int:
    """End every process in the group, and return how many there were.

    Raises:
        ProviderError: some would not end.
    """
    count = len(set(processes(name)))
    deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
    while rest := set(processes(name)) - {os.getpid()}:
        if time.monotonic() > deadline:
            raise ProviderError(f"these processes of {name} do not end: {sorted(rest)}")
        for pid in rest:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)
    return count


def remove(name: str) -> None:
    """Remove the empty group from every hierarchy, deepest folders first."""
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            _remove_folder(Path(folder))


def _remove_folder(folder: Path) -> None:
    deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:  # the kernel needs a moment after the last process
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
