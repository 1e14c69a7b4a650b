"""Ray's own scheduler of nodes, on the same questions.

Invariant: it gets what it would get in a cluster: requests by count, types of nodes, no limit but those of the types.
Only empty clusters are asked about.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoal.resources import UNITS
from shoal_operator.autoscaler.model import ScalingRequest


class RaysScheduler:
    """``ray.autoscaler.v2.scheduler.ResourceDemandScheduler``, as `pip install --target` lays it down.

    Raises:
        ImportError: the path holds no Ray, or what it needs is not installed.
    """

    def __init__(self, path: Path) -> None:
        sys.path.insert(0, str(path))
        self._scheduler: Any = importlib.import_module("ray.autoscaler.v2.scheduler")
        self._types: Any = importlib.import_module("ray.autoscaler.v2.instance_manager.config")
        self._utils: Any = importlib.import_module("ray.autoscaler.v2.utils")
        self._protos: Any = importlib.import_module("ray.core.generated.autoscaler_pb2")

    def decide(self, request: ScalingRequest) -> tuple[float, Mapping[str, int]]:
        """Seconds of one decision, and new nodes by type."""
        make = self._utils.ResourceRequestUtil.make
        question = self._scheduler.SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs={
                group.name: self._types.NodeTypeConfig(
                    group.name, group.min_nodes, group.max_nodes, resources=group.resources.to_units()
                )
                for group in request.groups
            },
            max_num_nodes=sum(group.max_nodes for group in request.groups) + 1,
            resource_requests=[
                self._protos.ResourceRequestByCount(
                    request=make({name: amount / UNITS for name, amount in demand.shape.items()}), count=demand.count
                )
                for demand in request.demands
            ],
        )
        scheduler = self._scheduler.ResourceDemandScheduler(event_logger=None)
        started = time.perf_counter()
        reply = scheduler.schedule(question)
        seconds = time.perf_counter() - started
        return seconds, {launch.instance_type: launch.count for launch in reply.to_launch}
