"""When certificates are issued, what pods mount of them, and what the status says meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.cluster.certificates import (
    LEAF_LIFETIME,
    RECHECK_SECONDS_MAX,
    UNENCRYPTED,
    CertificatesView,
    LeafView,
    certificate_names,
    decide_renewal,
    with_certificate_facts,
    with_certificates,
)
from shoal_operator.domain.cluster.plan import plan_cluster
from shoal_operator.domain.conditions import Fact
from shoal_operator.domain.manifests.certificates import build_certificate_request
from shoal_operator.domain.manifests.pods import build_head_pod, worker_builder
from shoal_operator.domain.manifests.template_hash import group_hash, head_hash
from shoal_operator.domain.plan import Plan
from shoal_operator.domain.reasons import ConditionType, Reason

START = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ("shoal", "demo-head", "demo-head.ns.svc")
LEAF = LeafView(START, START + LEAF_LIFETIME, frozenset(NAMES))


def cluster(mode: str = "Operator", **tls: Any) -> ComputeCluster:
    spec = {"workerGroups": [{"name": "a"}], "security": {"tls": {"mode": mode, **tls}}}
    return ComputeCluster.parse({"metadata": {"name": "demo", "namespace": "ns", "uid": "u"}, "spec": spec})


def test_a_certificate_is_made_out_for_the_fixed_name_first() -> None:
    assert certificate_names(cluster()) == NAMES


@pytest.mark.parametrize(
    ("days", "due"), [(0, False), (59, False), (59.999, False), (60, True), (89, True), (91, True), (-1, False)]
)
def test_it_is_renewed_after_two_thirds_of_its_life(days: float, due: bool) -> None:
    renewal = decide_renewal(LEAF, NAMES, START + timedelta(days=days))
    assert renewal.is_due is due
    assert bool(renewal.reason) is due
    assert (renewal.next_check_seconds is None) is due


def test_it_is_issued_where_there_is_none_or_one_for_other_names() -> None:
    assert decide_renewal(None, NAMES, START).is_due
    renewal = decide_renewal(replace(LEAF, names=frozenset({"shoal"})), NAMES, START)
    assert renewal.is_due
    assert "demo-head" in renewal.reason


@given(st.integers(0, int(LEAF_LIFETIME.total_seconds())))
def test_whoever_looks_when_told_is_never_late(seconds: int) -> None:
    """From any moment, following the times that the decision names, it comes due while a third of the life is left."""
    now = START + timedelta(seconds=seconds)
    for _ in range(200):
        renewal = decide_renewal(LEAF, NAMES, now)
        if renewal.is_due:
            break
        assert renewal.next_check_seconds is not None
        assert 0 < renewal.next_check_seconds <= RECHECK_SECONDS_MAX
        now += timedelta(seconds=renewal.next_check_seconds)
    else:
        pytest.fail("it never came due")
    assert now <= max(START + timedelta(days=60, seconds=1), START + timedelta(seconds=seconds))


def mounted(pod: dict[str, Any]) -> dict[str, Any]:
    (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "shoal-tls"]
    (mount,) = [one for one in pod["spec"]["containers"][0]["volumeMounts"] if one["name"] == "shoal-tls"]
    assert mount == {"name": "shoal-tls", "mountPath": "/var/run/shoal/tls", "readOnly": True}
    source: dict[str, Any] = volume["secret"]
    return source


def test_head_and_workers_see_three_files_and_no_authoritys_key() -> None:
    made = cluster()
    for pod in (build_head_pod(made), worker_builder(made, made.spec.worker_groups[0])(0)):
        items = [{"key": key, "path": key} for key in ("ca.crt", "tls.crt", "tls.key")]
        assert mounted(pod) == {"secretName": "demo-tls", "defaultMode": 0o440, "items": items}
        arguments = pod["spec"]["containers"][0]["args"]
        assert arguments[arguments.index("--tls-dir") + 1] == "/var/run/shoal/tls"
        assert "demo-ca" not in str(pod)


def test_pods_without_tls_have_nothing_of_it() -> None:
    made = cluster("None")
    assert "tls" not in str(build_head_pod(made)["spec"])


def test_encryption_changes_the_hash_of_pods_and_who_signs_does_not() -> None:
    clusters = (cluster("None"), cluster(), cluster("CertManager", issuerRef={"name": "ca"}))
    hashes = [(head_hash(made), group_hash(made, made.spec.worker_groups[0])) for made in clusters]
    assert hashes[0] != hashes[1] == hashes[2]


def test_what_cert_manager_is_asked_for() -> None:
    made = build_certificate_request(cluster("CertManager", issuerRef={"name": "ca", "kind": "ClusterIssuer"}))
    assert made["metadata"]["name"] == "demo-tls"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"
    spec = made["spec"]
    assert spec["secretName"] == "demo-tls"
    assert spec["dnsNames"] == list(NAMES)
    assert spec["issuerRef"] == {"name": "ca", "kind": "ClusterIssuer"}
    assert (spec["duration"], spec["renewBefore"]) == ("2160h", "720h")
    assert set(spec["usages"]) >= {"server auth", "client auth"}


WAITING = CertificatesView(
    is_needed=True, is_ready=False, reason=Reason.WAITING_FOR_CERTIFICATE, message="waiting", next_check_seconds=4.0
)


def test_no_pod_is_made_before_its_certificate() -> None:
    plan = Plan(create_pods=({"kind": "Pod"},), apply=({"kind": "Service"},), requeue_after_seconds=9.0)
    kept = with_certificates(plan, WAITING)
    assert kept.create_pods == ()
    assert kept.apply == plan.apply
    assert kept.requeue_after_seconds == 4.0
    assert kept.issue_certificate == ""
    ready = CertificatesView(is_needed=True, is_ready=True, due="it ends soon", next_check_seconds=60.0)
    with_pods = with_certificates(plan, ready)
    assert with_pods.create_pods == plan.create_pods
    assert with_pods.requeue_after_seconds == 9.0
    assert with_pods.issue_certificate == "it ends soon"
    assert not with_pods.is_empty
    assert with_certificates(plan, UNENCRYPTED) is plan


FACTS = (
    Fact(ConditionType.READY, "False", Reason.HEAD_STARTING, "pod demo-head is being created"),
    Fact(ConditionType.HEAD_READY, "False", Reason.HEAD_STARTING, "pod demo-head is being created"),
    Fact(ConditionType.HEAD_REACHABLE, "Unknown", Reason.HEAD_NOT_YET_REACHED),
)


def test_the_status_says_what_is_waited_for() -> None:
    facts = {fact.type: fact for fact in with_certificate_facts(cluster(), FACTS, WAITING)}
    for kind in (ConditionType.READY, ConditionType.HEAD_READY, ConditionType.CERTIFICATES_READY):
        assert (facts[kind].status, facts[kind].reason, facts[kind].message) == (
            "False",
            "WaitingForCertificate",
            "waiting",
        )
    assert facts[ConditionType.HEAD_REACHABLE] == FACTS[2]


def test_a_cluster_without_tls_has_no_word_of_it_unless_it_had() -> None:
    plain = cluster("None")
    assert with_certificate_facts(plain, FACTS, UNENCRYPTED) == list(FACTS)
    condition = {"type": "CertificatesReady", "status": "True", "reason": "CertificatesIssued", "message": ""}
    stamped = {**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    document = {"metadata": {"name": "demo", "namespace": "ns", "uid": "u"}, "status": {"conditions": [stamped]}}
    had = ComputeCluster.parse(document)
    assert with_certificate_facts(had, FACTS, UNENCRYPTED)[-1].reason == "NotEncrypted"


def test_the_planner_itself_withholds_the_pods(cluster_world: Any) -> None:
    world = cluster_world(workerGroups=[{"name": "a", "minReplicas": 1}])
    observed = world.observe()
    assert plan_cluster(observed, world.now, new_token=world.new_token).create_pods
    plan = plan_cluster(replace(observed, certificates=WAITING), world.now, new_token=world.new_token)
    assert plan.create_pods == ()
    assert plan.requeue_after_seconds == WAITING.next_check_seconds
