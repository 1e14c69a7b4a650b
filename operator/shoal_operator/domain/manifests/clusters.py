"""The ComputeCluster that a job makes for itself.

Invariant: it says what the job's ``clusterSpec`` says and no more (defaults stay the API server's), plus the
mount of the program's ConfigMap in the head.
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


def build_job_cluster(job: ComputeJob) -> Manifest:
    """The ComputeCluster of a job with ``clusterSpec``, to be applied: same name, owned by the job."""
    name = job.metadata.name
    labels = {**cluster_labels(name, "cluster", __version__), JOB: name}
    given = job.spec.cluster_spec or ComputeClusterSpec()
    spec = given.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    source = job.spec.source
    if source is not None and source.config_map is not None:
        spec = _with_source(spec, source.config_map.name)
    return with_applied_hash(
        {
            "apiVersion": API_VERSION,
            "kind": "ComputeCluster",
            "metadata": child_metadata(job, name, labels),
            "spec": spec,
        }
    )


def _with_source(spec: dict[str, Any], config_map: str) -> dict[str, Any]:
    """``spec`` with the ConfigMap mounted in the head's runtime container."""
    result = copy.deepcopy(spec)
    pod = result.setdefault("head", {}).setdefault("template", {}).setdefault("spec", {})
    volume = {"name": SOURCE_VOLUME, "configMap": {"name": config_map}}
    pod["volumes"] = [*(v for v in pod.get("volumes") or [] if v.get("name") != SOURCE_VOLUME), volume]
    containers = pod.setdefault("containers", [])
    container = next((item for item in containers if item.get("name") == RUNTIME_CONTAINER), None)
    if container is None:
        container = {"name": RUNTIME_CONTAINER}
        containers.insert(0, container)
    mount = {"name": SOURCE_VOLUME, "mountPath": shoal.SOURCE_DIRECTORY, "readOnly": True}
    variable = {"name": shoal.SOURCE_VARIABLE, "value": shoal.SOURCE_DIRECTORY}
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
    container["env"] = [*(container.get("env") or []), variable]
    return result
