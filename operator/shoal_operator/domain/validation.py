"""What a schema cannot say about a spec, or says less clearly: pure checks with paths and hints.

Invariant: a spec without problems can be planned; no function of ``domain`` raises on it. The command line
and the operator use the same checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shoal_operator.api.cluster import ComputeCluster, ComputeClusterSpec, WorkerGroup
from shoal_operator.api.job import ComputeJob, ComputeJobSpec
from shoal_operator.api.meta import OBJECT_NAME_MAX, OBJECT_NAME_PATTERN
from shoal_operator.api.problems import Problem
from shoal_operator.api.tls import TlsSpec
from shoal_operator.api.unknown import check_types
from shoal_operator.domain.job.checks import check_job
from shoal_operator.domain.labels import DOMAIN, HEAD_GROUP
from shoal_operator.domain.quantities import group_resources, resource_set
from shoal_operator.domain.sound_part import sound_part

_RESERVED_DOMAINS: Final = frozenset({DOMAIN, "app.kubernetes.io"})
_LABEL_NAME: Final = re.compile(r"(?=.{1,63}$)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_STANDS_ALONE: Final = re.compile(r"\.(resources|entrypointResources|labels|template)\b")
"""Paths of faults that are ones whatever the other fields say."""
_DOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def check_document(document: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with a manifest of one of our kinds: kind, unknown fields, types, then meaning.

    Args:
        document: the manifest as it was written.

    Returns:
        All faults; the empty list when the operator will act on it.
    """
    document = without_nulls(document)
    problems = [*_object_name(document), *check_types(document)]
    if not problems:
        return _meaning(document)
    rest = sound_part(document, problems)
    return [*problems, *(each for each in _meaning(rest or {}) if _STANDS_ALONE.search(each.path))]


def without_nulls(value: Any) -> Any:
    """``null`` as the API server takes it in a field that may not be null: as not written."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _meaning(document: Mapping[str, Any]) -> list[Problem]:
    kind = document.get("kind")
    if kind == "ComputeCluster":
        return validate_cluster(ComputeCluster.parse(dict(document)).spec)
    if kind == "ComputeJob":
        return validate_job(ComputeJob.parse(dict(document)).spec)
    return []


def _object_name(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Names of Services, pods and labels are made from the object's name."""
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if name is None:
        return
    hint = "write small letters a-z, digits and `-`, beginning with a letter and ending with a letter or digit"
    if not isinstance(name, str) or not re.fullmatch(OBJECT_NAME_PATTERN, name):
        yield Problem("metadata.name", f"must not be {name!r}", hint)
    elif len(name) > OBJECT_NAME_MAX:
        text = f"must have at most {OBJECT_NAME_MAX} characters, has {len(name)}"
        yield Problem("metadata.name", text, "choose a shorter name")


def validate_cluster(spec: ComputeClusterSpec, path: str = "spec") -> list[Problem]:
    """Everything wrong with a cluster's spec, in the order of the document.

    Args:
        spec: the spec, already of the right types.
        path: where the spec stands in its document: ``spec.clusterSpec`` within a job.
    """
    problems = list(_quantities(f"{path}.head.resources", spec.head.resources))
    problems += _labels(f"{path}.head.labels", spec.head.labels)
    problems += _template(f"{path}.head.template", spec.head.template)
    problems += _lifecycle(path, spec)
    problems += _limits(f"{path}.autoscaling.limits", spec)
    problems += _tls(f"{path}.security.tls", spec.security.tls)
    first: dict[str, int] = {}
    for index, group in enumerate(spec.worker_groups):
        where = f"{path}.workerGroups[{index}]"
        if group.name in first:
            text = f"must be unique; `{group.name}` is also the name of workerGroups[{first[group.name]}]"
            problems.append(Problem(f"{where}.name", text, "rename one of the groups"))
        first.setdefault(group.name, index)
        problems += _group(where, group)
    return problems


def validate_job(spec: ComputeJobSpec, path: str = "spec") -> list[Problem]:
    """Everything wrong with a job's spec, in the order of the document."""
    problems = list(check_job(spec, path))
    if spec.cluster_spec is not None:
        problems += validate_cluster(spec.cluster_spec, f"{path}.clusterSpec")
    return problems


def _group(where: str, group: WorkerGroup) -> Iterator[Problem]:
    if group.name == HEAD_GROUP:
        yield Problem(f"{where}.name", "must not be `head`", "that is the name of the head's own group")
    if group.min_replicas > group.max_replicas:
        text = f"must be less than or equal to maxReplicas ({group.max_replicas}), is {group.min_replicas}"
        yield Problem(f"{where}.minReplicas", text, "lower minReplicas or raise maxReplicas")
    template = list(_template(f"{where}.template", group.template))
    yield from _labels(f"{where}.labels", group.labels)
    resources = list(_quantities(f"{where}.resources", group.resources))
    yield from resources
    yield from template
    if not template and not resources:
        try:
            group_resources(group.resources, group.template)
        except ValueError as error:
            yield Problem(f"{where}.template", f"has a wrong resource request: {error}")


