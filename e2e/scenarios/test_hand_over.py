"""Two replicas of the operator: the other one leads soon after the first ends, and what runs does not notice.

On a Kubernetes with the chart installed; a local session has one operator (tests/controllers/test_hand_over.py has two
processes and one lease on the embedded API server).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e import manifests
from e2e.eventually import eventually
from e2e.providers import ClusterProvider
from e2e.world import World, is_true

TERM_SECONDS = 5.0
KILL_SECONDS = 15 + 5.0


@pytest.fixture
def operators(world: World) -> Iterator[ClusterProvider]:
    """The provider with two operators, of which one leads."""
    if not isinstance(world.provider, ClusterProvider):
        pytest.skip("a local session has one operator")
    world.provider.scale_operator(2)
    yield world.provider
    world.provider.scale_operator(1)


def another_leads(operators: ClusterProvider, before: str, began: float) -> float:
    """Wait until another process holds the Lease; returns the seconds since ``began``.

    It may be one of the same pod: a killed container is started again, and then waits for the Lease as others do.
    """
    eventually(lambda: operators.holder() not in {"", before}, "another operator leads", 60.0)
    return time.monotonic() - began


def uids(world: World) -> dict[str, str]:
    return {name: pod["metadata"]["uid"] for name, pod in world.pods.now().items()}


@pytest.mark.alone
def test_another_operator_leads_soon_and_pods_stay(
    world: World, operators: ClusterProvider, print_at_end: list[str]
) -> None:
    groups = (manifests.group(minReplicas=1),)
    world.apply(manifests.cluster("team", manifests.cluster_spec(world.image, groups)))
    world.until(lambda: is_true(world.clusters.last("team"), "Ready"), "the cluster is Ready")
    pods = uids(world)
    assert len(pods) == 2

    first = operators.holder()
    began = time.monotonic()
    operators.end_leader(operators.leader())
    seconds = another_leads(operators, first, began)
    print_at_end.append(f"hand-over on SIGTERM: {seconds:.1f} s")
    assert seconds < TERM_SECONDS
    operators.scale_operator(2)

    second = operators.holder()
    began = time.monotonic()
    if operators.kill_leader(operators.leader()):
        seconds = another_leads(operators, second, began)
        print_at_end.append(f"hand-over on SIGKILL: {seconds:.1f} s")
        assert seconds < KILL_SECONDS

    grown = [manifests.group(minReplicas=2)]
    world.patch("computecluster/team", {"spec": {"workerGroups": grown}})
    world.until(lambda: len(world.pods.now()) == 3, "the new leader adds a worker")
    after = uids(world)
    assert {name: after[name] for name in pods} == pods
