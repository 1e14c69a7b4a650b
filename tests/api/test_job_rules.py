"""Every CEL rule of a ComputeJob, each with specs that it accepts and specs that it refuses; the linter agrees."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from shoal_operator.api.crdgen import generate_crds
from shoal_operator.domain.validation import check_document
from shoal_operator.local.apiserver import cel, schema
from shoal_operator.local.apiserver.values import MISSING

Json = dict[str, Any]
SCHEMA: Json = generate_crds()["computejobs.shoal.dev"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
REF = {"clusterRef": {"name": "shared"}}
LIVE: Json = {"mode": "Interactive", "entrypoint": ""}


def rule(outcome: str, action: str, after: int = 0) -> Json:
    return {"outcome": outcome, "action": action, "afterSeconds": after}


def cleanup(*rules: Json, **fields: Any) -> Json:
    return {"cleanupPolicy": list(rules), **fields}


STAGED = cleanup(
    rule("Failed", "DeleteJob", 30), rule("Failed", "DeleteWorkers", 10), rule("Failed", "DeleteCluster", 20)
)
"""KubeRay's staged times to live, in any order of writing."""

CASES: list[tuple[str, list[Json], list[Json]]] = [
    ("must not have both `clusterSpec` and `clusterRef`", [REF, {"clusterSpec": {}}], [{**REF, "clusterSpec": {}}]),
    (
        "exactly one of",
        [{"source": {"uri": "https://host/program.zip"}}, {"source": {"path": "/a"}}],
        [{"source": {"uri": "s3://bucket/p.zip", "path": "/a"}}, {"source": {}}],
    ),
    ("entrypoint is required", [LIVE, {"entrypoint": " true"}], [{"entrypoint": ""}, {"entrypoint": " \t\n"}]),
    ("entrypoint must be absent", [LIVE], [{**LIVE, "entrypoint": "true"}]),
    (
        "submissionId is for spec.mode Interactive only",
        [{**LIVE, "submissionId": "mine"}, {}],
        [{"submissionId": "mine"}],
    ),
    ("backoffLimit must be 0", [LIVE, {"backoffLimit": 3}], [{**LIVE, "backoffLimit": 1}]),
    (
        "retryPolicy.cluster New cannot",
        [{"retryPolicy": {"cluster": "New"}}, {**REF, "retryPolicy": {"cluster": "Same"}}],
        [{**REF, "retryPolicy": {"cluster": "New"}}],
    ),
    (
        "must not have DeleteWorkers or DeleteCluster with `clusterRef`",
        [cleanup(rule("Failed", "DeleteJob", 5), **REF), REF, cleanup(rule("Failed", "KeepCluster"), **REF)],
        [cleanup(rule("Failed", "DeleteCluster"), **REF), cleanup(rule("Failed", "DeleteWorkers"), **REF)],
    ),
    (
        "must not have both `ttlSecondsAfterFinished` and",
        [cleanup(rule("Failed", "DeleteCluster"), ttlSecondsAfterFinished=5)],
        [cleanup(rule("Failed", "DeleteJob"), ttlSecondsAfterFinished=5)],
    ),
    (
        "must not be more than `ttlSecondsAfterFinished`",
        [cleanup(rule("Failed", "DeleteCluster", 5), ttlSecondsAfterFinished=5)],
        [cleanup(rule("Failed", "DeleteCluster", 6), ttlSecondsAfterFinished=5)],
    ),
    (
        "must not decrease from DeleteWorkers",
        [STAGED, cleanup(rule("Failed", "DeleteCluster", 9), rule("Complete", "DeleteJob", 1))],
        [
            cleanup(rule("Failed", "DeleteWorkers", 2), rule("Failed", "DeleteCluster", 1)),
            cleanup(rule("Failed", "DeleteCluster", 2), rule("Failed", "DeleteJob", 1)),
            cleanup(rule("Failed", "DeleteWorkers", 2), rule("Failed", "DeleteJob", 1)),
        ],
    ),
    (
        "two rules of the same outcome and action",
        [cleanup(rule("Failed", "DeleteCluster"), rule("Complete", "DeleteCluster"))],
        [cleanup(rule("Failed", "DeleteCluster", 1), rule("Failed", "DeleteCluster", 2))],
    ),
    (
        "both KeepCluster and DeleteCluster",
        [cleanup(rule("Failed", "KeepCluster"), rule("Complete", "DeleteCluster"))],
        [cleanup(rule("Failed", "KeepCluster"), rule("Failed", "DeleteCluster"))],
    ),
]
UPDATES: list[tuple[str, Json, Json, Json]] = [
    ("entrypoint must not change", {}, {"backoffLimit": 2}, {"entrypoint": "python other.py"}),
    ("mode must not change", LIVE, {**LIVE, "submissionId": "a"}, {"entrypoint": "true"}),
    ("clusterRef must not change", REF, {**REF, "suspend": True}, {"clusterRef": {"name": "other"}}),
    ("clusterRef must not change", {}, {"clusterSpec": {}}, REF),
    ("submissionId must not change", {**LIVE, "submissionId": "a"}, {**LIVE, "submissionId": "a"}, LIVE),
    (
        "managedBy must not change",
        {"managedBy": "kueue.x-k8s.io/multikueue"},
        {"managedBy": "kueue.x-k8s.io/multikueue"},
        {},
    ),
]


