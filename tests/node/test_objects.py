"""Objects on one node: through shared memory between real processes."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable

import pytest
from harness import Driver, Node, eventually

from shoal.exceptions import ObjectStoreFullError
from shoal.store.client import StoreFailure

MakeNode = Callable[..., Node]
Drive = Callable[..., Driver]
NewId = Callable[[], bytes]
MIB = 1 << 20
FETCH = """
box = []
worker.store.fetch({oid!r}, ({node!r},), box.append)
worker.reactor.run_until(lambda: bool(box), time.monotonic() + 20)
{keep} = box.pop()
result = bytes({keep}[:{count}]) if isinstance({keep}, memoryview) else repr({keep})
"""


def fetch_code(driver: Driver, oid: bytes, count: int = 10, keep: str = "view") -> str:
    return FETCH.format(oid=oid, node=driver.node, count=count, keep=keep)


def segments(node: Node) -> dict[int, int]:
    index = node.agent.store.index
    return node.inside(lambda: {s.segment_id: s.size for s in index.segments.values()})  # type: ignore[no-any-return]


def objects(node: Node) -> int:
    return node.inside(lambda: len(node.agent.store.index.objects))  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [0, 1, 100_000, MIB - 1, MIB, 5 * MIB + 3])
def test_what_is_written_is_read_elsewhere(make_node: MakeNode, drive: Drive, object_id: NewId, size: int) -> None:
    driver = drive(make_node())
    data = os.urandom(size)
    oid = object_id()
    driver.put(oid, data)
    _, address = driver.lease()
    assert driver.run(address, fetch_code(driver, oid, size)) == data
    own = driver.get(oid)
    assert isinstance(own, memoryview)
    assert own == data
    assert own.readonly


def test_a_reader_cannot_write(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    """Not even past Python's own check: the pages are mapped read-only."""
    driver = drive(make_node())
    oid = object_id()
    driver.put(oid, b"x" * 2 * MIB)
    _, address = driver.lease()
    driver.run(address, fetch_code(driver, oid))
    code = f"import ctypes; ctypes.memset(worker.store._reads[{oid!r}].mapping.address, 1, 1)"
    box = driver.begin_run(address, code)
    driver.wait(lambda: box)
    assert box[0][0][0] == "Disconnected"  # it died of it
    assert driver.get(oid)[:1] == b"x"  # type: ignore[index]


