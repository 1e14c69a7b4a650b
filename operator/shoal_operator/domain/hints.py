"""What is allowed and yet hardly meant: hints for people who ask before they apply.

Invariant: the operator works with whatever of its own kinds only this module objects to; nothing of it keeps an
object from running.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shoal_operator.api.meta import API_VERSION
from shoal_operator.api.problems import Problem
from shoal_operator.api.unknown import KINDS
from shoal_operator.domain.quantities import RUNTIME_CONTAINER, logical_name

LOGICAL: Final = {
    "cpu": "CPU",
    "cpus": "CPU",
    "gpu": "GPU",
    "gpus": "GPU",
    "mem": "memory",
    "memory": "memory",
    "ram": "memory",
}
"""What people write in small letters to the names that tasks ask for; devices as ``logical_name`` knows them."""
MAIN_NAMES: Final = frozenset({"head", "main", "ray-head", "ray-worker", "runtime", "worker"})
"""Names of containers that are probably meant to be the runtime's."""
KUBERAY_GROUP: Final = "ray.io"
IN_PLACE_OF: Final = {
    "RayCluster": "write a ComputeCluster",
    "RayCronJob": "write a CronJob of Kubernetes that creates ComputeJobs",
    "RayJob": "write a ComputeJob",
    "RayService": "its place is for ComputeService, which nothing runs yet",
}
"""What takes the place of KubeRay's kinds."""

Json = Mapping[str, Any]
Name = tuple[str, str]


def misgivings(document: Json, clusters: Sequence[Name] = ()) -> list[Problem]:
    """What is probably not meant in a manifest.

    Args:
        document: a manifest that ``check_document`` finds nothing wrong with, or one of another kind.
        clusters: namespace and name of every ComputeCluster that is applied together with it.

    Example:
        >>> group = {"name": "small", "resources": {"cpu": 1}}
        >>> spec = {"workerGroups": [group]}
        >>> document = {"apiVersion": "shoal.dev/v1alpha1", "kind": "ComputeCluster", "spec": spec}
        >>> [(problem.path, problem.hint) for problem in misgivings(document)]
        [('spec.workerGroups[0].resources.cpu', 'did you mean `CPU`?')]
    """
    kind, version = document.get("kind"), document.get("apiVersion")
    if str(version).startswith(f"{KUBERAY_GROUP}/"):
        place = IN_PLACE_OF.get(str(kind), "there is no kind like it here")
        return [
            Problem("kind", f"is {kind}, a kind of KubeRay that Shoal does not run", f"{place}; see docs/kuberay.md")
        ]
    if kind not in KINDS:
        return []
    if version != API_VERSION:
        text = f"is {version!r}, so that this is no {kind} of Shoal"
        return [Problem("apiVersion", text, f"did you mean `{API_VERSION}`?")]
    if kind == "ComputeService":
        return [Problem("kind", "is kept, and nothing runs it yet", "this release runs ComputeCluster and ComputeJob")]
    spec = document.get("spec") or {}
    found = list(_cluster(spec, "spec")) if kind == "ComputeCluster" else []
    if kind == "ComputeJob" and isinstance(spec.get("clusterSpec"), Mapping):
        found += _cluster(spec["clusterSpec"], "spec.clusterSpec")
    return [*found, *_reference(document, clusters)]


def _cluster(spec: Json, path: str) -> Iterator[Problem]:
    places = [(f"{path}.head", spec.get("head") or {})]
    places += [(f"{path}.workerGroups[{index}]", group) for index, group in enumerate(spec.get("workerGroups") or ())]
    limits = (spec.get("autoscaling") or {}).get("limits") or {}
    yield from _resources(f"{path}.autoscaling.limits.resources", limits.get("resources") or {})
    for where, part in places:
        yield from _resources(f"{where}.resources", part.get("resources") or {})
        yield from _container(f"{where}.template.spec.containers", part.get("template") or {})


def _resources(where: str, resources: Json) -> Iterator[Problem]:
    for name in resources:
        meant = LOGICAL.get(str(name).lower()) or logical_name(str(name))
        if meant and meant != name:
            text = f"is a resource of your own, only for tasks that ask for `{name}`"
            yield Problem(f"{where}.{name}", text, f"did you mean `{meant}`?")


def _container(where: str, template: Json) -> Iterator[Problem]:
    containers = (template.get("spec") or {}).get("containers") or ()
    names = [str(container.get("name")) for container in containers]
    if RUNTIME_CONTAINER in names:
        index = names.index(RUNTIME_CONTAINER)
        yield from _command(f"{where}[{index}]", containers[index])
        return
    for index, name in enumerate(names):
        if name in MAIN_NAMES:
            text = f"is `{name}`, so that it runs beside the runtime, in a container of its own"
            yield Problem(f"{where}[{index}].name", text, f"did you mean `{RUNTIME_CONTAINER}`?")


def _command(where: str, runtime: Json) -> Iterator[Problem]:
    for key in ("command", "args"):
        if runtime.get(key):
            text = "is replaced by the operator's own, and an entrypoint of the image is not run"
            hint = "prepare the pod in an init container, the program in the job's `entrypoint`"
            yield Problem(f"{where}.{key}", text, hint)


def _reference(document: Json, clusters: Sequence[Name]) -> Iterator[Problem]:
    name = ((document.get("spec") or {}).get("clusterRef") or {}).get("name")
    namespace = (document.get("metadata") or {}).get("namespace") or ""
    here = [cluster for place, cluster in clusters if place == namespace]
    if name is None or name in here:
        return
    close = difflib.get_close_matches(str(name), here, n=1, cutoff=0.6)
    elsewhere = [place for place, cluster in clusters if cluster == name]
    if close:
        yield Problem(
            "spec.clusterRef.name", f"names no cluster of these files: `{name}`", f"did you mean `{close[0]}`?"
        )
    elif elsewhere:
        text = f"names `{name}`, which these files have in another namespace"
        yield Problem("spec.clusterRef.name", text, f"put the job into namespace `{elsewhere[0] or 'default'}`")
