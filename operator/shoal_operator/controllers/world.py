"""What the operator keeps of the world: one store per kind, trimmed to what decisions read.

Invariant: a pod takes about 1 KiB here (its view), not the 6-10 KiB of the server's object; what is not kept
cannot be decided upon.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

from shoal_operator.domain import labels
from shoal_operator.domain.cluster.observed import ChildView, PodView, child_view, pod_view
from shoal_operator.domain.names import Key, token_secret_name
from shoal_operator.engines.shoal import CONTROL_PORT
from shoal_operator.heads.address import HeadAddress
from shoal_operator.kube.resources import (
    COMPUTE_CLUSTERS,
    COMPUTE_JOBS,
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    PODS,
    SERVICES,
    VOLUME_CLAIMS,
    Resource,
)
from shoal_operator.kube.store import Store

Json = dict[str, Any]

CHILD_SELECTOR: Final = labels.CLUSTER
"""Label selector of the informers for children: whatever belongs to a cluster."""

_KEPT_METADATA: Final = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "ownerReferences",
    "deletionTimestamp",
)


class World:
    """The stores by kind. Fed by informers, read by controllers."""

    def __init__(self) -> None:
        self.clusters = Store(_without_managed_fields, {"job": _owning_job})
        self.jobs = Store(_without_managed_fields, {"cluster": _cluster_of_job})
        self.pods = Store(_trimmed_pod, {"cluster": _cluster_of_child})
        self.services = Store(_trimmed_service, {"cluster": _cluster_of_child})
        self.policies = Store(_trimmed_child, {"cluster": _cluster_of_child})
        self.budgets = Store(_trimmed_child, {"cluster": _cluster_of_child})
        self.claims = Store(_trimmed_child, {"cluster": _cluster_of_child})
        self._by_kind = {resource.kind: store for resource, store, _ in self.feeds()}

    def feeds(self) -> tuple[tuple[Resource, Store, str], ...]:
        """What to inform about: the resource, its store, the label selector."""
        return (
            (COMPUTE_CLUSTERS, self.clusters, ""),
            (COMPUTE_JOBS, self.jobs, ""),
            (PODS, self.pods, CHILD_SELECTOR),
            (SERVICES, self.services, CHILD_SELECTOR),
            (NETWORK_POLICIES, self.policies, CHILD_SELECTOR),
            (DISRUPTION_BUDGETS, self.budgets, CHILD_SELECTOR),
            (VOLUME_CLAIMS, self.claims, CHILD_SELECTOR),
        )

    def refresh(self, answer: Json) -> None:
        """The server's answer to a write of ours: newer than what the watch has brought so far."""
        store = self._by_kind.get(str(answer.get("kind")))
        if store is not None:
            store.refresh(answer)

    def knows(self, manifest: Json) -> bool:
        """Whether the store has an object of that kind and name (kinds without a store: yes)."""
        store = self._by_kind.get(str(manifest.get("kind")))
        meta = manifest["metadata"]
        return store is None or store.get(meta["namespace"], meta["name"]) is not None

    def pods_of(self, key: Key) -> tuple[PodView, ...]:
        """The pods that carry the cluster's label, by name."""
        return _views(self.pods, key)

    def services_of(self, key: Key) -> tuple[ChildView, ...]:
        """The Services that carry the cluster's label, by name."""
        return _views(self.services, key)

    def policies_of(self, key: Key) -> tuple[ChildView, ...]:
        """The NetworkPolicies that carry the cluster's label, by name."""
        return _views(self.policies, key)

    def claims_of(self, key: Key) -> tuple[ChildView, ...]:
        """The PersistentVolumeClaims that carry the cluster's label, by name."""
        return _views(self.claims, key)

    def budgets_of(self, key: Key) -> tuple[ChildView, ...]:
        """The PodDisruptionBudgets that carry the cluster's label, by name."""
        return _views(self.budgets, key)

    def jobs_on(self, key: Key) -> tuple[Key, ...]:
        """The jobs that run on the cluster, or made it."""
        on_it = [_key(job) for job in self.jobs.indexed("cluster", "/".join(key))]
        cluster = self.clusters.get(*key)
        made_it = [] if cluster is None else [(key[0], name) for name in _owning_job(cluster)]
        return tuple(dict.fromkeys((*on_it, *made_it)))

    def jobs_by_reference(self, key: Key) -> tuple[Json, ...]:
        """The jobs that name the cluster by clusterRef, as the server has them."""
        found = self.jobs.indexed("cluster", "/".join(key))
        return tuple(job for job in found if (job.get("spec") or {}).get("clusterRef"))

    def head_address(self, key: Key, cluster_uid: str, service_name: str) -> HeadAddress | None:
        """Where the head of the cluster listens: the address of its Service; None while it has none.

        The address, not the DNS name: it is the same thing inside a cluster, and it also works where no
        cluster DNS answers (``shoal local``, an operator outside).
        """
        service = self.services.get(key[0], service_name)
        if service is None or not service["clusterIP"] or service["clusterIP"] == "None":
            return None
        address: str = service["clusterIP"]
        host = f"[{address}]" if ":" in address else address
        return HeadAddress(cluster_uid, f"{host}:{CONTROL_PORT}", token_secret_name(key[1]))


