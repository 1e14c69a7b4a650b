"""Placement groups on several real nodes: each strategy, what runs in bundles, lost nodes, removal, a new head."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.exceptions import (
    ActorPlacementGroupRemovedError,
    TaskPlacementGroupRemovedError,
    TaskUnschedulableError,
)
from shoal.protocol import auth, head_pb2, head_pb2_grpc
from shoal.testing import LocalCluster
from shoal.util import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from shoal.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

pytestmark = pytest.mark.leaks("sockets", reason="files of a killed node go with the cluster's directory")
SECONDS = 30.0


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pair() -> Iterator[LocalCluster]:
    """Two nodes of two CPUs, for tests that leave them as they were."""
    with LocalCluster() as cluster:
        for _ in range(2):
            cluster.add_node(num_cpus=2)
        yield cluster


@pytest.fixture
def connected(pair: LocalCluster) -> Iterator[None]:
    pair.connect()
    eventually(lambda: free_cpus() == 4, "what the test before took is free again")
    yield
    shoal.shutdown()


def eventually(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


def nodes_of(group: PlacementGroup) -> list[str]:
    return list(placement_group_table(group)["bundles_to_node_id"].values())


def free_cpus() -> float:
    return shoal.available_resources().get("CPU", 0.0)


@shoal.remote(num_cpus=1)
def where(seconds: float = 0.0) -> str:
    time.sleep(seconds)
    return shoal.get_runtime_context().get_node_id()


@shoal.remote(num_cpus=1)
def stay(path: Path) -> None:
    path.touch()
    time.sleep(600)


@shoal.remote(num_cpus=1, max_restarts=-1)
class Place:
    def where(self) -> str:
        return shoal.get_runtime_context().get_node_id()

    def current(self) -> str:
        group = get_current_placement_group()
        return group.id.hex() if group is not None else ""

    def child(self) -> str:
        return shoal.get(where.remote())


def test_strategies_choose_nodes_and_all_of_a_group_is_placed_or_none(cluster: LocalCluster) -> None:
    nodes = {cluster.add_node(num_cpus=2).node_id for _ in range(3)}
    cluster.connect()
    eventually(lambda: free_cpus() == 6, "all nodes are there")
    two = [{"CPU": 1}, {"CPU": 1}]

    spread = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    assert spread.wait(SECONDS)
    assert set(nodes_of(spread)) == nodes
    pack = placement_group(two, strategy="PACK")
    too_many = placement_group([{"CPU": 1}] * 4, strategy="STRICT_SPREAD")
    too_big = placement_group([{"CPU": 1}] * 3, strategy="STRICT_PACK")
    assert pack.wait(SECONDS)  # nothing that waits is in its way
    assert len(set(nodes_of(pack))) == 2, "no node has two CPUs left"
    remove_placement_group(spread)
    remove_placement_group(pack)
    strict = placement_group(two, strategy="STRICT_PACK")
    assert strict.wait(SECONDS)
    assert len(set(nodes_of(strict))) == 1
    wide = placement_group(two, strategy="SPREAD")
    assert wide.wait(SECONDS)
    assert len(set(nodes_of(wide))) == 2
    eventually(lambda: free_cpus() == 2, "two groups hold two CPUs each")

    table = placement_group_table()
    assert {table[g.id.hex()]["state"] for g in (too_many, too_big)} == {"PENDING"}
    assert set(nodes_of(too_many)) == {""}
    words = [table[g.id.hex()]["stats"]["scheduling_state"] for g in (too_many, too_big)]
    assert words == [
        "4 bundles need a node each, and 3 nodes could take one",
        "no node could hold all bundles (3 CPU), even when it is empty",
    ]
    assert not too_big.wait(0.2)
    assert table[spread.id.hex()]["state"] == "REMOVED"


@pytest.mark.usefixtures("connected")
def test_tasks_take_the_room_of_bundles_wherever_these_are() -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    shoal.get(group.ready(), timeout=SECONDS)
    nodes = nodes_of(group)

    picked = [where.options(scheduling_strategy=InGroup(group, index)).remote() for index in (0, 1, 0, 1)]
    assert shoal.get(picked, timeout=SECONDS) == nodes * 2
    anywhere = [where.options(scheduling_strategy=InGroup(group)).remote(0.4) for _ in range(4)]
    assert set(shoal.get(anywhere, timeout=SECONDS)) == set(nodes), "both bundles are used"
    eventually(lambda: free_cpus() == 2, "what runs in the group takes nothing else")
    outside = [where.remote(0.4) for _ in range(2)]
    began = time.monotonic()
    shoal.get([*outside, *(where.options(placement_group=group).remote(0.4) for _ in range(2))], timeout=SECONDS)
    assert time.monotonic() - began < 5, "those in the group and those outside wait for each other's room"


@pytest.mark.usefixtures("connected")
def test_actors_live_in_bundles_and_children_follow_where_they_shall() -> None:
    group = placement_group([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_SPREAD", name="ring")
    waiting = [Place.options(scheduling_strategy=InGroup(group, index)).remote() for index in range(2)]
    assert shoal.get([actor.where.remote() for actor in waiting], timeout=SECONDS) == nodes_of(group)
    assert shoal.get(waiting[0].current.remote(), timeout=SECONDS) == group.id.hex()
    assert get_current_placement_group() is None

    strategy = InGroup(group, 1, placement_group_capture_child_tasks=True)
    parent = Place.options(scheduling_strategy=strategy, num_cpus=0).remote()
    assert shoal.get(parent.child.remote(), timeout=SECONDS) in nodes_of(group), "no other CPU is free"
    third = Place.options(scheduling_strategy=InGroup(group), max_restarts=0).remote()
    assert shoal.get(third.where.remote(), timeout=SECONDS) in nodes_of(group)
    fourth = Place.options(scheduling_strategy=InGroup(group)).remote()
    full = Place.options(scheduling_strategy=InGroup(group)).remote()
    assert shoal.get(fourth.where.remote(), timeout=SECONDS) in nodes_of(group)
    assert shoal.wait([full.where.remote()], timeout=0.3)[0] == [], "every bundle is full"
    assert get_placement_group("ring") == group
    assert get_placement_group("ring").bundle_specs == [{"CPU": 2.0}, {"CPU": 2.0}]


@pytest.mark.usefixtures("connected")
def test_removal_ends_what_runs_in_a_group_and_frees_its_room(tmp_path: Path) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 2}], strategy="STRICT_SPREAD")
    shoal.get(group.ready(), timeout=SECONDS)
    actor = Place.options(scheduling_strategy=InGroup(group, 0)).remote()
    waits = Place.options(scheduling_strategy=InGroup(group, 0)).remote()
    shoal.get(actor.where.remote(), timeout=SECONDS)
    running = [stay.options(scheduling_strategy=InGroup(group, 1)).remote(tmp_path / str(n)) for n in range(4)]
    eventually(lambda: len(list(tmp_path.iterdir())) == 2, "two of the tasks run")

    remove_placement_group(group)
    for ref in running:
        with pytest.raises(TaskPlacementGroupRemovedError, match=r"its placement group is gone: it was removed"):
            shoal.get(ref, timeout=SECONDS)
    for handle in (actor, waits):
        with pytest.raises(ActorPlacementGroupRemovedError, match="placement group was removed"):
            shoal.get(handle.where.remote(), timeout=SECONDS)
    eventually(lambda: free_cpus() == 4, "its room is free")
    late = where.options(scheduling_strategy=InGroup(group, 0)).remote()
    with pytest.raises(
        TaskPlacementGroupRemovedError, match=r"cannot run: its placement group is gone: it was removed"
    ):
        shoal.get(late, timeout=SECONDS)
    with pytest.raises(ActorPlacementGroupRemovedError):
        shoal.get(Place.options(scheduling_strategy=InGroup(group, 0)).remote().where.remote(), timeout=SECONDS)
    with pytest.raises(TaskPlacementGroupRemovedError):
        group.wait(SECONDS)
    remove_placement_group(group)
    assert shoal.get([where.remote() for _ in range(4)], timeout=SECONDS)


def test_bundles_of_a_killed_node_move_and_what_ran_there_follows(cluster: LocalCluster) -> None:
    first, second = (cluster.add_node(num_cpus=1) for _ in range(2))
    cluster.connect()
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    shoal.get(group.ready(), timeout=SECONDS)
    before = nodes_of(group)
    lost = before.index(first.node_id)
    actors = [Place.options(scheduling_strategy=InGroup(group, index)).remote() for index in range(2)]
    assert shoal.get([actor.where.remote() for actor in actors], timeout=SECONDS) == before

    first.kill()
    eventually(lambda: placement_group_table(group)["state"] == "RESCHEDULING", "the loss is noticed")
    assert nodes_of(group)[1 - lost] == second.node_id, "the other bundle stays where it is"
    assert shoal.get(actors[1 - lost].where.remote(), timeout=SECONDS) == second.node_id
    again = group.ready()
    task = where.options(scheduling_strategy=InGroup(group, lost), num_cpus=0).remote()
    assert shoal.wait([again, task], timeout=0.3)[0] == []
    third = cluster.add_node(num_cpus=1)
    shoal.get(again, timeout=SECONDS)
    assert nodes_of(group)[lost] == third.node_id
    assert shoal.get(task, timeout=SECONDS) == third.node_id

    def moved() -> bool:
        try:
            return shoal.get(actors[lost].where.remote(), timeout=SECONDS) == third.node_id
        except shoal.exceptions.ActorUnavailableError:
            return False

    eventually(moved, "the actor began again in its bundle")


def test_labels_choose_nodes_and_a_node_with_a_bundle_is_in_use(cluster: LocalCluster) -> None:
    cluster.add_node(num_cpus=1)
    there = cluster.add_node(num_cpus=1, labels={"zone": "a"})
    cluster.connect()
    eventually(lambda: free_cpus() == 2, "both nodes are there")
    group = placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "in(a,b)"}])
    nowhere = placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "c"}])
    assert group.wait(SECONDS)
    assert nodes_of(group) == [there.node_id]
    assert "with labels {'zone': 'c'}" in placement_group_table(nowhere)["stats"]["scheduling_state"]

    with auth.channel(cluster.address, cluster.token_file.read_bytes().strip()) as channel:
        head = head_pb2_grpc.HeadStub(channel)

        def snapshot() -> head_pb2.NodeSnapshot:
            nodes = next(iter(head.Watch(head_pb2.WatchRequest()))).nodes
            return next(node for node in nodes if node.node_id == there.node_id)

        eventually(lambda: snapshot().activity == "1 reserved bundle", "the node has reported")
        assert snapshot().idle_seconds == 0
        drain = head.DrainNode(head_pb2.DrainNodeRequest(node_id=there.node_id, only_if_idle=True))
        assert (drain.accepted, drain.message) == (False, "1 reserved bundle")
        remove_placement_group(group)
        eventually(lambda: snapshot().idle_seconds > 0, "without it the node is idle")


def test_the_end_of_a_job_takes_its_groups_along_and_leaves_detached_ones(cluster: LocalCluster) -> None:
    cluster.add_node(num_cpus=2)
    cluster.connect(namespace="shared")
    program = """
