"""Which resources the operator knows, and where they live in the API.

Invariant: paths of the API are built here and nowhere else, and every part of a path that comes from an
object is checked, so that a name can never lead to another resource.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_SEGMENT: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Resource:
    """One kind of object of the API: ``Resource("apps", "v1", "deployments", "Deployment")``."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As in an object's ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Where the paths of its group and version begin: ``/apis/apps/v1``."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of a collection or of one object.

        Args:
            namespace: None only for a collection over all namespaces.
            name: None for the collection.
            subresource: ``status``.

        Raises:
            ValueError: a part is not a name.
        """
        parts = ["namespaces", namespace] if namespace is not None else []
        parts += [self.plural, *(part for part in (name, subresource) if part is not None)]
        for part in parts:
            if not _SEGMENT.fullmatch(part):
                raise ValueError(f"{part!r} is not a valid name in a path of the Kubernetes API ({self.kind})")
        return "/".join((self.root, *parts))


COMPUTE_CLUSTERS: Final = Resource("shoal.dev", "v1alpha1", "computeclusters", "ComputeCluster")
COMPUTE_JOBS: Final = Resource("shoal.dev", "v1alpha1", "computejobs", "ComputeJob")
COMPUTE_SERVICES: Final = Resource("shoal.dev", "v1alpha1", "computeservices", "ComputeService")
PODS: Final = Resource("", "v1", "pods", "Pod")
SERVICES: Final = Resource("", "v1", "services", "Service")
VOLUME_CLAIMS: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
NETWORK_POLICIES: Final = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
CERTIFICATES: Final = Resource("cert-manager.io", "v1", "certificates", "Certificate")

_BY_KIND: Final = {
    (resource.api_version, resource.kind): resource
    for resource in (
        COMPUTE_CLUSTERS,
        COMPUTE_JOBS,
        COMPUTE_SERVICES,
        PODS,
        SERVICES,
        VOLUME_CLAIMS,
        SECRETS,
        EVENTS,
        LEASES,
        NETWORK_POLICIES,
        DISRUPTION_BUDGETS,
        CERTIFICATES,
    )
}


def resource_of(obj: dict[str, Any]) -> Resource:
    """The resource of a manifest.

    Raises:
        ValueError: the operator does not manage objects of that kind.
    """
    found = _BY_KIND.get((str(obj.get("apiVersion")), str(obj.get("kind"))))
    if found is None:
        raise ValueError(f"the operator does not manage {obj.get('apiVersion')} {obj.get('kind')}")
    return found
