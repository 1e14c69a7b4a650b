"""A run that was killed leaves nothing: its guard removes it at once, or the next run does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.polling import until

from e2e.cluster import cgroups, commands, product, runs
from e2e.cluster.errors import ProviderError
from e2e.cluster.runs import Run

OWNER = """
import json, subprocess, sys
from pathlib import Path
from e2e.cluster import network, runs
run, guard = runs.begin(Path(sys.argv[1]))
host = network.Host(run, 1)
network.make_first(host)
child = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"], start_new_session=True)
print(json.dumps({"id": run.id, "guard": guard._process.pid, "child": child.pid}), flush=True)
sys.stdin.read()
if sys.argv[2:] == ["keep"]:
    runs.keep(run)
    guard.dismiss()
"""


def can_make_namespaces() -> bool:
    try:
        commands.run(["unshare", "--net", "true"])
        cgroups.make("shoal-e2e-probe")
    except (ProviderError, OSError):
        return False
    cgroups.remove("shoal-e2e-probe")
    return True


pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not can_make_namespaces(), reason="needs root, network namespaces and control groups"
)


class Owner:
    """A process that made a run with a namespace and processes in it."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(root), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(product.CHECKOUT)},
        )
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.run = Run(said["id"], root)
        self.guard: int = said["guard"]
        self.child: int = said["child"]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    for run in runs.all_runs(tmp_path / "runs"):
        runs.remove(run)


def left(owner: Owner) -> list[str]:
    """What there still is of a run."""
    found = [str(path) for path in (owner.run.directory,) if path.exists()]
    found += runs.mounts_below(Path("/proc/self/mountinfo").read_text(), owner.run.directory)
    found += [str(root / owner.run.group) for root in cgroups.hierarchies() if (root / owner.run.group).exists()]
    return found + [f"process {pid}" for pid in (owner.child, owner.guard) if is_running(pid)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_guard_removes_the_run_of_a_killed_owner(root: Path) -> None:
    owner = Owner(root)
    assert len(left(owner)) >= 4
    owner.kill()
    until(lambda: not left(owner))


def test_the_next_run_removes_what_a_killed_owner_and_guard_left(root: Path) -> None:
    owner = Owner(root)
    os.kill(owner.guard, signal.SIGKILL)
    owner.kill()
    until(lambda: not is_running(owner.guard))
    assert is_running(owner.child)
    assert runs.remove_leftovers(root) == [owner.run.id]
    until(lambda: not left(owner))
    assert runs.remove_leftovers(root) == []


def test_a_run_whose_owner_lives_is_left_alone(root: Path) -> None:
    owner = Owner(root)
    before = left(owner)
    assert runs.remove_leftovers(root) == []
    assert left(owner) == before
    owner.kill()
    until(lambda: not left(owner))


def test_a_kept_run_outlives_its_owner_until_it_is_removed(root: Path) -> None:
    owner = Owner(root, "keep")
    owner.end()
    assert runs.remove_leftovers(root) == []
    assert is_running(owner.child)
    runs.remove(owner.run)
    until(lambda: not left(owner))
