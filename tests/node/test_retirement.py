"""SIGTERM of a worker's node, as an eviction sends it: what runs finishes, the rest goes elsewhere, it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.polling import until

import shoal
from shoal.jobs.client import JobClient
from shoal.protocol import head_pb2
from shoal.testing import LocalCluster
from shoal.testing.cluster import LocalNode

SECONDS = 30.0
SUCCEEDED = head_pb2.JOB_STATE_SUCCEEDED

pytestmark = pytest.mark.leaks("sockets", reason="files of ended nodes go with the cluster's directory")


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


def evict(node: LocalNode) -> None:
    node.process.send_signal(signal.SIGTERM)


def has_ended(node: LocalNode) -> bool:
    return node.process.poll() is not None


@shoal.remote(num_cpus=1, max_retries=0)
def gate(begun: str, open_: str) -> str:
    """Says where it runs, and waits until it may end."""
    node_id = shoal.get_runtime_context().get_node_id()
    with Path(begun).open("a") as file:
        file.write(f"{node_id}\n")
    while not Path(open_).exists():
        time.sleep(0.02)
    return str(node_id)


@shoal.remote(num_cpus=1, max_restarts=1)
class Restarts:
    def where(self) -> tuple[str, int]:
        return shoal.get_runtime_context().get_node_id(), os.getpid()


RESTARTS: Any = Restarts
PROGRAM = """
import pathlib, time, shoal
shoal.init()

@shoal.remote(num_cpus=1, max_retries=0)
def step(number):
    pathlib.Path({directory!r}, f"step-{{number}}").touch()
    time.sleep(0.1)
    return number

print("sum", sum(shoal.get([step.remote(number) for number in range(16)])))
"""


def begun_on(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_running_tasks_finish_and_waiting_ones_go_elsewhere(cluster: LocalCluster, tmp_path: Path) -> None:
    begun, open_ = tmp_path / "begun", tmp_path / "open"
    leaving = cluster.add_node(num_cpus=1, drain_seconds=SECONDS)
    cluster.connect()
    refs = [gate.remote(str(begun), str(open_)) for _ in range(4)]
    until(lambda: begun_on(begun) == [leaving.node_id])
    evict(leaving)
    with JobClient(cluster.address, cluster.token_file.read_bytes().strip()) as client:
        until(lambda: any("it ends: SIGTERM received" in node.activity for node in client.snapshot().nodes))
        (node,) = [node for node in client.snapshot().nodes if node.node_id == leaving.node_id]
        assert node.drain_state == head_pb2.DRAIN_STATE_DRAINING
    staying = cluster.add_node(num_cpus=1)
    open_.touch()
    where = shoal.get(refs, timeout=SECONDS)
    assert where == [leaving.node_id, *[staying.node_id] * 3]
    until(lambda: has_ended(leaving))
    assert leaving.process.returncode == 0


def test_a_job_without_retries_survives_an_eviction(cluster: LocalCluster, tmp_path: Path) -> None:
    program = tmp_path / "main.py"
    program.write_text(PROGRAM.format(directory=str(tmp_path)))
    leaving = cluster.add_node(num_cpus=1, drain_seconds=SECONDS)
    with JobClient(cluster.address, cluster.token_file.read_bytes().strip()) as client:
        client.submit(f"python {program}", submission_id="evicted")
        until((tmp_path / "step-3").exists)
        cluster.add_node(num_cpus=1)
        evict(leaving)
        job = client.wait("evicted", SECONDS)
    assert (job.state, "sum 120" in job.output_tail) == (SUCCEEDED, True), job
    until(lambda: has_ended(leaving))
    assert leaving.process.returncode == 0


def test_an_actor_with_restarts_left_begins_again_elsewhere(cluster: LocalCluster) -> None:
    leaving = cluster.add_node(num_cpus=1, drain_seconds=SECONDS)
    cluster.connect()
    actor = RESTARTS.remote()
    assert shoal.get(actor.where.remote(), timeout=SECONDS)[0] == leaving.node_id
    staying = cluster.add_node(num_cpus=1)
    evict(leaving)
    until(lambda: has_ended(leaving))
    assert leaving.process.returncode == 0
    assert shoal.get(actor.where.remote(), timeout=SECONDS)[0] == staying.node_id


def test_a_second_signal_means_now(cluster: LocalCluster, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    leaving = cluster.add_node(num_cpus=1, drain_seconds=1000.0)
    cluster.connect()
    ref = gate.remote(str(begun), str(tmp_path / "never"))
    until(lambda: begun_on(begun))
    evict(leaving)
    with JobClient(cluster.address, cluster.token_file.read_bytes().strip()) as client:
        until(lambda: any("it ends" in node.activity for node in client.snapshot().nodes))
    assert not has_ended(leaving)
    evict(leaving)
    until(lambda: has_ended(leaving), 5.0)
    assert leaving.process.returncode == 0
    with pytest.raises(shoal.exceptions.ShoalError):
        shoal.get(ref, timeout=SECONDS)


def test_the_time_is_a_limit(cluster: LocalCluster, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    leaving = cluster.add_node(num_cpus=1, drain_seconds=0.3)
    cluster.connect()
    gate.remote(str(begun), str(tmp_path / "never"))
    until(lambda: begun_on(begun))
    evict(leaving)
    until(lambda: has_ended(leaving), 8.0)
    assert leaving.process.returncode == 0


def test_objects_that_are_needed_hold_a_node_until_they_are_not(cluster: LocalCluster) -> None:
    leaving = cluster.add_node(num_cpus=1, drain_seconds=SECONDS)
    cluster.connect()

    @shoal.remote(num_cpus=1, max_retries=0)
    def large() -> bytes:
        return bytes(1024 * 1024)

    ref = large.remote()
    shoal.wait([ref], timeout=SECONDS)
    evict(leaving)
    assert len(shoal.get(ref, timeout=SECONDS)) == 1024 * 1024
    assert not has_ended(leaving)
    del ref
    until(lambda: has_ended(leaving))
    assert leaving.process.returncode == 0
