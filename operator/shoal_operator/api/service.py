"""ComputeService: the types of a served application. No controller runs it yet.

Invariant: the kind can be stored and read back unchanged; nothing else is promised.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from shoal_operator.api.cluster import ComputeClusterSpec, ManagedBy
from shoal_operator.api.lifecycle import Seconds
from shoal_operator.api.meta import API_VERSION, MANAGED_BY_SHOAL, ConditionList, Model, ObjectMeta


class UpgradeStrategy(Model):
    """How a change of the service reaches its users."""

    type: Literal["Rolling", "BlueGreen", "InPlace"] = "BlueGreen"
    """The way of the upgrade."""
    deadline_seconds: Seconds = 600
    """Seconds until an upgrade that is not ready counts as failed."""


class ComputeServiceSpec(Model):
    """What shall be served, and on what cluster."""

    serve_config: Annotated[
        dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = {}
    """The applications, in the serving configuration's own format."""
    cluster_spec: ComputeClusterSpec = ComputeClusterSpec()
    """The cluster to serve from."""
    upgrade_strategy: UpgradeStrategy = UpgradeStrategy()
    """How a change of the service reaches its users."""
    suspend: bool = False
    """True stops the service and keeps its objects."""
    managed_by: ManagedBy = MANAGED_BY_SHOAL
    """The controller that runs this object. Anything but the default makes the operator leave it alone."""


class ComputeServiceStatus(Model):
    """Where the service stands."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation this status speaks about."""
    conditions: ConditionList = ()
    """Facts about the service."""


class ComputeService(Model):
    """An application that answers requests from a cluster of its own."""

    api_version: str = API_VERSION
    kind: Literal["ComputeService"] = "ComputeService"
    metadata: ObjectMeta
    spec: ComputeServiceSpec = ComputeServiceSpec()
    status: ComputeServiceStatus = ComputeServiceStatus()
