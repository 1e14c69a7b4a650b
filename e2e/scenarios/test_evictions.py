"""Nodes that are drained: a head with a job stays, an idle one goes and comes back."""

from __future__ import annotations

import json

from e2e import manifests
from e2e.kubectl import Result
from e2e.world import World, is_true

WAIT = f"""
import shoal
{manifests.GATE}
shoal.init()
print("begin", flush=True)
pass_gate()
"""
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


def evict(world: World, pod: str) -> Result:
    """Ask for an eviction, as `kubectl drain` does."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{world.namespace}/pods/{pod}/eviction"
    return world.kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def budgets(world: World) -> list[str]:
    """The budgets that are there."""
    return world.kubectl("get", "poddisruptionbudgets", "--output=name").split()


def test_the_head_of_a_running_job_is_not_evicted_and_an_idle_one_is(world: World) -> None:
    spec = manifests.cluster_spec(world.image, [manifests.gate()], head=manifests.head_with("programs"))
    world.apply(manifests.program("programs", WAIT), manifests.cluster("shared", spec))
    world.until(lambda: is_true(world.clusters.last("shared"), "Ready"), "the cluster is ready")
    assert budgets(world) == [], "nothing holds a node's drain up while there is no job"
    world.apply(manifests.job("job", clusterRef={"name": "shared"}, entrypoint="python $PROGRAMS/main.py"))
    world.wrote("begin")
    world.until(lambda: budgets(world) == ["poddisruptionbudget.policy/shared-head"], "the head has a budget")
    refused = evict(world, "shared-head")
    assert refused.code == 1
    assert REFUSED in refused.err
    groups = [{**manifests.gate(), "minReplicas": 1}]
    world.patch("computecluster/shared", {"spec": {"workerGroups": groups}})
    world.finish()
    world.until(lambda: not budgets(world), "the budget goes with the job")
    before = world.pods.now()["shared-head"]["metadata"]["uid"]
    evicted = evict(world, "shared-head")
    assert evicted.code == 0, evicted.err

    def is_another() -> bool:
        pod = world.pod_is_ready("shared-head")
        return pod is not None and pod["metadata"]["uid"] != before

    world.until(is_another, "another head is ready")
