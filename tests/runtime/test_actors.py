"""Actors on one node, through real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

import shoal
from shoal.exceptions import ActorDiedError, ActorError, TaskError

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
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, amount: int = 1) -> int:
        self.value += amount
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise ValueError("not like this")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while not gone(pid) and time.monotonic() < deadline:
        shoal.wait([shoal.put(1)])
    return gone(pid)


def test_calls_run_in_order_and_keep_state() -> None:
    counter = Counter.remote(10)
    assert shoal.get([counter.add.remote() for _ in range(100)]) == list(range(11, 111))
    assert shoal.get(counter.add.remote(shoal.put(5))) == 115


def test_errors_do_not_end_the_actor() -> None:
    counter = Counter.remote()
    with pytest.raises(ValueError, match="not like this") as caught:
        shoal.get(counter.fail.remote())
    assert isinstance(caught.value, TaskError)
    assert shoal.get(counter.add.remote()) == 1


def test_an_actor_goes_with_its_last_handle() -> None:
    counter = Counter.remote()
    pid = shoal.get(counter.pid.remote())
    del counter
    assert wait_gone(pid)


def test_a_handle_inside_a_task_keeps_the_actor() -> None:
    counter = Counter.remote()

    @shoal.remote
    def bump(handle: object) -> int:
        return shoal.get(handle.add.remote(7))  # type: ignore[attr-defined]

    assert shoal.get(bump.remote(counter)) == 7
    assert shoal.get(counter.add.remote()) == 8


def test_a_failed_init_is_told_at_every_call() -> None:
    @shoal.remote
    class Broken:
        def __init__(self) -> None:
            raise RuntimeError("no luck")

        def hello(self) -> str:
            return "hello"

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="no luck"):
            shoal.get(broken.hello.remote(), timeout=40)


def test_a_killed_actor_fails_its_calls() -> None:
    counter = Counter.remote()
    shoal.get(counter.add.remote())
    with pytest.raises(ActorError):
        shoal.get(counter.die.remote(), timeout=40)
    with pytest.raises(ActorDiedError):
        shoal.get(counter.add.remote(), timeout=40)


def test_kill_ends_an_actor() -> None:
    counter = Counter.remote()
    pid = shoal.get(counter.pid.remote())
    shoal.kill(counter)
    assert wait_gone(pid)
    with pytest.raises(ActorDiedError):
        shoal.get(counter.add.remote(), timeout=40)
    with pytest.raises(ValueError, match="only supported for actors"):
        shoal.kill(3)  # type: ignore[arg-type]


def test_restart_begins_anew_and_retries_calls() -> None:
    counter = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    assert shoal.get(counter.add.remote()) == 1
    counter.die.options(max_task_retries=0).remote()
    assert shoal.get(counter.add.remote(), timeout=40) == 1


def test_named_actors_can_be_looked_up() -> None:
    counter = Counter.options(name="shared").remote(3)
    assert shoal.get(shoal.get_actor("shared").add.remote()) == 4
    with pytest.raises(ValueError, match="shared"):
        Counter.options(name="shared").remote()
    same = Counter.options(name="shared", get_if_exists=True).remote()
    assert shoal.get(same.add.remote()) == 5
    with pytest.raises(ValueError, match="nobody"):
        shoal.get_actor("nobody")
    assert shoal.get(counter.add.remote()) == 6


def test_threaded_actors_run_calls_side_by_side() -> None:
    @shoal.remote(max_concurrency=2)
    class Meeting:
        def __init__(self) -> None:
            import threading

            self.barrier = threading.Barrier(2)

        def arrive(self) -> int:
            return self.barrier.wait(timeout=30)

    meeting = Meeting.remote()
    assert sorted(shoal.get([meeting.arrive.remote(), meeting.arrive.remote()], timeout=40)) == [0, 1]


def test_async_actors_interleave() -> None:
    @shoal.remote
    class Gate:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        async def pass_through(self) -> str:
            await self.event.wait()
            return "through"

        async def open(self) -> None:
            self.event.set()

    gate = Gate.remote()
    waiting = gate.pass_through.remote()
    gate.open.remote()
    assert shoal.get(waiting, timeout=40) == "through"


def test_misuse_is_refused_with_words() -> None:
    with pytest.raises(TypeError, match="cannot be instantiated directly"):
        Counter()
    counter = Counter.remote()
    with pytest.raises(TypeError, match="cannot be called directly"):
        counter.add()
    with pytest.raises(AttributeError, match="no method 'sub'"):
        counter.sub.remote()
    with pytest.raises(TypeError, match="too many positional"):
        Counter.remote(1, 2, 3)


def test_a_call_keeps_its_actor_to_the_end() -> None:
    """As in Ray: nobody holds the handle, and the call still runs."""
    assert shoal.get(Counter.remote(4).add.remote(3), timeout=20) == 7
    pids = [Counter.remote().pid.remote() for _ in range(3)]
    for pid in shoal.get(pids, timeout=20):
        deadline = time.monotonic() + 20
        while os.path.exists(f"/proc/{pid}/comm"):
            assert time.monotonic() < deadline, "an actor that nobody holds stays after its last call"
            time.sleep(0.02)
