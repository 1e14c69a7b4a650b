"""The ComputeCluster that a job makes for itself.

Invariant: it says what the job's ``clusterSpec`` says and no more (defaults stay the API server's), plus the
mounts in the head: the program's ConfigMap, and the Secret for its output.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeClusterSpec
from shoal_operator.api.job import ComputeJob
from shoal_operator.api.meta import API_VERSION
from shoal_operator.domain.labels import JOB, cluster_labels
from shoal_operator.domain.manifests.owners import child_metadata, with_applied_hash
from shoal_operator.domain.plan import Manifest
from shoal_operator.domain.quantities import RUNTIME_CONTAINER
from shoal_operator.engines import shoal

SOURCE_VOLUME: Final = "shoal-source"
OUTPUT_VOLUME: Final = "shoal-output-secret"


def build_job_cluster(job: ComputeJob) -> Manifest:
    """The ComputeCluster of a job with ``clusterSpec``, to be applied: same name, owned by the job."""
    name = job.metadata.name
    labels = {**cluster_labels(name, "cluster", __version__), JOB: name}
    given = job.spec.cluster_spec or ComputeClusterSpec()
    spec = given.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    source, output = job.spec.source, job.spec.output
    if source is not None and source.config_map is not None:
        variable = {"name": shoal.SOURCE_VARIABLE, "value": shoal.SOURCE_DIRECTORY}
        volume = {"name": SOURCE_VOLUME, "configMap": {"name": source.config_map.name}}
        spec = _with_mount(spec, volume, shoal.SOURCE_DIRECTORY, [variable])
    if output is not None and output.secret_ref is not None:
        volume = {"name": OUTPUT_VOLUME, "secret": {"secretName": output.secret_ref.name}}
        variable = {"name": shoal.OUTPUT_SECRET_VARIABLE, "value": shoal.OUTPUT_SECRET_DIRECTORY}
        spec = _with_mount(spec, volume, shoal.OUTPUT_SECRET_DIRECTORY, [variable])
    return with_applied_hash(
        {
            "apiVersion": API_VERSION,
            "kind": "ComputeCluster",
            "metadata": child_metadata(job, name, labels),
            "spec": spec,
        }
    )


def without_workers(job: ComputeJob) -> Manifest:
    """The same cluster with its head alone: what is left of it after DeleteWorkers."""
    whole = build_job_cluster(job)
    spec = copy.deepcopy(whole["spec"])
    groups = spec.get("workerGroups") or [{"name": group.name} for group in ComputeClusterSpec().worker_groups]
    spec["workerGroups"] = [{**group, "minReplicas": 0, "maxReplicas": 0, "replicas": 0} for group in groups]
    bare = {**whole, "metadata": {**whole["metadata"], "annotations": {}}, "spec": spec}
    return with_applied_hash(bare)


def _with_mount(
    spec: dict[str, Any], volume: dict[str, Any], directory: str, variables: list[dict[str, str]]
) -> dict[str, Any]:
    """``spec`` with a volume mounted in the head's runtime container, and environment for it."""
    result = copy.deepcopy(spec)
    pod = result.setdefault("head", {}).setdefault("template", {}).setdefault("spec", {})
    pod["volumes"] = [*(v for v in pod.get("volumes") or [] if v.get("name") != volume["name"]), volume]
    containers = pod.setdefault("containers", [])
    container = next((item for item in containers if item.get("name") == RUNTIME_CONTAINER), None)
    if container is None:
        container = {"name": RUNTIME_CONTAINER}
        containers.insert(0, container)
    mount = {"name": volume["name"], "mountPath": directory, "readOnly": True}
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
    container["env"] = [*(container.get("env") or []), *variables]
    return result
