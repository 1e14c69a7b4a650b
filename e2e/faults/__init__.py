"""Faults that keep a cluster from running, with the words that the object must have, and what repairs each.

Pure: a table. Invariant: a fault is in the manifests alone, so that the same table breaks any Kubernetes.
"""

from __future__ import annotations

from e2e.faults import pods
from e2e.faults.admission import of_admission
from e2e.faults.fault import Fault


def faults(image: str, namespace: str, private_registry: str) -> dict[str, Fault]:
    """The table, by name.

    Args:
        image: the runtime image, present on the nodes.
        namespace: where the cluster will be.
        private_registry: ``host:port`` of a registry that wants credentials.
    """
    found = (
        *pods.of_images(private_registry),
        *pods.of_scheduling(),
        *pods.of_containers(image),
        *pods.of_surroundings(image, namespace),
        *of_admission(namespace),
    )
    return {fault.name: fault for fault in found}


def names(place: str) -> tuple[str, ...]:
    """The faults that mean something at a place: ``local``, ``bare`` or ``kind``."""
    return tuple(name for name, fault in faults("image", "namespace", "registry").items() if place in fault.places)
