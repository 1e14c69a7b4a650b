import asyncio

import pytest

from shoal_operator.control.slow_start import in_parallel, slow_start


class Recorder:
    """Notes how many writes run at once, batch by batch."""

    def __init__(self, refuse=()):
        self.refuse = set(refuse)
        self.running = 0
        self.peaks = []

    async def write(self, item):
        self.running += 1
        peak = self.running
        await asyncio.sleep(0)
        self.peaks.append((item, peak))
        self.running -= 1
        if item in self.refuse:
            raise ValueError(f"refused {item}")


async def test_batches_double_up_to_the_limit():
    recorder = Recorder()
    outcome = await slow_start(range(100), recorder.write, limit=16)
    assert outcome.done == tuple(range(100))
    starts = [item for item, peak in recorder.peaks if peak == 1]
    assert starts == [0, 1, 3, 7, 15, 31, 47, 63, 79, 95]
    assert max(peak for _, peak in recorder.peaks) == 16


async def test_a_refused_first_write_is_the_only_one():
    outcome = await slow_start(range(1000), Recorder(refuse={0}).write)
    assert outcome.done == ()
    assert [item for item, _ in outcome.failed] == [0]
    assert outcome.skipped == tuple(range(1, 1000))


async def test_a_batch_is_finished_although_one_of_it_failed():
    outcome = await slow_start(range(10), Recorder(refuse={4}).write)
    assert outcome.done == (0, 1, 2, 3, 5, 6)
    assert outcome.skipped == (7, 8, 9)


async def test_in_parallel_starts_at_the_limit():
    recorder = Recorder()
    await in_parallel(range(30), recorder.write, limit=20)
    assert max(peak for _, peak in recorder.peaks) == 20


async def test_cancellation_is_not_a_failed_write():
    async def write(_):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await slow_start([1], write)
