"""The chart as helm renders it: every object fits its kind's schema, roles are the table, pods are restricted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from shoal_operator import settings
from shoal_operator.api.crdgen import generate_crds
from shoal_operator.kube import rbac

from .conftest import NEWEST, OLDEST, HelmError, Render
from .pod_security import violations

MATRIX: dict[str, dict[str, Any]] = {
    "defaults": {},
    "namespaced": {"watchNamespaces": ["team-a", "team-b"]},
    "bare": {
        "crds": {"enabled": False},
        "rbac": {"create": False, "userRoles": False},
        "serviceAccount": {"create": False, "name": "robot"},
        "metrics": {"service": {"enabled": False}},
    },
    "open": {
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "replicas": 2,
        "metrics": {"serviceMonitor": {"enabled": True}},
    },
    "no election": {"leaderElection": {"enabled": False}, "crds": {"keep": False}},
    "everything": {
        "nameOverride": "other",
        "fullnameOverride": "full",
        "image": {"repository": "r.example/op", "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "replicas": 3,
        "log": {"level": "debug", "format": "json"},
        "workers": 4,
        "extraArgs": ["--seed=1"],
        "extraEnv": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
        "serviceAccount": {"annotations": {"a": "b"}},
        "metrics": {
            "port": 9090,
            "perObject": True,
            "tokenSecret": {"name": "metrics-token", "key": "word"},
            "service": {"annotations": {"prometheus.io/scrape": "true"}},
            "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}, "runbooks": "https://r.example/o"},
            "dashboard": {"enabled": True, "labels": {"grafana": "yes"}},
        },
        "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        "podAnnotations": {"x": "y"},
        "podLabels": {"team": "z", "app.kubernetes.io/part-of": "forged"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "priorityClassName": "high",
        "terminationGracePeriodSeconds": 60,
    },
}

FOREIGN = {"CustomResourceDefinition", "ServiceMonitor", "PrometheusRule"}
"""Kinds without a schema in kubernetes-validate."""


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = of_kind(objects, kind)
    return found


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_every_object_fits_the_schema_of_its_kind(render: Render, values: dict[str, Any]) -> None:
    objects = render(values)
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)
    for each in objects:
        if each["kind"] not in FOREIGN:
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(each, version, strict=True)
        assert "finalizers" not in each["metadata"]
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_the_operators_pod_is_restricted_and_starts_with_these_arguments(
    render: Render, values: dict[str, Any]
) -> None:
    deployment = one(render(values), "Deployment")
    template = deployment["spec"]["template"]
    assert violations(template["spec"]) == []
    (container,) = template["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["requests"]
    loaded = settings.load(container["args"], {})
    assert loaded.namespaces == tuple(values.get("watchNamespaces", ()))
    assert settings.split_address(loaded.metrics_address)[1] == container["ports"][0]["containerPort"]
    assert loaded.leader_election is values.get("leaderElection", {}).get("enabled", True)
    assert loaded.shutdown_seconds < template["spec"]["terminationGracePeriodSeconds"]
    selected = deployment["spec"]["selector"]["matchLabels"].items()
    assert selected <= template["metadata"]["labels"].items()
    assert loaded.pod_labels == tuple(sorted(selected)), "network policies let in nobody but these pods"
    assert loaded.pod_namespace == deployment["metadata"]["namespace"]
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "metrics"}
    assert loaded.per_object_metrics is values.get("metrics", {}).get("perObject", False)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert bool(loaded.metrics_token_file) == ("metrics-token" in mounts)
    if loaded.metrics_token_file:
        assert loaded.metrics_token_file == Path(mounts["metrics-token"], "token")


def test_values_reach_the_pod(render: Render) -> None:
    values = MATRIX["everything"]
    deployment = one(render(values), "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    for name in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"):
        assert spec[name] == values[name], name
    assert spec["imagePullSecrets"] == values["imagePullSecrets"]
    assert spec["containers"][0]["image"] == f"r.example/op@sha256:{'0' * 64}"
    assert spec["containers"][0]["env"] == values["extraEnv"]
    assert deployment["metadata"]["name"] == "full"
    assert deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "shoal"


def test_the_metrics_service_finds_the_pod(render: Render) -> None:
    objects = render()
    service, deployment = one(objects, "Service"), one(objects, "Deployment")
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["ports"][0]["targetPort"] == "metrics"


def test_definitions_are_kept_and_come_with_every_upgrade(render: Render) -> None:
    found = of_kind(render(), "CustomResourceDefinition")
    specs = {each["metadata"]["name"]: each["spec"] for each in found}
    assert specs == {name: crd["spec"] for name, crd in generate_crds().items()}
    for each in found:
        assert each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    loose = of_kind(render({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert [each["metadata"].get("annotations") for each in loose] == [None] * 3
    assert of_kind(render({"crds": {"enabled": False}}), "CustomResourceDefinition") == []


def granted(objects: list[dict[str, Any]], kind: str, name: str) -> list[Any]:
    return [role["rules"] for role in of_kind(objects, kind) if role["metadata"]["name"] == name]


def test_over_the_whole_cluster_the_role_is_the_table(render: Render) -> None:
    objects = render()
    assert granted(objects, "ClusterRole", "shoal") == [rbac.rules(rbac.WORK, lease_name="shoal")]
    assert granted(objects, "Role", "shoal-election") == [rbac.rules(rbac.ELECTION, lease_name="shoal")]
    binding = one(objects, "ClusterRoleBinding")
    account = one(objects, "ServiceAccount")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


def test_in_namespaces_there_is_nothing_over_the_whole_cluster(render: Render) -> None:
    objects = render({"watchNamespaces": ["team-a", "team-b"], "rbac": {"userRoles": False}})
    assert of_kind(objects, "ClusterRole") == of_kind(objects, "ClusterRoleBinding") == []
    places = [role["metadata"]["namespace"] for role in of_kind(objects, "Role")]
    assert sorted(places) == ["shoal-system", "team-a", "team-b"]
    assert granted(objects, "Role", "shoal") == [rbac.rules(rbac.WORK, lease_name="shoal")] * 2
    for binding in of_kind(objects, "RoleBinding"):
        assert binding["subjects"][0]["namespace"] == "shoal-system"


@pytest.mark.parametrize("namespaces", [[], ["team-a"]])
def test_rights_for_cert_manager_come_only_with_it(render: Render, namespaces: list[str]) -> None:
    objects = render({"certManager": {"enabled": True}, "watchNamespaces": namespaces})
    both = rbac.rules((*rbac.WORK, *rbac.CERT_MANAGER), lease_name="shoal")
    assert granted(objects, "Role" if namespaces else "ClusterRole", "shoal") == [both]
    assert "cert-manager" not in str(of_kind(render(), "ClusterRole"))


def test_users_roles_are_added_to_the_clusters_own(render: Render) -> None:
    objects = render()
    for role, permissions in rbac.USERS.items():
        assert granted(objects, "ClusterRole", f"shoal-{role}") == [rbac.rules(permissions, lease_name="")]
        (found,) = (each for each in of_kind(objects, "ClusterRole") if each["metadata"]["name"] == f"shoal-{role}")
        assert found["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"imag": {}}, "imag"),
        ({"image": {"tga": "x"}}, "tga"),
        ({"watchNamespace": ["x"]}, "watchNamespace"),
        ({"leaderElection": {"enable": True}}, "enable"),
        ({"resources": {"request": {}}}, "request"),
        ({"replicas": "two"}, "/replicas"),
        ({"log": {"level": "loud"}}, "/log/level"),
        ({"securityContext": {"readonlyRootFilesystem": True}}, "readonlyRootFilesystem"),
        ({"replicas": 2, "leaderElection": {"enabled": False}}, "replicas must be 1"),
        ({"metrics": {"serviceMonitor": {"enabled": True}}}, "needs networkPolicy.metricsFrom"),
        (
            {
                "networkPolicy": {"enabled": False},
                "metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}},
            },
            "needs metrics.service.enabled",
        ),
        ({"networkPolicy": {"metricsFrom": [{}]}}, "metricsFrom/0"),
        ({"networkPolicy": {"metricFrom": []}}, "metricFrom"),
        ({"metrics": {"tokenSecret": "name"}}, "tokenSecret"),
    ],
)
def test_a_wrong_value_is_named(render: Render, values: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError, match=words):
        render(values)
