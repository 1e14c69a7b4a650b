"""Who may reach a cluster's pods, and when its head is kept from evictions: tables and the model world."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.hashing import spec_hash
from shoal_operator.domain.head import HeadView, JobState, JobView
from shoal_operator.domain.manifests.disruption import build_head_budget, is_protected
from shoal_operator.domain.manifests.network import OperatorPlace, build_network_policy

from .conftest import PLACE, START

MakeWorld = Callable[..., Any]
OWN = {"podSelector": {"matchLabels": {"shoal.dev/cluster": "demo"}}}
FRIENDS: dict[str, Any] = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"friend": "yes"}}}
DNS = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
OPERATOR = {
    "from": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shoal-system"}},
            "podSelector": {"matchLabels": {"app": "operator"}},
        }
    ],
    "ports": [{"protocol": "TCP", "port": 7380}],
}


def a_cluster(**spec: Any) -> ComputeCluster:
    return ComputeCluster.parse({"metadata": {"name": "demo", "namespace": "ns", "uid": "u"}, "spec": spec})


def policy(place: OperatorPlace = PLACE, **wanted: Any) -> Any:
    return build_network_policy(a_cluster(security={"networkPolicy": wanted}), place)


@pytest.mark.parametrize(
    ("wanted", "types", "ingress", "egress"),
    [
        ({}, ["Ingress"], [{"from": [OWN]}, OPERATOR], []),
        ({"ingressFrom": [FRIENDS]}, ["Ingress"], [{"from": [OWN]}, OPERATOR, {"from": [FRIENDS]}], []),
        ({"egressTo": []}, ["Ingress", "Egress"], [{"from": [OWN]}, OPERATOR], [{"to": [OWN]}, DNS]),
        (
            {"egressTo": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
            ["Ingress", "Egress"],
            [{"from": [OWN]}, OPERATOR],
            [{"to": [OWN]}, DNS, {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
        ),
    ],
    ids=["default", "friends", "no egress", "some egress"],
)
def test_the_policy_says_exactly_who(wanted: Any, types: Any, ingress: Any, egress: Any) -> None:
    made = policy(**wanted)
    assert made["metadata"]["name"] == "demo"
    assert made["spec"] == {
        "podSelector": OWN["podSelector"],
        "policyTypes": types,
        "ingress": ingress,
        "egress": egress,
    }
    kubernetes_validate.validate(made, "1.31", strict=True)


def test_pods_with_restricted_egress_can_still_ask_dns() -> None:
    """KubeRay's policies leave DNS out: pods that may go nowhere else then cannot even find their own head."""
    assert DNS in policy(egressTo=[])["spec"]["egress"]
    assert "to" not in DNS, "wherever it answers"


def test_names_of_long_clusters_fit() -> None:
    """KubeRay's catalogue: long names."""
    document = {"metadata": {"name": "x" * 63, "namespace": "ns", "uid": "u"}, "spec": {}}
    cluster = ComputeCluster.parse(document)
    made = build_network_policy(cluster, PLACE)
    assert made is not None
    names = [made["metadata"]["name"], build_head_budget(cluster)["metadata"]["name"]]
    assert names[0] == "x" * 63
    assert [len(name) <= 63 for name in names] == [True, True]


def test_an_operator_that_does_not_know_its_place_opens_nothing() -> None:
    assert policy(OperatorPlace())["spec"]["ingress"] == [{"from": [OWN]}]


def test_no_policy_where_none_is_wanted() -> None:
    assert policy(mode="None") is None


def test_the_policy_comes_first_and_goes_when_it_is_wanted_no_more(cluster_world: MakeWorld) -> None:
    world = cluster_world()
    plan = world.reconcile()
    assert [each["kind"] for each in plan.apply] == ["Service", "NetworkPolicy"]
    assert world.plan().is_empty
    world.spec = {**world.spec, "security": {"networkPolicy": {"mode": "None"}}}
    assert [ref.kind for ref in world.reconcile().delete] == ["NetworkPolicy"]
    assert world.plan().is_empty


def change_rule(policy: Any) -> None:
    policy["spec"]["ingress"][0]["from"].append({"ipBlock": {"cidr": "0.0.0.0/0"}})


def open_all(policy: Any) -> None:
    policy["spec"]["ingress"] = [{}]


def open_egress(policy: Any) -> None:
    policy["spec"]["egress"] = [{}]


