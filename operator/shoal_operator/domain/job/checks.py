"""What is wrong with a job's own fields: pure checks with paths and hints, the same faults as the rules of the API.

Invariant: a job without problems can be planned; the part of a spec that is a cluster's is checked elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from shoal_operator.api.job import CleanupRule, ComputeJobSpec, JobSource
from shoal_operator.api.problems import Problem
from shoal_operator.domain.quantities import resource_set

_ORDER = {"DeleteWorkers": 0, "DeleteCluster": 1, "DeleteJob": 2}


def check_job(spec: ComputeJobSpec, path: str) -> Iterator[Problem]:
    """Everything wrong with the job's own fields, in the order of the document.

    Args:
        spec: the spec, already of the right types.
        path: where it stands in its document, usually ``spec``.
    """
    yield from _program(spec, path)
    if spec.source is not None:
        yield from _source(f"{path}.source", spec.source)
    names = [variable.name for variable in spec.env]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"{path}.env[{index}].name", f"must be unique; `{name}` is there twice")
    yield from _clusters(spec, path)
    yield from _cleanup(spec, path)


def _program(spec: ComputeJobSpec, path: str) -> Iterator[Problem]:
    interactive = spec.mode == "Interactive"
    if not interactive and not spec.entrypoint.strip():
        hint = "write the command that starts the program, for example `python main.py`"
        given = "entrypoint" in spec.model_fields_set
        yield Problem(f"{path}.entrypoint", "must not be empty" if given else "is required", hint)
    if interactive and spec.entrypoint.strip():
        hint = "leave it out: you submit the program yourself and name it in spec.submissionId"
        yield Problem(f"{path}.entrypoint", "must be absent with mode Interactive", hint)
    if interactive and spec.backoff_limit:
        yield Problem(f"{path}.backoffLimit", "must be 0 with mode Interactive", "only you can submit it again")
    if spec.submission_id is not None and not interactive:
        yield Problem(f"{path}.submissionId", "is for mode Interactive only", "leave it out, or set spec.mode")
    for name, quantity in spec.entrypoint_resources.items():
        try:
            resource_set({name: quantity})
        except ValueError as error:
            yield Problem(f"{path}.entrypointResources.{name}", f"is wrong: {error}")


def _clusters(spec: ComputeJobSpec, path: str) -> Iterator[Problem]:
    if spec.cluster_ref is None:
        return
    if spec.cluster_spec is not None:
        hint = "clusterSpec makes a cluster for this job, clusterRef runs on one that is there"
        yield Problem(path, "must not have both `clusterSpec` and `clusterRef`", hint)
    why = "is mounted into the head of a job's own cluster only"
    if spec.source is not None and spec.source.config_map is not None:
        hint = "mount it in the cluster's head template, and name the mounted program in spec.entrypoint"
        text = f"cannot be used with `clusterRef`: a ConfigMap {why}"
        yield Problem(f"{path}.source.configMap", text, hint)
    if spec.output is not None and spec.output.secret_ref is not None:
        hint = "give the head of that cluster the credentials as environment in its template"
        yield Problem(f"{path}.output.secretRef", f"cannot be used with `clusterRef`: a Secret {why}", hint)
    if spec.retry_policy.cluster == "New":
        text = "must not be New with `clusterRef`: that cluster is not this job's"
        yield Problem(f"{path}.retryPolicy.cluster", text, "leave it out")


def _cleanup(spec: ComputeJobSpec, path: str) -> Iterator[Problem]:
    rules, ttl = spec.cleanup_policy, spec.ttl_seconds_after_finished
    for index, rule in enumerate(rules):
        where = f"{path}.cleanupPolicy[{index}]"
        if spec.cluster_ref is not None and rule.action in {"DeleteWorkers", "DeleteCluster"}:
            text = f"must not be {rule.action} with `clusterRef`: that cluster stays"
            yield Problem(f"{where}.action", text, "leave the rule out")
        if ttl is not None and rule.action == "DeleteJob":
            text = "must not be DeleteJob next to ttlSecondsAfterFinished, which says the same"
            yield Problem(f"{where}.action", text, "leave one of them out")
        elif ttl is not None and rule.after_seconds > ttl:
            text = f"must not be more than ttlSecondsAfterFinished ({ttl}): the job takes its cluster with it"
            yield Problem(f"{where}.afterSeconds", text, "lower it")
        yield from _against_others(where, rule, rules[:index], rules)


def _against_others(
    where: str, rule: CleanupRule, before: tuple[CleanupRule, ...], rules: tuple[CleanupRule, ...]
) -> Iterator[Problem]:
    same = [other for other in rules if other.outcome == rule.outcome]
    if any((other.outcome, other.action) == (rule.outcome, rule.action) for other in before):
        yield Problem(where, f"must be unique; {rule.action} after {rule.outcome} is there twice")
    if rule.action == "KeepCluster" and any(other.action == "DeleteCluster" for other in same):
        yield Problem(where, "must not be KeepCluster next to DeleteCluster", "leave one of them out")
    order = _ORDER.get(rule.action)
    for other in same:
        later = _ORDER.get(other.action)
        if order is not None and later is not None and order < later and rule.after_seconds > other.after_seconds:
            text = f"must not be more than that of {other.action} ({other.after_seconds}), which comes after it"
            yield Problem(f"{where}.afterSeconds", text, "workers go first, then the cluster, then the job")


def _source(where: str, source: JobSource) -> Iterator[Problem]:
    members = {
        "directory": source.directory,
        "configMap": source.config_map,
        "path": source.path,
        "uri": source.uri,
    }
    given = [name for name, value in members.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(f"`{name}`" for name in given) or "none"
        text = f"must have exactly one of `directory`, `configMap`, `path` and `uri`, has {found}"
        yield Problem(where, text, "leave out all but one" if given else "leave out `source` to use the image alone")
