"""Fields that our kinds do not have, with the name that was probably meant.

Invariant: only fields of our own models are judged; pod templates, configurations and metadata are their
owners' business.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.api.meta import API_VERSION
from shoal_operator.api.problems import InvalidObjectError, Problem, type_problems
from shoal_operator.api.service import ComputeService

KINDS: dict[str, type[ComputeCluster | ComputeJob | ComputeService]] = {
    "ComputeCluster": ComputeCluster,
    "ComputeJob": ComputeJob,
    "ComputeService": ComputeService,
}
"""Our kinds by name."""
KUBERAY_NAMES: Final = {
    "RayCluster": "ComputeCluster",
    "RayJob": "ComputeJob",
    "RayService": "ComputeService",
    "autoscalerOptions": "autoscaling",
    "clusterSelector": "clusterRef",
    "deletionStrategy": "cleanupPolicy",
    "enableInTreeAutoscaling": "autoscaling",
    "entrypointNumCpus": "entrypointResources",
    "entrypointNumGpus": "entrypointResources",
    "gcsFaultToleranceOptions": "state",
    "groupName": "name",
    "headGroupSpec": "head",
    "headService": "service",
    "idleTerminationOptions": "idlePolicy",
    "jobId": "submissionId",
    "networkPolicy": "security",
    "numOfHosts": "hostsPerReplica",
    "preRunningDeadlineSeconds": "startDeadlineSeconds",
    "rayClusterSpec": "clusterSpec",
    "rayStartParams": "resources",
    "rayVersion": "image",
    "runtimeEnvYAML": "source",
    "shutdownAfterJobFinishes": "cleanupPolicy",
    "submissionMode": "mode",
    "tlsOptions": "security",
    "upgradeStrategy": "updateStrategy",
    "upscalingMode": "upscaling",
    "workerGroupSpecs": "workerGroups",
}
"""What people who come from KubeRay write, and the nearest field or kind here; docs/kuberay.md has the whole table."""


def unknown_fields(document: Mapping[str, Any]) -> list[Problem]:
    """Fields of ``document`` that its kind does not have.

    Args:
        document: a manifest of one of our kinds; another kind gives no problems.

    Example:
        >>> job = {"kind": "ComputeJob", "spec": {"entrypont": "python main.py"}}
        >>> print(unknown_fields(job)[0])
        spec.entrypont is not a field of ComputeJob (hint: did you mean `entrypoint`?)
    """
    kind = str(document.get("kind", ""))
    return list(_walk(KINDS[kind], document, "", kind)) if kind in KINDS else []


def check_types(document: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a manifest before its meaning is looked at: kind, version, unknown fields, types.

    Returns:
        All faults; the empty list when the document can be read as its kind.
    """
    kind, version = document.get("kind"), document.get("apiVersion")
    if not isinstance(kind, str) or kind not in KINDS:
        return [Problem("kind", f"must be one of {', '.join(KINDS)}, is {kind!r}", _guess(str(kind), KINDS))]
    problems = []
    if version != API_VERSION:
        problems.append(Problem("apiVersion", f"must be {API_VERSION}, is {version!r}"))
    problems += unknown_fields(document)
    if kind == "ComputeService":
        return problems
    model = ComputeCluster if kind == "ComputeCluster" else ComputeJob
    wrong = type_problems(model, document)
    try:
        model.parse(dict(document))
    except InvalidObjectError as error:
        wrong = wrong or list(error.problems)
    return [*problems, *wrong]


def _walk(model: type[BaseModel], value: Any, path: str, kind: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        return
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    for key, child in value.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in fields:
            yield Problem(where, f"is not a field of {kind}", _guess(str(key), fields))
        elif where not in {"metadata", "status"}:
            yield from _descend(fields[key].annotation, child, where, kind)


def _descend(annotation: Any, value: Any, path: str, kind: str) -> Iterator[Problem]:
    """Look into ``value`` where its type is one of our models, or a list of one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _walk(annotation, value, path, kind)
    elif get_origin(annotation) is tuple and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _descend(get_args(annotation)[0], item, f"{path}[{index}]", kind)
    elif get_origin(annotation) is not dict:
        for choice in get_args(annotation):
            yield from _descend(choice, value, path, kind)


def _guess(written: str, known: Mapping[str, Any]) -> str:
    names = {name.lower(): name for name in known}
    same = KUBERAY_NAMES.get(written)
    if same in known:
        return f"the nearest here is `{same}`; see docs/kuberay.md"
    close = difflib.get_close_matches(written.lower(), list(names), n=1, cutoff=0.6)
    return f"did you mean `{names[close[0]]}`?" if close else f"known are {', '.join(sorted(known))}"
