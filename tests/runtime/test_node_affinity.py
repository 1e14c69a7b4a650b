"""Tasks and actors for a certain node of several."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import shoal
from shoal.exceptions import ActorUnschedulableError, TaskUnschedulableError
from shoal.testing import LocalCluster
from shoal.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

pytestmark = pytest.mark.leaks("sockets", reason="files of a killed node go with the cluster's directory")
SECONDS = 30.0
GHOST = "a" * 32


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@shoal.remote
def where() -> str:
    return shoal.get_runtime_context().get_node_id()


@shoal.remote
class Place:
    def where(self) -> str:
        return shoal.get_runtime_context().get_node_id()


def test_work_goes_to_its_node_waits_for_it_and_hears_when_it_is_gone(cluster: LocalCluster) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.connect()
    ids = [node.node_id for node in nodes]
    tasks = [where.options(scheduling_strategy=OnNode(node_id, soft=False)).remote() for node_id in ids * 3]
    assert shoal.get(tasks, timeout=SECONDS) == ids * 3
    actors = [Place.options(scheduling_strategy=OnNode(node_id, soft=False), num_cpus=1).remote() for node_id in ids]
    assert shoal.get([actor.where.remote() for actor in actors], timeout=SECONDS) == ids

    waits = where.options(scheduling_strategy=OnNode(ids[0], soft=False)).remote()
    moves = where.options(scheduling_strategy=OnNode(ids[0], soft=True)).remote()
    assert shoal.wait([waits, moves], timeout=0.3)[0] == [], "the node is full"
    del actors[1]
    nodes[0].kill()
    with pytest.raises(TaskUnschedulableError, match=f"where.. cannot run: node {ids[0]} is gone"):
        shoal.get(waits, timeout=SECONDS)
    assert shoal.get(moves, timeout=SECONDS) == ids[1]


def test_nodes_that_never_were_or_are_too_small(cluster: LocalCluster) -> None:
    node = cluster.add_node(num_cpus=1)
    cluster.connect()
    hard, soft = OnNode(GHOST, soft=False), OnNode(GHOST, soft=True)
    small = OnNode(cluster.head.node_id, soft=False)
    refs = [where.options(scheduling_strategy=strategy).remote() for strategy in (hard, small)]
    for ref in refs:
        with pytest.raises(TaskUnschedulableError):
            shoal.get(ref, timeout=SECONDS)
    for strategy in (hard, small):
        with pytest.raises(ActorUnschedulableError, match="may only run on node"):
            shoal.get(Place.options(scheduling_strategy=strategy).remote().where.remote(), timeout=SECONDS)
    prefers = where.options(scheduling_strategy=soft)
    assert shoal.get([prefers.remote() for _ in range(3)], timeout=SECONDS) == [node.node_id] * 3
    assert shoal.get(Place.options(scheduling_strategy=soft).remote().where.remote(), timeout=SECONDS) == node.node_id


@pytest.mark.parametrize("node_id", ["", "no hex", 7, None])
def test_what_is_no_id_is_refused(node_id: object) -> None:
    with pytest.raises(ValueError, match="node_id must be the id of a node"):
        OnNode(node_id, soft=True)  # type: ignore[arg-type]
