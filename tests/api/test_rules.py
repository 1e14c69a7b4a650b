"""Every CEL rule of the definitions, each with objects that it accepts and objects that it refuses.

The rules run in the embedded API server's own evaluator, after its defaults and its schema.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from shoal_operator.api.crdgen import generate_crds
from shoal_operator.domain.validation import check_document
from shoal_operator.local.apiserver import cel, schema
from shoal_operator.local.apiserver.values import MISSING

Json = dict[str, Any]
CRDS = generate_crds()


@dataclass(frozen=True)
class Case:
    """Specs for one rule. ``before`` is the object that an update starts from; None for creations."""

    words: str
    """Part of the rule's message."""
    accepted: tuple[Json, ...]
    refused: tuple[Json, ...]
    before: Json | None = None
    kind: str = "ComputeCluster"
    lint: bool = True
    """Whether ``shoal lint`` says it too: not for rules that compare with what was before."""


def groups(**fields: Any) -> Json:
    return {"workerGroups": [{"name": "a", **fields}]}


def strategy(surge: Any, unavailable: Any) -> Json:
    return {"updateStrategy": {"maxSurge": surge, "maxUnavailable": unavailable}}


def volume(backend: str, **fields: Any) -> Json:
    return {"state": {"backend": backend, "volume": fields}}


def tls(mode: str, **fields: Any) -> Json:
    return {"security": {"tls": {"mode": mode, **fields}}}


def limits(workers: Any, **fields: Any) -> Json:
    return {"autoscaling": {"limits": {"maxWorkers": workers}}, **groups(**fields)}


def redis(url: str) -> dict[str, Any]:
    return {"state": {"backend": "Redis", "redis": {"url": url, "passwordSecret": {"name": "cache"}}}}


CASES = (
    Case(
        "must be less than or equal to maxReplicas",
        (groups(minReplicas=2, maxReplicas=2), groups()),
        (groups(minReplicas=3, maxReplicas=2), groups(minReplicas=11)),
    ),
    Case("must not be `head`", (groups(),), ({"workerGroups": [{"name": "head"}]},)),
    Case(
        "hostsPerReplica must not change",
        (groups(hostsPerReplica=2), {"workerGroups": [{"name": "b", "hostsPerReplica": 4}]}),
        (groups(hostsPerReplica=3), groups()),
        before=groups(hostsPerReplica=2),
        lint=False,
    ),
    Case(
        "maxSurge and maxUnavailable must not both be 0",
        (strategy(1, 0), strategy(0, 1), strategy("0%", "1%"), strategy("25%", 0), {}),
        (strategy(0, 0), strategy("0%", 0), strategy(0, "0%"), strategy("0%", "0%")),
    ),
    Case(
        "must not have both claimName",
        (volume("PersistentVolume", claimName="mine"), volume("PersistentVolume", storageClassName="fast", size="2Gi")),
        (volume("PersistentVolume", claimName="mine", storageClassName="fast"),),
    ),
    Case(
        "spec.state.redis must be there",
        (redis("redis://cache:6379/0"), redis("rediss://me@cache.example"), {"state": {"backend": "Memory"}}, {}),
        ({"state": {"backend": "Redis"}}, {"state": {"redis": {"url": "redis://cache"}}}),
    ),
    Case(
        "volume must be absent unless",
        (volume("PersistentVolume"), {"state": {"backend": "Memory"}}, {}),
        (volume("Memory"), {"state": {"volume": {"size": "3Gi"}}}),
    ),
    Case(
        "issuerRef must be set with mode CertManager",
        (tls("CertManager", issuerRef={"name": "ca"}), tls("Operator"), tls("None"), {}, {"security": {}}),
        (tls("CertManager"), tls("Operator", issuerRef={"name": "ca"}), tls("None", issuerRef={"name": "ca"})),
    ),
    Case(
        "tls.mode must not change while",
        (
            tls("Operator"),
            {**tls("None"), "suspend": True},
            {**tls("CertManager", issuerRef={"name": "ca"}), "suspend": True},
        ),
        (tls("None"), {}, tls("CertManager", issuerRef={"name": "ca"})),
        before=tls("Operator"),
        lint=False,
    ),
    Case(
        "tls.mode must not change while",
        (tls("Operator"), {}, {**tls("Operator"), "suspend": True}),
        (),
        before={"suspend": True},
        lint=False,
    ),
    Case(
        "limits.maxWorkers must not be less",
        (
            limits(2, minReplicas=2),
            limits(8, minReplicas=2, hostsPerReplica=4),
            limits(0),
            {"autoscaling": {"limits": {}}, **groups(minReplicas=2)},
            {"autoscaling": {"limits": {"maxWorkers": 0}}},
        ),
        (limits(1, minReplicas=2), limits(7, minReplicas=2, hostsPerReplica=4)),
    ),
    Case(
        "managedBy must not change",
        ({"managedBy": "kueue.x-k8s.io/multikueue"},),
        ({"managedBy": "shoal.dev/operator"}, {}),
        before={"managedBy": "kueue.x-k8s.io/multikueue"},
        lint=False,
    ),
)


