"""Tasks on one node, through real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import shoal
from shoal.exceptions import GetTimeoutError, TaskError, WorkerCrashedError

pytestmark = [
    pytest.mark.usefixtures("session"),
    pytest.mark.leaks(
        "processes",
        "fds",
        "sockets",
        "shm",
        "threads",
        reason="the module's session lives on; test_session checks its end",
    ),
]


@shoal.remote
def add(a: int, b: int = 0) -> int:
    return a + b


@shoal.remote
def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_values_and_references_as_arguments() -> None:
    assert shoal.get(add.remote(1, b=2)) == 3
    assert shoal.get(add.remote(add.remote(1, 2), b=shoal.put(4))) == 7


def test_a_thousand_tasks_keep_their_order() -> None:
    assert shoal.get([add.remote(i, 1) for i in range(1000)]) == list(range(1, 1001))


def test_long_tasks_run_side_by_side() -> None:
    started = time.monotonic()
    pids = shoal.get([pid_after.remote(0.5) for _ in range(2)])
    assert len(set(pids)) == 2
    assert time.monotonic() - started < 0.95 + 1.5  # two at once, plus the start of workers


def test_large_values_are_shared_and_read_only() -> None:
    array = np.arange(1_000_000)

    @shoal.remote
    def total(values: np.ndarray) -> tuple[int, bool]:
        return int(values.sum()), values.flags.writeable

    @shoal.remote
    def twice(values: np.ndarray) -> np.ndarray:
        return values * 2

    ref = shoal.put(array)
    assert shoal.get(total.remote(ref)) == (int(array.sum()), False)
    assert shoal.get(total.remote(array)) == (int(array.sum()), False)  # too large for a message: stored by itself
    assert (shoal.get(twice.remote(twice.remote(ref))) == array * 4).all()


def test_several_results() -> None:
    @shoal.remote(num_returns=3)
    def three() -> tuple[int, int, np.ndarray]:
        return 1, 2, np.ones(100_000)

    one, two, big = three.remote()
    assert shoal.get([one, two]) == [1, 2]
    assert shoal.get(big).sum() == 100_000

    @shoal.remote(num_returns=2)
    def wrong() -> tuple[int, int, int]:
        return 1, 2, 3

    with pytest.raises(ValueError, match="num_returns=2"):
        shoal.get(wrong.remote()[0])


def test_errors_carry_the_remote_traceback_and_pass_through_dependents() -> None:
    @shoal.remote
    def fails(x: int) -> int:
        raise KeyError(f"no {x}")

    with pytest.raises(KeyError) as caught:
        shoal.get(fails.remote(7))
    assert isinstance(caught.value, TaskError)
    assert "fails()" in str(caught.value)
    assert "raise KeyError" in str(caught.value)
    with pytest.raises(KeyError):
        shoal.get(add.remote(fails.remote(1), 2))


def test_system_exit_is_a_result_not_the_end_of_the_worker() -> None:
    @shoal.remote
    def leaves() -> None:
        raise SystemExit(3)

    with pytest.raises(TaskError):
        shoal.get(leaves.remote())
    assert shoal.get(add.remote(1, 1)) == 2


def test_nested_tasks_do_not_starve_each_other() -> None:
    @shoal.remote
    def tree(depth: int) -> int:
        if depth == 0:
            return 1
        return sum(shoal.get([tree.remote(depth - 1) for _ in range(2)]))

    assert shoal.get(tree.remote(4), timeout=50) == 16


def test_nested_references_stay_references() -> None:
    @shoal.remote
    def kinds(refs: list[shoal.ObjectRef[int]]) -> tuple[bool, int]:
        return isinstance(refs[0], shoal.ObjectRef), sum(shoal.get(refs))

    assert shoal.get(kinds.remote([shoal.put(1), add.remote(1, 1)])) == (True, 3)


def test_a_task_returns_references_that_outlive_it() -> None:
    @shoal.remote
    def makes() -> list[shoal.ObjectRef[np.ndarray]]:
        return [shoal.put(np.full(100_000, 7)), add.remote(20, 22)]

    big, small = shoal.get(makes.remote())
    assert shoal.get(big)[0] == 7
    assert shoal.get(small) == 42


def test_wait_splits_by_readiness() -> None:
    slow, quick = pid_after.remote(1.0), add.remote(1, 1)
    ready, rest = shoal.wait([slow, quick], timeout=30)
    assert (ready, rest) == ([quick], [slow])
    assert shoal.wait([slow], timeout=0) == ([], [slow])
    assert shoal.wait([], timeout=0) == ([], [])
    assert shoal.wait([slow, quick], num_returns=2) == ([slow, quick], [])


def test_get_has_a_deadline() -> None:
    with pytest.raises(GetTimeoutError, match="1 of 1"):
        shoal.get(pid_after.remote(2.0), timeout=0.1)


def test_a_killed_worker_is_retried_and_then_reported(tmp_path: Path) -> None:
    @shoal.remote(max_retries=2)
    def flaky(path: str) -> int:
        count = len(os.listdir(path))
        Path(path, str(count)).touch()
        if count < 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    assert shoal.get(flaky.remote(str(tmp_path)), timeout=50) == 2

    @shoal.remote(max_retries=0)
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError, match=r"dies\(\): .*SIGKILL"):
        shoal.get(dies.remote(), timeout=50)

    @shoal.remote(max_retries=0)
    def exits() -> None:
        os._exit(7)

    with pytest.raises(WorkerCrashedError, match="code 7"):
        shoal.get(exits.remote(), timeout=50)


def test_retry_exceptions(tmp_path: Path) -> None:
    @shoal.remote(max_retries=3, retry_exceptions=[ValueError])
    def flaky(path: str) -> int:
        count = len(os.listdir(path))
        Path(path, str(count)).touch()
        if count < 2:
            raise ValueError("again")
        return count

    assert shoal.get(flaky.remote(str(tmp_path)), timeout=50) == 2


def test_custom_resources_limit_what_runs_at_once() -> None:
    @shoal.remote(num_cpus=0, resources={"widget": 2})
    def span() -> tuple[float, float]:
        start = time.monotonic()
        time.sleep(0.3)
        return start, time.monotonic()

    spans = shoal.get([span.remote() for _ in range(4)], timeout=50)
    events = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running = peak = 0
    for _when, change in events:
        running += change
        peak = max(peak, running)
    assert peak <= 2


def test_an_infeasible_task_waits() -> None:
    ref = add.options(num_cpus=64).remote(1, 1)
    assert shoal.wait([ref], timeout=0.5) == ([], [ref])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_cpu": 1}, "Did you mean 'num_cpus'"),
        ({"num_cpus": -1}, "must not be negative"),
        ({"num_cpus": 0.00001}, "cannot go beyond 0.0001"),
        ({"num_cpus": 1e16}, r"must be at most 1e\+14"),
        ({"label_selector": ["zone"]}, "label_selector must be a dict"),
        ({"label_selector": {"zone": "in(a,b"}}, r"label_selector: 'zone' has 'in\(a,b', which is none of"),
        ({"resources": {"CPU": 1}}, "num_cpus"),
        ({"num_gpus": 1.5}, "whole numbers"),
        ({"num_gpus": float("inf")}, "whole numbers"),
        ({"max_retries": -2}, "max_retries"),
        ({"num_returns": -1}, "num_returns"),
    ],
)
def test_bad_options_are_refused_with_words(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        add.options(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": "1Gi"}, r"^memory must be a number of bytes such as 2 \* 1024\*\*3 \(2 GiB\), got '1Gi'"),
        ({"num_cpus": "x"}, "^num_cpus must be a number such as 2 or 0.5, got 'x'"),
        ({"num_cpus": "1"}, "^num_cpus must be a number .* got '1'"),
        ({"num_gpus": [1]}, r"^num_gpus must be a number .* got \[1\]"),
        ({"num_cpus": True}, "^num_cpus must be a number .* got True"),
        ({"resources": [1]}, r"^resources must be a dict of quantities .* got \[1\]"),
        ({"resources": {"disk": "y"}}, "^resources: the quantity of 'disk' must be a number, got 'y'"),
        ({"resources": {1: 1}}, "^resources: a resource's name must be a text"),
        ({"name": 5}, "^name must be a text, got 5"),
        ({"accelerator_type": 5}, "^accelerator_type must be a text, got 5"),
    ],
)
def test_options_of_a_wrong_type_are_refused_with_words(options: dict[str, object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        add.options(**options)
    with pytest.raises(TypeError, match=words):
        shoal.remote(**options)(len)


def test_bad_arguments_are_refused_at_the_call() -> None:
    with pytest.raises(TypeError, match="missing a required argument"):
        add.remote()
    with pytest.raises(TypeError, match="cannot be called directly"):
        add(1)
    with pytest.raises(TypeError, match="cannot be sent"):
        add.remote(threading.Lock())
    with pytest.raises(ValueError, match="ObjectRef"):
        shoal.get((shoal.put(1),))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not allowed"):
        shoal.put(shoal.put(1))
    ref = shoal.put(1)
    with pytest.raises(ValueError, match="unique"):
        shoal.wait([ref, ref])


async def test_references_can_be_awaited() -> None:
    assert await add.remote(2, 3) == 5


def test_output_of_workers_reaches_the_driver(capfd: pytest.CaptureFixture[str]) -> None:
    @shoal.remote
    def says() -> int:
        print("hello from afar")
        return os.getpid()

    pid = shoal.get(says.remote())
    seen = ""
    deadline = time.monotonic() + 10
    while "hello from afar" not in seen and time.monotonic() < deadline:
        shoal.wait([add.remote(1, 1)])
        seen += capfd.readouterr().out
    assert "hello from afar" in seen
    assert f"pid={pid}" in seen


def test_output_carries_the_name_of_what_printed_it(capfd: pytest.CaptureFixture[str]) -> None:
    @shoal.remote
    def first() -> None:
        print("line of first")

    @shoal.remote
    def second() -> None:
        print("line of second", end="")

    shoal.get([first.remote(), second.remote(), first.remote(), second.remote()])
    seen = ""
    deadline = time.monotonic() + 10
    while seen.count("line of") < 4 and time.monotonic() < deadline:
        shoal.get([first.remote(), second.remote()])
        seen += capfd.readouterr().out
    lines = [line for line in seen.splitlines() if "line of" in line]
    assert lines
    for line in lines:
        assert line.startswith(f"({line.rpartition(' ')[2]} pid=")


def test_exceptions_with_arguments_of_their_own_arrive_as_themselves() -> None:
    class NeedsTwoError(Exception):
        def __init__(self, what: str, code: int) -> None:
            super().__init__(f"{what} ({code})")
            self.code = code

    @shoal.remote
    def raises() -> None:
        raise NeedsTwoError("broken", 7)

    with pytest.raises(NeedsTwoError) as caught:
        shoal.get(raises.remote())
    assert caught.value.code == 7
    assert isinstance(caught.value, TaskError)


def test_objects_are_freed_when_references_go() -> None:
    # 40 objects of 40 MB one after another: far more than the store holds at once.
    for number in range(40):
        ref = shoal.put(np.full(5_000_000, number))
        assert shoal.get(ref)[0] == number
        del ref


def test_wrong_arguments_name_the_function() -> None:
    with pytest.raises(TypeError, match=r"^add\(\): too many positional arguments"):
        add.remote(1, 2, 3)
    with pytest.raises(TypeError, match=r"^add\(\): missing a required argument"):
        add.remote()
    assert repr(add) == "RemoteFunction(add)"