@pytest.mark.parametrize("damage", [change_rule, open_all, open_egress])
def test_what_somebody_changes_in_the_policy_is_put_right(cluster_world: MakeWorld, damage: Any) -> None:
    world = cluster_world()
    world.settle()
    before = copy.deepcopy(world.others["NetworkPolicy/demo"]["spec"])
    damage(world.others["NetworkPolicy/demo"])
    assert [each["kind"] for each in world.reconcile().apply] == ["NetworkPolicy"]
    assert world.others["NetworkPolicy/demo"]["spec"] == before


def test_what_the_server_leaves_out_of_what_it_stores_is_no_change(cluster_world: MakeWorld) -> None:
    peer: dict[str, Any] = {"podSelector": {"matchLabels": {}, "matchExpressions": []}}
    world = cluster_world(security={"networkPolicy": {"ingressFrom": [peer]}})
    world.settle()
    stored = world.others["NetworkPolicy/demo"]["spec"]
    del stored["egress"]
    stored["ingress"][-1]["from"] = [{"podSelector": {}}]
    assert world.plan().is_empty


def test_another_owners_policy_is_not_deleted(cluster_world: MakeWorld) -> None:
    world = cluster_world()
    world.settle()
    world.others["NetworkPolicy/demo"]["metadata"]["ownerReferences"][0]["uid"] = "another"
    world.spec = {**world.spec, "security": {"networkPolicy": {"mode": "None"}}}
    assert world.plan().is_empty


def test_an_open_selector_is_not_taken_for_none() -> None:
    assert spec_hash({"ingress": [{}]}) != spec_hash({"ingress": []})
    assert spec_hash({"from": [{"podSelector": {}}]}) != spec_hash({"from": [{}]})
    assert spec_hash({"podSelector": {}, "egress": []}) == spec_hash({"podSelector": {}, "egress": None})


BUSY = (JobView("a", JobState.SUCCEEDED), JobView("b", JobState.RUNNING))
WAITS = (JobView("b", JobState.PENDING),)
DONE = (JobView("a", JobState.FAILED), JobView("b", JobState.STOPPED))


def head(jobs: tuple[JobView, ...], *, reachable: bool = True) -> HeadView:
    return HeadView("one", START, reachable=reachable, jobs=jobs)


@pytest.mark.parametrize(
    ("spec", "view", "before", "after"),
    [
        ({}, head(()), True, False),
        ({}, head(DONE), True, False),
        ({}, head(WAITS), False, True),
        ({}, head(BUSY), False, True),
        ({}, head(DONE, reachable=False), True, True),
        ({}, head(BUSY, reachable=False), False, False),
        ({}, None, True, True),
        ({}, None, False, False),
        ({"disruptionPolicy": "Always"}, None, False, True),
        ({"disruptionPolicy": "Always"}, head(DONE), False, True),
        ({"disruptionPolicy": "Never"}, head(BUSY), True, False),
        ({"disruptionPolicy": "Always", "suspend": True}, head(BUSY), True, False),
        ({"suspend": True}, None, True, False),
    ],
)
def test_when_the_head_is_kept_from_evictions(spec: Any, view: Any, before: bool, after: bool) -> None:
    assert is_protected(a_cluster(**spec), view, before=before) is after


def test_the_budget_is_one_that_kubernetes_can_count() -> None:
    made = build_head_budget(a_cluster())
    kubernetes_validate.validate(made, "1.31", strict=True)
    assert made["metadata"]["name"] == "demo-head"
    assert made["spec"] == {
        "minAvailable": 1,
        "selector": {"matchLabels": {"shoal.dev/cluster": "demo", "shoal.dev/role": "head"}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


def test_the_budget_comes_with_a_job_and_goes_with_its_end_or_with_the_pods(cluster_world: MakeWorld) -> None:
    world = cluster_world()
    world.settle()
    world.start_pods()
    world.settle()
    assert "PodDisruptionBudget/demo-head" not in world.others
    for end in ({"jobs": DONE}, {"spec": {**world.spec, "suspend": True}}):
        world.jobs = BUSY
        world.settle()
        assert "PodDisruptionBudget/demo-head" in world.others
        for name, value in end.items():
            setattr(world, name, value)
        world.settle()
        assert "PodDisruptionBudget/demo-head" not in world.others
    assert "NetworkPolicy/demo" in world.others