def schema_of(kind: str) -> Json:
    definition: Json = CRDS[f"{kind.lower()}s.shoal.dev"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return definition


def problems(kind: str, spec: Json, before: Json | None) -> list[str]:
    """What the embedded API server says to a spec."""
    definition = schema_of(kind)
    new, old = ({"spec": copy.deepcopy(item)} for item in (spec, before or {}))
    for document in (new, old):
        schema.apply_defaults(definition, document)
    found = schema.validate(definition, new)
    if not found:
        found = cel.evaluate(cel.compile_tree(definition), new, MISSING if before is None else old)
    return [problem.text() for problem in found]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.words)
def test_rule_accepts(case: Case) -> None:
    for spec in case.accepted:
        assert problems(case.kind, spec, case.before) == [], spec


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.words)
def test_rule_refuses(case: Case) -> None:
    for spec in case.refused:
        found = problems(case.kind, spec, case.before)
        assert len(found) == 1, (spec, found)
        assert case.words in found[0]


@pytest.mark.parametrize("case", [case for case in CASES if case.lint], ids=lambda case: case.words)
def test_lint_agrees_with_the_rule(case: Case) -> None:
    for specs, accepted in ((case.accepted, True), (case.refused, False)):
        for spec in specs:
            document = {"apiVersion": "shoal.dev/v1alpha1", "kind": case.kind, "metadata": {"name": "x"}, "spec": spec}
            assert (not check_document(document)) == accepted, spec


def rules(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations") or ())
        for child in node.values():
            yield from rules(child)


def test_every_rule_of_clusters_has_a_case() -> None:
    said = set(rules(schema_of("ComputeCluster")))
    assert said
    assert not [message for message in said if not any(case.words in message for case in CASES)]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (strategy("150%", 0), "spec.updateStrategy.maxSurge"),
        (strategy(-1, 0), "spec.updateStrategy.maxSurge"),
        (strategy("1", 0), "spec.updateStrategy.maxSurge"),
        (strategy("01%", 0), "spec.updateStrategy.maxSurge"),
        (groups(hostsPerReplica=0), "hostsPerReplica"),
        (groups(hostsPerReplica=1025), "hostsPerReplica"),
        (groups(labels={"zone": "no spaces"}), "labels"),
        ({"jobConcurrency": 0}, "jobConcurrency"),
        ({"managedBy": ""}, "managedBy"),
        ({"autoscaling": {"upscaling": {"mode": "Fast"}}}, "autoscaling.upscaling.mode"),
        ({"autoscaling": {"limits": {"maxWorkers": -1}}}, "autoscaling.limits.maxWorkers"),
        ({"autoscaling": {"limits": {"resources": {"CPU": "many"}}}}, "autoscaling.limits.resources"),
        ({"state": {"backend": "Disk"}}, "backend"),
        ({"updateStrategy": {"type": "Never"}}, "type"),
        ({"head": {"service": {"type": "ExternalName"}}}, "type"),
        (tls("Always"), "spec.security.tls.mode"),
        (tls("CertManager", issuerRef={"name": "ca", "kind": "Secret"}), "issuerRef.kind"),
        (tls("CertManager", issuerRef={"kind": "Issuer"}), "name"),
    ],
)
def test_schema_refuses_and_lint_agrees(spec: Json, words: str) -> None:
    assert any(words in text for text in problems("ComputeCluster", spec, None)), problems("ComputeCluster", spec, None)
    document = {"apiVersion": "shoal.dev/v1alpha1", "kind": "ComputeCluster", "metadata": {"name": "x"}, "spec": spec}
    assert any(words in str(problem) for problem in check_document(document))


def test_a_limit_of_nothing_is_refused_with_what_to_do() -> None:
    spec = {"autoscaling": {"limits": {"resources": {"GPU": 0, "CPU": 8}}}}
    document = {"apiVersion": "shoal.dev/v1alpha1", "kind": "ComputeCluster", "metadata": {"name": "x"}, "spec": spec}
    (problem,) = check_document(document)
    assert (problem.path, problem.hint) == (
        "spec.autoscaling.limits.resources.GPU",
        "set maxReplicas of the groups that have it to 0",
    )


@pytest.mark.parametrize("kind", ["ComputeCluster", "ComputeJob"])
def test_names_are_those_of_services_of_at_most_63_characters(kind: str) -> None:
    for name, accepted in (("x" * 63, True), ("x" * 64, False), ("X", False), ("1-a", False), ("a-1", True)):
        document = {"metadata": {"name": name}, "spec": {"entrypoint": "true"}}
        found = [problem.text() for problem in schema.validate(schema_of(kind), document)]
        assert (found == []) is accepted, (name, found)


@pytest.mark.parametrize("key", ["shoal.dev/group", "app.kubernetes.io/name", "-x", "a/b/c", "x" * 64])
def test_labels_that_kubernetes_or_shoal_refuses(key: str) -> None:
    for spec in (groups(labels={key: "x"}), {"head": {"labels": {key: "x"}}}):
        document = {"kind": "ComputeCluster", "apiVersion": "shoal.dev/v1alpha1", "metadata": {"name": "x"}}
        found = check_document({**document, "spec": spec})
        assert [problem for problem in found if key in str(problem)], key
