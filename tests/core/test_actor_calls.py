"""The order of an actor's calls and their fate when it moves or dies."""

from __future__ import annotations

from shoal.core.actor_calls import ALIVE, DEAD, CallQueue, QueuedCall


def queue_of(*ready: bool, retries: int = 0) -> CallQueue:
    queue = CallQueue()
    for number, is_ready in enumerate(ready):
        queue.add(QueuedCall(bytes([number]), is_ready, retries))
    return queue


def ids(calls: list[QueuedCall]) -> list[int]:
    return [call.task_id[0] for call in calls]


def test_nothing_is_sent_before_the_actor_lives() -> None:
    queue = queue_of(True, True)
    assert queue.sendable() == []
    queue.state = ALIVE
    assert ids(queue.sendable()) == [0, 1]
    assert queue.sendable() == []


def test_no_call_overtakes_one_that_waits_for_its_arguments() -> None:
    queue = queue_of(True, False, True)
    queue.state = ALIVE
    assert ids(queue.sendable()) == [0]
    queue.waiting[0].ready = True
    assert ids(queue.sendable()) == [1, 2]


def test_lost_calls_fail_without_retries_and_go_again_in_order_with_them() -> None:
    queue = queue_of(True, True, True)
    queue.waiting[1].retries_left = 1
    queue.waiting[2].retries_left = -1
    queue.state = ALIVE
    queue.sendable()
    assert queue.connection_lost().failed == (b"\0",)
    assert ids(list(queue.waiting)) == [1, 2]
    assert ids(queue.sendable()) == [1, 2]
    assert queue.connection_lost().failed == (b"\1",)
    assert ids(list(queue.waiting)) == [2]


def test_death_fails_what_was_sent_and_what_waits() -> None:
    queue = queue_of(True, False, retries=-1)
    queue.state = ALIVE
    queue.sendable()
    assert queue.died().failed == (b"\0", b"\1")
    assert queue.state == DEAD
    assert queue.sendable() == []


def test_drop_forgets_wherever_the_call_is() -> None:
    queue = queue_of(True, False)
    queue.state = ALIVE
    queue.sendable()
    queue.drop(b"\0")
    queue.drop(b"\1")
    assert not queue.in_flight
    assert not queue.waiting