def _lifecycle(path: str, spec: ComputeClusterSpec) -> Iterator[Problem]:
    strategy, state = spec.update_strategy, spec.state
    if {str(strategy.max_surge), str(strategy.max_unavailable)} <= {"0", "0%"}:
        hint = "allow one replica more (maxSurge: 1) or one less (maxUnavailable: 1) during an update"
        yield Problem(f"{path}.updateStrategy", "must not have 0 for both `maxSurge` and `maxUnavailable`", hint)
    if (state.redis is not None) != (state.backend == "Redis"):
        hint = "backend Redis needs `redis` with the server's url; others must not have it"
        yield Problem(f"{path}.state.redis", f"does not go with `backend: {state.backend}`", hint)
    volume = state.volume
    if volume is None:
        return
    if state.backend != "PersistentVolume":
        hint = "set `backend: PersistentVolume`, or leave out `volume`"
        yield Problem(f"{path}.state.volume", f"must be absent while `backend` is {state.backend}", hint)
    if volume.claim_name is not None and volume.storage_class_name is not None:
        hint = "claimName names a claim that is there, storageClassName is for a new one"
        yield Problem(f"{path}.state.volume", "must not have both `claimName` and `storageClassName`", hint)
    yield from _quantities(f"{path}.state.volume", {"size": volume.size})


def _limits(where: str, spec: ComputeClusterSpec) -> Iterator[Problem]:
    """A limit of the whole cluster that cannot be kept: the least number of one group's workers is more."""
    limits = spec.autoscaling.limits
    faults = list(_quantities(f"{where}.resources", limits.resources))
    yield from faults
    for name in () if faults else limits.resources.keys() - resource_set(limits.resources).keys():
        hint = "set maxReplicas of the groups that have it to 0"
        yield Problem(f"{where}.resources.{name}", "must be more than 0", hint)
    for group in spec.worker_groups:
        least = group.min_replicas * group.hosts_per_replica
        if limits.max_workers is not None and least > limits.max_workers:
            text = f"must not be less than the {least} workers that group `{group.name}` has at least"
            hint = f"raise it, or lower minReplicas of group `{group.name}`"
            yield Problem(f"{where}.maxWorkers", f"{text}, is {limits.max_workers}", hint)
            return


def _tls(where: str, tls: TlsSpec) -> Iterator[Problem]:
    if tls.mode == "CertManager" and tls.issuer_ref is None:
        yield Problem(f"{where}.issuerRef", "is needed with mode CertManager", "name an Issuer or a ClusterIssuer")
    if tls.mode != "CertManager" and tls.issuer_ref is not None:
        hint = "set `mode: CertManager`, or leave out `issuerRef`"
        yield Problem(f"{where}.issuerRef", f"must be absent with mode {tls.mode}", hint)


def _labels(where: str, given: Mapping[str, str]) -> Iterator[Problem]:
    for key in given:
        domain, _, name = key.rpartition("/")
        if domain in _RESERVED_DOMAINS:
            text = f"must not be there; labels of {domain} are the operator's own"
            yield Problem(f"{where}.{key}", text, "use a name without a domain, or your own domain")
        elif not _LABEL_NAME.fullmatch(name) or len(domain) > 253 or ("/" in key and not _DOMAIN.fullmatch(domain)):
            yield Problem(
                f"{where}.{key}", "is not the name of a label", "write for example `zone` or `example.com/zone`"
            )


def _quantities(where: str, quantities: Mapping[str, int | str]) -> Iterator[Problem]:
    for name, quantity in quantities.items():
        try:
            resource_set({name: quantity})
        except ValueError as error:
            yield Problem(f"{where}.{name}", f"is wrong: {error}")


def _template(where: str, template: Mapping[str, Any] | None) -> Iterator[Problem]:
    """Only the parts that the operator itself reads; the API server judges the rest when a pod is made."""
    if template is None:
        return
    for key in ("metadata", "spec"):
        if template.get(key) is not None and not isinstance(template[key], Mapping):
            yield Problem(f"{where}.{key}", "must be an object")
    metadata = template.get("metadata")
    for key in ("labels", "annotations"):
        if isinstance(metadata, Mapping) and not isinstance(metadata.get(key) or {}, Mapping):
            yield Problem(f"{where}.metadata.{key}", "must be an object")
    spec = template.get("spec")
    if isinstance(spec, Mapping):
        yield from _named_list(f"{where}.spec.volumes", spec.get("volumes"), "name")
        yield from _containers(f"{where}.spec.containers", spec.get("containers"))


def _containers(where: str, containers: Any) -> Iterator[Problem]:
    faults = list(_named_list(where, containers, "name"))
    yield from faults
    if faults or not containers:
        return
    for index, container in enumerate(containers):
        place = f"{where}[{index}]"
        yield from _named_list(f"{place}.env", container.get("env"), "name")
        yield from _named_list(f"{place}.ports", container.get("ports"), "containerPort")
        yield from _named_list(f"{place}.volumeMounts", container.get("volumeMounts"), "mountPath")
        resources = container.get("resources") or {}
        kinds = ("requests", "limits")
        if not isinstance(resources, Mapping) or any(
            not isinstance(resources.get(kind) or {}, Mapping) for kind in kinds
        ):
            yield Problem(f"{place}.resources", "must be an object with `requests` and `limits`")


def _named_list(where: str, items: Any, key: str) -> Iterator[Problem]:
    if items is None:
        return
    if not isinstance(items, Sequence) or isinstance(items, str):
        yield Problem(where, "must be a list")
        return
    for index, item in enumerate(items):
        if not isinstance(item, Mapping) or key not in item:
            yield Problem(f"{where}[{index}]", f"must be an object with `{key}`")