def _views(store: Store, cluster: Key) -> tuple[Any, ...]:
    return tuple(child["view"] for child in store.indexed("cluster", "/".join(cluster)))


def cluster_key_of(child: Json) -> Key | None:
    """The cluster that a stored pod or Service belongs to."""
    cluster = child["cluster"]
    return (child["metadata"].get("namespace", ""), cluster) if cluster else None


def _key(obj: Json) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _shared(value: Any) -> Any:
    """An equal value of JSON in which equal strings are one object.

    The parser makes new ones for each answer, and most of a small object's memory are keys and words that all the
    others of its kind have, too.
    """
    if type(value) is str:
        return sys.intern(value)
    if isinstance(value, dict):
        return {_shared(name): _shared(entry) for name, entry in value.items()}
    return [_shared(entry) for entry in value] if isinstance(value, list) else value


def _without_managed_fields(obj: Json) -> Json:
    shared: Json = _shared({**obj, "metadata": _metadata_without_managed_fields(obj)})
    return shared


def _metadata_without_managed_fields(obj: Json) -> Json:
    return {name: value for name, value in obj["metadata"].items() if name != "managedFields"}


def _trimmed(obj: Json) -> Json:
    metadata = obj["metadata"]
    kept = {name: metadata[name] for name in _KEPT_METADATA if name in metadata}
    return {"metadata": kept, "cluster": (metadata.get("labels") or {}).get(labels.CLUSTER, "")}


def _trimmed_pod(pod: Json) -> Json:
    shared = _with_shared_metadata(pod)
    return {**_trimmed(shared), "view": pod_view(shared)}


def _trimmed_child(child: Json) -> Json:
    shared = _with_shared_metadata(child)
    return {**_trimmed(shared), "view": child_view(shared)}


def _with_shared_metadata(obj: Json) -> Json:
    return {**obj, "metadata": _shared(_metadata_without_managed_fields(obj))}


def _trimmed_service(service: Json) -> Json:
    address = (service.get("spec") or {}).get("clusterIP") or ""
    return {**_trimmed_child(service), "clusterIP": address}


def _cluster_of_child(child: Json) -> Iterable[str]:
    key = cluster_key_of(child)
    return () if key is None else ("/".join(key),)


def _cluster_of_job(job: Json) -> Iterable[str]:
    namespace, name = _key(job)
    reference = (job.get("spec") or {}).get("clusterRef") or {}
    return (f"{namespace}/{reference.get('name') or name}",)


def _owning_job(cluster: Json) -> Iterable[str]:
    owners = cluster["metadata"].get("ownerReferences") or ()
    return tuple(str(owner.get("name")) for owner in owners if owner.get("kind") == "ComputeJob")
