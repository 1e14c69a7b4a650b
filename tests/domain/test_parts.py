"""The small parts: quantities, names, hashes, conditions, views of pods, pods themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.resources import ResourceSet
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.problems import Problem
from shoal_operator.domain.cluster.drains import read_drain, start_drain
from shoal_operator.domain.cluster.observed import pod_view
from shoal_operator.domain.cluster.status import invalid_cluster_status
from shoal_operator.domain.conditions import FALSE, TRUE, Fact, merge
from shoal_operator.domain.job.status import invalid_job_status
from shoal_operator.domain.manifests.pods import build_head_pod, worker_builder
from shoal_operator.domain.names import bounded_name, worker_pod_name
from shoal_operator.domain.quantities import group_resources, parse_quantity
from shoal_operator.domain.reasons import ConditionType

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        (2, "2"),
        ("0.5", "0.5"),
        ("500m", "0.5"),
        ("1Ki", "1024"),
        ("4Gi", str(4 * 2**30)),
        ("1e3", "1000"),
        ("2M", "2000000"),
    ],
)
def test_quantities(quantity: int | str, value: str) -> None:
    assert parse_quantity(quantity) == Decimal(value)


@pytest.mark.parametrize("quantity", ["", "x", "1 Gi", "1KiB", "0x1", "1_000", "--1", "1ii"])
def test_things_that_are_no_quantities(quantity: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(quantity)


def template(**resources: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "side"}, {"name": "shoal", "resources": resources}]}}


DEVICES = {"CPU": 1, "TPU": 4, "neuron_cores": 2}


@pytest.mark.parametrize(
    ("explicit", "pod", "units"),
    [
        ({}, None, {"CPU": 1}),
        ({"CPU": 4}, None, {"CPU": 4}),
        ({"GPU": "0.5"}, None, {"GPU": 0.5}),
        ({}, template(requests={"cpu": "1500m", "memory": "1Ki"}), {"CPU": 1.5, "memory": 1024}),
        ({}, template(limits={"cpu": 2, "nvidia.com/gpu": 1}), {"CPU": 2, "GPU": 1}),
        ({"CPU": 1}, template(limits={"nvidia.com/gpu": 2, "nvidia.com/mig-1g.5gb": 1}), {"CPU": 1, "GPU": 3}),
        ({"CPU": 1}, template(requests={"amd.com/gpu": 1}, limits={"amd.com/gpu": 1}), {"CPU": 1, "GPU": 1}),
        ({"CPU": 1}, template(limits={"example.com/vgpu": 1}), {"CPU": 1, "GPU": 1}),
        ({"CPU": 1, "GPU": 0}, template(limits={"nvidia.com/gpu": 1}), {"CPU": 1}),
        ({"CPU": 1}, template(limits={"google.com/tpu": 4, "aws.amazon.com/neuroncore": 2}), DEVICES),
        ({"CPU": 1}, template(limits={"ephemeral-storage": "1Gi", "example.com/fpga": 1}), {"CPU": 1}),
        ({"CPU": 1}, template(requests={"cpu": 4, "memory": "1Ki"}), {"CPU": 1, "memory": 1024}),
        ({"memory": 0}, template(requests={"cpu": 4, "memory": "1Ki"}), {"CPU": 4}),
    ],
)
def test_resources_of_a_group(explicit: dict[str, Any], pod: dict[str, Any] | None, units: dict[str, float]) -> None:
    assert group_resources(explicit, pod) == ResourceSet.from_units(units)


@given(st.text("abc-", min_size=1, max_size=120), st.text("abc-", min_size=1, max_size=30), st.integers(0, 9999))
def test_names_are_bounded_and_keep_their_index(cluster: str, group: str, index: int) -> None:
    name = worker_pod_name(cluster, group, index)
    assert len(name) <= 63
    assert name.endswith(f"-{index}")


@given(st.lists(st.text("ab", min_size=60, max_size=90), unique=True, min_size=2, max_size=20))
def test_long_names_stay_different(stems: list[str]) -> None:
    assert len({bounded_name(stem, "-head") for stem in stems}) == len(stems)


def test_condition_keeps_its_time_until_it_flips() -> None:
    first = merge((), [Fact(ConditionType.READY, FALSE, "A", "x")], NOW, 1)
    assert first[0].last_transition_time.microsecond == 0
    later = NOW + timedelta(seconds=9)
    second = merge(first, [Fact(ConditionType.READY, FALSE, "B", "y" * 2000)], later, 2)
    assert second[0].last_transition_time == first[0].last_transition_time
    assert (second[0].reason, second[0].observed_generation, len(second[0].message)) == ("B", 2, 1024)
    third = merge(second, [Fact(ConditionType.READY, TRUE, "C")], later, 2)
    assert third[0].last_transition_time == later.replace(microsecond=0)
    assert merge(third, [Fact(ConditionType.READY, TRUE, "C")], NOW + timedelta(days=1), 2) == third
    assert merge(third, [], later, 3) == third


def test_drain_survives_its_annotation() -> None:
    drain = start_drain("Idle", NOW, 60)
    assert read_drain(drain.encode()) == drain
    assert drain.deadline >= NOW + timedelta(seconds=60)
    assert read_drain("") is None


def test_pod_view_collects_what_holds_a_pod_up() -> None:
    view = pod_view(
        {
            "metadata": {
                "name": "demo-small-3",
                "uid": "u",
                "labels": {"shoal.dev/group": "small", "shoal.dev/role": "worker", "shoal.dev/replica-index": "3"},
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "deletionTimestamp": "2026-01-02T03:04:06Z",
                "ownerReferences": [{"uid": "other"}, {"uid": "owner", "controller": True}],
            },
            "status": {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                ],
                "containerStatuses": [
                    {
                        "name": "shoal",
                        "restartCount": 2,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"reason": "Error", "exitCode": 2}},
                    }
                ],
            },
        }
    )
    assert (view.index, view.group, view.restarts, view.owner_uid) == (3, "small", 2, "owner")
    assert view.is_deleting
    assert [(reason.reason, reason.message) for reason in view.reasons] == [
        ("Unschedulable", "0/3 nodes"),
        ("CrashLoopBackOff", ""),
        ("Error", "exit code 2"),
    ]


@pytest.mark.parametrize(
    ("policy", "exit_code", "phase"),
    [
        ("Always", 1, "Running"),
        ("Always", 0, "Running"),
        ("OnFailure", 1, "Running"),
        ("OnFailure", 0, "Succeeded"),
        ("Never", 1, "Failed"),
        ("Never", 0, "Succeeded"),
        ("Never", None, "Running"),
    ],
)
def test_a_runtime_that_has_ended_for_good_ends_its_pod(policy: str, exit_code: int | None, phase: str) -> None:
    """A sidecar that runs on keeps the pod's own phase at Running for ever."""
    state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code}}
    statuses = [{"name": "side", "state": {"terminated": {"exitCode": 0}}}, {"name": "shoal", "state": state}]
    pod = {"spec": {"restartPolicy": policy}, "status": {"phase": "Running", "containerStatuses": statuses}}
    assert pod_view(pod).phase == phase


