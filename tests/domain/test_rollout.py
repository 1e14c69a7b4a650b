"""Rolling updates in the model world: pods follow their templates, and what works is not given up for what does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_operator.domain.cluster.rollout import resolve
from shoal_operator.domain.head import DrainState, JobState, JobView

MakeWorld = Callable[..., Any]
OLD = {"spec": {"nodeSelector": {"disk": "old"}}}
NEW = {"spec": {"nodeSelector": {"disk": "new"}}}
NEWER = {"spec": {"nodeSelector": {"disk": "newer"}}}
GROUP = {"name": "a", "minReplicas": 3, "maxReplicas": 3, "template": OLD}


def running(cluster_world: MakeWorld, *groups: dict[str, Any], **spec: Any) -> Any:
    """A world at rest whose pods all run."""
    world = cluster_world(**copy.deepcopy({"workerGroups": list(groups or [GROUP]), **spec}))
    world.settle()
    world.start_pods()
    world.settle()
    return world


def change(world: Any, template: dict[str, Any] = NEW, group: int = 0) -> None:
    world.spec["workerGroups"][group]["template"] = template


def made_from(world: Any, disk: str) -> list[str]:
    return [n for n in world.workers() if world.pods[n]["spec"]["nodeSelector"]["disk"] == disk]


def update(world: Any, most: int = 60) -> tuple[int, int]:
    """Run an update to its end; returns the most and the fewest workers that took work on the way."""
    counts = []
    for _ in range(most):
        plan = world.reconcile()
        active = [n for n in world.nodes.values() if n.drain_state is DrainState.ACTIVE]
        counts.append(len(active))
        world.start_pods()
        for name, node in list(world.nodes.items()):
            if node.drain_state is DrainState.DRAINING:
                world.finish(name)
        if plan.is_empty and world.condition("UpToDate")["status"] == "True":
            return max(counts), min(counts)
    raise AssertionError(world.condition("UpToDate"))


def test_a_new_pod_comes_before_an_old_one_goes(cluster_world: MakeWorld) -> None:
    """P16: an edit of a template reaches running pods, one by one, and each is drained first."""
    world = running(cluster_world)
    change(world)
    plan = world.reconcile()
    assert [pod["metadata"]["name"] for pod in plan.create_pods] == ["demo-a-3"]
    assert (plan.delete_pods, plan.annotate_pods) == ((), ())
    assert world.reconcile().is_empty, "nothing more until the new one has joined"
    condition = world.condition("UpToDate")
    assert (condition["status"], condition["reason"]) == ("False", "RollingOut")
    assert "0 of 4 workers of group `a` run the present template, 1 starting" in condition["message"]
    world.start_pods()
    (note,) = world.reconcile().annotate_pods
    assert "1 of 4 workers of group `a` run the present template" in world.condition("UpToDate")["message"]
    assert '"PodOutdated"' in note.annotations["shoal.dev/drain"]
    (command,) = world.reconcile().head_commands
    assert (command.pod_name, command.only_if_idle) == (note.name, False)
    assert command.deadline_seconds > 250
    assert world.reconcile().delete_pods == (), "it is busy, and finishes what it holds"
    world.finish(note.name)
    assert [item.reason for item in world.reconcile().delete_pods] == ["Drained"]


def test_an_update_ends_with_all_pods_new_and_never_too_few(cluster_world: MakeWorld) -> None:
    world = running(cluster_world)
    change(world)
    assert update(world) == (4, 3)
    assert (len(made_from(world, "new")), len(world.workers())) == (3, 3)
    assert world.condition("UpToDate")["reason"] == "AllUpToDate"
    assert world.status["workerGroups"][0]["outdated"] == 0
    assert [event.reason for event in world.events].count("RollingOut") == 1


@pytest.mark.parametrize(
    ("surge", "unavailable", "expected"), [(0, 1, (3, 2)), (2, 0, (5, 3)), ("100%", 0, (6, 3)), (1, 1, (4, 2))]
)
def test_surge_and_missing_replicas_stay_within_bounds(
    cluster_world: MakeWorld, surge: Any, unavailable: Any, expected: tuple[int, int]
) -> None:
    world = running(cluster_world, updateStrategy={"maxSurge": surge, "maxUnavailable": unavailable})
    change(world)
    most, fewest = update(world)
    assert most <= expected[0]
    assert fewest >= expected[1]
    assert len(made_from(world, "new")) == 3


def test_a_bad_template_takes_nothing_down(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, updateStrategy={"maxSurge": 1, "maxUnavailable": 1})
    change(world)
    world.reconcile()
    world.reconcile()
    world.hold_up_pod("demo-a-3", "ErrImagePull", "no such image")
    world.settle()
    condition = world.condition("UpToDate")
    assert (condition["status"], condition["reason"]) == ("False", "RolloutStuck")
    assert "demo-a-3" in condition["message"]
    assert "no such image" in condition["message"]
    assert "no such image" in world.status["message"]
    assert len(made_from(world, "old")) >= 2
    assert [event.reason for event in world.events].count("RolloutStuck") == 1
    world.wait(3600)
    world.settle()
    assert len(made_from(world, "old")) >= 2

    change(world, {"spec": {"nodeSelector": {"disk": "newer"}}})
    update(world)
    assert len(made_from(world, "newer")) == len(world.workers()) == 3


def test_taking_the_change_back_removes_what_it_made(cluster_world: MakeWorld) -> None:
    world = running(cluster_world)
    before = {name: world.pods[name]["metadata"]["uid"] for name in world.workers()}
    change(world)
    world.reconcile()
    world.hold_up_pod("demo-a-3", "ErrImagePull", "no such image")
    change(world, OLD)
    world.settle()
    assert {name: world.pods[name]["metadata"]["uid"] for name in world.workers()} == before
    assert world.condition("UpToDate")["status"] == "True"


def test_a_second_change_waits_for_what_still_drains_of_the_first(cluster_world: MakeWorld) -> None:
    """maxReplicas + maxSurge is the most, pods that drain included."""
    one = {**GROUP, "minReplicas": 1, "maxReplicas": 1}
    world = running(cluster_world, one)
    change(world)
    world.reconcile()
    world.start_pods()
    world.reconcile()
    world.reconcile()
    assert world.nodes["demo-a-0"].drain_state is DrainState.DRAINING
    change(world, NEWER)
    for _ in range(3):
        assert world.reconcile().create_pods == ()
    assert world.condition("UpToDate")["reason"] == "RollingOut"
    world.finish("demo-a-0")
    world.reconcile()
    assert [pod["metadata"]["name"] for pod in world.reconcile().create_pods] == ["demo-a-0"]
    most, fewest = update(world)
    assert (most, fewest, made_from(world, "newer")) == (2, 1, ["demo-a-0"])


def test_a_replacement_whose_change_was_taken_back_gets_none_of_its_own(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, {**GROUP, "minReplicas": 1, "maxReplicas": 4})
    change(world)
    world.reconcile()
    world.start_pods()
    before = world.pods["demo-a-0"]["metadata"]["uid"]
    change(world, OLD)
    plans = [world.reconcile() for _ in range(3)]
    assert [plan.create_pods for plan in plans] == [(), (), ()]
    world.finish("demo-a-1")
    world.settle()
    assert world.workers() == ["demo-a-0"]
    assert world.pods["demo-a-0"]["metadata"]["uid"] == before


def test_idle_workers_go_first(cluster_world: MakeWorld) -> None:
    world = running(cluster_world)
    world.idle("demo-a-1", 5)
    change(world)
    world.reconcile()
    world.start_pods()
    (note,) = world.reconcile().annotate_pods
    assert note.name == "demo-a-1"


def test_pods_that_cannot_start_are_replaced_at_once(cluster_world: MakeWorld) -> None:
    """A typing error in the image is corrected: no pod is waited for, head and workers."""
    world = cluster_world(workerGroups=[dict(GROUP)], image="tpyo:1")
    world.settle()
    for name in world.pods:
        world.hold_up_pod(name, "ErrImagePull", "no such image")
    world.settle()
    world.spec["image"] = "right:1"
    world.settle()
    images = {pod["spec"]["containers"][0]["image"] for pod in world.pods.values()}
    assert images == {"right:1"}
    assert len(world.pods) == 4


def test_recreate_takes_all_outdated_pods_at_once(cluster_world: MakeWorld) -> None:
    other = {"name": "b", "minReplicas": 1, "maxReplicas": 1, "template": OLD}
    world = running(cluster_world, GROUP, other, updateStrategy={"type": "Recreate"})
    change(world)
    plan = world.reconcile()
    assert sorted(item.name for item in plan.delete_pods) == ["demo-a-0", "demo-a-1", "demo-a-2"]
    world.settle()
    assert (len(made_from(world, "new")), len(made_from(world, "old"))) == (3, 1)


def test_on_delete_waits_and_says_so(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, updateStrategy={"type": "OnDelete"})
    change(world)
    world.settle()
    assert len(made_from(world, "old")) == 3
    condition = world.condition("UpToDate")
    assert (condition["status"], condition["reason"]) == ("False", "WaitingForDeletion")
    assert "0 of 3" in condition["message"]
    for name in made_from(world, "old"):
        world.lose_pod(name)
        world.settle()
    world.start_pods()
    world.settle()
    assert world.condition("UpToDate")["status"] == "True"


def test_the_head_is_last_and_waits_for_work_that_it_would_end(cluster_world: MakeWorld) -> None:
    world = running(cluster_world)
    world.spec["image"] = "new:1"
    for _ in range(60):
        world.reconcile()
        assert "demo-head" in world.pods
        world.start_pods()
        for name in list(world.nodes):
            if world.nodes[name].drain_state is DrainState.DRAINING:
                world.finish(name)
    condition = world.condition("UpToDate")
    assert (condition["status"], condition["reason"]) == ("False", "HeadWaits")
    assert "Recreate" in condition["message"]
    assert len({world.hashes()[name] for name in world.workers()}) == 1
    for name in world.workers():
        world.idle(name, 3)
    assert [item.name for item in world.reconcile().delete_pods] == ["demo-head"]
    assert update(world)
    assert world.pods["demo-head"]["spec"]["containers"][0]["image"] == "new:1"


def test_a_head_with_a_volume_does_not_wait_for_work(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, state={"backend": "PersistentVolume"})
    workers = world.workers()
    world.spec["head"] = {"template": NEW}
    assert [item.name for item in world.reconcile().delete_pods] == ["demo-head"]
    world.settle()
    assert world.workers() == workers


def test_without_the_head_no_worker_goes(cluster_world: MakeWorld) -> None:
    world = running(cluster_world)
    world.head_answers = False
    change(world)
    assert world.reconcile().delete_pods == ()
    assert world.reconcile().is_empty
    assert world.condition("UpToDate")["reason"] == "HeadUnreachable"
    assert len(made_from(world, "old")) == 3


def test_drain_that_takes_too_long_ends_with_the_deadline(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, updateStrategy={"drainTimeoutSeconds": 100})
    change(world)
    world.reconcile()
    world.start_pods()
    world.reconcile()
    world.reconcile()
    world.wait(90)
    assert not world.reconcile().delete_pods
    world.wait(12)
    assert [item.reason for item in world.reconcile().delete_pods] == ["DrainTimedOut"]


def test_an_operator_that_starts_anew_goes_on_with_the_update(cluster_world: MakeWorld) -> None:
    world = running(cluster_world)
    change(world)
    world.reconcile()
    world.status = {}
    assert world.reconcile().is_empty, "the replacement that is on its way is enough"
    world.start_pods()
    world.status = {}
    assert update(world) == (4, 3)


def test_a_running_job_in_the_table_keeps_the_head(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, {**GROUP, "minReplicas": 0})
    world.spec["head"] = {"template": NEW}
    observed = world.observe()
    job = JobView("x", JobState.RUNNING)
    world.observe = lambda: replace(observed, cluster=world.cluster(), head=replace(observed.head, jobs=(job,)))
    assert world.reconcile().delete_pods == ()
    assert world.condition("UpToDate")["reason"] == "HeadWaits"


@pytest.mark.parametrize(
    ("amount", "size", "up", "expected"),
    [(2, 9, True, 2), ("50%", 3, True, 2), ("50%", 3, False, 1), ("0%", 9, True, 0), ("100%", 4, False, 4)],
)
def test_percentages(amount: int | str, size: int, up: bool, expected: int) -> None:
    assert resolve(amount, size, up=up) == expected


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 6),
    surge=st.sampled_from([0, 1, 3, "50%", "100%"]),
    unavailable=st.sampled_from([0, 1, 2, "34%"]),
    idle=st.sets(st.integers(0, 5)),
    autoscaled=st.booleans(),
)
def test_every_update_ends_within_its_bounds(
    cluster_world: MakeWorld, size: int, surge: Any, unavailable: Any, idle: set[int], autoscaled: bool
) -> None:
    if {str(surge), str(unavailable)} <= {"0", "0%"}:
        return
    group = {**GROUP, "minReplicas": size, "maxReplicas": size + 2, "replicas": size}
    strategy = {"maxSurge": surge, "maxUnavailable": unavailable}
    world = running(cluster_world, group, updateStrategy=strategy, autoscaling={"enabled": autoscaled})
    for index in idle:
        if f"demo-a-{index}" in world.nodes:
            world.idle(f"demo-a-{index}", 3)
    change(world)
    most, fewest = update(world, 200)
    assert most <= size + resolve(surge, size, up=True)
    assert fewest >= size - max(resolve(unavailable, size, up=False), int(resolve(surge, size, up=True) == 0))
    assert len(made_from(world, "new")) == len(world.workers()) == size


def test_what_waits_for_its_deletion_says_so_in_event_and_status(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, updateStrategy={"type": "OnDelete"})
    change(world)
    world.settle()
    assert world.events[-1].reason == "WaitingForDeletion"
    assert world.status["reason"] == "WaitingForDeletion"
    assert "delete the pods" in world.status["message"]
