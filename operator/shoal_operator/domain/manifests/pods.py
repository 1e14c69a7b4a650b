"""Pods of heads and workers: the user's template with the runtime put into its container ``shoal``.

Invariant: what the user wrote wins, except for what the cluster cannot work without (command, arguments,
ports, token, identity labels). The same spec gives the same pod.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeCluster, WorkerGroup
from shoal_operator.api.lifecycle import StateRedis
from shoal_operator.domain import labels
from shoal_operator.domain.manifests.certificates import mount_certificates
from shoal_operator.domain.manifests.claims import claim_of
from shoal_operator.domain.manifests.hardening import add_scratch, harden
from shoal_operator.domain.manifests.owners import child_metadata
from shoal_operator.domain.manifests.template_hash import group_hash, head_hash
from shoal_operator.domain.names import (
    group_service_name,
    head_pod_name,
    head_service_name,
    token_secret_name,
    worker_pod_name,
)
from shoal_operator.domain.plan import Manifest
from shoal_operator.domain.quantities import RUNTIME_CONTAINER, group_resources, resource_set
from shoal_operator.engines import shoal

TOKEN_VOLUME: Final = "shoal-token"  # noqa: S105 - the name of a volume
STATE_VOLUME: Final = "shoal-state"
GRACE_MARGIN_SECONDS: Final = 10
"""Of a pod's grace period, for the end of its processes after the drain."""
GRACE_PERIOD_SECONDS: Final = shoal.DRAIN_SECONDS + GRACE_MARGIN_SECONDS


def build_head_pod(cluster: ComputeCluster, attempt: int = 1) -> Manifest:
    """The head pod of ``cluster``.

    Args:
        cluster: the object.
        attempt: how many heads in a row, this one included, were made after one that had soon ended.

    Raises:
        ValueError: a quantity in ``head.resources`` is wrong (``validate_cluster`` finds it first).
    """
    pod = _pod(
        cluster,
        head_pod_name(cluster.metadata.name),
        labels.ROLE_HEAD,
        {
            **cluster.spec.head.labels,
            labels.GROUP: labels.HEAD_GROUP,
            labels.ROLE: labels.ROLE_HEAD,
            labels.TEMPLATE_HASH: head_hash(cluster),
        },
        head_template(cluster),
    )
    if attempt > 1:
        pod["metadata"].setdefault("annotations", {})[labels.HEAD_ATTEMPT] = str(attempt)
    return pod


def head_template(cluster: ComputeCluster) -> dict[str, Any]:
    """The head's pod template with the runtime in it."""
    claim = claim_of(cluster)
    arguments = shoal.head_arguments(
        labels.HEAD_GROUP, resource_set(cluster.spec.head.resources), cluster.spec.head.labels, keeps_state=bool(claim)
    )
    template = _with_runtime(cluster, cluster.spec.head.template, arguments, head=True)
    if claim:
        _mount_state(template["spec"], claim)
    if redis := cluster.spec.state.redis:
        _connect_state(template["spec"], redis, cluster.metadata.uid)
    return template


def _connect_state(spec: dict[str, Any], redis: StateRedis, name: str) -> None:
    """The server with the head's tables; its password is nowhere but in the container's environment."""
    container = next(item for item in spec["containers"] if item["name"] == RUNTIME_CONTAINER)
    container["args"] = [*container["args"], *shoal.redis_arguments(redis.url, name, redis.retention_seconds)]
    if secret := redis.password_secret:
        reference = {"secretKeyRef": {"name": secret.name, "key": secret.key}}
        variable = {"name": shoal.STATE_PASSWORD, "valueFrom": reference}
        container["env"] = _merge(container.get("env"), [variable], "name")


def _mount_state(spec: dict[str, Any], claim: str) -> None:
    """The volume with the head's tables. The pod's fsGroup lets the user of the container write to it."""
    volume = {"name": STATE_VOLUME, "persistentVolumeClaim": {"claimName": claim}}
    spec["volumes"] = _merge(spec.get("volumes"), [volume], "name")
    container = next(item for item in spec["containers"] if item["name"] == RUNTIME_CONTAINER)
    mount = {"name": STATE_VOLUME, "mountPath": shoal.STATE_DIRECTORY}
    container["volumeMounts"] = _merge(container.get("volumeMounts"), [mount], "mountPath")


def worker_template(cluster: ComputeCluster, group: WorkerGroup) -> dict[str, Any]:
    """The group's pod template with the runtime in it.

    Raises:
        ValueError: a quantity in the group is wrong (``validate_cluster`` finds it first).
    """
    arguments = shoal.worker_arguments(
        head_service_name(cluster.metadata.name),
        group.name,
        group_resources(group.resources, group.template),
        group.labels,
        drain_seconds=_drain_seconds(group.template),
    )
    return _with_runtime(cluster, group.template, arguments, head=False)


def _drain_seconds(template: dict[str, Any] | None) -> int:
    """What a worker may take to drain when its pod is deleted: the pod's grace period without the margin."""
    grace = ((template or {}).get("spec") or {}).get("terminationGracePeriodSeconds")
    return max(0, grace - GRACE_MARGIN_SECONDS) if isinstance(grace, int) else shoal.DRAIN_SECONDS


