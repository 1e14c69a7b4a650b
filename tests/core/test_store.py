"""The store index, the slab allocator and the pull, without I/O."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.pull import CHUNK_BYTES, STALL_SECONDS, Allocate, Ask, Done, Failed, Pull
from shoal.core.slabs import SlabAllocator, rounded
from shoal.core.store_index import (
    AGENT,
    RESERVE_WAIT_SECONDS,
    Close,
    FreeCopy,
    Full,
    Reclaim,
    Reserved,
    StoreIndex,
    Trim,
)

A, B, C = ("a" * 8, "1.1.1.1", 1), ("b" * 8, "2.2.2.2", 2), ("c" * 8, "3.3.3.3", 3)


def segment(index: StoreIndex, client: str, size: int = 100) -> int:
    (effect,) = index.reserve(1, client, size, 0.0)
    assert isinstance(effect, Reserved)
    return effect.segment_id


def test_a_place_comes_back_once_after_free_and_release() -> None:
    index = StoreIndex(1000)
    number = segment(index, "w")
    assert index.seal("w", b"o", (number, 0, 50), "w", "job") == []
    assert index.pin("r", b"o") is not None
    assert index.pin("r", b"o") is not None
    assert index.free([b"o"]) == []
    assert index.pin("r", b"o") is None
    assert index.release("r", b"o", (number, 0), 1) == []
    assert index.release("r", b"o", (number, 0), 1) == [Reclaim("w", b"o", number, 0, 50)]
    assert index.release("r", b"o", (number, 0), 1) == []
    assert index.give_up("w", number) == [Close(number, ("r",))]
    assert index.used_bytes == 0


def test_a_reader_that_ends_lets_go() -> None:
    index = StoreIndex(1000)
    number = segment(index, "w")
    index.seal("w", b"o", (number, 0, 50), "w", "job")
    index.pin("r", b"o")
    index.free([b"o"])
    assert index.client_gone("r") == [Reclaim("w", b"o", number, 0, 50)]


def test_an_owner_that_ends_frees_what_others_wrote_for_it() -> None:
    index = StoreIndex(1000)
    number = segment(index, "w")
    index.seal("w", b"o", (number, 0, 50), "owner", "job")
    index.add_copy(b"o", B)
    assert index.client_gone("owner") == [FreeCopy(B, b"o"), Reclaim("w", b"o", number, 0, 50)]


def test_a_writer_that_ends_leaves_the_objects_of_others() -> None:
    index = StoreIndex(1000)
    number = segment(index, "w")
    index.seal("w", b"o", (number, 0, 50), "owner", "job")
    assert index.client_gone("w") == []
    assert index.pin("owner", b"o") is not None
    assert index.free([b"o"]) == []
    assert index.release("owner", b"o", (number, 0), 1) == [Close(number, ("owner",))]


def test_space_is_waited_for_and_refused_in_time() -> None:
    index = StoreIndex(100)
    first = segment(index, "w")
    index.seal("w", b"o", (first, 0, 50), "w", "job")
    assert index.reserve(2, "x", 100, 0.0) == []
    assert index.next_deadline() == RESERVE_WAIT_SECONDS
    (full,) = index.expire(RESERVE_WAIT_SECONDS)
    assert isinstance(full, Full)
    assert "100 of 100 bytes in use by 1 objects" in full.message
    assert index.reserve(3, "x", 100, 20.0) == []
    index.free([b"o"])
    effects = index.give_up("w", first)
    assert [type(e) for e in effects] == [Close, Reserved]


def test_kept_memory_is_asked_back_and_copies_give_way() -> None:
    index = StoreIndex(100)
    number = segment(index, "w", 60)
    index.seal("w", b"o", (number, 0, 50), "w", "job")
    index.free([b"o"])
    assert Trim("w") in index.reserve(2, "x", 60, 0.0)
    index.give_up("w", number)
    copy = segment(index, AGENT, 40)
    index.seal(AGENT, b"p", (copy, 0, 40), "", "job", primary=False)
    index.add_copy(b"p", B)
    effects = index.reserve(3, "y", 40, 0.0)
    assert effects[0] == Reclaim(AGENT, b"p", copy, 0, 40)  # and the copies made from it stay
    assert index.give_up(AGENT, copy)[-1] == Reserved(3, copy + 1)


def test_an_object_sealed_twice_or_too_late_is_reclaimed_at_once() -> None:
    index = StoreIndex(1000)
    number = segment(index, "w")
    index.seal("w", b"o", (number, 0, 50), "w", "job")
    assert index.seal("w", b"o", (number, 64, 30), "w", "job") == [Reclaim("w", b"o", number, 64, 30)]
    index.free([b"late"])
    assert index.seal("w", b"late", (number, 64, 30), "w", "job") == [Reclaim("w", b"late", number, 64, 30)]


@pytest.mark.parametrize("place", [(1, -1, 10), (1, 95, 10), (2, 0, 10)])
def test_a_wrong_place_is_refused(place: tuple[int, int, int]) -> None:
    index = StoreIndex(1000)
    segment(index, "w")
    with pytest.raises(ValueError, match="segment"):
        index.seal("w", b"o", place, "w", "job")
    with pytest.raises(ValueError, match="not reserved"):
        index.seal("other", b"o", (1, 0, 10), "w", "job")


def test_a_job_that_ends_frees_all_but_the_living() -> None:
    index = StoreIndex(1000)
    number = segment(index, "w")
    for name, owner, job in [(b"1", "dead", "j"), (b"2", "alive", "j"), (b"3", "dead", "other")]:
        index.seal("w", name, (number, 0, 10), owner, job)
    index.job_ended("j", frozenset({"alive"}))
    assert list(index.objects) == [b"2", b"3"]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 120))
def test_slabs_never_overlap_and_join_again(seed: int, steps: int) -> None:
    dice = random.Random(seed)
    slabs = SlabAllocator()
    slabs.add(1, 4096)
    slabs.add(2, 8192)
    used: list[tuple[int, int, int]] = []
    for _ in range(steps):
        if used and dice.random() < 0.4:
            slabs.release(*used.pop(dice.randrange(len(used))))
            continue
        size = dice.choice([0, 1, 63, 64, 65, 500, 3000])
        found = slabs.allocate(size)
        if found is not None:
            number, offset = found
            assert offset % 64 == 0
            end = offset + rounded(size)
            assert end <= {1: 4096, 2: 8192}[number]
            assert all(n != number or end <= o or o + rounded(s) <= offset for n, o, s in used)
            used.append((number, offset, size))
    for place in used:
        slabs.release(*place)
    assert sorted(slabs.empty()) == [1, 2]
    assert {slabs.allocate(8192), slabs.allocate(4096)} == {(2, 0), (1, 0)}


class Holder:
    """Answers a pull with the bytes of an object, as wanted."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.asked: list[tuple[str, int]] = []

    def drive(self, pull: Pull, effects: list[Any], lost: dict[str, int]) -> list[Any]:
        """Carry effects out until the pull ends; ``lost``: a node and how many chunks it serves before it fails."""
        pending, ends, served = list(effects), [], dict.fromkeys(lost, 0)
        while pending:
            effect = pending.pop(0)
            match effect:
                case Ask(node=node, offset=offset, length=length):
                    name = node[0]
                    self.asked.append((name, offset))
                    if name in lost and served[name] >= lost[name]:
                        pending += pull.lost(node, "gone", 0.0)
                    else:
                        served[name] = served.get(name, 0) + 1
                        pending += pull.arrived(node, offset, min(length, self.total - offset), self.total, 0.0)
                case Allocate():
                    pending += pull.allocated(0.0)
                case _:
                    ends.append(effect)
        return ends


