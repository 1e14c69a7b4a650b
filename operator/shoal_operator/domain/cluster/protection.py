"""What to do about the objects that protect a cluster: its NetworkPolicy and the budget of its head.

Invariant: pure and level-triggered; only objects that the cluster itself owns are deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal_operator.domain.cluster.observed import ChildView, ClusterObservation
from shoal_operator.domain.manifests import drift
from shoal_operator.domain.manifests.disruption import build_head_budget, is_protected
from shoal_operator.domain.manifests.network import build_network_policy
from shoal_operator.domain.names import disruption_budget_name, network_policy_name
from shoal_operator.domain.plan import Manifest, ObjectRef


@dataclass(frozen=True, slots=True)
class ProtectionChanges:
    """Parts of a plan."""

    apply: tuple[Manifest, ...] = ()
    delete: tuple[ObjectRef, ...] = ()


def protect(observed: ClusterObservation) -> ProtectionChanges:
    """What is missing, was changed, or is wanted no more."""
    cluster = observed.cluster
    name, uid = cluster.metadata.name, cluster.metadata.uid
    policy = drift.find(observed.policies, network_policy_name(name))
    budget = drift.find(observed.budgets, disruption_budget_name(name))
    holds = is_protected(cluster, observed.head, before=budget is not None)
    changes = (
        _change(policy, build_network_policy(cluster, observed.operator), uid),
        _change(budget, build_head_budget(cluster) if holds else None, uid),
    )
    return ProtectionChanges(
        apply=tuple(change for change in changes if isinstance(change, dict)),
        delete=tuple(change for change in changes if isinstance(change, ObjectRef)),
    )


def _change(existing: ChildView | None, wanted: Manifest | None, owner_uid: str) -> Manifest | ObjectRef | None:
    if wanted is not None:
        return wanted if drift.is_outdated(existing, wanted) else None
    if existing is not None and existing.owner_uid == owner_uid:
        return drift.deletion(existing)
    return None