import shoal
from shoal.util import placement_group
shoal.init(namespace="shared")
mine, kept = placement_group([{"CPU": 1}], name="mine"), placement_group([{"CPU": 1}], name="kept", lifetime="detached")
assert mine.wait(30) and kept.wait(30)
print("both")
"""
    environment = {**os.environ, "SHOAL_NODE_SOCKET": cluster.head.facts["socket"]}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.strip() == "both", ended.stderr
    eventually(lambda: free_cpus() == 1, "one group is gone")
    kept = get_placement_group("kept")
    with pytest.raises(ValueError, match="mine"):
        get_placement_group("mine")
    assert shoal.get(where.options(scheduling_strategy=InGroup(kept)).remote(), timeout=SECONDS)
    with pytest.raises(ValueError, match="name 'kept' is taken"):
        placement_group([{"CPU": 1}], name="kept")
    remove_placement_group(kept)
    eventually(lambda: free_cpus() == 2, "the other one is gone, too")


def test_groups_outlive_a_head_with_state_and_its_nodes_keep_their_bundles(tmp_path: Path) -> None:
    with LocalCluster(state_dir=str(tmp_path)) as cluster:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        program = """
import sys, shoal
from shoal.util import placement_group
from shoal.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup
@shoal.remote(num_cpus=1)
class Keep:
    def ping(self): return "ok"
