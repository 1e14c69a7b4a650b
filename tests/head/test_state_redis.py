"""The head's state in Redis: what was written is found; a head that was cut off writes nothing; nothing is left behind.

A real server, made for each test; its own clock is the only one that keys and locks know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from tests.head.redis_server import PASSWORD, RedisServer

from shoal.head import state_redis
from shoal.head.journal import Journal
from shoal.head.state import HeadState
from shoal.head.state_error import StateError
from shoal.head.state_redis import StateRedis
from shoal.head.state_tables import StateLostError, WriteError

RETENTION_SECONDS = 1000.0


Open = Callable[..., StateRedis]


@pytest.fixture
def opened(redis_server: RedisServer) -> Iterator[Open]:
    """Makes stores; ``lost`` of each collects what it says of another head."""
    stores: list[StateRedis] = []

    def make(name: str = "cluster", password: str = PASSWORD, wait_seconds: float = 0.1) -> StateRedis:
        store = StateRedis(
            redis_server.url,
            name,
            password=password,
            retention_seconds=RETENTION_SECONDS,
            on_lost=lost.append,
            lock_wait_seconds=wait_seconds,
        )
        stores.append(store)
        return store

    lost: list[StateLostError] = []
    make.lost = lost  # type: ignore[attr-defined]
    yield make
    for store in stores:
        store.close()


def settle(state: HeadState) -> None:
    written = threading.Event()
    state.when_durable(written.set)
    assert written.wait(10)


def test_what_was_written_is_found_in_its_order_and_newest_form(opened: Open) -> None:
    state = HeadState(opened())
    for key in ("b", "a", "c"):
        state.put("kv", "n", key, b"old\xff")
    settle(state)
    state.put("kv", "n", "b", b"new")
    state.drop("kv", "n", "a")
    state.drop("kv", "n", "never there")
    state.put("nodes", "n1", 1, "{}")
    state.close()
    again = opened()
    assert again.rows("kv") == [("n", "b", b"new"), ("n", "c", b"old\xff")]
    assert again.rows("nodes") == [("n1", 1, "{}")]
    again.write({("kv", ("n", "d")): ("n", "d", b""), ("kv", ("n", "b")): ("n", "b", b"newer")})
    again.close()
    assert [row[1:] for row in opened().rows("kv")] == [("b", b"newer"), ("c", b"old\xff"), ("d", b"")]


def test_a_cluster_is_the_same_after_its_head(opened: Open) -> None:
    state = HeadState(opened())
    first = Journal(state).cluster_id
    state.close()
    again = HeadState(opened())
    assert Journal(again).cluster_id == first
    again.close()
    other = HeadState(opened("other"))
    assert Journal(other).cluster_id != first
    other.close()


def test_one_cluster_has_one_head(opened: Open) -> None:
    opened()
    with pytest.raises(StateError, match="in use by another head") as caught:
        opened()
    assert caught.value.kind == "InUse"
    assert PASSWORD not in str(caught.value)


def test_a_head_that_was_cut_off_writes_nothing_and_is_told(redis_server: RedisServer, opened: Open) -> None:
    old = opened()
    old.write({("kv", ("n", "a")): ("n", "a", b"old")})
    redis_server.client.delete("shoal:{cluster}:lock")  # as if it had run out
    new = opened()
    with pytest.raises(StateLostError, match="another head"):
        old.write({("kv", ("n", "a")): ("n", "a", b"too late")})
    assert new.rows("kv") == [("n", "a", b"old")]
    assert len(opened.lost) == 1  # type: ignore[attr-defined]
    old.close()
    assert redis_server.client.exists("shoal:{cluster}:lock"), "the successor keeps its lock"


def test_a_head_that_was_cut_off_takes_nothing_back_from_one_that_has_ended(
    redis_server: RedisServer, opened: Open
) -> None:
    old = opened()
    redis_server.client.delete("shoal:{cluster}:lock")
    new = opened()
    new.write({("kv", ("n", "a")): ("n", "a", b"newer")})
    new.close()
    assert not redis_server.client.exists("shoal:{cluster}:lock")
    with pytest.raises(StateLostError, match="another head"):
        old.write({("kv", ("n", "a")): ("n", "a", b"too late")})
    assert opened().rows("kv") == [("n", "a", b"newer")]


def test_an_idle_head_that_was_cut_off_is_told(
    redis_server: RedisServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_redis, "RENEW_SECONDS", 0.05)
    told = threading.Event()
    old = opened()
    old._on_lost = lambda _: told.set()
    redis_server.client.set("shoal:{cluster}:lock", "another")
    redis_server.client.set("shoal:{cluster}:last", "another")
    assert told.wait(10)


def test_a_lock_that_ran_out_unnoticed_is_taken_again(redis_server: RedisServer, opened: Open) -> None:
    store = opened()
    redis_server.client.delete("shoal:{cluster}:lock")
    store.write({("kv", ("n", "a")): ("n", "a", b"value")})
    assert store.rows("kv") == [("n", "a", b"value")]
    assert redis_server.client.pttl("shoal:{cluster}:lock") > 0


def test_a_server_that_comes_back_gets_what_waited(redis_server: RedisServer, opened: Open) -> None:
    state = HeadState(opened())
    state.put("kv", "n", "a", b"1")
    settle(state)
    redis_server.kill()
    state.put("kv", "n", "b", b"2")
    redis_server.start()
    settle(state)
    state.close()
    assert [row[1] for row in opened().rows("kv")] == ["a", "b"]


def test_a_batch_fails_as_a_whole_while_the_server_is_away(redis_server: RedisServer, opened: Open) -> None:
    store = opened()
    redis_server.kill()
    with pytest.raises(WriteError):
        store.write({("kv", ("n", "a")): ("n", "a", b"1")})
    redis_server.start()
    assert store.rows("kv") == []


def test_all_keys_go_when_no_head_renews_them(redis_server: RedisServer, opened: Open) -> None:
    store = opened()
    store.write({("kv", ("n", "a")): ("n", "a", b"1"), ("nodes", ("x",)): ("x", 1, "{}")})
    store.close()
    keys = redis_server.client.keys("shoal:*")
    assert {b"shoal:{cluster}:kv", b"shoal:{cluster}:nodes"} <= set(keys)
    for key in keys:
        assert 0 < redis_server.client.pttl(key) <= RETENTION_SECONDS * 1000, key


def test_a_wrong_password_is_an_error_that_does_not_show_it(opened: Open) -> None:
    with pytest.raises(StateError, match="check the address, the password") as caught:
        opened(password="mistyped")
    assert caught.value.kind == "Unreachable"
    assert "mistyped" not in str(caught.value)


def test_a_newer_state_is_left_alone(redis_server: RedisServer, opened: Open) -> None:
    redis_server.client.set("shoal:{cluster}:version", state_redis.SCHEMA_VERSION + 1)
    with pytest.raises(StateError, match="start the newer version of shoal") as caught:
        opened()
    assert caught.value.kind == "Newer"
    assert not redis_server.client.exists("shoal:{cluster}:lock")


def test_a_malformed_row_is_an_error_and_no_empty_start(redis_server: RedisServer, opened: Open) -> None:
    redis_server.client.hset("shoal:{cluster}:kv", "field", "not json")
    with pytest.raises(StateError, match="cannot be read") as caught:
        opened().rows("kv")
    assert caught.value.kind == "Unreadable"


def test_a_large_batch_is_written_in_parts(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_redis, "SCRIPT_BYTES", 1000)
    store = opened()
    rows = {("kv", ("n", str(number))): ("n", str(number), b"x" * 400) for number in range(20)}
    store.write({**rows, ("kv", ("n", "gone")): None})
    store.close()
    assert [row[1] for row in opened().rows("kv")] == [str(number) for number in range(20)]
