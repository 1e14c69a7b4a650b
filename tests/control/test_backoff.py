import random

from hypothesis import given
from hypothesis import strategies as st

from shoal_operator.control.backoff import BackoffPolicy, KeyedBackoff, Retrier


@given(failures=st.integers(0, 500), seed=st.integers(0, 1000))
def test_delays_keep_their_promise(failures, seed):
    policy = BackoffPolicy(base_seconds=0.05, cap_seconds=60, factor=2, jitter=0.2)
    delay = policy.delay(failures, random.Random(seed))
    undisturbed = min(60, 0.05 * 2 ** min(failures, 64))
    assert 0.8 * undisturbed <= delay <= undisturbed


def test_keys_do_not_slow_each_other_down():
    backoff = KeyedBackoff(BackoffPolicy(jitter=0), random.Random(0))
    assert [backoff.next_delay("bad") for _ in range(4)] == [0.05, 0.1, 0.2, 0.4]
    assert backoff.next_delay("good") == 0.05
    backoff.forget("bad")
    assert backoff.next_delay("bad") == 0.05
    assert len(backoff) == 2


def test_the_same_seed_gives_the_same_delays():
    first, second = (Retrier(BackoffPolicy(), random.Random(7)) for _ in range(2))
    assert [first.next_delay() for _ in range(10)] == [second.next_delay() for _ in range(10)]
    first.reset()
    assert first.next_delay() <= 0.05
