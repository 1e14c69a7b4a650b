"""Life of a cluster in the model world: it starts, grows, drains, heals, and comes to rest."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Demand
from shoal_operator.domain.cluster.plan import plan_cluster
from shoal_operator.domain.cluster.status import cluster_status
from shoal_operator.domain.head import DrainState
from shoal_operator.domain.plan import DrainNode

MakeWorld = Callable[..., Any]
SMALL = {"name": "small", "minReplicas": 0, "maxReplicas": 4, "resources": {"CPU": 1}, "idleTimeoutSeconds": 2}


def demand(count: int, cpu: float = 1, **more: Any) -> Demand:
    return Demand(ResourceSet.from_units({"CPU": cpu}), count, **more)


def test_first_pass_makes_everything_and_the_second_nothing(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 2}])
    plan = world.reconcile()
    assert set(world.secrets) == {"demo-token"}
    assert base64.b64decode(world.secrets["demo-token"]["data"]["token"]) == b"secret-1"
    assert set(world.services) == {"demo-head"}
    assert sorted(world.pods) == ["demo-head", "demo-small-0", "demo-small-1"]
    assert plan.events == ()
    assert world.plan().is_empty
    assert world.tokens == 1


def test_grows_from_zero_to_demand_in_one_plan(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[SMALL])
    world.settle()
    world.start_pods()
    assert world.reconcile().is_empty
    assert world.condition("Ready")["status"] == "True"
    world.demands = (demand(40),)
    world.reconcile()
    assert world.workers() == [f"demo-small-{i}" for i in range(4)]
    world.reconcile()
    assert world.condition("DemandSatisfied")["reason"] == "WaitingForWorkers"
    assert world.status["workers"] == {"desired": 4, "ready": 0, "pending": 4, "draining": 0}
    assert world.plan().is_empty
    world.start_pods()
    world.reconcile()
    assert world.condition("DemandSatisfied")["reason"] == "LimitReached"
    assert "maxReplicas (4)" in world.condition("DemandSatisfied")["message"]


def test_idle_worker_is_announced_then_drained_then_deleted(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[SMALL])
    world.settle()
    world.start_pods()
    world.demands = (demand(2),)
    world.settle()
    world.start_pods()
    world.demands = ()
    world.busy("demo-small-0")
    world.idle("demo-small-1", 1.0)
    plan = world.reconcile()
    assert plan.is_empty
    assert plan.requeue_after_seconds == pytest.approx(1.0)
    world.idle("demo-small-1", 2.5)

    first = world.reconcile()
    (annotation,) = first.annotate_pods
    assert json.loads(annotation.annotations["shoal.dev/drain"])["reason"] == "Idle"
    assert not first.head_commands, "the intent is durable before the head hears of it"
    assert not first.delete_pods

    second = world.reconcile()
    (command,) = second.head_commands
    assert isinstance(command, DrainNode)
    assert (command.pod_name, command.only_if_idle, second.delete_pods) == ("demo-small-1", True, ())
    assert world.status["workers"]["draining"] == 1

    third = world.reconcile()
    assert [deletion.name for deletion in third.delete_pods] == ["demo-small-1"]
    assert world.reconcile().is_empty
    assert world.workers() == ["demo-small-0"]


def drained_world(cluster_world: MakeWorld) -> Any:
    """A world with one idle worker whose drain is announced."""
    world = cluster_world(workerGroups=[SMALL])
    world.settle()
    world.start_pods()
    world.demands = (demand(1),)
    world.settle()
    world.start_pods()
    world.demands = ()
    world.idle("demo-small-0", 5)
    world.reconcile()
    return world


def drain_of(world: Any, name: str = "demo-small-0") -> Any:
    return world.pods[name]["metadata"]["annotations"].get("shoal.dev/drain")


def test_refused_drain_takes_the_annotation_back(cluster_world: MakeWorld) -> None:
    world = drained_world(cluster_world)
    assert drain_of(world)
    world.busy("demo-small-0")
    world.reconcile()
    assert not drain_of(world)
    assert world.reconcile().is_empty


@pytest.mark.parametrize("reason", ["Idle", "OverLimit"])
def test_a_drain_that_a_node_may_refuse_is_not_enforced_at_its_deadline(cluster_world: MakeWorld, reason: str) -> None:
    world = drained_world(cluster_world)
    world.refuses_drains = True
    if reason == "OverLimit":
        world.busy("demo-small-0")
        world.reconcile()
        world.spec["workerGroups"] = [{**SMALL, "maxReplicas": 0}]
        world.reconcile()
    began = drain_of(world)
    assert reason in began
    for _ in range(3):
        world.wait(2)
        assert not world.reconcile().delete_pods
        assert drain_of(world) == began
    world.wait(100_000)
    plan = world.reconcile()
    if reason == "OverLimit":
        assert [deletion.reason for deletion in plan.delete_pods] == ["DrainTimedOut"]
        return
    assert not plan.delete_pods
    assert not drain_of(world)
    world.reconcile()
    assert drain_of(world) != began, "it is asked anew"
    world.refuses_drains = False
    world.reconcile()
    assert [deletion.reason for deletion in world.reconcile().delete_pods] == ["Drained"]


def test_work_that_would_land_on_an_announced_node_takes_the_annotation_back(cluster_world: MakeWorld) -> None:
    world = drained_world(cluster_world)
    world.demands = (demand(1),)
    plan = world.reconcile()
    assert not plan.create_pods
    assert not drain_of(world)


def test_drain_goes_on_after_a_restart_of_the_operator(cluster_world: MakeWorld) -> None:
    world = drained_world(cluster_world)
    world.status = {}
    world.nodes["demo-small-0"] = replace(world.nodes["demo-small-0"], drain_state=DrainState.DRAINING)
    assert world.reconcile().delete_pods == ()
    world.nodes["demo-small-0"] = replace(world.nodes["demo-small-0"], drain_state=DrainState.DRAINED)
    assert [deletion.reason for deletion in world.reconcile().delete_pods] == ["Drained"]


def test_drain_that_takes_too_long_ends_with_the_deadline(cluster_world: MakeWorld) -> None:
    world = drained_world(cluster_world)
    world.nodes["demo-small-0"] = replace(world.nodes["demo-small-0"], drain_state=DrainState.DRAINING)
    world.wait(30)
    assert not world.reconcile().delete_pods
    world.wait(32)
    assert [deletion.reason for deletion in world.reconcile().delete_pods] == ["DrainTimedOut"]


def test_deadline_that_passed_while_the_head_was_away_ends_no_worker_that_has_work_again(
    cluster_world: MakeWorld,
) -> None:
    world = drained_world(cluster_world)
    world.head_answers = False
    world.wait(100)
    assert world.reconcile().is_empty
    world.head_answers = True
    world.busy("demo-small-0")
    assert not world.reconcile().delete_pods, "it was drained for being idle, and is busy"
    assert not drain_of(world), "the head never heard of the intent, which is taken back"


def test_node_that_drains_without_an_annotation_is_taken_over(cluster_world: MakeWorld) -> None:
    world = drained_world(cluster_world)
    world.pods["demo-small-0"]["metadata"]["annotations"] = {}
    world.nodes["demo-small-0"] = replace(world.nodes["demo-small-0"], drain_state=DrainState.DRAINING)
    world.reconcile()
    assert drain_of(world)


def test_announced_worker_whose_node_is_gone_is_deleted(cluster_world: MakeWorld) -> None:
    world = drained_world(cluster_world)
    del world.nodes["demo-small-0"]
    assert [deletion.reason for deletion in world.reconcile().delete_pods] == ["NodeGone"]


@pytest.mark.parametrize("value", ["nonsense", "[]", '{"reason": 1}', '{"deadline": "2026-01-01T00:00:00"}'])
def test_unreadable_annotation_keeps_no_pod(cluster_world: MakeWorld, value: str) -> None:
    world = drained_world(cluster_world)
    world.pods["demo-small-0"]["metadata"]["annotations"]["shoal.dev/drain"] = value
    world.settle()
    assert world.workers() == []


def test_without_a_head_that_answers_nobody_loses_a_worker(cluster_world: MakeWorld) -> None:
    world = drained_world(cluster_world)
    world.head_answers = False
    world.wait(3600)
    assert world.reconcile().is_empty
    assert world.workers() == ["demo-small-0"]
    assert world.condition("HeadReachable")["status"] == "Unknown"
    assert world.condition("DemandSatisfied")["status"] == "Unknown"


def test_ended_worker_is_replaced(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 2}])
    world.settle()
    world.start_pods()
    world.settle()
    assert world.condition("Ready")["status"] == "True"
    uid = world.pods["demo-small-0"]["metadata"]["uid"]
    world.wait(60)
    world.end_pod("demo-small-0")
    world.settle()
    assert world.condition("Ready")["status"] == "False", "ready is what is, not what once was"
    assert len(world.workers()) == 2
    assert uid not in [pod["metadata"]["uid"] for pod in world.pods.values()]
    assert any("the host needs memory" in event.message for event in world.events)


def test_worker_that_ends_at_once_is_not_replaced_in_a_hot_loop(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 1}])
    world.settle()
    world.start_pods()
    world.wait(1)
    world.end_pod("demo-small-0")
    plan = world.reconcile()
    assert plan.is_empty
    assert plan.requeue_after_seconds == pytest.approx(4)


def test_lost_head_is_made_anew_and_workers_stay(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 1}])
    world.settle()
    world.start_pods()
    worker = world.pods["demo-small-0"]["metadata"]["uid"]
    world.wait(60)
    del world.pods["demo-head"]
    world.head_answers = False
    world.reconcile()
    assert "demo-head" in world.pods
    assert world.pods["demo-small-0"]["metadata"]["uid"] == worker
    assert world.plan().is_empty


@pytest.mark.parametrize(
    ("beside", "silence_seconds", "is_ready"),
    [
        pytest.param({}, 0, True, id="it answers"),
        pytest.param({}, 30, False, id="the word of the head before"),
        pytest.param({"containers": [{"name": "proxy", "image": "proxy"}]}, 0, False, id="a container beside it"),
        pytest.param({"readinessGates": [{"conditionType": "x.com/a"}]}, 0, False, id="a readiness gate"),
    ],
)
def test_a_head_that_answers_is_ready_before_its_probe(
    cluster_world: MakeWorld, beside: dict[str, Any], silence_seconds: float, is_ready: bool
) -> None:
    world = cluster_world(workerGroups=[], head={"template": {"spec": beside}})
    world.settle()
    world.pods["demo-head"]["status"] = {"phase": "Running", "podIP": "127.0.0.2"}
    world.wait(2)
    world.reconcile()
    assert world.condition("HeadReady")["status"] == "False"
    world.head_answers, world.silence_seconds = True, silence_seconds
    world.reconcile()
    assert (world.condition("HeadReady")["status"] == "True") is is_ready
    assert (world.condition("Ready")["status"] == "True") is is_ready


def test_ended_head_is_deleted_first_and_then_made_anew(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[])
    world.settle()
    world.start_pods()
    world.wait(60)
    world.end_pod("demo-head", "OOMKilled")
    world.head_answers = False
    world.reconcile()
    assert "demo-head" not in world.pods
    assert "OOMKilled" in world.condition("HeadReady")["message"]
    world.reconcile()
    assert world.pods["demo-head"]["status"]["phase"] == "Pending"


def test_demand_that_no_group_can_hold_is_explained_once(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[SMALL])
    world.settle()
    world.start_pods()
    world.demands = (demand(3, cpu=8, examples=("train",)),)
    world.reconcile()
    condition = world.condition("DemandSatisfied")
    assert (condition["status"], condition["reason"]) == ("False", "Infeasible")
    assert condition["message"] == "task `train` needs 8 CPU, group `small` offers at most 1"
    assert (world.status["reason"], world.status["message"]) == ("Infeasible", condition["message"])
    assert [event.reason for event in world.events].count("InfeasibleDemand") == 1
    assert world.reconcile().is_empty


def test_pod_that_cannot_start_is_named_and_the_next_group_is_tried(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "priority": 1}, {**SMALL, "name": "other", "maxReplicas": 1}])
    world.settle()
    world.start_pods()
    world.demands = (demand(2),)
    world.settle()
    assert world.workers() == ["demo-small-0", "demo-small-1"]
    for name in world.workers():
        world.hold_up_pod(name, "ImagePullBackOff", "no such image")
    world.wait(5)
    world.reconcile()
    assert world.workers() == ["demo-other-0", "demo-small-0"], "one stays to show when the image is there"
    world.reconcile()
    assert world.condition("DemandSatisfied")["reason"] == "WorkersBlocked"
    assert "demo-small-0" in world.status["message"]
    assert "no such image" in world.status["message"]


def test_suspend_deletes_pods_and_nothing_else(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 1}])
    world.settle()
    world.start_pods()
    world.spec["suspend"] = True
    assert world.reconcile().is_empty, "that it begins is in the status before a pod goes"
    assert world.condition("Suspended")["reason"] == "Suspending"
    world.settle()
    assert (world.pods, set(world.secrets), set(world.services)) == ({}, {"demo-token"}, {"demo-head"})
    assert world.condition("Suspended")["status"] == "True"
    world.spec["suspend"] = False
    world.settle()
    assert len(world.pods) == 2
    assert world.condition("Suspended")["status"] == "False"


def test_invalid_spec_changes_nothing_and_says_why(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 5}])
    world.reconcile()
    assert world.pods == {}
    condition = world.condition("InvalidSpec")
    assert condition["status"] == "True"
    assert "spec.workerGroups[0].minReplicas must be less than or equal to maxReplicas (4)" in condition["message"]
    assert [event.reason for event in world.events] == ["InvalidSpec"]
    assert world.reconcile().is_empty


def test_refused_write_is_the_first_thing_said(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[])
    observed = world.observe()
    text = "cannot create pod demo-head: exceeded quota"
    status = cluster_status(observed, world.plan(), world.now, refusals=[text])
    assert (status["reason"], status["message"]) == ("WriteRefused", text)
    ready = next(condition for condition in status["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "WriteRefused")


def test_thousand_workers_are_decided_quickly(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 1000, "maxReplicas": 2000}])
    world.settle()
    world.start_pods()
    world.demands = (demand(100_000),)
    started = time.perf_counter()
    plan = plan_cluster(world.observe(), world.now, new_token=world.new_token)
    assert len(plan.create_pods) == 1000
    assert time.perf_counter() - started < 2


def test_another_controllers_cluster_is_left_alone(cluster_world: MakeWorld) -> None:
    world = cluster_world(managedBy="example.com/other")
    assert world.reconcile().is_empty


def test_pods_of_an_earlier_cluster_of_the_same_name_are_not_adopted(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 1}])
    world.settle()
    for pod in world.pods.values():
        pod["metadata"]["ownerReferences"][0]["uid"] = "earlier"
    plan = world.reconcile()
    assert [pod["metadata"]["name"] for pod in plan.create_pods] == ["demo-small-1"]
    assert world.condition("HeadReady")["reason"] == "HeadMissing"


def test_fixed_size_without_autoscaling(cluster_world: MakeWorld) -> None:
    world = cluster_world(autoscaling={"enabled": False}, workerGroups=[{**SMALL, "replicas": 3}])
    world.settle()
    world.start_pods()
    world.demands = (demand(100),)
    world.settle()
    assert len(world.workers()) == 3
    world.demands = ()
    world.spec["workerGroups"][0]["replicas"] = 1
    for name in world.workers():
        world.idle(name, 1)
    world.settle(passes=8)
    assert len(world.workers()) == 1


@pytest.mark.parametrize(
    ("autoscaled", "replicas", "count"),
    [(False, None, 1), (False, 0, 0), (False, 3, 3), (False, 6, 6), (True, 3, 1), (True, None, 1)],
)
def test_replicas_count_without_autoscaling_alone(
    cluster_world: MakeWorld, autoscaled: bool, replicas: int | None, count: int
) -> None:
    group = {**SMALL, "minReplicas": 1, "maxReplicas": 4, "replicas": replicas}
    world = cluster_world(autoscaling={"enabled": autoscaled}, workerGroups=[group])
    world.settle()
    assert len(world.workers()) == count


def test_unchanged_world_gives_the_same_status_later(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SMALL, "minReplicas": 1}])
    world.settle()
    world.start_pods()
    world.settle()
    before = world.status
    world.wait(1000)
    assert world.reconcile().is_empty
    assert world.status == before


GROUPS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b"]),
            "minReplicas": st.integers(0, 2),
            "maxReplicas": st.integers(2, 4),
            "resources": st.fixed_dictionaries({"CPU": st.integers(1, 4)}),
            "idleTimeoutSeconds": st.just(2),
        }
    ),
    unique_by=lambda group: group["name"],
    max_size=2,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("demand"), st.integers(0, 12), st.integers(1, 6)),
        st.tuples(st.sampled_from(["start", "idle", "busy", "end", "hold", "lose-head", "wait"]), st.integers(0, 9)),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(groups=GROUPS, steps=STEPS)
def test_every_history_comes_to_rest_within_limits(cluster_world: MakeWorld, groups: Any, steps: Any) -> None:
    """Whatever happens, carrying plans out leads to the empty plan, and limits hold on the way."""
    world = cluster_world(workerGroups=groups)
    limits = {group["name"]: group["maxReplicas"] for group in groups}
    world.settle()
    for step in steps:
        happen(world, step)
        world.settle(passes=12)
        sizes = [pod["metadata"]["labels"]["shoal.dev/group"] for pod in world.pods.values()]
        assert all(sizes.count(name) <= most for name, most in limits.items())
        again = world.status
        assert world.reconcile().is_empty
        assert world.status == again


def happen(world: Any, step: Any) -> None:
    workers = world.workers()
    name = workers[step[1] % len(workers)] if workers else ""
    match step[0]:
        case "demand":
            world.demands = (demand(step[1], cpu=step[2]),)
        case "start":
            world.start_pods()
        case "idle" if name in world.nodes:
            world.idle(name, 5)
        case "busy" if name in world.nodes:
            world.busy(name)
        case "end" if name:
            world.end_pod(name)
        case "hold" if name and name not in world.nodes:
            world.hold_up_pod(name, "ImagePullBackOff", "no such image")
        case "lose-head":
            world.pods.pop("demo-head", None)
            world.head_answers = False
        case _:
            world.wait(step[1])
