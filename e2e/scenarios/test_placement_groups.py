"""Placement groups bring the workers that they need, all of them at once, and hold them for as long as they live."""

from __future__ import annotations

import re

from e2e import manifests
from e2e.world import World

SLOW_SECONDS = 3
"""Several times as long as idle workers stay."""
JOIN_SECONDS = 40.0

SPREAD_AND_PACK = """
    import shoal
    from shoal.util import placement_group
    from shoal.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

    shoal.init()

    @shoal.remote(num_cpus=0)
    def where():
        return shoal.get_runtime_context().get_node_id()

    def nodes(group):
        assert group.wait(60)
        places = [InGroup(group, index) for index in range(group.bundle_count)]
        return len(set(shoal.get([where.options(scheduling_strategy=place).remote() for place in places])))

    spread = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD", name="spread")
    pack = placement_group([{"GPU": 1}, {"GPU": 1, "CPU": 1}], strategy="STRICT_PACK", name="pack")
    print("spread over", nodes(spread), "packed on", nodes(pack), flush=True)
"""
TASK_THEN_GANG = """
    import time
    import shoal
    from shoal.util import placement_group, placement_group_table

    shoal.init()

    @shoal.remote(num_cpus=1)
    def where():
        return shoal.get_runtime_context().get_node_id()

    first = shoal.get(where.remote())
    while shoal.available_resources().get("CPU") != 1:
        time.sleep(0.02)
    gang = placement_group([{"CPU": 1}, {"slow": 1}], strategy="STRICT_SPREAD")
    began = time.monotonic()
    assert gang.wait(60)
    nodes = placement_group_table(gang)["bundles_to_node_id"]
    print("the same worker:", nodes[0] == first, "after", round(time.monotonic() - began, 1), flush=True)
"""

SPREAD = """
    import shoal
    from shoal.util import placement_group, placement_group_table

    shoal.init()
    group = placement_group([{"CPU": 1}] * 2, strategy="SPREAD", name="wide")
    assert group.wait(60)
    print("nodes:", len(set(placement_group_table(group)["bundles_to_node_id"].values())), flush=True)
"""

HOLDS_ON = """
    import time
    import shoal
    from shoal.util import placement_group, placement_group_table
    from shoal.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

    shoal.init()

    @shoal.remote(num_cpus=1, max_restarts=-1)
    class Rank:
        def ping(self):
            return shoal.get_runtime_context().get_node_id()

    gang = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert gang.wait(60)
    before = placement_group_table(gang)["bundles_to_node_id"]
    ranks = [Rank.options(scheduling_strategy=InGroup(gang, index)).remote() for index in range(2)]
    assert shoal.get([rank.ping.remote() for rank in ranks]) == [before[0], before[1]]
    print("all there", flush=True)
    while placement_group_table(gang)["state"] != "RESCHEDULING":
        time.sleep(0.02)
    assert gang.wait(60)
    after = placement_group_table(gang)["bundles_to_node_id"]
    while True:
        try:
            assert shoal.get([rank.ping.remote() for rank in ranks]) == [after[0], after[1]]
            break
        except shoal.exceptions.ActorUnavailableError:
            time.sleep(0.02)
    print("moved:", sum(before[index] != after[index] for index in range(2)), flush=True)
"""


def uids(world: World, group: str) -> set[str]:
    """Of all workers of a group that ever were."""
    seen = [one.object["metadata"] for one in world.pods.all()]
    return {item["uid"] for item in seen if item["labels"].get("shoal.dev/group") == group}


def test_a_waiting_group_brings_exactly_its_workers(world: World) -> None:
    groups = (
        manifests.group(maxReplicas=5),
        manifests.group("gpus", maxReplicas=3, resources={"CPU": 2, "GPU": 2}),
    )
    world.start_job(SPREAD_AND_PACK, groups=groups)
    job = world.finish(seconds=JOIN_SECONDS)
    assert "spread over 3 packed on 1" in job["status"]["outputTail"]
    assert uids(world, "gpus")
    assert 3 <= len(uids(world, "small") | uids(world, "gpus")) <= 4, "no worker more than the bundles need"
    assert not world.workers(), "the groups have gone with their job, and the workers with them"


def test_a_spread_group_waits_for_the_workers_that_it_brings(world: World) -> None:
    roomy = manifests.group("roomy", maxReplicas=3, resources={"CPU": 4})
    world.start_job(SPREAD, groups=(roomy,))
    tail = world.finish(seconds=JOIN_SECONDS)["status"]["outputTail"]
    assert "nodes: 2" in tail, "the first to join had room for both"
    assert len(uids(world, "roomy")) == 2


def test_an_idle_worker_stays_for_a_group_that_waits_for_another_one(world: World) -> None:
    wait = {"name": "wait", "image": world.image, "command": ["sleep", str(SLOW_SECONDS)]}
    template = manifests.template(initContainers=[{**wait, "imagePullPolicy": "IfNotPresent"}])
    slow = manifests.group("late", maxReplicas=1, resources={"slow": 1}, template=template)
    world.start_job(TASK_THEN_GANG, groups=(manifests.group(maxReplicas=2), slow))
    tail = world.finish(seconds=JOIN_SECONDS)["status"]["outputTail"]
    told = re.search(r"the same worker: True after ([\d.]+)", tail)
    assert told is not None, tail
    assert float(told[1]) > SLOW_SECONDS - 1, "the other worker came before the idle one would have gone"
    assert len(uids(world, "small")) == 1


def test_a_deleted_worker_is_replaced_for_the_group_that_it_held(world: World) -> None:
    world.start_job(HOLDS_ON, groups=(manifests.group(maxReplicas=2),))
    world.until(lambda: "all there" in world.output(), "the group has its workers", JOIN_SECONDS)
    ready = world.until(lambda: world.workers(ready=True), "a worker is ready")
    victim = ready[0]["metadata"]["name"]
    world.kubectl("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
    assert "moved: 1" in world.finish(seconds=JOIN_SECONDS)["status"]["outputTail"]
    assert len(uids(world, "small")) == 3