def test_views_outlive_everything_else(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node()
    writer, reader = drive(node), drive(node)
    oid = object_id()
    data = os.urandom(2 * MIB)
    writer.put(oid, data)
    view = reader.get(oid)
    assert isinstance(view, memoryview)
    part = view[100:200]
    del view
    writer.store.free([oid])
    writer.close()
    node.stop()
    gc.collect()
    assert part == data[100:200]


def test_freed_memory_is_written_again_only_when_all_have_let_go(
    make_node: MakeNode, drive: Drive, object_id: NewId
) -> None:
    node = make_node()
    writer, reader = drive(node), drive(node)
    first = object_id()
    writer.put(first, b"1" * 2 * MIB)
    view = reader.get(first)
    assert isinstance(view, memoryview)
    writer.store.free([first])
    second = object_id()
    writer.put(second, b"2" * 2 * MIB)
    assert len(segments(node)) == 2
    assert view[:3] == b"111"
    del view
    eventually(lambda: writer.store.memory.pool, "the first segment comes back")
    writer.put(object_id(), b"3" * 2 * MIB)
    assert len(segments(node)) == 2
    assert writer.get(second)[:3] == b"222"  # type: ignore[index]


def test_a_local_view_keeps_freed_memory(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node()
    driver = drive(node)
    for size in (2 * MIB, 10_000):
        oid = object_id()
        driver.put(oid, b"1" * size)
        view = driver.get(oid)
        assert isinstance(view, memoryview)
        driver.store.free([oid])
        eventually(lambda: objects(node) == 0, "it is freed")
        driver.ask("nodes")
        other = object_id()
        driver.put(other, b"2" * size)
        assert view[:2] == b"11"
        del view
        driver.store.free([other])  # over the connection of its seal: the agent hears of it afterwards
        eventually(lambda: objects(node) == 0, "the other is freed")


def test_ten_thousand_objects_leave_no_descriptors(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node()
    driver, reader = drive(node), drive(node)
    before = len(os.listdir("/proc/self/fd"))
    for _round in range(20):
        ids = [object_id() for _ in range(500)]
        for oid in ids:
            driver.put(oid, b"x" * 2000)
        views = [reader.get(oid) for oid in ids[::50]]
        assert all(isinstance(view, memoryview) for view in views)
        del views
        driver.store.free(ids)
    eventually(lambda: objects(node) == 0, "all are freed")
    eventually(lambda: len(segments(node)) <= 4, "slabs are given up")
    assert len(os.listdir("/proc/self/fd")) <= before + 8


def test_writing_again_is_fast(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node(object_store_bytes=1 << 30)
    driver = drive(node)
    data = os.urandom(64 * MIB)
    seconds = []
    for _ in range(8):
        oid = object_id()
        started = time.perf_counter()
        driver.put(oid, data)
        seconds.append(time.perf_counter() - started)
        driver.store.free([oid])
        eventually(lambda: driver.store.memory.pool, "it comes back")
    speeds = [f"{64 / 1024 / s:.1f}" for s in seconds]
    print(f"\nput of 64 MiB, GiB/s: {' '.join(speeds)} (the first is cold)")
    assert len(segments(node)) == 1


def test_small_put_and_fetch_latency(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node()
    driver, reader = drive(node), drive(node)
    ids = [object_id() for _ in range(300)]
    started = time.perf_counter()
    for oid in ids:
        driver.put(oid, b"x" * 150_000)
    puts = (time.perf_counter() - started) / len(ids)
    started = time.perf_counter()
    views = [reader.get(oid) for oid in ids]
    gets = (time.perf_counter() - started) / len(ids)
    print(f"\n150 kB: put {puts * 1e6:.0f} us, fetch {gets * 1e6:.0f} us")
    assert all(isinstance(view, memoryview) for view in views)


def test_a_full_store_says_so(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    from shoal.core import store_index

    node = make_node(object_store_bytes=8 * MIB)
    driver = drive(node)
    with pytest.raises(ObjectStoreFullError, match="more than the whole store"):
        driver.store.write(object_id(), 9 * MIB)
    ids = [object_id() for _ in range(2)]
    for oid in ids:
        driver.put(oid, b"x" * 3 * MIB)
    saved, store_index.RESERVE_WAIT_SECONDS = store_index.RESERVE_WAIT_SECONDS, 0.2  # type: ignore[misc]
    try:
        with pytest.raises(ObjectStoreFullError, match=r"waited 0\.2 s"):
            driver.store.write(object_id(), 3 * MIB)
    finally:
        store_index.RESERVE_WAIT_SECONDS = saved  # type: ignore[misc]
    driver.store.free(ids[:1])
    driver.put(object_id(), b"y" * 3 * MIB)
    # Memory that another process keeps for later is asked back.
    driver.store.free(ids[1:])
    eventually(lambda: driver.store.memory.pool, "the pool has a segment")
    drive(node).put(object_id(), b"z" * 3 * MIB)


def test_objects_of_a_dead_owner_are_freed(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node()
    owner, other = drive(node), drive(node)
    mine, foreign, small = object_id(), object_id(), object_id()
    owner.put(mine, b"m" * 2 * MIB)
    owner.put(small, b"s" * 1000)
    owner.put(foreign, b"f" * 2 * MIB, owner=other.process_id)
    assert objects(node) == 3 or eventually(lambda: objects(node) == 3, "sealed")
    owner.close()
    eventually(lambda: objects(node) == 1, "its own objects are freed")
    assert other.get(foreign)[:2] == b"ff"  # type: ignore[index]
    missing = other.get(mine)
    assert isinstance(missing, StoreFailure)
    assert missing.kind == "ObjectMissing"
    assert "freed" in missing.message
    assert len(segments(node)) == 1


def test_objects_of_a_killed_worker_that_others_own_stay(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    driver = drive(make_node())
    _, address = driver.lease()
    oid = object_id()
    code = f"""
view = worker.store.write({oid!r}, 2_000_000)
view[:] = b"w" * 2_000_000
worker.store.seal({oid!r}, {driver.process_id!r})
os.kill(os.getpid(), 9)
"""
    box = driver.begin_run(address, code)
    driver.wait(lambda: box)
    view = driver.get(oid)
    assert isinstance(view, memoryview)
    assert view[-2:] == b"ww"


def test_a_fetch_may_come_before_the_seal(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node()
    writer, reader = drive(node), drive(node)
    oid = object_id()
    box = reader.begin_fetch(oid, (reader.node,))
    writer.put(oid, b"late")
    reader.wait(lambda: box)
    assert box[0] == b"late"


def test_a_free_may_come_before_the_seal(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node()
    writer, owner = drive(node), drive(node)
    oid = object_id()
    owner.store.free([oid])
    owner.ask("nodes")
    writer.put(oid, b"x" * 2 * MIB, owner=owner.process_id)
    writer.ask("nodes")
    assert objects(node) == 0
    eventually(lambda: writer.store.memory.pool, "its memory comes back")


def test_an_object_that_never_was_is_missing(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    driver = drive(make_node())
    failure = driver.get(object_id())
    assert isinstance(failure, StoreFailure)
    assert failure.kind == "ObjectMissing"
    assert "never sealed" in failure.message


def test_an_aborted_write_leaves_nothing(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    node = make_node()
    driver = drive(node)
    for size in (1000, 2 * MIB):
        oid = object_id()
        view = driver.store.write(oid, size)
        view.release()
        driver.store.abort(oid)
        driver.put(oid, b"again" * 100)
        driver.store.free([oid])
    eventually(lambda: objects(node) == 0, "nothing is left")


def test_numpy_arrays_keep_their_memory(make_node: MakeNode, drive: Drive, object_id: NewId) -> None:
    np = pytest.importorskip("numpy")
    node = make_node()
    writer, reader = drive(node), drive(node)
    oid = object_id()
    writer.put(oid, np.arange(1 << 18, dtype=np.int64).tobytes())
    array = np.frombuffer(reader.get(oid), dtype=np.int64)[1000:2000]
    gc.collect()
    writer.store.free([oid])
    writer.put(object_id(), b"\0" * (1 << 21))
    assert array[0] == 1000
    assert array.sum() == sum(range(1000, 2000))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_an_object_sealed_twice_keeps_the_views_of_the_first(
    make_node: MakeNode, drive: Drive, object_id: NewId
) -> None:
    node = make_node()
    driver = drive(node)
    for size in (2 * MIB, 10_000):
        oid = object_id()
        driver.put(oid, b"1" * size)
        view = driver.get(oid)
        assert isinstance(view, memoryview)
        driver.put(oid, b"1" * size)  # its task ran again
        driver.store.free([oid])
        eventually(lambda oid=oid: oid not in node.agent.store.index.objects, "it is freed")
        driver.ask("nodes")
        for _ in range(3):
            driver.put(object_id(), b"2" * size)
        assert view[:2] == b"11"
        del view
