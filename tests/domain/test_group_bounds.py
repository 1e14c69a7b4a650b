"""Worker groups: which may have pods, and how many replicas, said in one place."""

from __future__ import annotations

import pytest

from shoal_operator.api.autoscaling import AutoscalingSpec
from shoal_operator.api.cluster import ComputeClusterSpec, WorkerGroup
from shoal_operator.domain.cluster.groups import (
    is_retired,
    least_workers,
    live_groups,
    replica_bounds,
    retirement,
    written_bounds,
)
from shoal_operator.domain.cluster.scaling_terms import scaling_terms
from shoal_operator.domain.reasons import Reason


@pytest.mark.parametrize(
    ("more", "autoscaling", "written"),
    [
        ({}, True, (1, 4)),
        ({}, False, (1, 1)),
        ({"replicas": 3}, True, (1, 4)),
        ({"replicas": 3}, False, (3, 3)),
        ({"replicas": 0}, False, (0, 0)),
    ],
)
@pytest.mark.parametrize("suspend", [False, True])
def test_bounds(more: dict[str, int], autoscaling: bool, written: tuple[int, int], suspend: bool) -> None:
    group = WorkerGroup(name="a", min_replicas=1, max_replicas=4, hosts_per_replica=2, suspend=suspend, **more)
    spec = ComputeClusterSpec(worker_groups=(group,), autoscaling=AutoscalingSpec(enabled=autoscaling))
    bounds = (0, 0) if suspend else written
    assert written_bounds(spec, group) == written
    assert replica_bounds(spec, group) == bounds
    assert least_workers(group) == (0 if suspend else 2)
    asked = scaling_terms(spec).groups[0]
    assert (asked.min_nodes, asked.max_nodes, asked.suspended) == (2 * bounds[0], 2 * bounds[1], suspend)


def test_a_group_lives_until_it_is_suspended_or_removed() -> None:
    spec = ComputeClusterSpec(worker_groups=(WorkerGroup(name="a"), WorkerGroup(name="b", suspend=True)))
    assert [group.name for group in live_groups(spec)] == ["a"]
    reasons = {"a": None, "b": Reason.GROUP_SUSPENDED, "c": Reason.GROUP_REMOVED}
    assert {name: retirement(spec, name) for name in reasons} == reasons
    assert [is_retired(spec, name) for name in reasons] == [False, True, True]
