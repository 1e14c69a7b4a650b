"""The PersistentVolumeClaim that a head keeps its tables on.

Invariant: a claim of the user's own is never written; one that is to be retained has no owner, so that nothing
deletes it with the cluster.
"""

from __future__ import annotations

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.lifecycle import StateVolume
from shoal_operator.domain.labels import cluster_labels
from shoal_operator.domain.manifests.owners import child_metadata, with_applied_hash
from shoal_operator.domain.manifests.template_hash import VOLUME
from shoal_operator.domain.names import state_claim_name
from shoal_operator.domain.plan import Manifest


def claim_of(cluster: ComputeCluster) -> str:
    """Name of the claim that the head mounts; empty when its state is elsewhere."""
    if cluster.spec.state.backend != VOLUME:
        return ""
    volume = cluster.spec.state.volume
    return (volume.claim_name if volume else None) or state_claim_name(cluster.metadata.name)


def build_claim(cluster: ComputeCluster) -> Manifest | None:
    """The claim ``<cluster>-state``, to be applied; None when there is none to make."""
    volume = cluster.spec.state.volume or StateVolume()
    if cluster.spec.state.backend != VOLUME or volume.claim_name is not None:
        return None
    name = cluster.metadata.name
    metadata = child_metadata(cluster, state_claim_name(name), cluster_labels(name, "state", __version__))
    if volume.deletion_policy == "Retain":
        del metadata["ownerReferences"]
    storage_class = {"storageClassName": volume.storage_class_name} if volume.storage_class_name else {}
    return with_applied_hash(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": str(volume.size)}},
                **storage_class,
            },
        }
    )
