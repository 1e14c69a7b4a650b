"""Template hashes: what users write changes them, what the operator fills in does not."""

from __future__ import annotations

from typing import Any

import pytest

from shoal_operator.api import cluster as cluster_api
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.manifests import hardening, pods
from shoal_operator.domain.manifests.pods import build_head_pod, worker_builder
from shoal_operator.domain.manifests.template_hash import group_hash, head_hash, is_outdated
from shoal_operator.engines import shoal

TEMPLATE = {
    "metadata": {"labels": {"team": "x"}},
    "spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "shoal", "env": [{"name": "A", "value": "1"}]}]},
}


def cluster(group: dict[str, Any] | None = None, **spec: Any) -> ComputeCluster:
    document = {"metadata": {"name": "demo", "namespace": "ns", "uid": "u"}, "spec": spec}
    return ComputeCluster.parse({**document, "spec": {**spec, "workerGroups": [{"name": "a", **(group or {})}]}})


def hash_of(group: dict[str, Any] | None = None, **spec: Any) -> str:
    made = cluster(group, **spec)
    return group_hash(made, made.spec.worker_groups[0])


GOLDEN: tuple[tuple[dict[str, Any], dict[str, Any], str], ...] = (
    ({}, {}, "v1-44136fa355"),
    ({}, {"image": "own:1"}, "v1-506581466a"),
    ({"template": TEMPLATE}, {}, "v1-f546b59496"),
    ({"resources": {"CPU": 2, "GPU": "500m"}, "labels": {"zone": "a"}}, {}, "v1-a4a92bedb6"),
)
"""Group, spec, and the hash that every release must give: another one replaces every pod of every user."""


@pytest.mark.parametrize(("group", "spec", "expected"), GOLDEN)
def test_golden_hashes_of_groups(group: dict[str, Any], spec: dict[str, Any], expected: str) -> None:
    assert hash_of(group, **spec) == expected


def test_golden_hashes_of_heads() -> None:
    assert head_hash(cluster()) == "v1-44136fa355"
    kept = {"backend": "PersistentVolume", "volume": {"claimName": "mine"}}
    assert head_hash(cluster(head={"template": TEMPLATE}, state=kept)) == "v1-a27c447f47"
    shared = {"backend": "Redis", "redis": {"url": "redis://cache"}}
    assert head_hash(cluster(state=shared)) == "v1-7d4aa7d7a7"


def test_operator_upgrade_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """P22: other defaults, probes, arguments and images of a later operator leave the hashes of pods alone."""
    given = {"template": TEMPLATE}
    before = hash_of(given), head_hash(cluster(given))
    pod_before = worker_builder(cluster(given), cluster(given).spec.worker_groups[0])(0)
    monkeypatch.setattr(cluster_api, "DEFAULT_IMAGE", "shoal/runtime:99")
    monkeypatch.setattr(pods, "GRACE_PERIOD_SECONDS", 77)
    monkeypatch.setattr(pods, "__version__", "99")
    monkeypatch.setattr(hardening, "USER_ID", 4711)
    monkeypatch.setattr(shoal, "FRAMES_PORT", 9999)
    monkeypatch.setattr(shoal, "probes", lambda *, head: {})
    pod_after = worker_builder(cluster(given), cluster(given).spec.worker_groups[0])(0)
    assert pod_after["spec"] != pod_before["spec"], "nothing was changed, so nothing is shown"
    assert (hash_of(given), head_hash(cluster(given))) == before
    key = "shoal.dev/template-hash"
    assert pod_after["metadata"]["labels"][key] == pod_before["metadata"]["labels"][key] == before[0]


@pytest.mark.parametrize(
    "group",
    [
        {"minReplicas": 1, "maxReplicas": 2, "replicas": 1, "priority": 3, "idleTimeoutSeconds": 1},
        {"template": {}, "resources": {}, "labels": {}},
        {"template": {"metadata": {"labels": {}}, "spec": {"volumes": [], "tolerations": None}}},
        {"template": {"spec": {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}}},
        {"hostsPerReplica": 1, "suspend": True},
    ],
)
def test_what_does_not_reach_the_pod_does_not_count(group: dict[str, Any]) -> None:
    assert hash_of(group) == hash_of()


@pytest.mark.parametrize(
    ("group", "spec"),
    [
        ({"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}, {}),
        ({"template": {"spec": {"tolerations": [{"key": "gpu"}]}}}, {}),
        ({"template": {"metadata": {"annotations": {"a": "b"}}}}, {}),
        ({"resources": {"CPU": 2}}, {}),
        ({"resources": {"CPU": 0}}, {}),
        ({"labels": {"zone": "b"}}, {}),
        ({}, {"image": cluster_api.DEFAULT_IMAGE}),
    ],
)
def test_what_reaches_the_pod_counts(group: dict[str, Any], spec: dict[str, Any]) -> None:
    assert hash_of(group, **spec) != hash_of()


def test_one_amount_written_in_two_ways_is_one() -> None:
    assert hash_of({"resources": {"CPU": 1}}) == hash_of({"resources": {"CPU": "1"}})
    assert hash_of({"resources": {"CPU": "1000m"}}) == hash_of({"resources": {"CPU": "1.0"}})


def test_image_counts_only_where_it_is_used() -> None:
    own = {"template": {"spec": {"containers": [{"name": "shoal", "image": "mine:1"}]}}}
    assert hash_of(own, image="a:1") == hash_of(own, image="a:2")
    assert head_hash(cluster(own, image="a:1")) != head_hash(cluster(own, image="a:2"))


def test_group_and_head_are_apart() -> None:
    assert head_hash(cluster({"template": TEMPLATE})) == head_hash(cluster())
    assert hash_of(head={"template": TEMPLATE}) == hash_of()
    assert hash_of(state={"backend": "PersistentVolume"}) == hash_of()


def test_pods_carry_the_hash() -> None:
    pod = build_head_pod(cluster(head={"labels": {"zone": "a"}}))
    assert pod["metadata"]["labels"]["shoal.dev/template-hash"] == head_hash(cluster(head={"labels": {"zone": "a"}}))
    assert pod["metadata"]["labels"]["zone"] == "a"
    arguments = pod["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--labels") + 1] == '{"zone":"a"}'


@pytest.mark.parametrize(("grace", "drain"), [(None, "20"), (300, "290"), (2, "0"), ("wrong", "20")])
def test_the_drain_ends_before_the_grace_period(grace: Any, drain: str) -> None:
    """P19: a worker whose pod is deleted has time to drain, and time to end after that."""
    template = {"spec": {"terminationGracePeriodSeconds": grace}} if grace else {}
    made = cluster({"template": template})
    pod = worker_builder(made, made.spec.worker_groups[0])(0)
    arguments = pod["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--drain-seconds") + 1] == drain
    assert pod["spec"]["terminationGracePeriodSeconds"] == (grace or 30)


@pytest.mark.parametrize("other", ["v2-0123456789", "0123456789", ""])
def test_a_hash_of_an_unknown_version_is_not_outdated(other: str) -> None:
    assert not is_outdated(other, hash_of())
    assert is_outdated("v1-0123456789", hash_of())
    assert not is_outdated(hash_of(), hash_of())
