"""Several nodes: tasks and objects cross TCP, nodes come and go, and what a dead node held is made again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import shoal
from shoal.exceptions import ObjectReconstructionFailedError
from shoal.testing import LocalCluster

pytestmark = pytest.mark.leaks("sockets", reason="files of a killed node go with the cluster's directory")


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@shoal.remote(num_cpus=1)
def where() -> str:
    return shoal.get_runtime_context().get_node_id()


@shoal.remote(num_cpus=1)
def big(number: int) -> np.ndarray:
    return np.full(2_000_000, number)  # 16 MB


@shoal.remote(num_cpus=1)
def total(array: np.ndarray) -> int:
    return int(array.sum())


def test_work_waits_for_a_node_and_runs_there(cluster: LocalCluster) -> None:
    cluster.connect()
    ref = where.remote()
    assert shoal.wait([ref], timeout=0.3) == ([], [ref])
    node = cluster.add_node(num_cpus=1)
    assert shoal.get(ref, timeout=30) == node.node_id
    assert shoal.cluster_resources()["CPU"] == 1


def test_work_spreads_over_nodes_and_objects_cross(cluster: LocalCluster) -> None:
    ids = {cluster.add_node(num_cpus=1).node_id for _ in range(2)}
    cluster.connect()

    @shoal.remote(num_cpus=1)
    def slow() -> str:
        time.sleep(0.3)
        return shoal.get_runtime_context().get_node_id()

    assert set(shoal.get([slow.remote() for _ in range(6)], timeout=40)) == ids
    refs = [big.remote(n) for n in range(4)]
    assert shoal.get([total.remote(ref) for ref in refs], timeout=40) == [2_000_000 * n for n in range(4)]
    assert shoal.get(refs[3], timeout=40)[0] == 3  # pulled to the driver's own node


def test_a_put_object_is_read_from_another_node(cluster: LocalCluster) -> None:
    cluster.add_node(num_cpus=1)
    cluster.connect()
    array = np.arange(3_000_000)
    ref = shoal.put(array)
    assert shoal.get(total.remote(ref), timeout=30) == int(array.sum())

    @shoal.remote
    def nested(refs: list[shoal.ObjectRef[np.ndarray]]) -> int:
        return int(shoal.get(refs[0]).sum())

    assert shoal.get(nested.remote([ref]), timeout=30) == int(array.sum())


def test_actors_on_another_node_keep_their_order(cluster: LocalCluster) -> None:
    cluster.add_node(num_cpus=2)
    cluster.connect()

    @shoal.remote
    class Log:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def add(self, number: int) -> None:
            self.seen.append(number)

        def all(self) -> list[int]:
            return self.seen

    log = Log.remote()
    for number in range(50):
        log.add.remote(number)
    assert shoal.get(log.all.remote(), timeout=30) == list(range(50))


def test_tasks_of_a_killed_node_run_elsewhere(cluster: LocalCluster) -> None:
    first = cluster.add_node(num_cpus=1)
    cluster.connect()

    @shoal.remote(num_cpus=1)
    def sleeps(path: str) -> str:
        Path(path).touch()
        if len(os.listdir(Path(path).parent)) == 1:
            time.sleep(600)
        return shoal.get_runtime_context().get_node_id()

    directory = Path(first.facts["session_dir"]).parent / "marks"
    directory.mkdir()
    ref = sleeps.remote(f"{directory}/{first.node_id}")
    deadline = time.monotonic() + 20
    while not list(directory.iterdir()) and time.monotonic() < deadline:
        shoal.wait([ref], timeout=0.05)
    (directory / "second").touch()
    first.kill()
    second = cluster.add_node(num_cpus=1)
    assert shoal.get(ref, timeout=50) == second.node_id


def test_objects_of_a_killed_node_are_made_again(cluster: LocalCluster) -> None:
    first = cluster.add_node(num_cpus=1)
    cluster.connect()
    source = big.remote(1)

    @shoal.remote(num_cpus=1)
    def plus_one(array: np.ndarray) -> np.ndarray:
        return array + 1

    made = plus_one.remote(source)
    shoal.wait([made], timeout=30)
    del source  # only lineage knows it now
    first.kill()
    cluster.add_node(num_cpus=1)
    assert shoal.get(made, timeout=55)[0] == 2


def test_what_cannot_be_made_again_says_so(cluster: LocalCluster) -> None:
    node = cluster.add_node(num_cpus=1)
    cluster.connect()

    @shoal.remote(num_cpus=1)
    def puts() -> list[shoal.ObjectRef[np.ndarray]]:
        return [shoal.put(np.ones(2_000_000))]

    once = big.options(max_retries=0).remote(5)
    (inner,) = shoal.get(puts.remote(), timeout=30)
    shoal.wait([once], timeout=30)
    node.kill()
    with pytest.raises(ObjectReconstructionFailedError, match="may not run again"):
        shoal.get(once, timeout=50)
    with pytest.raises(shoal.exceptions.ObjectLostError, match="owner"):
        shoal.get(inner, timeout=50)
