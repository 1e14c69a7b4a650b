import asyncio
import random

from shoal_operator.control.backoff import BackoffPolicy, KeyedBackoff
from shoal_operator.control.clock import SystemClock
from shoal_operator.control.controller import Controller, Limits, Result, Severity, Verdict
from shoal_operator.control.workqueue import WorkQueue


class Outcomes:
    """The metrics of a controller, as a list."""

    def __init__(self):
        self.seen = []

    def observe_reconcile(self, controller, result, seconds, waited_seconds):
        self.seen.append(result)


def build(reconcile, *, judge=lambda _: Verdict(Severity.EXPECTED), deadline_seconds=60.0):
    outcomes = Outcomes()
    controller = Controller(
        "demo",
        reconcile,
        queue=WorkQueue(),
        backoff=KeyedBackoff(BackoffPolicy(jitter=0), random.Random(0)),
        judge=judge,
        clock=SystemClock(),
        metrics=outcomes,
        limits=Limits(workers=4, deadline_seconds=deadline_seconds),
    )
    return controller, outcomes


async def run_for(controller, seconds):
    task = asyncio.create_task(controller.run())
    await asyncio.sleep(seconds)
    controller.queue.close()
    await task


def test_a_result_says_when_to_look_again(in_virtual_time):
    times = []

    async def reconcile(key):
        times.append(asyncio.get_running_loop().time())
        return Result(requeue_after_seconds=10)

    async def scenario():
        controller, _ = build(reconcile)
        controller.queue.add("a")
        await run_for(controller, 35)

    in_virtual_time(scenario())
    assert [round(time) for time in times] == [0, 10, 20, 30]


def test_failures_back_off_by_key_and_success_forgets_them(in_virtual_time):
    times = []

    async def reconcile(key):
        if key == "good":
            return Result()
        times.append(round(asyncio.get_running_loop().time(), 2))
        if len(times) == 4:
            return Result(requeue_after_seconds=1)
        raise LookupError

    async def scenario():
        controller, outcomes = build(reconcile)
        controller.queue.add("bad")
        controller.queue.add("good")
        await run_for(controller, 1.38)
        return outcomes.seen

    seen = in_virtual_time(scenario())
    assert times == [0, 0.05, 0.15, 0.35, 1.35]
    assert seen.count("conflict") == 4
    assert seen.count("requeue_after") == 1
    assert seen.count("success") == 1


def test_a_retry_is_quiet_and_backs_off(in_virtual_time):
    times = []

    async def reconcile(key):
        times.append(round(asyncio.get_running_loop().time(), 2))
        return Result(retry=True)

    async def scenario():
        controller, _ = build(reconcile)
        controller.queue.add("a")
        await run_for(controller, 0.4)

    in_virtual_time(scenario())
    assert times == [0, 0.05, 0.15, 0.35]


def test_a_server_that_asks_for_patience_gets_it(in_virtual_time):
    times = []

    async def reconcile(key):
        times.append(round(asyncio.get_running_loop().time()))
        raise LookupError

    async def scenario():
        controller, _ = build(reconcile, judge=lambda _: Verdict(Severity.TRANSIENT, retry_after_seconds=7))
        controller.queue.add("a")
        await run_for(controller, 15)

    in_virtual_time(scenario())
    assert times == [0, 7, 14]


def test_a_hanging_key_is_cancelled_and_the_others_go_on(in_virtual_time):
    served = []

    async def reconcile(key):
        if key == "hangs":
            await asyncio.Event().wait()
        served.append(key)
        return Result()

    async def scenario():
        controller, outcomes = build(reconcile, deadline_seconds=5)
        for key in ("hangs", "a", "b", "c", "d", "e"):
            controller.queue.add(key)
        await run_for(controller, 6)
        return outcomes.seen

    seen = in_virtual_time(scenario())
    assert sorted(served) == ["a", "b", "c", "d", "e"]
    assert "conflict" in seen


def test_closing_the_queue_lets_the_pass_under_way_finish(in_virtual_time):
    finished = []

    async def reconcile(key):
        await asyncio.sleep(3)
        finished.append(key)
        return Result()

    async def scenario():
        controller, _ = build(reconcile)
        controller.queue.add("a")
        await run_for(controller, 1)

    in_virtual_time(scenario())
    assert finished == ["a"]


def test_an_unexpected_error_is_logged_with_its_trace(in_virtual_time, caplog):
    async def reconcile(key):
        raise ZeroDivisionError("by design")

    async def scenario():
        controller, _ = build(reconcile, judge=lambda _: Verdict(Severity.UNEXPECTED, retry_after_seconds=60))
        controller.queue.add("ml/demo")
        await run_for(controller, 1)

    in_virtual_time(scenario())
    [record] = caplog.records
    assert "ml/demo" in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError
