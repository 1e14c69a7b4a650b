"""Whatever is lost between a program and its job, the job's result is the program's: never more, never less.

Each fault meets every one of a number of jobs that run together on one cluster: half of them end well, half with exit
code 3, some while the fault lasts and some after it. ``--long`` runs 50 jobs per fault, and pauses heads for a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pytest

from e2e import manifests
from e2e.api import Object
from e2e.kubectl import Running
from e2e.providers import LocalProvider
from e2e.world import World, condition, is_true

JOBS: Final = 3
JOBS_LONG: Final = 50
PAUSE_SECONDS: Final = 10.0
PAUSE_SECONDS_LONG: Final = 60.0
START_SECONDS: Final = 40.0
START_SECONDS_LONG: Final = 150.0


@dataclass(frozen=True)
class Size:
    """How much of it."""

    jobs: int
    pause_seconds: float
    start_seconds: float


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Size:
    """Short, or as long as ``--long`` asks for."""
    if request.config.option.long:
        return Size(JOBS_LONG, PAUSE_SECONDS_LONG, START_SECONDS_LONG)
    return Size(JOBS, PAUSE_SECONDS, START_SECONDS)


@pytest.fixture
def in_short(request: pytest.FixtureRequest) -> None:
    """Skip, before a world is made and the others are waited for, where ``--long`` asks for the other form."""
    if request.config.option.long:
        pytest.skip("the long form has each fault by itself")


@pytest.fixture
def at_length(request: pytest.FixtureRequest) -> None:
    """The same, the other way round."""
    if not request.config.option.long:
        pytest.skip("make e2e-long")


def _name(fault: str, index: int) -> str:
    return f"{fault}-{index}"


def _code(index: int) -> int:
    return 3 if index % 2 else 0


def _start(world: World, fault: str, size: Size) -> None:
    """A cluster, and jobs on it that all run; a third of them end while the fault lasts."""
    slots = manifests.group("slots", minReplicas=1, maxReplicas=1, resources={"slot": size.jobs})
    spec = manifests.cluster_spec(world.image, [slots] if _outlives_heads(world, fault) else ())
    if _outlives_heads(world, fault):
        spec["state"] = {"backend": "PersistentVolume"}
    world.apply(manifests.cluster(fault, spec))
    world.apply(*(_job(world, fault, index, size) for index in range(size.jobs)))


def _job(world: World, fault: str, index: int, size: Size) -> manifests.Manifest:
    """Only a driver that goes with its head needs more than one attempt: a second, and a third where the program had
    failed by itself before its head was killed."""
    seconds = size.pause_seconds * (0.5 if index % 3 == 1 else 0.7 if fault == "head" else 1.3)
    elsewhere = _is_elsewhere(world, fault, index)
    world.may_fail.add(_name(fault, index))
    return manifests.job(
        _name(fault, index),
        clusterRef={"name": fault},
        entrypoint=f"echo begin {index}; sleep {seconds:g}; echo end {index}; exit {_code(index)}",
        backoffLimit=2 if fault == "head" and not elsewhere else 0,
        **({"entrypointResources": {"slot": 1}} if elsewhere else {}),
    )


def _outlives_heads(world: World, fault: str) -> bool:
    """Whether the head's tables are on a volume: where the place has volumes, and heads are killed."""
    local = isinstance(world.provider, LocalProvider)
    return fault == "head" and (local or bool(world.api.list("/apis/storage.k8s.io/v1/storageclasses")))


def _is_elsewhere(world: World, fault: str, index: int) -> bool:
    """Every third driver runs on a worker, and goes on while there is no head."""
    return _outlives_heads(world, fault) and index % 3 == 2


def _all_run(world: World, fault: str, size: Size) -> None:
    def running() -> bool:
        jobs = [world.jobs.last(_name(fault, index)) for index in range(size.jobs)]
        return all(is_true(job, "Running") or is_true(job, "Complete") or is_true(job, "Failed") for job in jobs)

    world.until(running, f"all jobs of fault {fault} run", size.start_seconds)


def _check(world: World, fault: str, size: Size) -> None:
    """Every job says what its program did."""
    wrong = []
    for index in range(size.jobs):
        name, code = _name(fault, index), _code(index)
        job = world.jobs.last(name) or {}
        outcome = "Failed" if code else "Complete"
        other = "Complete" if code else "Failed"
        status = job.get("status") or {}
        right = is_true(job, outcome) and not is_true(job, other)
        right = right and f"end {index}" in status.get("outputTail", "")
        if code:
            right = right and condition(job, "Failed")["reason"] == "EntrypointFailed"
            right = right and status.get("failure", {}).get("exitCode") == code
        if _is_elsewhere(world, fault, index):
            right = right and (status["attempt"], status["failedAttempts"]) == (1, int(code > 0))
        right = right and _never_wavered(world, name)
        if not right:
            wrong.append(f"{name}: {status}")
    assert not wrong, f"{len(wrong)} of {size.jobs} jobs are wrong after fault {fault}: {wrong[:3]}"


def _never_wavered(world: World, name: str) -> bool:
    """No job has ever been called ended and then not."""
    return not {"not Complete", "not Failed"} & set(world.transitions(name))


def _ended(world: World, faults: Sequence[str], size: Size, seconds: float) -> None:
    names = [_name(fault, index) for fault in faults for index in range(size.jobs)]

    def all_ended() -> bool:
        jobs = [world.jobs.last(name) for name in names]
        return all(is_true(job, "Complete") or is_true(job, "Failed") for job in jobs)

    world.until(all_ended, "all jobs end", seconds)


def _cut_logs(world: World, followers: list[Running]) -> None:
    for running in followers:
        running.close()
        world.followers.remove(running)


def _head(world: World, fault: str) -> Object:
    return world.pods.now()[f"{fault}-head"]


def _pause(world: World, fault: str) -> Callable[[], None]:
    go_on = world.provider.pause_head(_head(world, fault))
    if go_on is None:
        pytest.skip("the processes of this place's nodes cannot be stopped from here")
    return go_on


def _go_through(world: World, faults: Sequence[str], size: Size) -> None:
    for fault in faults:
        _start(world, fault, size)
    followers = [world.follow_log("logs-head")] if "logs" in faults else []
    for fault in faults:
        _all_run(world, fault, size)
    go_on = _pause(world, "pause") if "pause" in faults else None
    paused_at = time.monotonic()
    try:
        if followers:
            _cut_logs(world, followers)
        if "head" in faults:
            world.provider.kill_container(_head(world, "head"))
        if "operator" in faults:
            world.provider.restart_operator()
        if go_on is not None:
            world.until(lambda: time.monotonic() - paused_at > size.pause_seconds, "the pause is over", 2 * 60.0)
    finally:
        if go_on is not None:
            go_on()
    _ended(world, faults, size, 60.0 + 2 * size.pause_seconds + size.start_seconds)
    for fault in faults:
        _check(world, fault, size)


@pytest.mark.alone
@pytest.mark.usefixtures("in_short")
def test_truth_in_short(world: World, size: Size) -> None:
    _go_through(world, ("logs", "pause", "operator", "head"), size)


@pytest.mark.alone
@pytest.mark.parametrize("fault", ["logs", "pause", "operator", "head"])
@pytest.mark.usefixtures("at_length")
def test_truth_at_length(world: World, size: Size, fault: str) -> None:
    _go_through(world, (fault,), size)
