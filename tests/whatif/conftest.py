"""Clusters and traces in a line each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Group, ScalingRequest
from shoal_operator.whatif.outcome import Candidate, Outcome, simulate
from shoal_operator.whatif.simulation import Setup
from shoal_operator.whatif.startup import StartModel, StartModels
from shoal_operator.whatif.trace import parse_trace

AT_ONCE = {"reaction_seconds": 0.0, "removal_seconds": 1.0}
"""No delay around the planner, so that times are those that a hand computes; a drained pod is gone after a second."""


@pytest.fixture
def group() -> Callable[..., Group]:
    def make(name: str = "small", cpus: float = 4, most: int = 8, **fields: Any) -> Group:
        units = {"CPU": cpus, **fields.pop("resources", {})}
        fields.setdefault("idle_timeout_seconds", 20.0)
        return Group(name, ResourceSet.from_units(units), max_nodes=most, **fields)

    return make


@pytest.fixture
def replay() -> Callable[..., Outcome]:
    """Lines of a trace and groups in, the outcome out. A pod takes 1 s + 10 s (new machine) + 2 s."""

    def run(lines: list[dict[str, Any]], *groups: Group, start: StartModel | None = None, **fields: Any) -> Outcome:
        request = replace(ScalingRequest(groups=groups), **fields.pop("terms", {}))
        starts = StartModels(start or StartModel(), {}, fields.pop("seed", 0))
        trace = parse_trace([json.dumps(line) for line in lines], "trace.jsonl")
        [outcome] = simulate(trace, [Candidate("c.yaml", "c", Setup(request, starts=starts, **{**AT_ONCE, **fields}))])
        return outcome

    return run
