"""What holds a cluster up: on its conditions, out of the autoscaler's count, and told once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shoal.resources import ResourceSet
from shoal_operator.api.cluster import ComputeClusterStatus
from shoal_operator.autoscaler.model import Demand
from shoal_operator.domain.cluster.blocking import NOTES, WARNINGS, transition_events
from shoal_operator.domain.cluster.plan import plan_cluster
from shoal_operator.domain.cluster.status import cluster_status
from shoal_operator.domain.labels import GROUP
from shoal_operator.domain.reasons import Reason
from shoal_operator.domain.refusals import Refusal, explain_refusal

MakeWorld = Callable[..., Any]
FIRST = {"name": "first", "priority": 1, "maxReplicas": 4, "resources": {"CPU": 1}}
SECOND = {"name": "second", "maxReplicas": 4, "resources": {"CPU": 1}}
QUOTA = 'pods "demo-first-0" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1'


def refused(group: str, code: int = 403, words: str = QUOTA) -> Refusal:
    name = "demo-head" if group == "head" else f"demo-{group}-0"
    return explain_refusal(group, name, code, words)


def look(world: Any, *refusals: Refusal) -> tuple[list[str], dict[str, Any]]:
    """The groups of the pods that a pass would create, and the status that it would write."""
    observed = replace(world.observe(), refusals=refusals)
    plan = plan_cluster(observed, world.now, new_token=world.new_token)
    status = cluster_status(observed, plan, world.now)
    return sorted(pod["metadata"]["labels"][GROUP] for pod in plan.create_pods), status


def condition(status: dict[str, Any], kind: str) -> tuple[str, str]:
    found = next(entry for entry in status["conditions"] if entry["type"] == kind)
    return found["status"], found["reason"]


def asked(world: Any, count: int) -> None:
    world.demands = (Demand(ResourceSet.from_units({"CPU": 1}), count),)


def test_a_refused_group_stops_neither_head_nor_other_groups(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**FIRST, "minReplicas": 1}, {**SECOND, "minReplicas": 1}])
    groups, status = look(world, refused("first"))
    assert groups == ["head", "second"]
    assert condition(status, "WorkersReady") == ("False", "QuotaExceeded")
    groups, status = look(world, refused("head"))
    assert groups == ["first", "second"]
    assert condition(status, "HeadReady") == ("False", "QuotaExceeded")
    assert condition(status, "Ready") == ("False", "QuotaExceeded")
    assert (status["reason"], QUOTA in status["message"]) == ("QuotaExceeded", True)


def test_gated_and_refused_pods_do_not_count_as_coming(cluster_world: MakeWorld) -> None:
    """P10: the next group is tried in the same pass, not after an hour."""
    world = cluster_world(workerGroups=[FIRST, SECOND])
    world.settle()
    world.start_pods()
    asked(world, 1)
    assert look(world, refused("first"))[0] == ["second"]
    world.settle()
    assert world.workers() == ["demo-first-0"]
    world.pods["demo-first-0"]["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    world.wait(5)
    groups, status = look(world)
    assert groups == ["second"]
    assert condition(status, "WorkersReady") == ("False", "SchedulingGated")


def test_a_template_that_is_not_taken_takes_nothing_down(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**copy.deepcopy(FIRST), "minReplicas": 2}])
    world.settle()
    world.start_pods()
    world.settle()
    template = {"spec": {"tolerationz": []}, "metadata": {"labels": {"a": "b"}}}
    world.spec["workerGroups"][0]["template"] = template
    fault = refused("first", 400, 'strict decoding error: unknown field "spec.tolerationz"')
    groups, status = look(world, fault)
    assert groups == []
    assert condition(status, "InvalidSpec") == ("True", "InvalidTemplate")
    assert condition(status, "Ready") == ("True", "AllReady"), "everything runs on, from the earlier template"
    assert condition(status, "UpToDate") == ("False", "RolloutStuck")
    assert status["reason"] == "InvalidTemplate"
    assert "demo-first-0" not in str(status["conditions"]), "that one runs"
    assert status["workers"]["ready"] == 2
    before = ComputeClusterStatus.model_validate(status)
    assert list(transition_events(before, status)) == []
    other = {**status, "message": "another fault"}
    assert [event.reason for event in transition_events(before, other)] == ["InvalidTemplate"]
    world.spec["updateStrategy"] = {"type": "Recreate"}
    observed = replace(world.observe(), refusals=(fault,))
    assert plan_cluster(observed, world.now, new_token=world.new_token).delete_pods == ()


def test_a_worker_that_does_not_start_is_on_the_cluster_with_its_words(cluster_world: MakeWorld) -> None:
    """P4 and P32: the reason is on the object, and Ready is never said too early."""
    world = cluster_world(workerGroups=[{**FIRST, "minReplicas": 1}])
    world.settle()
    world.start_pods()
    world.nodes.clear()
    world.hold_up_pod("demo-first-0", "ErrImagePull", "no such image")
    world.reconcile()
    assert world.status["reason"] == "ImageUnavailable"
    assert "pod demo-first-0: container `shoal`: ErrImagePull: no such image" in world.status["message"]
    assert condition(world.status, "Ready") == ("False", "ImageUnavailable")


def test_an_event_is_made_when_the_first_thing_changes_and_only_then(cluster_world: MakeWorld) -> None:
    def events(before: str, after: str) -> list[tuple[str, str]]:
        status = ComputeClusterStatus(reason=before or None)
        return [(e.type, e.reason) for e in transition_events(status, {"reason": after, "message": "x"})]

    assert events("", "Unschedulable") == [("Warning", "Unschedulable")]
    assert events("Unschedulable", "Unschedulable") == []
    assert events("Unschedulable", "") == []
    assert events("Unschedulable", "QuotaExceeded") == [("Warning", "QuotaExceeded")]
    assert events("", "SchedulingGated") == [("Normal", "SchedulingGated")]
    assert events("", "HeadStarting") == []
    assert not WARNINGS & NOTES
    assert Reason.INFEASIBLE not in WARNINGS  # it has an Event of its own
    world = cluster_world(workerGroups=[])
    world.settle()
    assert list(transition_events(ComputeClusterStatus(), world.status)) == []
