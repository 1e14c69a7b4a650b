"""The world of one ComputeCluster as a reconcile sees it: small, immutable, made of values.

Invariant: an observation is complete for a decision; plan and status read nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain import labels
from shoal_operator.domain.cluster.certificates import UNENCRYPTED, CertificatesView
from shoal_operator.domain.cluster.pod_reasons import PodReason, read_last_end, read_reasons
from shoal_operator.domain.hashing import spec_hash
from shoal_operator.domain.head import HeadView
from shoal_operator.domain.manifests.network import ELSEWHERE, OperatorPlace
from shoal_operator.domain.quantities import RUNTIME_CONTAINER
from shoal_operator.domain.refusals import Refusal

PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]


@dataclass(frozen=True, slots=True)
class PodView:
    """The part of a pod that decisions need (about 1 KiB instead of 6)."""

    name: str
    uid: str
    group: str
    """The worker group; ``head`` for the head."""
    role: str
    """``head`` or ``worker``."""
    index: int
    """Replica index; -1 for the head or when the label is missing."""
    template_hash: str
    phase: PodPhase
    """Of the runtime in it: where that has ended and is not started again, Succeeded or Failed."""
    ready: bool
    ip: str = ""
    created: datetime | None = None
    deleting_since: datetime | None = None
    """metadata.deletionTimestamp."""
    reasons: tuple[PodReason, ...] = ()
    """What its status says."""
    notices: tuple[PodReason, ...] = ()
    """What warning Events say while the status says nothing; looked up, never complete."""
    restarts: int = 0
    drain: str = ""
    """The raw value of the shoal.dev/drain annotation; empty when there is none."""
    owner_uid: str = ""
    """UID of the controlling owner."""
    host: int = 0
    """Host index within its replica."""
    replaces: str = ""
    """UID of the outdated pod that it was made to replace."""
    replica_ran: bool = False
    """Whether all hosts of its replica had joined once."""
    node_name: str = ""
    """The Kubernetes node that it is bound to; empty before."""
    node_dead_since: datetime | None = None
    """When the head was first heard to call the runtime in it dead; None when it does not."""
    head_attempt: int = 1
    """Of a head: how many in a row, it included, were made after one that had soon ended."""
    last_end: PodReason | None = None
    """How its runtime ended before it was last started again in place; ``reasons`` forgets that once it is ready."""
    last_ended: datetime | None = None
    """When that was."""
    is_bare: bool = False
    """Whether nothing but the runtime decides if it is ready: no container beside it, no readiness gate."""

    @property
    def is_deleting(self) -> bool:
        """Whether the pod is on its way out."""
        return self.deleting_since is not None

    @property
    def has_ended(self) -> bool:
        """Whether the pod will never run again."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class ChildView:
    """An object that the operator applies, with the hash of what was applied (shoal.dev/applied-hash)."""

    kind: str
    name: str
    uid: str
    applied_hash: str
    owner_uid: str = ""
    api_version: str = ""
    spec_hash: str = ""
    """Of the spec that the server has; see ``domain.hashing.spec_hash``."""


@dataclass(frozen=True, slots=True)
class ClusterObservation:
    """Everything that a decision about one cluster may depend on.

    Attributes:
        cluster: the object, as last seen.
        pods: its pods by label shoal.dev/cluster in its namespace, in any order.
        services: its Services by the same label.
        secrets: names of the Secrets by the same label that exist.
        head: the last word of its head; None before the first.
        policies: its NetworkPolicies by the same label.
        budgets: its PodDisruptionBudgets by the same label.
        claims: its PersistentVolumeClaims by the same label.
        operator: where the operator itself runs.
        certificates: whether its pods have what they need to encrypt.
        refusals: pods that the API server does not let in; they are not tried while they stand here.
        wanted_by: names of ComputeJobs that run on the cluster or want to; looked up for an idle policy only.
        head_problem: what the connection to the head failed with, while it has never answered; else empty.
    """

    cluster: ComputeCluster
    pods: tuple[PodView, ...] = ()
    services: tuple[ChildView, ...] = ()
    secrets: frozenset[str] = frozenset()
    head: HeadView | None = None
    policies: tuple[ChildView, ...] = ()
    budgets: tuple[ChildView, ...] = ()
    claims: tuple[ChildView, ...] = ()
    operator: OperatorPlace = ELSEWHERE
    certificates: CertificatesView = UNENCRYPTED
    refusals: tuple[Refusal, ...] = ()
    wanted_by: tuple[str, ...] = ()
    head_problem: str = ""