def test_pod_view_of_nothing_is_a_pending_pod() -> None:
    assert pod_view({}).phase == "Pending"
    assert pod_view({"metadata": None, "status": None}).reasons == ()


def cluster(**spec: Any) -> ComputeCluster:
    return ComputeCluster.parse({"metadata": {"name": "demo", "namespace": "ns", "uid": "u"}, "spec": spec})


def test_head_pod_starts_the_head() -> None:
    pod = build_head_pod(cluster())
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["shoal"]
    assert " ".join(container["args"]) == (
        "start --head --node-ip $(POD_IP) --control-port 7380 --frames-port 7381 --num-cpus 0 "
        "--token-file /var/run/shoal/token/token --pod-name $(POD_NAME) --group head"
    )
    assert container["readinessProbe"]["tcpSocket"] == {"port": 7380}
    assert pod["metadata"]["labels"]["shoal.dev/role"] == "head"
    assert pod["metadata"]["ownerReferences"][0]["controller"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_head_that_takes_work_says_so() -> None:
    args = build_head_pod(cluster(head={"resources": {"CPU": 2, "disk": "0.5"}}))["spec"]["containers"][0]["args"]
    assert args[args.index("--num-cpus") + 1] == "2"
    assert args[args.index("--resources") + 1] == '{"disk":0.5}'


def test_worker_pod_joins_the_head() -> None:
    demo = cluster(workerGroups=[{"name": "small", "resources": {"CPU": 1}}])
    pod = worker_builder(demo, demo.spec.worker_groups[0])(7)
    container = pod["spec"]["containers"][0]
    assert " ".join(container["args"]) == (
        'start --address demo-head:7380 --node-ip $(POD_IP) --frames-port 7381 --resources {"CPU":1} '
        "--token-file /var/run/shoal/token/token --pod-name $(POD_NAME) --drain-seconds 20 --group small"
    )
    assert (pod["metadata"]["name"], pod["metadata"]["labels"]["shoal.dev/replica-index"]) == ("demo-small-7", "7")
    assert container["readinessProbe"]["tcpSocket"] == {"port": 7381}
    assert "initContainers" not in pod["spec"], "the process itself waits for its head"
    assert {"name": "shoal-token", "secret": {"secretName": "demo-token", "defaultMode": 0o440}} in pod["spec"][
        "volumes"
    ]


def test_template_is_kept_around_the_runtime() -> None:
    given_template = {
        "metadata": {
            "name": "theirs",
            "namespace": "elsewhere",
            "labels": {"team": "x", "shoal.dev/group": "forged", "app.kubernetes.io/name": "forged"},
            "annotations": {"note": "y"},
        },
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "containers": [
                {"name": "side", "image": "side:1"},
                {"name": "shoal", "image": "own:2", "env": [{"name": "POD_IP", "value": "bad"}, {"name": "A"}]},
            ],
        },
    }
    demo = cluster(workerGroups=[{"name": "small", "template": given_template}])
    pod = worker_builder(demo, demo.spec.worker_groups[0])(0)
    side, runtime = pod["spec"]["containers"]
    assert (side["name"], side["image"], runtime["image"]) == ("side", "side:1", "own:2")
    assert [entry["name"] for entry in runtime["env"]] == ["A", "POD_IP", "POD_NAME"]
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert (pod["metadata"]["labels"]["team"], pod["metadata"]["labels"]["shoal.dev/group"]) == ("x", "small")
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "shoal"
    assert pod["metadata"]["annotations"] == {"note": "y"}
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == ("demo-small-0", "ns")


def test_template_hash_changes_with_the_spec_alone() -> None:
    def label(**group: Any) -> str:
        demo = cluster(workerGroups=[{"name": "small", **group}])
        pod = worker_builder(demo, demo.spec.worker_groups[0])(0)
        return str(pod["metadata"]["labels"]["shoal.dev/template-hash"])

    assert label() == label(maxReplicas=9)
    assert label() != label(resources={"CPU": 2})


@pytest.mark.parametrize("build", [invalid_cluster_status, invalid_job_status])
def test_unreadable_object_gets_a_status(build: Any) -> None:
    document = {"metadata": {"name": "x", "generation": 3}, "spec": {}}
    status = build(document, [Problem("spec.entrypoint", "is required")], NOW)
    assert status["reason"] == "InvalidSpec"
    assert status["message"] == "spec.entrypoint is required"
    assert status["observedGeneration"] == 3
    again = build({**document, "status": status}, [Problem("spec.entrypoint", "is required")], NOW + timedelta(hours=1))
    assert again == status
