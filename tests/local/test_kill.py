"""kill -9 while the example runs: the answer is right, or the reason is said; it never hangs, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.polling import until

import census
from reference import reference_report
from report import comparable
from settings import Settings
from shoal_operator.local.sweep import SESSION_MARK, carries, descendants, marked, parent_of
from sources import choose, find_sources

FILES = 90
JOB = f"""\
apiVersion: shoal.dev/v1alpha1
kind: ComputeJob
metadata: {{name: census}}
spec:
  entrypoint: python census.py --files {FILES} --parse-batch 3 --report REPORT
  source: {{directory: {Path(census.__file__).parent}}}
  clusterSpec:
    workerGroups:
    - {{name: small, maxReplicas: 2, idleTimeoutSeconds: 1, resources: {{CPU: 1}}}}
"""
ENDS_SECONDS = 50.0
CLEAN_SECONDS = 10.0


@pytest.fixture(scope="module")
def right_answer() -> dict[str, Any]:
    return dict(reference_report(choose(find_sources(), FILES), Settings()))


class Run:
    """`shoal local run` of the census, in a root of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.report = directory / "report.json"
        self._log_path = directory / "log"
        (directory / "job.yaml").write_text(JOB.replace("REPORT", str(self.report)))
        command = ["local", "run", str(directory / "job.yaml"), "--timeout", str(ENDS_SECONDS - 5)]
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shoal.cli.main", *command],
                stdout=log,
                stderr=log,
                env={**os.environ, "SHOAL_HOME": str(self.root)},
                start_new_session=True,
            )
        self.session_id = ""

    @property
    def output(self) -> str:
        return self._log_path.read_text()

    def works(self) -> None:
        """Wait until workers have done a part of it."""
        until(lambda: "parsed 3/" in self.output or self.process.poll() is not None, 30.0, "it does not begin")
        assert self.process.poll() is None, self.output
        self.session_id = next(self.root.glob("s*")).name

    def pids(self) -> list[int]:
        return marked(SESSION_MARK, self.session_id)

    def named(self, *words: str) -> list[int]:
        """The processes of the session that have all the words on their command line."""
        return [pid for pid in self.pids() if all(word in command_line(pid) for word in words)]

    def nothing_is_left(self) -> None:
        until(lambda: not self.pids(), CLEAN_SECONDS, f"still there: {self.pids()}")
        until(lambda: not list(self.root.glob("s*")), CLEAN_SECONDS, "the session's directory is still there")


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = Run(tmp_path)
    started.works()
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def worker_node(run: Run) -> int:
    return run.named("start", "--address")[0]


def templates(run: Run) -> list[int]:
    nodes = run.named("start", "--address")
    return [pid for pid in run.named("shoal.worker.template") if parent_of(pid) in nodes]


def template(run: Run) -> int:
    until(lambda: templates(run), 20.0, "no worker has started its template")
    return templates(run)[0]


def forked_worker(run: Run) -> int:
    """A process that runs tasks now; its turn may just be over when it is looked at, so there is one at some time."""
    found: list[int] = []

    def seen() -> bool:
        found[:] = [pid for parent in templates(run) for pid in descendants(parent)]
        return bool(found)

    until(seen, 20.0, "no worker has been forked")
    return found[0]


@pytest.mark.parametrize(
    "victim",
    [lambda run: run.named("shoal_operator.main")[0], worker_node, template, forked_worker],
    ids=["the operator", "a worker's node process", "a worker's template", "a forked worker"],
)
def test_the_answer_is_right_all_the_same(run: Run, victim: Callable[[Run], int], right_answer: dict[str, Any]) -> None:
    os.kill(victim(run), signal.SIGKILL)
    assert run.process.wait(ENDS_SECONDS) == 0, run.output
    assert comparable(json.loads(run.report.read_text())) == right_answer
    run.nothing_is_left()


def test_a_killed_head_is_named_as_the_reason(run: Run) -> None:
    os.kill(run.named("start", "--head")[0], signal.SIGKILL)
    assert run.process.wait(ENDS_SECONDS) == 1, run.output
    assert "error: job census failed: HeadLost" in run.output
    assert "spec.backoffLimit" in run.output
    assert "Traceback" not in run.output
    run.nothing_is_left()


def test_after_killing_everything_at_once_nothing_is_left_by_the_next_start(run: Run, tmp_path: Path) -> None:
    for pid in [run.process.pid, *run.pids()]:
        if pid == run.process.pid or carries(pid, SESSION_MARK, run.session_id):
            os.kill(pid, signal.SIGKILL)
    run.process.wait()
    cleared = subprocess.run(
        [sys.executable, "-m", "shoal.cli.main", "local", "down"],
        env={**os.environ, "SHOAL_HOME": str(run.root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert cleared.returncode == 0, cleared.stderr
    assert not run.pids()
    assert not list(run.root.glob("s*"))
