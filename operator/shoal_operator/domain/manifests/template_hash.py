"""The hash of what a user wrote for a pod: it tells pods of an earlier spec from those of the present one.

Invariants:
- only what the user wrote counts, never what the operator fills in: another default, probe, argument or command
  line of a new operator leaves every hash as it was, and so every pod;
- an empty field counts as an absent one, so a field that a later version adds changes no hash until it is used;
- the version stands in front. A hash of a version that this module does not know cannot be compared, and its pod
  is left alone.

``spec.image`` counts as written when it stands in the object: the API server keeps the default of the day the
object was made. ``schedulingGates`` do not count: they say when a pod may be placed, not what runs in it, and
queueing systems add and lift them. ``nodeSelector``, ``tolerations``, labels and annotations count: queueing
systems set them while the cluster is suspended, when there are no pods that could be outdated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shoal_operator.api.cluster import ComputeCluster, WorkerGroup
from shoal_operator.domain.hashing import stable_hash
from shoal_operator.domain.quantities import parse_quantity, runtime_container

VERSION: Final = "v1"
MEMORY: Final = "Memory"
VOLUME: Final = "PersistentVolume"
_NOT_COUNTED: Final = frozenset({"schedulingGates"})


def head_hash(cluster: ComputeCluster) -> str:
    """The hash of the head's pod.

    Raises:
        ValueError: a quantity is wrong (``validate_cluster`` finds it first).
    """
    head, state = cluster.spec.head, cluster.spec.state
    options: dict[str, Any] = {}
    if state.backend != MEMORY:
        claim = state.volume.claim_name if state.volume else None
        options["state"] = {"backend": state.backend, **({"claimName": claim} if claim else {})}
        if state.redis is not None:
            options["state"]["redis"] = state.redis.model_dump(mode="json", exclude_defaults=True)
    return _hash(cluster, head.template, head.resources, head.labels, options)


def group_hash(cluster: ComputeCluster, group: WorkerGroup) -> str:
    """The hash of the pods of a worker group. Its name and its numbers do not count.

    Raises:
        ValueError: a quantity is wrong (``validate_cluster`` finds it first).
    """
    return _hash(cluster, group.template, group.resources, group.labels, {})


def is_outdated(pod_hash: str, present: str) -> bool:
    """Whether a pod with the label value ``pod_hash`` was made from something else than ``present``."""
    return pod_hash.startswith(f"{VERSION}-") and pod_hash != present


def _hash(
    cluster: ComputeCluster,
    template: Mapping[str, Any] | None,
    resources: Mapping[str, int | str],
    labels: Mapping[str, str],
    options: Mapping[str, Any],
) -> str:
    written = {
        "template": _without_empty(template or {}),
        "resources": {name: f"{parse_quantity(amount).normalize():f}" for name, amount in resources.items()},
        "labels": dict(labels),
        "image": cluster.spec.image if _image_counts(cluster, template) else "",
        "tls": cluster.spec.security.tls.mode != "None",
        **options,
    }
    return f"{VERSION}-{stable_hash({name: value for name, value in written.items() if value})}"


def _image_counts(cluster: ComputeCluster, template: Mapping[str, Any] | None) -> bool:
    return "image" in cluster.spec.model_fields_set and not runtime_container(template).get("image")


def _without_empty(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template as far as it counts. Only its upper two levels are looked at: below, empty may mean something."""
    spec = template.get("spec") or {}
    kept = {key: value for key, value in spec.items() if key not in _NOT_COUNTED and value not in (None, {}, [])}
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    return {key: value for key, value in {"metadata": metadata, "spec": kept}.items() if value}
