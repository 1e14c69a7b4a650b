from shoal_operator.control.expectations import Expectations


def test_a_key_waits_until_everything_written_was_seen():
    expectations = Expectations(timeout_seconds=30)
    expectations.expect_created("ml/demo", "Pod/demo-0", now=100)
    expectations.expect_deleted("ml/demo", "uid-7", now=101)
    assert expectations.open("ml/demo") == ("Pod/demo-0", "uid-7")
    assert expectations.saw("ml/demo", "Pod/demo-0")
    assert expectations.remaining_seconds("ml/demo", now=102) == 29
    assert expectations.saw_gone("ml/demo", "uid-7")
    assert expectations.remaining_seconds("ml/demo", now=102) == 0


def test_keys_are_independent_and_surprises_are_ignored():
    expectations = Expectations()
    expectations.expect_created("a", "Pod/x", now=0)
    assert not expectations.saw("b", "Pod/x")
    assert not expectations.saw("a", "Pod/y")
    assert not expectations.saw_gone("a", "Pod/x")
    assert expectations.remaining_seconds("b", now=0) == 0
    assert expectations.remaining_seconds("a", now=0) == 30


def test_an_event_that_never_comes_delays_a_key_but_does_not_block_it():
    expectations = Expectations(timeout_seconds=30)
    expectations.expect_created("a", "Pod/x", now=0)
    assert expectations.remaining_seconds("a", now=29.9) > 0
    assert expectations.remaining_seconds("a", now=30) == 0
    assert expectations.open("a") == ()


def test_forgetting_a_root_forgets_what_it_waits_for():
    expectations = Expectations()
    expectations.expect_deleted("a", "uid", now=0)
    expectations.forget("a")
    assert expectations.remaining_seconds("a", now=0) == 0