shoal.init(namespace="shared")
group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD", name="kept", lifetime="detached")
assert group.wait(30)
keep = Keep.options(name="keep", lifetime="detached", scheduling_strategy=InGroup(group, 1)).remote()
assert shoal.get(keep.ping.remote()) == "ok"
placement_group([{"CPU": 5}], name="waits", lifetime="detached")
"""
        environment = {**os.environ, "SHOAL_NODE_SOCKET": cluster.head.facts["socket"]}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
        cluster.head.kill()
        cluster.restart_head()
        cluster.connect(namespace="shared")
        group = get_placement_group("kept")
        assert set(nodes_of(group)) == {node.node_id for node in nodes}
        assert group.wait(SECONDS)
        eventually(lambda: shoal.cluster_resources().get("CPU") == 2, "the nodes are back")
        assert shoal.get(shoal.get_actor("keep").ping.remote(), timeout=SECONDS) == "ok"
        index_zero = where.options(scheduling_strategy=InGroup(group, 0)).remote()
        assert shoal.get(index_zero, timeout=SECONDS) == nodes_of(group)[0]
        eventually(lambda: free_cpus() == 0, "the nodes have said what they hold")
        assert placement_group_table(get_placement_group("waits"))["state"] == "PENDING"
        remove_placement_group(group)
        eventually(lambda: free_cpus() == 2, "nothing of it is left")


def test_a_draining_node_gives_its_bundles_up_and_lets_finish_what_runs(cluster: LocalCluster) -> None:
    old = cluster.add_node(num_cpus=1, drain_seconds=20)
    cluster.connect()
    group = placement_group([{"CPU": 1}])
    shoal.get(group.ready(), timeout=SECONDS)
    running = where.options(scheduling_strategy=InGroup(group, 0)).remote(1.0)
    eventually(lambda: shoal.wait([where.options(scheduling_strategy=InGroup(group)).remote()], timeout=0.1), "it runs")
    old.process.terminate()
    eventually(lambda: placement_group_table(group)["state"] == "RESCHEDULING", "its bundle is given up")
    new = cluster.add_node(num_cpus=1)
    assert shoal.get(running, timeout=SECONDS) in (old.node_id, new.node_id)
    shoal.get(group.ready(), timeout=SECONDS)
    assert nodes_of(group) == [new.node_id]
    assert shoal.get(where.options(scheduling_strategy=InGroup(group, 0)).remote(), timeout=SECONDS) == new.node_id


@pytest.mark.usefixtures("connected")
def test_what_no_bundle_could_hold_is_refused() -> None:
    group = placement_group([{"CPU": 1}])
    for asked, words in (
        ({"num_cpus": 2, "scheduling_strategy": InGroup(group)}, "does not fit in any bundle"),
        ({"num_gpus": 1, "scheduling_strategy": InGroup(group, 0)}, "does not fit in bundle 0"),
        (
            {"scheduling_strategy": InGroup(group, 3)},
            "bundle index 3 is invalid. Valid placement group indexes: 0-0, and -1",
        ),
        ({"placement_group": group, "scheduling_strategy": InGroup(group)}, "scheduling_strategy"),
        ({"label_selector": {"a": "b"}, "scheduling_strategy": InGroup(group)}, "bundle_label_selector"),
        ({"placement_group_bundle_index": 1}, "needs a placement_group"),
        ({"placement_group": "nonsense"}, "instance of PlacementGroup"),
    ):
        with pytest.raises(ValueError, match=words):
            where.options(**asked).remote()
        with pytest.raises(ValueError, match=words):
            Place.options(**asked).remote()
    assert group.wait(SECONDS)

    @shoal.remote(num_cpus=1)
    def too_wide() -> str:
        return shoal.get(where.options(num_cpus=2).remote())

    captured = too_wide.options(scheduling_strategy=InGroup(group, 0, True)).remote()
    with pytest.raises(TaskUnschedulableError, match="no bundle of the placement group could ever hold 2 CPU"):
        shoal.get(captured, timeout=SECONDS)


def test_one_machine_says_what_it_can_never_hold(capfd: pytest.CaptureFixture[str]) -> None:
    with shoal.init(num_cpus=1):
        group = placement_group([{"CPU": 1}, {"GPU": 1}])
        assert not group.wait(0.2)
        assert placement_group_table(group)["stats"]["scheduling_state"].startswith(
            "no node could hold a bundle of 1 GPU"
        )
        words = "a bundle of a placement group needs 1 GPU, this machine has no GPU"
        said = [""]

        def told() -> bool:
            said[0] += capfd.readouterr().err
            return words in said[0]

        eventually(told, "the program is told")
    assert not shoal.is_initialized()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"bundles": []}, "1 to 1000 bundles"),
        ({"bundles": {"CPU": 1}}, "must be list"),
        ({"bundles": [{"CPU": 1}, {}]}, r"bundles\[1\] asks for nothing"),
        ({"bundles": [{"CPU": 0}]}, r"bundles\[0\] asks for nothing"),
        ({"bundles": [{"CPU": 1}, {"CPU": -1}]}, r"^bundles\[1\]: resource 'CPU' must not be negative"),
        ({"bundles": [{"CPU": "two"}]}, "must be a number"),
        ({"bundles": [{"CPU": float("nan")}]}, "finite number"),
        ({"bundles": [{"CPU": 0.00001}]}, r"^bundles\[0\]: .* precision"),
        ({"bundles": [{3: 1}]}, "a resource's name has 1 to 256 characters, got 3"),
        ({"bundles": [{"CPU": 1}, 7]}, r"bundles\[1\] must be a dict of resources"),
        ({"bundles": [{"CPU": True}]}, "must be a number"),
        ({"bundles": [{"CPU": 1}] * 1001}, "got 1001"),
        ({"bundles": [{"CPU": 1}], "strategy": "CLOSE"}, "Invalid placement group strategy 'CLOSE'"),
        ({"bundles": [{"CPU": 1}], "lifetime": "long"}, "lifetime"),
        ({"bundles": [{"CPU": 1}], "name": "n" * 256}, "255 characters, .* has 256 characters: 'n{40}'...$"),
        ({"bundles": [{"CPU": 1}], "bundle_label_selector": [{}, {}]}, "one dictionary for each of 1 bundles"),
        ({"bundles": [{"CPU": 1}], "bundle_label_selector": [{"a": 1}]}, r"bundle_label_selector\[0\] must be a dict"),
        ({"bundles": [{"CPU": 1}], "bundle_label_selector": [{"a": "in(b"}]}, r"bundle_label_selector\[0\]: 'a' has"),
    ],
)
def test_nonsense_is_refused_before_anything_is_asked(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        placement_group(**asked)
    assert not shoal.is_initialized()