def job(spec: Json) -> Json:
    return {
        "apiVersion": "shoal.dev/v1alpha1",
        "kind": "ComputeJob",
        "metadata": {"name": "x"},
        "spec": {"entrypoint": "python main.py", **copy.deepcopy(spec)},
    }


def refusals(spec: Json, before: Json | None = None) -> list[str]:
    """What the embedded API server says to a spec."""
    new, old = ({"spec": job(item)["spec"]} for item in (spec, before or {}))
    for document in (new, old):
        schema.apply_defaults(SCHEMA, document)
    found = schema.validate(SCHEMA, new)
    if not found:
        found = cel.evaluate(cel.compile_tree(SCHEMA), new, MISSING if before is None else old)
    return [problem.text() for problem in found]


@pytest.mark.parametrize(("words", "accepted", "refused"), CASES, ids=[case[0] for case in CASES])
def test_rule_and_linter_agree(words: str, accepted: list[Json], refused: list[Json]) -> None:
    for spec in accepted:
        assert refusals(spec) == []
        assert check_document(job(spec)) == []
    for spec in refused:
        assert any(words in text for text in refusals(spec)), (spec, refusals(spec))
        assert check_document(job(spec)), spec


@pytest.mark.parametrize(("words", "before", "accepted", "refused"), UPDATES)
def test_rule_of_updates(words: str, before: Json, accepted: Json, refused: Json) -> None:
    assert refusals(accepted, before) == []
    assert any(words in text for text in refusals(refused, before))


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"gracePeriodSeconds": -1}, "spec.gracePeriodSeconds"),
        ({"output": {"url": "not a url"}}, "spec.output.url"),
        ({"submissionId": "-x", **LIVE}, "spec.submissionId"),
        ({"activeDeadlineSeconds": -1}, "spec.activeDeadlineSeconds"),
        ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds"),
        ({"startDeadlineSeconds": -1}, "spec.startDeadlineSeconds"),
        ({"startDeadlineSeconds": 0}, "spec.startDeadlineSeconds"),
        ({"ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished"),
        ({"entrypointResources": {"CPU": "many"}}, "spec.entrypointResources.CPU"),
        ({"entrypointResources": {"CPU": -1}}, "spec.entrypointResources.CPU"),
        ({"entrypointResources": {"CPU": "-1"}}, "spec.entrypointResources.CPU"),
    ],
)
def test_negative_numbers_and_wrong_texts_are_refused(spec: Json, path: str) -> None:
    assert any(path in text for text in refusals(spec))
    assert [problem.path for problem in check_document(job(spec))] == [path]


def test_secret_for_the_output_needs_the_jobs_own_cluster() -> None:
    output = {"url": "s3://bucket/log", "secretRef": {"name": "keys"}}
    assert check_document(job({"output": output})) == []
    (problem,) = check_document(job({"output": output, **REF}))
    assert problem.path == "spec.output.secretRef"


def rules(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (entry["message"] for entry in node.get("x-kubernetes-validations") or ())
        for child in node.values():
            yield from rules(child)


def test_every_rule_of_jobs_has_a_case() -> None:
    spec = dict(SCHEMA["properties"]["spec"]["properties"])
    del spec["clusterSpec"]
    said = {*rules(spec), *(entry["message"] for entry in SCHEMA["properties"]["spec"]["x-kubernetes-validations"])}
    tried = [case[0] for case in CASES] + [case[0] for case in UPDATES]
    assert [message for message in said if not any(words in message for words in tried)] == []
