"""Detached actors outlive the program that made them, with all that they start; that ends with them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.polling import until

import shoal
from shoal.testing import LocalCluster
from shoal.util import placement_group, placement_group_table

SECONDS = 30.0
NAMESPACE = "tests"


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        cluster.add_node(num_cpus=3)
        cluster.add_node(num_cpus=3, resources={"elsewhere": 1})
        yield cluster


@shoal.remote(num_cpus=1)
def pid() -> int:
    return os.getpid()


@shoal.remote(num_cpus=1, resources={"elsewhere": 0.1})
def big() -> np.ndarray:
    return np.full(1_000_000, 7)


@shoal.remote(num_cpus=1)
def wait_for(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.02)
    return os.getpid()


@shoal.remote(num_cpus=0)
class Child:
    def pid(self) -> int:
        return os.getpid()


@shoal.remote(num_cpus=0)
class Keeper:
    def begin(self, path: str) -> str:
        self.child = Child.remote()
        self.child_pid = shoal.get(self.child.pid.remote())
        self.group = placement_group([{"CPU": 1}])
        shoal.get(self.group.ready())
        self.held = big.remote()
        shoal.wait([self.held])
        self.running = wait_for.remote(path)
        return str(shoal.get_runtime_context().get_job_id())

    def task(self) -> int:
        return int(shoal.get(pid.remote()))

    def found(self) -> tuple[int, int, int]:
        assert placement_group_table(self.group)["state"] == "CREATED"
        assert shoal.get(self.child.pid.remote()) == self.child_pid
        return int(shoal.get(self.held).sum()), int(shoal.get(self.running)), self.child_pid


def job_id() -> str:
    return str(shoal.get_runtime_context().get_job_id())


def gone(process_id: int) -> bool:
    return not Path(f"/proc/{process_id}").exists()


def again(cluster: LocalCluster) -> Any:
    cluster.connect(namespace=NAMESPACE)
    return shoal.get_actor("keeper")


def test_a_detached_actor_goes_on_and_all_that_it_started(cluster: LocalCluster, tmp_path: Path) -> None:
    cluster.connect(namespace=NAMESPACE)
    keeper = Keeper.options(name="keeper", lifetime="detached").remote()
    mine = shoal.get(pid.remote())
    assert shoal.get(keeper.begin.remote(str(tmp_path / "gate")), timeout=SECONDS) == job_id()
    shoal.shutdown()
    until(lambda: gone(mine))  # by then the end of the job has arrived

    keeper = again(cluster)
    worker = shoal.get(keeper.task.remote(), timeout=SECONDS)
    (tmp_path / "gate").touch()
    total, running, child = shoal.get(keeper.found.remote(), timeout=SECONDS)
    assert total == 7_000_000
    assert not any(map(gone, (worker, running, child)))

    shoal.kill(keeper)
    until(lambda: all(map(gone, (worker, running, child))))
    until(lambda: shoal.available_resources().get("CPU") == 6)
