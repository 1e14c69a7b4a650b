"""What a head tells of a placement group is on disk before: no work may be in bundles that a next head gives back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.polling import until

from shoal.head.journal import Journal
from shoal.head.service import HeadService
from shoal.head.state import HeadState
from shoal.head.state_file import StateFile
from shoal.head.state_tables import Batch
from shoal.jobs.package_store import PackageStore
from shoal.protocol import PROTOCOL_VERSION, head_pb2, node_pb2

NODE = "n" * 32
CPU = head_pb2.Resources(amounts={"CPU": 10_000})


class SlowDisk(StateFile):
    """Writes only while ``is_ready`` is set."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.is_ready = threading.Event()
        self.is_ready.set()

    def write(self, batch: Batch) -> None:
        assert self.is_ready.wait(30)
        super().write(batch)


@pytest.fixture
def disk(tmp_path: Path) -> SlowDisk:
    return SlowDisk(tmp_path)


@pytest.fixture
def service(disk: SlowDisk, tmp_path: Path) -> Iterator[HeadService]:
    service = HeadService(PackageStore(tmp_path / "packages"), journal=Journal(HeadState(disk)))
    yield service
    disk.is_ready.set()
    service.close()


def test_a_group_is_ready_for_nobody_before_that_is_on_disk(service: HeadService, disk: SlowDisk) -> None:
    heard: list[node_pb2.HeadMessage] = []
    address = node_pb2.NodeAddress(node_id=NODE, ip="127.0.0.1", port=1)
    register = node_pb2.RegisterNode(protocol_version=PROTOCOL_VERSION, address=address, total=CPU)
    session = service.open_session(register, heard.append, lambda _words: None)
    report = node_pb2.NodeReport(available=CPU, drain_state=head_pb2.DRAIN_STATE_ACTIVE)
    session.receive(node_pb2.NodeMessage(report=report))
    group = node_pb2.PlacementGroup(group_id="g", strategy="PACK", bundles=[node_pb2.PlacedBundle(shape=CPU)])
    service.calls.call("CreatePlacementGroup", node_pb2.CreatePlacementGroupRequest(group=group))
    question = node_pb2.ListPlacementGroupsRequest(group_id="g", subscriber_node_id=NODE)
    service.calls.durably("ListPlacementGroups", question).result(30)
    order = until(lambda: next((m.reserve_bundles for m in heard if m.HasField("reserve_bundles")), None))

    disk.is_ready.clear()
    answer = node_pb2.BundlesAnswer(group_id="g", attempt=order.attempt, accepted=True)
    session.receive(node_pb2.NodeMessage(bundles_answer=answer))
    asked = service.calls.durably("ListPlacementGroups", question)
    assert "CREATED" not in told(heard)
    assert not asked.done()

    disk.is_ready.set()
    until(lambda: "CREATED" in told(heard))
    assert asked.result(30).groups[0].state == "CREATED"


def told(heard: list[node_pb2.HeadMessage]) -> list[str]:
    return [message.placement_group.state for message in heard if message.HasField("placement_group")]
