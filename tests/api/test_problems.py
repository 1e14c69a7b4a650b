"""Bad input gets a path, a fault and a hint; good input gets nothing."""

from __future__ import annotations

from typing import Any

import pytest

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.api.problems import InvalidObjectError
from shoal_operator.domain.validation import check_document

CENSUS: dict[str, Any] = {
    "apiVersion": "shoal.dev/v1alpha1",
    "kind": "ComputeJob",
    "metadata": {"name": "census"},
    "spec": {
        "source": {"directory": "."},
        "entrypoint": "python main.py",
        "clusterSpec": {
            "head": {},
            "workerGroups": [
                {
                    "name": "small",
                    "minReplicas": 0,
                    "maxReplicas": 4,
                    "resources": {"CPU": 1},
                    "idleTimeoutSeconds": 2,
                }
            ],
        },
    },
}


def job(**spec: Any) -> dict[str, Any]:
    return {**CENSUS, "spec": {"entrypoint": "true", **spec}}


def groups(*items: dict[str, Any]) -> dict[str, Any]:
    return job(clusterSpec={"workerGroups": list(items)})


def test_good_manifests_have_no_problems() -> None:
    assert check_document(CENSUS) == []
    assert check_document(job()) == []
    cluster = {"apiVersion": "shoal.dev/v1alpha1", "kind": "ComputeCluster", "metadata": {"name": "x"}}
    assert check_document(cluster) == []
    template = {"metadata": {"anything": {"goes": 1}}, "spec": {"containers": [{"name": "shoal", "oddity": 1}]}}
    assert check_document(groups({"name": "a", "template": template})) == []


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            job(entrypont="x"),
            "spec.entrypont is not a field of ComputeJob (hint: did you mean `entrypoint`?)",
            id="unknown field",
        ),
        pytest.param(
            groups({"name": "a", "maxreplicas": 3}),
            "spec.clusterSpec.workerGroups[0].maxreplicas is not a field of ComputeJob "
            "(hint: did you mean `maxReplicas`?)",
            id="unknown field in a list",
        ),
        pytest.param(
            groups({"name": "a", "minReplicas": 5, "maxReplicas": 2}),
            "spec.clusterSpec.workerGroups[0].minReplicas must be less than or equal to maxReplicas (2), is 5 "
            "(hint: lower minReplicas or raise maxReplicas)",
            id="min above max",
        ),
        pytest.param(
            groups({"name": "a"}, {"name": "b"}, {"name": "a"}),
            "spec.clusterSpec.workerGroups[2].name must be unique; `a` is also the name of workerGroups[0] "
            "(hint: rename one of the groups)",
            id="duplicate group",
        ),
        pytest.param(
            groups({"name": "head"}),
            "spec.clusterSpec.workerGroups[0].name must not be `head` (hint: that is the name of the head's own group)",
            id="group named head",
        ),
        pytest.param(
            job(entrypoint="  "),
            "spec.entrypoint must not be empty "
            "(hint: write the command that starts the program, for example `python main.py`)",
            id="empty entrypoint",
        ),
        pytest.param(
            job(source={"directory": "a", "path": "b"}),
            "spec.source must have exactly one of `directory`, `configMap`, `path` and `uri`, "
            "has `directory` and `path` (hint: leave out all but one)",
            id="two sources",
        ),
        pytest.param(
            job(source={}),
            "spec.source must have exactly one of `directory`, `configMap`, `path` and `uri`, has none "
            "(hint: leave out `source` to use the image alone)",
            id="no source",
        ),
        pytest.param(
            job(clusterSpec={}, clusterRef={"name": "x"}),
            "spec must not have both `clusterSpec` and `clusterRef` "
            "(hint: clusterSpec makes a cluster for this job, clusterRef runs on one that is there)",
            id="two clusters",
        ),
        pytest.param(
            groups({"name": "a", "resources": {"CPU": 0.5}}),
            "spec.clusterSpec.workerGroups[0].resources.CPU must be a whole number or a string such as "
            '"0.5" or "4Gi", is 0.5',
            id="float",
        ),
        pytest.param(
            {**CENSUS, "spec": {}},
            "spec.entrypoint is required "
            "(hint: write the command that starts the program, for example `python main.py`)",
            id="missing entrypoint",
        ),
        pytest.param(
            {**CENSUS, "apiVersion": "shoal.dev/v1"},
            "apiVersion must be shoal.dev/v1alpha1, is 'shoal.dev/v1'",
            id="version",
        ),
        pytest.param(
            {**CENSUS, "kind": "ComputeJobs"},
            "kind must be one of ComputeCluster, ComputeJob, ComputeService, is 'ComputeJobs' "
            "(hint: did you mean `ComputeJob`?)",
            id="kind",
        ),
    ],
)
def test_fault_is_named_with_its_path_and_a_hint(document: dict[str, Any], expected: str) -> None:
    assert [str(problem) for problem in check_document(document)] == [expected]


@pytest.mark.parametrize(
    ("resources", "fragment"),
    [
        ({"CPU": "two"}, "'two' is not a quantity"),
        ({"CPU": -1}, "must not be negative"),
        ({"CPU": "1u"}, "finer than 0.0001"),
        ({"CPU": "1e300"}, "more than 1e+14"),
    ],
)
def test_wrong_quantity_is_explained(resources: dict[str, Any], fragment: str) -> None:
    (problem,) = check_document(groups({"name": "a", "resources": resources}))
    assert problem.path == "spec.clusterSpec.workerGroups[0].resources.CPU"
    assert fragment in problem.message


@pytest.mark.parametrize(
    "template",
    [
        {"spec": []},
        {"metadata": "x"},
        {"metadata": {"labels": ["x"]}},
        {"spec": {"containers": {"name": "shoal"}}},
        {"spec": {"containers": ["shoal"]}},
        {"spec": {"containers": [{"name": "shoal", "env": {"A": "1"}}]}},
        {"spec": {"containers": [{"name": "shoal", "resources": {"requests": {"cpu": "many"}}}]}},
        {"spec": {"containers": [{"name": "shoal", "resources": ["cpu"]}]}},
        {"spec": {"containers": [{"name": "shoal", "volumeMounts": [{"name": "x"}]}]}},
        {"spec": {"volumes": [1]}},
    ],
)
def test_broken_template_is_a_problem_and_never_an_exception(template: Any) -> None:
    (problem,) = check_document(groups({"name": "a", "template": template}))
    assert problem.path.startswith("spec.clusterSpec.workerGroups[0].template")


def test_unreadable_object_raises_with_all_faults() -> None:
    with pytest.raises(InvalidObjectError) as caught:
        ComputeJob.parse({"metadata": {"name": "x"}, "spec": {"entrypoint": 5, "backoffLimit": "many"}})
    assert [problem.path for problem in caught.value.problems] == ["spec.entrypoint", "spec.backoffLimit"]
    assert "ComputeJob 'x' is invalid" in str(caught.value)


def test_models_are_frozen() -> None:
    cluster = ComputeCluster.parse({"metadata": {"name": "x"}})
    with pytest.raises(ValueError, match="frozen"):
        cluster.spec.suspend = True  # type: ignore[misc]
