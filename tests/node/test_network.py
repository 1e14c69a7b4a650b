"""Several nodes on loopback addresses: tokens, spilled leases, pulled objects, lost nodes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from harness import ONE_CPU, TOKEN, Driver, Node, eventually

from shoal.resources import ResourceSet
from shoal.store.client import StoreFailure
from shoal_operator.controllers.authority import issue_leaf, new_authority

MakeNode = Callable[..., Node]
Drive = Callable[..., Driver]
NewId = Callable[[], bytes]
MIB = 1 << 20


@pytest.fixture
def make_peer(make_node: MakeNode) -> MakeNode:
    """Makes nodes on 127.0.0.2, 127.0.0.3, ... with the cluster's token."""
    count = [1]

    def make(**changes: object) -> Node:
        count[0] += 1
        options = {"ip": f"127.0.0.{count[0]}", "frames_port": 0, "token": TOKEN, **changes}
        return make_node(**options)

    return make


def primaries(node: Node) -> int:
    return node.inside(lambda: node.agent.store.index.primaries)  # type: ignore[no-any-return]


def objects(node: Node) -> int:
    return node.inside(lambda: len(node.agent.store.index.objects))  # type: ignore[no-any-return]


def test_fifty_mebibytes_by_chunks(make_peer: MakeNode, drive: Drive, object_id: NewId) -> None:
    one, two = make_peer(), make_peer()
    writer, reader = drive(one), drive(two)
    oid = object_id()
    data = os.urandom(50 * MIB + 17)
    writer.put(oid, data)
    started = time.perf_counter()
    view = reader.get(oid, (one.node,))
    seconds = time.perf_counter() - started
    print(f"\n50 MiB between two nodes in {seconds:.2f} s, {50 / seconds:.0f} MiB/s")
    assert isinstance(view, memoryview)
    assert view == data
    assert (primaries(one), primaries(two), objects(two)) == (1, 0, 1)
    del view
    writer.store.free([oid], ())
    eventually(lambda: objects(one) == 0 and objects(two) == 0, "both copies are gone")


def test_fifty_mebibytes_encrypted(make_peer: MakeNode, drive: Drive, object_id: NewId, tmp_path: Path) -> None:
    leaf = issue_leaf(new_authority("demo", datetime.now(UTC)), ("shoal",), datetime.now(UTC))
    for name, pem in (("ca.crt", leaf.authority_pem), ("tls.crt", leaf.certificate_pem), ("tls.key", leaf.key_pem)):
        (tmp_path / name).write_bytes(pem)
    one, two = make_peer(tls_directory=str(tmp_path)), make_peer(tls_directory=str(tmp_path))
    plain = make_peer()
    oid = object_id()
    data = os.urandom(50 * MIB + 17)
    drive(one).put(oid, data)
    reader = drive(two)
    started = time.perf_counter()
    view = reader.get(oid, (one.node,))
    seconds = time.perf_counter() - started
    print(f"\n50 MiB between two nodes, encrypted, in {seconds:.2f} s, {50 / seconds:.0f} MiB/s")
    assert view == data
    failure = drive(plain).get(oid, (one.node,))
    assert isinstance(failure, StoreFailure)
    assert "the peer needs TLS, which this process has not" in failure.message
    del view


def test_small_objects_and_many_readers_of_one(make_peer: MakeNode, drive: Drive, object_id: NewId) -> None:
    one, two = make_peer(), make_peer()
    writer, readers = drive(one), [drive(two) for _ in range(3)]
    ids = [object_id() for _ in range(20)]
    for number, oid in enumerate(ids):
        writer.put(oid, bytes([number]) * (200_000 if number else 0))
    started = time.perf_counter()
    boxes = [reader.begin_fetch(oid, (one.node,)) for oid in ids for reader in readers]
    for number, reader in enumerate(readers):
        reader.wait(lambda number=number: all(boxes[number::3]))
    print(f"\n20 objects of 200 kB, pulled once for 3 readers each: {1e3 * (time.perf_counter() - started):.0f} ms")
    for number in range(1, 20):
        assert all(box[0] == bytes([number]) * 200_000 for box in boxes[number * 3 : number * 3 + 3])
    assert objects(two) == 20


def test_the_next_location_serves_when_one_has_lost_it(make_peer: MakeNode, drive: Drive, object_id: NewId) -> None:
    one, two, three = make_peer(), make_peer(), make_peer()
    writer, reader = drive(one), drive(three)
    oid = object_id()
    writer.put(oid, b"x" * 10 * MIB)
    drive(two).store.free([oid])  # two will say at once that it has none
    view = reader.get(oid, (two.node, one.node))
    assert isinstance(view, memoryview)
    assert view[-3:] == b"xxx"


def test_every_location_lost_is_a_failure_with_reasons(make_peer: MakeNode, drive: Drive, object_id: NewId) -> None:
    one, two = make_peer(), make_peer()
    reader = drive(two)
    gone = (os.urandom(16).hex(), "127.0.0.9", 9)
    failure = reader.get(object_id(), (gone, one.node))
    assert isinstance(failure, StoreFailure)
    assert failure.kind == "ObjectMissing"
    assert "127.0.0.9" in failure.message
    assert "never sealed" in failure.message