class WorkerBuilder:
    """Makes the pods of one group; the template is prepared once for all of them.

    Raises:
        ValueError: a quantity in the group is wrong (``validate_cluster`` finds it first).
    """

    def __init__(self, cluster: ComputeCluster, group: WorkerGroup) -> None:
        self._cluster = cluster
        self._group = group
        self._template = worker_template(cluster, group)
        self._hash = group_hash(cluster, group)

    def __call__(self, index: int, host: int = 0, replaces: str = "", purpose: str = "") -> Manifest:
        """One pod.

        Args:
            index: of the replica.
            host: of the pod within its replica.
            replaces: UID of the outdated pod that this one is made for, if there is one.
            purpose: why it is made, for people.
        """
        group, several = self._group, self._group.hosts_per_replica > 1
        name = worker_pod_name(self._cluster.metadata.name, group.name, index, host if several else None)
        own = {
            **group.labels,
            labels.GROUP: group.name,
            labels.ROLE: labels.ROLE_WORKER,
            labels.REPLICA_INDEX: str(index),
            labels.TEMPLATE_HASH: self._hash,
        }
        if several:
            own[labels.HOST_INDEX] = str(host)
        pod = _pod(self._cluster, name, labels.ROLE_WORKER, own, self._template)
        if several:
            self._place(pod, name, index, host)
        notes = {labels.REPLACES: replaces, labels.CREATED_FOR: purpose}
        if any(notes.values()):
            own_notes = {key: value for key, value in notes.items() if value}
            pod["metadata"]["annotations"] = {**pod["metadata"].get("annotations", {}), **own_notes}
        return pod

    def _place(self, pod: Manifest, name: str, index: int, host: int) -> None:
        """Tell the pod which host it is, and give it a name that its fellows find."""
        spec = pod["spec"]
        spec["hostname"] = name
        spec["subdomain"] = group_service_name(self._cluster.metadata.name, self._group.name)
        container = next(item for item in spec["containers"] if item["name"] == RUNTIME_CONTAINER)
        place = shoal.place(index, host, self._group.hosts_per_replica)
        container["env"] = _merge(container.get("env"), place, "name")


def worker_builder(cluster: ComputeCluster, group: WorkerGroup) -> WorkerBuilder:
    """What makes the pods of a group."""
    return WorkerBuilder(cluster, group)


def _pod(cluster: ComputeCluster, name: str, component: str, own: dict[str, str], template: dict[str, Any]) -> Manifest:
    given = template.get("metadata") or {}
    merged = {
        **(given.get("labels") or {}),
        **labels.cluster_labels(
            cluster.metadata.name, component, __version__, cluster.metadata.labels.get(labels.JOB, "")
        ),
        **own,
    }
    metadata = child_metadata(cluster, name, merged)
    if given.get("annotations"):
        metadata["annotations"] = dict(given["annotations"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def _with_runtime(
    cluster: ComputeCluster, template: dict[str, Any] | None, arguments: list[str], *, head: bool
) -> dict[str, Any]:
    result = copy.deepcopy(template or {})
    spec: dict[str, Any] = result.setdefault("spec", {})
    containers: list[dict[str, Any]] = spec.setdefault("containers", [])
    container = next((item for item in containers if item.get("name") == RUNTIME_CONTAINER), None)
    if container is None:
        container = {"name": RUNTIME_CONTAINER}
        containers.insert(0, container)
    _fill_container(container, cluster.spec.image, arguments, head=head)
    _fill_pod_spec(spec, token_secret_name(cluster.metadata.name))
    mount_certificates(cluster, spec, container)
    add_scratch(spec, container)
    harden(spec)
    return result


def _fill_container(container: dict[str, Any], image: str, arguments: list[str], *, head: bool) -> None:
    container.setdefault("image", image)
    container["command"] = list(shoal.COMMAND)
    container["args"] = arguments
    container["env"] = _merge(container.get("env"), shoal.environment(), "name")
    container["ports"] = _merge(container.get("ports"), shoal.ports(head=head), "name")
    token = {"name": TOKEN_VOLUME, "mountPath": shoal.TOKEN_DIRECTORY, "readOnly": True}
    container["volumeMounts"] = _merge(container.get("volumeMounts"), [token], "mountPath")
    for key, probe in shoal.probes(head=head).items():
        container.setdefault(key, probe)


def _fill_pod_spec(spec: dict[str, Any], token_secret: str) -> None:
    token = {"name": TOKEN_VOLUME, "secret": {"secretName": token_secret, "defaultMode": 0o440}}
    spec["volumes"] = _merge(spec.get("volumes"), [token], "name")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", GRACE_PERIOD_SECONDS)
    spec.setdefault("enableServiceLinks", False)


def _merge(given: list[dict[str, Any]] | None, ours: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Lists of named things: the user's, with ours in place of those of the same name."""
    names = {item[key] for item in ours}
    return [*(item for item in given or [] if item.get(key) not in names), *ours]
