"""Manifests that scenarios apply: jobs whose program comes from a ConfigMap, and clusters.

Pure. Invariant: what is made here runs on any Kubernetes under the restricted policy, and asks for no resources
of the node, so that small machines can run all scenarios.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

Manifest = dict[str, Any]

API_VERSION: Final = "shoal.dev/v1alpha1"
RUNTIME_CONTAINER: Final = "shoal"
RESTRICTED: Final = "pod-security.kubernetes.io/enforce"


def namespace(name: str) -> Manifest:
    """A namespace that admits only pods under the restricted policy."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {RESTRICTED: "restricted"}}}


def program(name: str, text: str, **files: str) -> Manifest:
    """A ConfigMap with ``main.py`` and, by keyword, more modules: ``other=...`` makes ``other.py``."""
    data = {"main.py": textwrap.dedent(text), **{f"{key}.py": textwrap.dedent(value) for key, value in files.items()}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def template(**pod_spec: Any) -> Manifest:
    """A pod template that does not pull an image that is there."""
    containers = pod_spec.pop("containers", [])
    runtime = {"name": RUNTIME_CONTAINER, "imagePullPolicy": "IfNotPresent"}
    for container in containers:
        if container["name"] == RUNTIME_CONTAINER:
            runtime = {**runtime, **container}
    others = [container for container in containers if container["name"] != RUNTIME_CONTAINER]
    return {"spec": {**pod_spec, "containers": [runtime, *others]}}


def head_with(programs: str) -> Manifest:
    """A head whose template mounts the ConfigMap ``programs``; jobs find it at ``$PROGRAMS``, wherever they run."""
    container = {
        "name": RUNTIME_CONTAINER,
        "env": [{"name": "PROGRAMS", "value": "/programs"}],
        "volumeMounts": [{"name": "programs", "mountPath": "/programs"}],
    }
    volumes = [{"name": "programs", "configMap": {"name": programs}}]
    return {"template": template(volumes=volumes, containers=[container])}


def group(name: str = "small", **fields: Any) -> Manifest:
    """A worker group: workers of one CPU that go after a second of idleness, none at first."""
    defaults = {"minReplicas": 0, "maxReplicas": 2, "idleTimeoutSeconds": 1, "resources": {"CPU": 1}}
    return {"name": name, **defaults, "template": template(), **fields}


def gate() -> Manifest:
    """A group without workers. One that joins is what programs wait for with ``GATE``: see ``World.open_gate``."""
    return group("gate", maxReplicas=1, resources={"gate": 1})


GATE: Final = """
def pass_gate():
    import time
    while "gate" not in shoal.cluster_resources():
        time.sleep(0.05)
"""
"""Python that a program takes in to wait for the scenario, wherever it runs."""


def cluster_spec(image: str, groups: Sequence[Manifest] = (), **fields: Any) -> Manifest:
    """The spec of a cluster with the given worker groups (default: one)."""
    return {"image": image, "head": {"template": template()}, "workerGroups": list(groups or [group()]), **fields}


def cluster(name: str, spec: Mapping[str, Any]) -> Manifest:
    """A ComputeCluster."""
    return {"apiVersion": API_VERSION, "kind": "ComputeCluster", "metadata": {"name": name}, "spec": dict(spec)}


def job(name: str, program_name: str = "", /, **fields: Any) -> Manifest:
    """A ComputeJob that runs ``main.py`` of a ConfigMap, unless ``fields`` of the spec say something else."""
    spec: Manifest = {"entrypoint": "python main.py"}
    if program_name:
        spec["source"] = {"configMap": {"name": program_name}}
    return {"apiVersion": API_VERSION, "kind": "ComputeJob", "metadata": {"name": name}, "spec": {**spec, **fields}}