def pod_view(pod: Mapping[str, Any]) -> PodView:
    """Trim a pod from the API server.

    Args:
        pod: a Pod as JSON. Missing parts are taken as empty; nothing raises.
    """
    metadata = pod.get("metadata") or {}
    spec = pod.get("spec") or {}
    status = pod.get("status") or {}
    pod_labels = metadata.get("labels") or {}
    notes = metadata.get("annotations") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    last_end, last_ended = read_last_end(pod, RUNTIME_CONTAINER)
    return PodView(
        name=metadata.get("name", ""),
        uid=metadata.get("uid", ""),
        group=pod_labels.get(labels.GROUP, ""),
        role=pod_labels.get(labels.ROLE, ""),
        index=_index(pod_labels.get(labels.REPLICA_INDEX, "")),
        template_hash=pod_labels.get(labels.TEMPLATE_HASH, ""),
        phase=_phase(pod),
        ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or []),
        ip=status.get("podIP") or "",
        created=timestamp(metadata.get("creationTimestamp")),
        deleting_since=timestamp(metadata.get("deletionTimestamp")),
        reasons=read_reasons(pod),
        restarts=sum(int(entry.get("restartCount") or 0) for entry in statuses),
        last_end=last_end,
        last_ended=last_ended,
        drain=notes.get(labels.DRAIN, ""),
        owner_uid=controller_uid(metadata),
        host=max(0, _index(pod_labels.get(labels.HOST_INDEX, ""))),
        replaces=notes.get(labels.REPLACES, ""),
        replica_ran=labels.REPLICA_RAN in notes,
        node_name=spec.get("nodeName") or "",
        node_dead_since=timestamp(notes.get(labels.NODE_DEAD)),
        head_attempt=max(1, _index(notes.get(labels.HEAD_ATTEMPT, ""))),
        is_bare=len(spec.get("containers") or []) == 1 and not spec.get("readinessGates"),
    )


def _phase(pod: Mapping[str, Any]) -> PodPhase:
    """The pod's own phase; but where the runtime has ended for good, the pod has, whatever else runs in it."""
    status = pod.get("status") or {}
    phase: PodPhase = status.get("phase") or "Pending"
    policy = (pod.get("spec") or {}).get("restartPolicy") or "Always"
    entries = [entry for entry in status.get("containerStatuses") or [] if entry.get("name") == RUNTIME_CONTAINER]
    ended = [(entry.get("state") or {}).get("terminated") for entry in entries]
    if phase != "Running" or policy == "Always" or not ended or not ended[0]:
        return phase
    if ended[0].get("exitCode") == 0:
        return "Succeeded"
    return phase if policy == "OnFailure" else "Failed"


def child_view(document: Mapping[str, Any]) -> ChildView:
    """Trim an applied object (Service, ComputeCluster, ...) from the API server."""
    metadata = document.get("metadata") or {}
    return ChildView(
        kind=document.get("kind", ""),
        name=metadata.get("name", ""),
        uid=metadata.get("uid", ""),
        applied_hash=(metadata.get("annotations") or {}).get(labels.APPLIED_HASH, ""),
        owner_uid=controller_uid(metadata),
        api_version=document.get("apiVersion", ""),
        spec_hash=spec_hash(document.get("spec") or {}),
    )


def controller_uid(metadata: Mapping[str, Any]) -> str:
    """UID of the controlling owner in an object's metadata; empty when there is none."""
    owners: list[Mapping[str, Any]] = metadata.get("ownerReferences") or []
    return next((str(owner.get("uid", "")) for owner in owners if owner.get("controller")), "")


def timestamp(text: str | None) -> datetime | None:
    """Read an RFC 3339 time; None for nothing or for something else."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _index(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1