@pytest.mark.parametrize("chunks", [0, 0.5, 1, 1.5, 9, 9.5])
def test_a_pull_asks_for_every_chunk_once(chunks: float) -> None:
    holder = Holder(int(chunks * CHUNK_BYTES))
    pull = Pull((A,), 0.0)
    assert holder.drive(pull, pull.next(), {}) == [Done()]
    count = max(1, -(-holder.total // CHUNK_BYTES))
    assert holder.asked == [(A[0], n * CHUNK_BYTES) for n in range(count)]


@pytest.mark.parametrize("after", range(8))
def test_the_next_location_goes_on_where_one_was_lost(after: int) -> None:
    holder = Holder(8 * CHUNK_BYTES)
    pull = Pull((A, B), 0.0)
    assert holder.drive(pull, pull.next(), {A[0]: after}) == [Done()]
    from_b = {offset for name, offset in holder.asked if name == B[0]}
    assert len(from_b) == 8 - after


def test_all_lost_says_what_each_said() -> None:
    pull = Pull((A, B), 0.0)
    (failed,) = Holder(10).drive(pull, pull.next(), {A[0]: 0, B[0]: 0})
    assert isinstance(failed, Failed)
    assert failed.kind == "ObjectMissing"
    assert "1.1.1.1: gone" in failed.message
    assert "2.2.2.2: gone" in failed.message


def test_a_location_that_stalls_is_given_up() -> None:
    pull = Pull((A, B), 0.0)
    pull.next()
    assert pull.expire(STALL_SECONDS - 1) == []
    assert pull.expire(STALL_SECONDS) == [Ask(B, 0, CHUNK_BYTES)]
    (failed,) = pull.expire(2 * STALL_SECONDS)
    assert isinstance(failed, Failed)
    assert failed.kind == "Timeout"


def test_a_copy_of_another_size_is_not_mixed_in() -> None:
    pull = Pull((A, B), 0.0)
    pull.next()
    pull.arrived(A, 0, CHUNK_BYTES, 3 * CHUNK_BYTES, 0.0)
    asks = pull.allocated(0.0)
    assert len(asks) == 2
    effects = pull.arrived(A, CHUNK_BYTES, CHUNK_BYTES, 2 * CHUNK_BYTES, 0.0)
    assert [e.node for e in effects if isinstance(e, Ask)] == [B, B]


def test_late_answers_of_a_lost_location_are_ignored() -> None:
    pull = Pull((A, B), 0.0)
    pull.next()
    pull.lost(A, "slow", 0.0)
    assert pull.arrived(A, 0, 5, 5, 0.0) == []
    assert pull.arrived(B, 0, 5, 5, 0.0) == [Allocate(5)]
    assert pull.allocated(0.0) == [Done()]
