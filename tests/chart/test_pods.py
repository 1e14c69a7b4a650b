"""Head and worker pods: restricted unless the template says otherwise, and everything of a template passes through."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.domain.manifests.clusters import build_job_cluster
from shoal_operator.domain.manifests.hardening import shared_memory_size
from shoal_operator.domain.manifests.pods import build_head_pod, worker_builder

from .pod_security import violations

ROLES = ("head", "worker")
VERSIONS = ("1.30", "1.37")


def build(role: str, template: dict[str, Any] | None) -> dict[str, Any]:
    given = copy.deepcopy(template)
    spec: dict[str, Any] = (
        {"head": {"template": template}}
        if role == "head"
        else {"workerGroups": [{"name": "small", "template": template}]}
    )
    metadata = {"name": "demo", "namespace": "ns", "uid": "u"}
    cluster = ComputeCluster.parse({"metadata": metadata, "spec": spec})
    pod = build_head_pod(cluster) if role == "head" else worker_builder(cluster, cluster.spec.worker_groups[0])(0)
    assert template == given, "the builder changed the user's template"
    return pod


def runtime(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = (each for each in pod["spec"]["containers"] if each["name"] == "shoal")
    return dict(found)


TEMPLATES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "empty": {},
    "sidecars": {
        "spec": {
            "containers": [{"name": "side", "image": "side:1"}],
            "initContainers": [{"name": "first", "image": "first:1"}],
        }
    },
    "own user": {"spec": {"securityContext": {"runAsUser": 1000, "fsGroup": 2000}}},
    "partly said": {
        "spec": {
            "containers": [
                {"name": "shoal", "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}},
                {"name": "side", "image": "s", "securityContext": {"readOnlyRootFilesystem": False}},
            ]
        }
    },
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_pods_fit_the_restricted_standard(role: str, template: dict[str, Any] | None) -> None:
    pod = build(role, template)
    assert violations(pod["spec"]) == []
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert runtime(pod)["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_pods_fit_the_schema_of_kubernetes(role: str, version: str, template: dict[str, Any] | None) -> None:
    kubernetes_validate.validate(build(role, template), version, strict=True)


def test_the_checker_finds_what_the_standard_forbids() -> None:
    bare = {"name": "x", "image": "x"}
    assert len(violations({"containers": [bare]})) == 4
    fine = build("worker", None)["spec"]
    for change, words in (
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "volume v"),
        ({"containers": [{**fine["containers"][0], "securityContext": {"privileged": True}}]}, "privileged"),
        ({"securityContext": {**fine["securityContext"], "runAsUser": 0}}, "runAsUser"),
    ):
        assert any(words in each for each in violations({**fine, **change})), words


def test_runs_as_the_images_user_and_group() -> None:
    context = build("worker", None)["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (65532, 65532, 65532)
    own = build("worker", TEMPLATES["own user"])["spec"]["securityContext"]
    assert (own["runAsUser"], own["runAsGroup"], own["fsGroup"]) == (1000, 1000, 2000)


def test_a_template_may_ask_for_root() -> None:
    template = {
        "spec": {
            "securityContext": {"runAsUser": 0},
            "containers": [{"name": "shoal", "securityContext": {"readOnlyRootFilesystem": False}}],
        }
    }
    pod = build("worker", template)
    assert "runAsNonRoot" not in pod["spec"]["securityContext"]
    assert runtime(pod)["securityContext"]["readOnlyRootFilesystem"] is False


def test_one_container_may_ask_for_root_or_privilege() -> None:
    contexts = {
        "root": {"runAsUser": 0},
        "privileged": {"privileged": True},
        "mounts": {"capabilities": {"add": ["SYS_ADMIN"]}},
    }
    template = {
        "spec": {"initContainers": [{"name": n, "image": "i", "securityContext": c} for n, c in contexts.items()]}
    }
    got = {each["name"]: each["securityContext"] for each in build("worker", template)["spec"]["initContainers"]}
    assert got["root"] == {"runAsUser": 0, "runAsNonRoot": False}
    assert got["privileged"] == {"privileged": True}
    assert "allowPrivilegeEscalation" not in got["mounts"], "the API server refuses it together with SYS_ADMIN"


def test_null_means_none() -> None:
    template = {
        "spec": {
            "automountServiceAccountToken": True,
            "securityContext": None,
            "containers": [{"name": "shoal", "securityContext": {"readOnlyRootFilesystem": None}}],
        }
    }
    pod = build("worker", template)
    assert pod["spec"]["securityContext"] is None
    assert pod["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize("role", ROLES)
def test_scratch_space(role: str) -> None:
    pod = build(role, {"spec": {"containers": [{"name": "shoal", "resources": {"limits": {"memory": "4Gi"}}}]}})
    mounts = {mount["mountPath"]: mount["name"] for mount in runtime(pod)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes[mounts["/tmp"]]["emptyDir"] == {}
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2048Mi"}


def test_scratch_space_of_the_users_own() -> None:
    template = {
        "spec": {
            "volumes": [{"name": "big", "ephemeral": {}}],
            "containers": [{"name": "shoal", "volumeMounts": [{"name": "big", "mountPath": "/tmp/"}]}],
        }
    }
    pod = build("worker", template)
    at_tmp = [mount["name"] for mount in runtime(pod)["volumeMounts"] if mount["mountPath"].startswith("/tmp")]
    assert at_tmp == ["big"]
    assert "shoal-tmp" not in {volume["name"] for volume in pod["spec"]["volumes"]}


@pytest.mark.parametrize(
    ("limit", "size"), [(None, "1Gi"), ("4Gi", "2048Mi"), ("1", "1Mi"), (1e9, "476Mi"), ("much", "1Gi")]
)
def test_size_of_shared_memory(limit: Any, size: str) -> None:
    limits = {} if limit is None else {"memory": limit}
    assert shared_memory_size({"resources": {"limits": limits}}) == size


PASSED_POD_FIELDS: dict[str, Any] = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "imagePullSecrets": [{"name": "registry"}],
    "serviceAccountName": "robot",
    "priorityClassName": "batch",
    "runtimeClassName": "gvisor",
    "schedulerName": "other",
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["x"]}],
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    "schedulingGates": [{"name": "x/y"}],
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}],
    "terminationGracePeriodSeconds": 7,
    "restartPolicy": "Never",
    "enableServiceLinks": True,
    "shareProcessNamespace": True,
}
PASSED_CONTAINER_FIELDS: dict[str, Any] = {
    "image": "own:2",
    "imagePullPolicy": "Always",
    "workingDir": "/code",
    "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}],
    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
    "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
    "readinessProbe": {"exec": {"command": ["true"]}},
    "terminationMessagePolicy": "FallbackToLogsOnError",
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", PASSED_POD_FIELDS)
def test_fields_of_the_pod_pass_through(role: str, name: str) -> None:
    pod = build(role, {"spec": {name: PASSED_POD_FIELDS[name]}})
    assert pod["spec"][name] == PASSED_POD_FIELDS[name]
    assert runtime(pod)["args"][0] == "start"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", PASSED_CONTAINER_FIELDS)
def test_fields_of_the_container_pass_through(role: str, name: str) -> None:
    pod = build(role, {"spec": {"containers": [{"name": "shoal", name: PASSED_CONTAINER_FIELDS[name]}]}})
    assert runtime(pod)[name] == PASSED_CONTAINER_FIELDS[name]


@pytest.mark.parametrize("role", ROLES)
def test_lists_keep_the_users_entries(role: str) -> None:
    template = {
        "spec": {
            "volumes": [{"name": "data", "emptyDir": {}}],
            "initContainers": [{"name": "first", "image": "f", "restartPolicy": "Always"}],
            "containers": [
                {"name": "side", "image": "s", "command": ["own"], "env": [{"name": "B", "value": "2"}]},
                {
                    "name": "shoal",
                    "env": [{"name": "A", "value": "1"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
                    "ports": [{"name": "debug", "containerPort": 5678}],
                },
            ],
        }
    }
    pod = build(role, template)
    own = runtime(pod)
    assert {"name": "data", "emptyDir": {}} in pod["spec"]["volumes"]
    assert {"name": "A", "value": "1"} in own["env"]
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in own["volumeMounts"]
    assert {"name": "debug", "containerPort": 5678} in own["ports"]
    assert [each["name"] for each in pod["spec"]["containers"]] == ["side", "shoal"]
    assert pod["spec"]["containers"][0]["command"] == ["own"]
    assert pod["spec"]["initContainers"][0]["restartPolicy"] == "Always"
    kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)


def test_templates_of_a_job_reach_its_cluster() -> None:
    template = {"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "shoal", "image": "own:2"}]}}
    job = ComputeJob.parse(
        {
            "metadata": {"name": "census", "namespace": "ns", "uid": "u"},
            "spec": {
                "entrypoint": "true",
                "source": {"configMap": {"name": "program"}},
                "clusterSpec": {
                    "head": {"template": template},
                    "workerGroups": [{"name": "small", "template": template}],
                },
            },
        }
    )
    cluster = build_job_cluster(job)
    head = cluster["spec"]["head"]["template"]["spec"]
    assert head["nodeSelector"] == {"disk": "ssd"}
    assert head["containers"][0]["image"] == "own:2"
    assert cluster["spec"]["workerGroups"][0]["template"] == template
    metadata = {**cluster["metadata"], "uid": "c"}
    assert violations(build_head_pod(ComputeCluster.parse({**cluster, "metadata": metadata}))["spec"]) == []
