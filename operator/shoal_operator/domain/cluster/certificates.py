"""When the pods of a cluster need a certificate, and when its certificate needs to be renewed.

Invariant: pods of a cluster with TLS are made only when there is a certificate for them to mount; a certificate is
renewed while the old one is still good for a third of its life, so that both are taken meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain import conditions
from shoal_operator.domain.cluster.idleness import rests
from shoal_operator.domain.conditions import Fact
from shoal_operator.domain.names import head_service_name
from shoal_operator.domain.plan import EventRecord, Plan
from shoal_operator.domain.reasons import Action, ConditionType, Reason

SERVER_NAME: Final = "shoal"
"""The name that every certificate of a cluster has, and that peers ask for. The runtime has it in ``wire.tls``."""
AUTHORITY_LIFETIME: Final = timedelta(days=3650)
LEAF_LIFETIME: Final = timedelta(days=90)
RENEW_AFTER: Final = 2 / 3
"""Of a certificate's life."""
RECHECK_SECONDS_MAX: Final = 86_400.0
"""A due time that is far away is looked at daily: timers for months are not exact."""


@dataclass(frozen=True, slots=True)
class LeafView:
    """The certificate in the Secret ``<cluster>-tls``."""

    not_before: datetime
    not_after: datetime
    """Of the certificate or of its authority, whichever ends first."""
    names: frozenset[str]
    """DNS names that it is made out for."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What to do about a certificate."""

    is_due: bool
    reason: str = ""
    """Why, for people; empty when it is not due."""
    next_check_seconds: float | None = None
    """From now; None while it is due."""


def certificate_names(cluster: ComputeCluster) -> tuple[str, ...]:
    """DNS names of a cluster's certificate. The first is what peers verify; the others are for other clients."""
    service = head_service_name(cluster.metadata.name)
    return (SERVER_NAME, service, f"{service}.{cluster.metadata.namespace}.svc")


def decide_renewal(leaf: LeafView | None, names: Sequence[str], now: datetime) -> Renewal:
    """Whether a new certificate has to be issued now.

    Args:
        leaf: the present one; None when there is none that can be used.
        names: what it has to be made out for.
        now: the current time, timezone-aware.
    """
    if leaf is None:
        return Renewal(is_due=True, reason="there is no certificate yet")
    missing = [name for name in names if name not in leaf.names]
    if missing:
        return Renewal(is_due=True, reason=f"it is not made out for {missing[0]}")
    due = leaf.not_before + (leaf.not_after - leaf.not_before) * RENEW_AFTER
    if now >= due:
        return Renewal(is_due=True, reason=f"two thirds of its life are over; it ends {leaf.not_after:%Y-%m-%d}")
    return Renewal(is_due=False, next_check_seconds=min((due - now) / timedelta(seconds=1), RECHECK_SECONDS_MAX))


def is_usable(leaf: LeafView, now: datetime) -> bool:
    """Whether pods can be verified by this certificate, due or not."""
    return leaf.not_after > now and SERVER_NAME in leaf.names


@dataclass(frozen=True, slots=True)
class CertificatesView:
    """What there is of a cluster's certificates, for plan and status."""

    is_needed: bool
    """Whether the cluster has TLS at all."""
    is_ready: bool
    """Whether there is a certificate that pods can use."""
    reason: Reason = Reason.CERTIFICATES_ISSUED
    message: str = ""
    due: str = ""
    """Why a new one has to be issued, or asked for; empty when none has to be."""
    next_check_seconds: float | None = None


UNENCRYPTED: Final = CertificatesView(is_needed=False, is_ready=True)


def with_certificates(plan: Plan, view: CertificatesView) -> Plan:
    """``plan``, but no pod is made that would wait for its certificate, what is due is issued, and time is minded."""
    if not view.is_needed:
        return plan
    checks = [item for item in (plan.requeue_after_seconds, view.next_check_seconds) if item is not None]
    pods = plan.create_pods if view.is_ready else ()
    wake = min(checks, default=None)
    return replace(plan, create_pods=pods, issue_certificate=view.due, requeue_after_seconds=wake)


def issued_event(reason: str) -> EventRecord:
    """To be told once a certificate was issued for ``reason``, the plan's."""
    text = f"issued a certificate for the cluster's pods: {reason}"
    return EventRecord("Normal", Reason.CERTIFICATE_ISSUED, text, Action.ISSUE_CERTIFICATE)


def with_certificate_facts(cluster: ComputeCluster, facts: Sequence[Fact], view: CertificatesView) -> list[Fact]:
    """``facts`` and what is to be said of the certificates; without them, no pod can be the matter."""
    known = {condition.type for condition in cluster.status.conditions}
    if not view.is_needed and ConditionType.CERTIFICATES_READY not in known:
        return list(facts)
    status = conditions.TRUE if view.is_ready else conditions.FALSE
    reason = view.reason if view.is_needed else Reason.NOT_ENCRYPTED
    said = Fact(ConditionType.CERTIFICATES_READY, status, reason, view.message)
    if view.is_ready or rests(cluster):
        return [*facts, said]
    waiting = {ConditionType.READY, ConditionType.HEAD_READY}
    return [
        *(
            Fact(fact.type, conditions.FALSE, view.reason, view.message)
            if fact.type in waiting and fact.status == conditions.FALSE
            else fact
            for fact in facts
        ),
        said,
    ]
