"""What an owner and its workers remember of functions and actors has an end; the forgotten is asked for again."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

import shoal
from shoal._api import session
from shoal.core.actor_calls import DEAD
from shoal.exceptions import TaskPlacementGroupRemovedError
from shoal.owner.actors import DEAD_KEPT_MAX, ActorLink
from shoal.util import placement_group, remove_placement_group
from shoal.worker.execution import FUNCTIONS_MAX, Executor


@pytest.fixture
def one_worker() -> Iterator[None]:
    shoal.init(num_cpus=1)
    yield
    shoal.shutdown()


@shoal.remote(max_retries=0)
def twice(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


@shoal.remote(max_retries=0)
def forget() -> int:
    """What 4096 other functions would do."""
    (executor,) = [found for found in gc.get_objects() if isinstance(found, Executor)]
    executor._pickled.clear()
    executor._functions.clear()
    return os.getpid()


def test_a_function_that_had_to_make_room_is_sent_again(one_worker: None) -> None:
    value, pid = shoal.get(twice.remote(1), timeout=30)
    assert value == 2
    assert shoal.get(forget.remote(), timeout=30) == pid
    assert shoal.get(twice.remote(2), timeout=30) == (4, pid)


def test_a_worker_keeps_a_bounded_number_of_functions(one_worker: None) -> None:
    executor = Executor(session.process(), "127.0.0.1")
    for number in range(FUNCTIONS_MAX + 10):
        function_id = number.to_bytes(4, "big")
        executor.learn(function_id, b"")
        executor._functions[function_id] = len
    assert len(executor._pickled) == FUNCTIONS_MAX
    assert len(executor._functions) == FUNCTIONS_MAX


def test_an_owner_keeps_a_bounded_number_of_dead_actors(one_worker: None) -> None:
    process = session.process()
    links = [ActorLink(number.to_bytes(16, "big"), "Dead") for number in range(DEAD_KEPT_MAX + 10)]
    with process.lock:
        for link in links:
            process.actors._links[link.actor_id] = link
            process.actors._died(link, "it ended", None)
        assert len(process.actors._links) == DEAD_KEPT_MAX
    assert {link.queue.state for link in links} == {DEAD}


def test_who_waits_for_a_placement_group_again_and_again_asks_once(one_worker: None) -> None:
    process = session.process()
    group = placement_group([{"CPU": 2}])
    before = len(process.agent._waiting)
    assert not any(group.wait(0.01) for _ in range(20))
    assert len(process.agent._waiting) - before <= 1
    ready = [group.ready(), group.ready()]
    remove_placement_group(group)
    for ref in ready:
        with pytest.raises(TaskPlacementGroupRemovedError):
            shoal.get(ref, timeout=30)
    assert len(process.agent._waiting) == before
