import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal_operator.control.workqueue import QueueClosedError, QueueState, WorkQueue

KEYS = st.sampled_from("abc")


class QueueModel(RuleBasedStateMachine):
    """The queue against the plainest model: which keys are owed a look, and who has one."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: QueueState[str] = QueueState()
        self.now = 0.0
        self.owed: set[str] = set()
        self.held: set[str] = set()
        self.timers: dict[str, float] = {}

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        assert self.queue.add(key, self.now) == (key not in self.owed)
        self.owed.add(key)

    @rule(key=KEYS, delay=st.floats(0.1, 10))
    def add_later(self, key: str, delay: float) -> None:
        self.queue.add_at(key, self.now + delay)
        self.timers[key] = min(self.timers.get(key, float("inf")), self.now + delay)

    @rule(key=KEYS)
    def forget_timer(self, key: str) -> None:
        self.queue.discard_timer(key)
        self.timers.pop(key, None)

    @rule(seconds=st.floats(0, 5))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = {key for key, when in self.timers.items() if when <= self.now}
        assert self.queue.advance(self.now) == len(due - self.owed)
        self.owed |= due
        for key in due:
            del self.timers[key]

    @precondition(lambda self: self.owed - self.held)
    @rule()
    def take(self) -> None:
        taken = self.queue.take(self.now)
        assert taken is not None
        key, waited = taken
        assert key in self.owed - self.held
        assert waited >= 0
        self.owed.remove(key)
        self.held.add(key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.queue.done(key)
        self.held.remove(key)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert self.queue.depth == len(self.owed - self.held)
        assert self.queue.next_timer() == min(self.timers.values(), default=None)
        assert self.queue.is_idle == (not self.owed and not self.held)
        if not self.owed - self.held:
            assert self.queue.take(self.now) is None


QueueModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueueModel = QueueModel.TestCase


def test_a_key_added_while_a_worker_has_it_comes_again_after_done(in_virtual_time):
    async def scenario():
        queue = WorkQueue()
        queue.add("a")
        await queue.get()
        queue.add("a")
        second = asyncio.create_task(queue.get())
        await asyncio.sleep(1)
        assert not second.done()
        queue.done("a")
        assert (await second)[0] == "a"

    in_virtual_time(scenario())


def test_of_two_delays_the_earlier_counts(in_virtual_time):
    async def scenario():
        queue = WorkQueue()
        queue.add_after("a", 60)
        queue.add_after("a", 2)
        queue.add_after("b", 5)
        key, _ = await queue.get()
        assert (key, asyncio.get_running_loop().time()) == ("a", pytest.approx(2, abs=0.01))
        queue.done("a")
        key, _ = await queue.get()
        assert (key, asyncio.get_running_loop().time()) == ("b", pytest.approx(5, abs=0.01))
        queue.done("b")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 100)

    in_virtual_time(scenario())


def test_a_cancelled_waiter_passes_its_wake_up_on(in_virtual_time):
    async def scenario():
        queue = WorkQueue()
        first = asyncio.create_task(queue.get())
        second = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert (await asyncio.wait_for(second, 1))[0] == "a"

    in_virtual_time(scenario())


def test_every_waiter_leaves_when_the_queue_is_closed(in_virtual_time):
    async def scenario():
        queue = WorkQueue()
        waiters = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.close()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(result) for result in results] == [QueueClosedError] * 3
        queue.add("late")
        assert queue.depth == 0

    in_virtual_time(scenario())


def test_many_workers_see_every_key_and_never_the_same_one_twice_at_once(in_virtual_time):
    async def scenario():
        queue = WorkQueue()
        busy, seen = set(), []

        async def work():
            while True:
                try:
                    key, _ = await queue.get()
                except QueueClosedError:
                    return
                assert key not in busy
                busy.add(key)
                await asyncio.sleep(0.3)
                busy.remove(key)
                seen.append(key)
                queue.done(key)

        workers = [asyncio.create_task(work()) for _ in range(4)]
        for number in range(40):
            queue.add(f"key-{number % 10}")
            await asyncio.sleep(0.05)
        await asyncio.sleep(10)
        queue.close()
        await asyncio.gather(*workers)
        assert set(seen) == {f"key-{number}" for number in range(10)}
        assert queue.is_idle

    in_virtual_time(scenario())
