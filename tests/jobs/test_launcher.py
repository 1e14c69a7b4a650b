"""A launcher that is killed, wherever it is: nothing of its driver stays, and what is said of the driver is true."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.polling import until

from shoal.jobs import launcher, supervisor
from shoal.jobs.package_store import PackageStore
from shoal.jobs.runner import JobHooks, JobRunner
from shoal.jobs.supervisor import DriverEvents, DriverLaunch, DriverSupervisor
from shoal.protocol import head_pb2

KILLED_LAUNCHER = Path(__file__).with_name("killed_launcher.py")
ENTRYPOINT = "sleep 1000 & touch ran; exit 3"
"""It has a group with somebody else in it, leaves a trace before anything else can happen, and ends by itself."""


@dataclass
class Heard:
    """What the supervisor said of one driver."""

    started: list[int] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def over(self):
        return bool(self.exit_codes or self.failures)


def variables_of(work, kill):
    return {
        "SHOAL_TEST_LAUNCHER": launcher.__file__,
        "SHOAL_TEST_KILL": kill,
        "SHOAL_TEST_RAN": str(work / "ran"),
        "SHOAL_TEST_STEPS": str(work / "steps"),
    }


class World:
    """A supervisor whose launchers are killed on the way."""

    def __init__(self, directory):
        self.directory = directory
        self.heard = {}
        self.supervisor = DriverSupervisor(
            DriverEvents(
                started=lambda key, pid: self.heard[key].started.append(pid),
                wrote=lambda _key, _data: None,
                exited=lambda key, code: self.heard[key].exit_codes.append(code),
                could_not_start=lambda key, words: self.heard[key].failures.append(words),
            )
        )

    def begin(self, key, kill="nobody 0", **variables):
        work = self.directory / key.replace(" ", "-")
        work.mkdir()
        environment = {**os.environ, **variables_of(work, kill), **variables}
        self.heard[key] = Heard()
        self.supervisor.start(DriverLaunch(key, ENTRYPOINT, str(work), environment, work / "log"))
        return work

    def finished(self, key):
        until(lambda: self.heard[key].over, what=f"the end of {key}")
        return self.heard[key]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_LAUNCHER", str(KILLED_LAUNCHER))
    world = World(tmp_path)
    yield world
    world.supervisor.close()


def steps_of(world):
    """All steps of launcher and child when nobody kills them."""
    work = world.begin("whole")
    heard = world.finished("whole")
    assert (len(heard.started), heard.exit_codes, heard.failures) == (1, [3], [])
    lines = [line.split() for line in (work / "steps").read_text().splitlines()]
    return [f"{who} {number}" for who, count in lines for number in range(1, int(count) + 1)]


def check(world, step):
    """The leak check of every test finds what stayed."""
    heard = world.finished(step)
    said = (len(heard.started), heard.exit_codes, heard.failures)
    if heard.failures:
        assert said == (0, [], ["the driver's launcher ended with code -9"]), step
        assert not (world.directory / step.replace(" ", "-") / "ran").exists(), step
    else:
        assert said in ((1, [137], []), (1, [3], [])), step


def test_a_launcher_killed_at_any_step_leaves_nothing_and_the_truth(world):
    steps = steps_of(world)
    for some in (steps[at : at + 4] for at in range(0, len(steps), 4)):
        for step in some:
            world.begin(step, kill=step)
        for step in some:
            check(world, step)
    # Some were killed before there was a program, some while it ran, some when its end had been told.
    codes = [tuple(world.heard[step].exit_codes) for step in steps]
    assert set(codes) == {(), (137,), (3,)}
    assert codes.index((3,)) > codes.index((137,)) > 0


@pytest.mark.parametrize(
    ("kill", "reason", "code", "has_run"),
    [
        ("launcher 1", "DriverNotStarted", None, False),
        ("child 1", "DriverNotStarted", None, False),
        ("child exec", "EntrypointFailed", 137, True),
        ("nobody 0", "EntrypointFailed", 3, True),
    ],
)
def test_the_jobs_record_says_whether_the_program_ran(tmp_path, monkeypatch, kill, reason, code, has_run):
    monkeypatch.setattr(supervisor, "_LAUNCHER", str(KILLED_LAUNCHER))
    hooks = JobHooks(lambda _urgent: None, lambda _job: None)
    runner = JobRunner(tmp_path, "", PackageStore(tmp_path / "head"), hooks)
    request = head_pb2.SubmitJobRequest(submission_id="j", entrypoint=ENTRYPOINT)
    request.environment.update(variables_of(tmp_path, kill))
    try:
        runner.submit(request)
        job = until(lambda: runner.snapshot("j") if runner.live() == 0 else None)
    finally:
        runner.close()
    assert (job.state, job.reason) == (head_pb2.JOB_STATE_FAILED, reason)
    assert (job.exit_code if job.has_exit_code else None) == code
    assert bool(job.start_time_seconds) == has_run


def test_a_program_that_cannot_be_executed_has_not_started(world):
    world.begin("j", SHOAL_TEST_SHELL="/no/such/shell")
    heard = world.finished("j")
    assert (heard.started, heard.exit_codes) == ([], [])
    assert "No such file" in heard.failures[0]
