"""What the operator may do, and what the chart lets users do: one table, each line with its reason.

Invariant: the roles of the chart are generated from this table and from nothing else, and a test runs the
operator with exactly these rights: a request that is missing here is refused there, and a verb that nothing uses
has to say why it stands here. No wildcards, no ``pods/exec``, no roles, no reading of Secrets by list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from shoal_operator.kube.resources import (
    CERTIFICATES,
    COMPUTE_CLUSTERS,
    COMPUTE_JOBS,
    COMPUTE_SERVICES,
    DISRUPTION_BUDGETS,
    EVENTS,
    LEASES,
    NETWORK_POLICIES,
    PODS,
    SECRETS,
    SERVICES,
    VOLUME_CLAIMS,
    Resource,
)


@dataclass(frozen=True)
class Permission:
    """Verbs on one resource.

    Attributes:
        resource: of which kind; ``subresource`` narrows it to ``status`` or ``finalizers``.
        verbs: as in RBAC.
        reason: what for, in a few words that stand in the role as a comment.
        own_lease: only the object that is named like the operator's Lease.
        seldom: why a run of the operator against the embedded API server does not use it; empty: it does.
    """

    resource: Resource
    verbs: tuple[str, ...]
    reason: str
    subresource: str = ""
    own_lease: bool = False
    seldom: str = ""

    @property
    def plural(self) -> str:
        """As RBAC names the resource: ``pods``, ``computejobs/status``."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural


_READ: Final = ("list", "watch")
_OWNERS: Final = "its objects name it as an owner that blocks deletion"
_HOSTS: Final = "asked for only where a group of several hosts is removed"
_STATE: Final = "asked for only where spec.state.backend is PersistentVolume"
_ENFORCEMENT: Final = "asked for only where the API server runs OwnerReferencesPermissionEnforcement"

WORK: Final = (
    Permission(COMPUTE_CLUSTERS, _READ, "the clusters to run"),
    Permission(COMPUTE_CLUSTERS, ("create", "patch"), "a job's own cluster, by server-side apply"),
    Permission(COMPUTE_CLUSTERS, ("delete",), "a job's own cluster when the job is done"),
    Permission(COMPUTE_CLUSTERS, ("patch",), "what became of it", subresource="status"),
    Permission(COMPUTE_CLUSTERS, ("update",), _OWNERS, subresource="finalizers", seldom=_ENFORCEMENT),
    Permission(COMPUTE_JOBS, _READ, "the jobs to run"),
    Permission(COMPUTE_JOBS, ("delete",), "a finished job when ttlSecondsAfterFinished is over"),
    Permission(COMPUTE_JOBS, ("patch",), "the finalizer of a job whose program runs on a cluster of others"),
    Permission(COMPUTE_JOBS, ("patch",), "what became of it", subresource="status"),
    Permission(COMPUTE_JOBS, ("update",), _OWNERS, subresource="finalizers", seldom=_ENFORCEMENT),
    Permission(PODS, _READ, "heads and workers, by label"),
    Permission(PODS, ("create",), "heads and workers"),
    Permission(PODS, ("patch",), "the annotation of a drain in progress"),
    Permission(PODS, ("delete",), "workers that are not needed, pods that have failed"),
    Permission(SERVICES, _READ, "the addresses of heads, by label"),
    Permission(SERVICES, ("create", "patch"), "the address of a head, by server-side apply"),
    Permission(SERVICES, ("delete",), "the names of hosts of a group that was removed", seldom=_HOSTS),
    Permission(VOLUME_CLAIMS, _READ, "what heads keep their tables on, by label"),
    Permission(VOLUME_CLAIMS, ("create", "patch"), "the same, by server-side apply", seldom=_STATE),
    Permission(NETWORK_POLICIES, _READ, "who may reach a cluster's pods, by label"),
    Permission(NETWORK_POLICIES, ("create", "patch"), "the same, by server-side apply"),
    Permission(NETWORK_POLICIES, ("delete",), "the policy of a cluster whose spec wants none any more"),
    Permission(DISRUPTION_BUDGETS, _READ, "what keeps busy heads from evictions, by label"),
    Permission(DISRUPTION_BUDGETS, ("create", "patch"), "the same, by server-side apply"),
    Permission(DISRUPTION_BUDGETS, ("delete",), "when the head is busy no more"),
    Permission(SECRETS, ("get",), "the token and the certificates of a cluster, by name"),
    Permission(SECRETS, ("create",), "the token and the certificate authority of a new cluster"),
    Permission(SECRETS, ("patch",), "the certificate of a cluster with TLS, renewed by server-side apply"),
    Permission(EVENTS, ("list",), "of a pod that does not start and whose status does not say why, by its UID"),
    Permission(EVENTS, ("create",), "transitions, told on the object"),
    Permission(EVENTS, ("patch",), "the count of an event that repeats"),
)
"""In every namespace that is watched."""

CERT_MANAGER: Final = (
    Permission(CERTIFICATES, ("get",), "what cert-manager says of a cluster's certificate, by name"),
    Permission(CERTIFICATES, ("create", "patch"), "the certificate of a cluster, by server-side apply"),
)
"""In the same namespaces, where the chart is told of cert-manager."""

ELECTION: Final = (
    Permission(LEASES, ("create",), "leader election; RBAC cannot bind a creation to a name"),
    Permission(LEASES, ("get", "update"), "leader election", own_lease=True),
)
"""In the operator's own namespace."""

_KINDS: Final = (COMPUTE_CLUSTERS, COMPUTE_JOBS, COMPUTE_SERVICES)

VIEW: Final = tuple(Permission(kind, ("get", "list", "watch"), "to see them") for kind in _KINDS)
EDIT: Final = tuple(
    Permission(kind, ("create", "update", "patch", "delete", "deletecollection"), "to make and change them")
    for kind in _KINDS
)
USERS: Final = {"view": VIEW, "edit": VIEW + EDIT, "admin": VIEW + EDIT}
"""Added to the cluster's own roles of these names. Nobody but the operator writes a status."""


def rules(permissions: Iterable[Permission], *, lease_name: str) -> list[dict[str, Any]]:
    """The table as the ``rules`` of a role.

    Args:
        permissions: lines of the table.
        lease_name: name of the operator's Lease.
    """
    return [_rule(permission, lease_name) for permission in permissions]


def _rule(permission: Permission, lease_name: str) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "apiGroups": [permission.resource.group],
        "resources": [permission.plural],
        "verbs": list(permission.verbs),
    }
    if permission.own_lease:
        rule["resourceNames"] = [lease_name]
    return rule