def test_who_asks_later_may_know_better(make_peer: MakeNode, drive: Drive, object_id: NewId) -> None:
    """The object was lost and made again while somebody still asks for the lost copy."""
    one, two = make_peer(), make_peer()
    writer, reader = drive(one), drive(two)
    oid = object_id()
    writer.put(oid, b"made again" * 1000)
    gone = ("0" * 32, "127.0.0.1", 1)
    earlier, later = reader.begin_fetch(oid, (gone,)), reader.begin_fetch(oid, (one.node,))
    reader.wait(lambda: earlier and later)
    assert bytes(later.pop()) == bytes(earlier.pop()) == b"made again" * 1000


def test_a_node_that_dies_in_the_middle_fails_the_pull(make_peer: MakeNode, drive: Drive, object_id: NewId) -> None:
    one, two = make_peer(), make_peer()
    writer, reader = drive(one), drive(two)
    oid = object_id()
    writer.put(oid, os.urandom(120 * MIB))
    box = reader.begin_fetch(oid, (one.node,))
    one.stop()
    reader.wait(lambda: box)
    result = box[0]
    if isinstance(result, StoreFailure):
        assert result.kind == "ObjectMissing"
    else:
        assert len(result) == 120 * MIB
    del result
    box.clear()
    segments = lambda: two.inside(lambda: len(two.agent.store.index.segments))  # noqa: E731
    eventually(lambda: segments() == objects(two), "the half of it takes no room")
    reader.wait(lambda: ("node_lost", (one.config.node_id,)) in reader.casts)


def test_a_second_hand_copy_gives_way_when_the_store_is_full(
    make_peer: MakeNode, drive: Drive, object_id: NewId
) -> None:
    one, two = make_peer(), make_peer(object_store_bytes=8 * MIB)
    writer, reader = drive(one), drive(two)
    for _ in range(5):
        oid = object_id()
        writer.put(oid, os.urandom(5 * MIB))
        view = reader.get(oid, (one.node,))
        assert isinstance(view, memoryview)
        del view
    assert objects(one) == 5
    assert objects(two) == 1


def test_a_lease_is_spilled_to_a_node_with_room(make_peer: MakeNode, drive: Drive) -> None:
    head = make_peer(total=ResourceSet())
    worker = make_peer(total=ResourceSet.from_units({"CPU": 1}))
    driver = drive(head)
    box, _ = driver.request()
    driver.wait(lambda: box)
    assert box[0][1] == ("spill", worker.node)
    guest = drive(made=Driver.over_tcp(worker.config.ip, worker.agent.port))
    guest.job = driver.job
    _, address = guest.lease(spill=False)
    assert guest.run(address, "result = worker.setup['node_id']") == worker.config.node_id
    # The grant is bound to the connection: when that closes, the worker ends.
    guest.close()
    eventually(lambda: not worker.agent.pool.workers, "the worker ends")


def test_a_waiting_request_is_spilled_when_a_node_joins(make_peer: MakeNode, drive: Drive) -> None:
    head = make_peer(total=ResourceSet())
    driver = drive(head)
    box, _ = driver.request(backlog=7)
    driver.ask("nodes")
    assert not box
    started = time.perf_counter()
    joined = make_peer()
    driver.wait(lambda: box)
    print(f"\nspilled {1e3 * (time.perf_counter() - started):.0f} ms after the node began to start")
    assert box[0][1] == ("spill", joined.node)


def test_a_wrong_token_is_refused(make_peer: MakeNode) -> None:
    node = make_peer()
    with pytest.raises(RuntimeError, match="does not know the cluster's token"):
        Driver.over_tcp(node.config.ip, node.agent.port, token=b"f" * 32)
    eventually(lambda: not node.inside(lambda: list(node.agent._connections)), "the connection is closed")


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 200, b"SHOAL/1\n" + b"x" * 64])
def test_who_does_not_know_the_token_gets_nothing(make_peer: MakeNode, garbage: bytes) -> None:
    node = make_peer()
    with socket.create_connection((node.config.ip, node.agent.port), timeout=10) as sock:
        sock.sendall(garbage)
        received = b""
        while data := sock.recv(4096):
            received += data
    assert len(received) <= 64  # a nonce and a proof at most
    assert TOKEN not in received


def test_the_network_serves_no_local_methods(make_peer: MakeNode, drive: Drive) -> None:
    node = make_peer()
    guest = drive(made=Driver.over_tcp(node.config.ip, node.agent.port))
    assert guest.info["token"] is None
    for method in ("store_reserve", "actor_kill", "kv", "nodes", "store_fetch"):
        with pytest.raises(RuntimeError, match="has no method"):
            guest.ask(method, 1)
    with pytest.raises(RuntimeError, match="cannot say hello"):
        guest.ask("hello", "driver", {"process_id": "x"})


def test_a_draining_node_grants_nothing(make_peer: MakeNode, drive: Drive) -> None:
    head = make_peer(total=ResourceSet())
    worker = make_peer()
    guest = drive(made=Driver.over_tcp(worker.config.ip, worker.agent.port))
    guest.job = {"id": "00000001", "package": "", "paths": [], "cwd": "", "env": {}}
    lease_id, _ = guest.lease(spill=False)
    worker.inside(worker.agent.leases.drain)
    box, _ = guest.request(ONE_CPU, spill=False)
    guest.wait(lambda: box)
    assert box[0][1] == ("rejected", "the node is being drained")
    guest.agent.cast("lease_return", lease_id, True)
    assert head.agent.scheduler.draining is False
