"""The reasons that the planner gives or treats in a way of their own; any other word it hands on as it came.

Invariant: said once, here; ``domain.reasons`` takes them into the catalogue of all that reaches people, with what they
mean. The planner needs nothing of the operator beside.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Rule(StrEnum):
    """Why nodes are added."""

    MIN_REPLICAS = "MinReplicas"
    REPLICAS = "Replicas"
    """The same where ``replicas`` is the number, because autoscaling is off."""
    DEMAND = "Demand"
    PLACEMENT_GROUP = "PlacementGroup"
    REQUESTED_RESOURCES = "RequestedResources"


# Why a node goes
IDLE: Final = "Idle"
OVER_LIMIT: Final = "OverLimit"
NOT_NEEDED: Final = "NotNeeded"
# Why a pod does not start, where that may pass by itself
UNSCHEDULABLE: Final = "Unschedulable"
VOLUME_CLAIM_PENDING: Final = "VolumeClaimPending"
VOLUME_NOT_MOUNTED: Final = "VolumeNotMounted"
SCHEDULING_GATED: Final = "SchedulingGated"
IMAGE_UNAVAILABLE: Final = "ImageUnavailable"
CONTAINER_NOT_STARTED: Final = "ContainerNotStarted"
SANDBOX_FAILED: Final = "SandboxFailed"
# Why a pod is not let in
QUOTA_EXCEEDED: Final = "QuotaExceeded"
ADMISSION_DENIED: Final = "AdmissionDenied"
ADMISSION_UNAVAILABLE: Final = "AdmissionUnavailable"
SERVICE_ACCOUNT_MISSING: Final = "ServiceAccountMissing"
PRIORITY_CLASS_MISSING: Final = "PriorityClassMissing"
INVALID_TEMPLATE: Final = "InvalidTemplate"
WRITE_REFUSED: Final = "WriteRefused"
