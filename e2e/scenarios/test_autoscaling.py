"""Workers come for work that waits and go when it has gone: what Ray's autoscaler is tried with, and more.

Each scenario has one cluster; programs come as jobs on it, one after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from typing import Any, Final

from e2e import manifests
from e2e.api import Object
from e2e.world import World, condition, is_true

NAME: Final = "demo"
QUICK: Final = {"template": manifests.template(terminationGracePeriodSeconds=2)}
"""Pods that end soon when they are deleted."""
JOIN_SECONDS: Final = 40.0

ACTORS: Final = """
    import sys
    import shoal

    class Keeper:
        def where(self):
            return "kept"

    shoal.init(namespace="scenario")
    what, name, needs = sys.argv[1], sys.argv[2], dict(part.split("=") for part in sys.argv[3:])
    if what == "make":
        resources = {key: float(value) for key, value in needs.items() if key != "CPU"}
        options = {"name": name, "lifetime": "detached", "num_cpus": float(needs.get("CPU", 0)), "resources": resources}
        print(shoal.get(shoal.remote(Keeper).options(**options).remote().where.remote()), flush=True)
    else:
        shoal.kill(shoal.get_actor(name))
        print("killed", flush=True)
"""
TASKS: Final = """
    import os, sys, time
    import shoal

    shoal.init()

    @shoal.remote(max_retries=0)
    def work(seconds):
        time.sleep(seconds)
        return os.environ["POD_NAME"]

    count, seconds, needs = int(sys.argv[1]), float(sys.argv[2]), dict(part.split("=") for part in sys.argv[3:])
    resources = {key: float(value) for key, value in needs.items() if key != "CPU"}
    options = {"num_cpus": float(needs.get("CPU", 0)), "resources": resources}
    pods = set(shoal.get([work.options(**options).remote(seconds) for _ in range(count)]))
    print("ran on", *sorted(pods), flush=True)
"""
FLOOR: Final = """
    import time
    import shoal
    from shoal.autoscaler.sdk import request_resources

    shoal.init()
    request_resources(num_cpus=2)
    while shoal.cluster_resources().get("CPU", 0) < 2:
        time.sleep(0.05)
    print("there is room", flush=True)
    request_resources()
"""


def group(name: str = "small", **fields: Any) -> manifests.Manifest:
    return manifests.group(name, **{**QUICK, **fields})


def start(world: World, *groups: manifests.Manifest, **fields: Any) -> None:
    """A cluster with the programs of this module on its head."""
    programs = manifests.program("programs", ACTORS, tasks=TASKS, floor=FLOOR)
    spec = manifests.cluster_spec(world.image, groups, **{"head": manifests.head_with("programs"), **fields})
    world.apply(programs, manifests.cluster(NAME, spec))
    world.until(lambda: is_true(world.clusters.last(NAME), "Ready"), "the cluster is ready", JOIN_SECONDS)


def edit(world: World, **fields: Any) -> None:
    world.patch(f"computecluster/{NAME}", {"spec": fields})


def submit(world: World, name: str, program: str) -> None:
    entrypoint = f"python $PROGRAMS/{program}"
    world.apply(manifests.job(name, clusterRef={"name": NAME}, entrypoint=entrypoint))


def run(world: World, name: str, program: str) -> str:
    """A job on the cluster, to its end; what it wrote."""
    submit(world, name, program)
    return str(world.finish(name, seconds=JOIN_SECONDS)["status"].get("outputTail") or "")


def group_of(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("shoal.dev/group"))


def sizes(world: World, *, ready: bool = True) -> dict[str, int]:
    """Workers that stay, by group."""
    return dict(Counter(group_of(pod) for pod in world.workers(ready=ready)))


def becomes(world: World, what: dict[str, int], seconds: float = JOIN_SECONDS) -> None:
    """Wait until there are exactly so many workers of each group, all of them ready."""
    world.until(lambda: sizes(world) == sizes(world, ready=False) == what, f"workers are {what}", seconds)


def ever(world: World, name: str) -> set[str]:
    """Names of all workers of a group that ever were."""
    return {seen.name for seen in world.pods.all() if group_of(seen.object) == name}


def created_at(pod: Object) -> float:
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()


def started_at(pod: Object) -> float | None:
    """When its container was started; the API server knows it later."""
    [container] = pod["status"].get("containerStatuses") or [{}]
    moment = ((container.get("state") or {}).get("running") or {}).get("startedAt")
    return datetime.fromisoformat(moment).timestamp() if moment else None


def drained_for(world: World, name: str) -> str:
    """What stood on a worker about why it goes."""
    return next(
        (
            text
            for seen in world.pods.all(name)
            if (text := seen.object["metadata"]["annotations"].get("shoal.dev/drain"))
        ),
        "",
    )


def explain(world: World) -> str:
    """What `shoal explain cluster` says."""
    options = ["--kubeconfig", str(world.provider.kubeconfig), "--namespace", world.namespace]
    command = [sys.executable, "-m", "shoal.cli.main", "explain", "cluster", NAME, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def blocked(world: World, name: str) -> dict[str, Any]:
    groups = ((world.clusters.last(NAME) or {}).get("status") or {}).get("workerGroups") or []
    return next((dict(item.get("blocked") or {}) for item in groups if item["name"] == name), {})


def test_detached_actors_bring_workers_and_their_end_takes_them(world: World) -> None:
    start(world, group(), group("disks", resources={"CPU": 0, "disk": 1}))
    assert "kept" in run(world, "one", "main.py make one CPU=1")
    becomes(world, {"small": 1})
    assert "kept" in run(world, "two", "main.py make two CPU=1")
    becomes(world, {"small": 2})
    assert "kept" in run(world, "three", "main.py make three disk=1")
    becomes(world, {"small": 2, "disks": 1})
    purpose = world.workers()[0]["metadata"]["annotations"]["shoal.dev/created-for"]
    assert purpose.startswith("Demand: ")
    for name in ("one", "two", "three"):
        assert "killed" in run(world, f"end-{name}", f"main.py kill {name}")
    becomes(world, {})
    assert len(ever(world, "small")) == 2


def test_tasks_fill_groups_of_every_sort_and_never_more_than_may_be(world: World) -> None:
    slices = group("slices", hostsPerReplica=2, resources={"CPU": 0, "TPU": 4}, idleTimeoutSeconds=2)
    gpus = group("gpus", resources={"CPU": 1, "GPU": 1}, maxReplicas=3, idleTimeoutSeconds=4)
    start(world, gpus, slices)
    submit(world, "cpu", "tasks.py 12 0.4 CPU=1")
    submit(world, "tpu", "tasks.py 1 0.1 TPU=4")
    assert "demo-gpus-" in str(world.finish("cpu", seconds=JOIN_SECONDS)["status"]["outputTail"])
    assert "demo-slices-0-h" in str(world.finish("tpu", seconds=JOIN_SECONDS)["status"]["outputTail"])
    assert len(ever(world, "gpus")) == 3
    assert ever(world, "slices") == {"demo-slices-0-h0", "demo-slices-0-h1"}
    becomes(world, {})
    for name, timeout in {"slices": "its timeout is 2 s", "gpus": "its timeout is 4 s"}.items():
        assert all(timeout in drained_for(world, worker) for worker in ever(world, name)), "each by its own group's"


def test_edits_of_a_groups_numbers_are_followed_and_running_tasks_end(world: World) -> None:
    start(world, group(maxReplicas=2))
    edit(world, workerGroups=[group(minReplicas=2, maxReplicas=2)])
    becomes(world, {"small": 2})
    edit(world, workerGroups=[group(minReplicas=0, maxReplicas=2, idleTimeoutSeconds=600)])
    submit(world, "job", "tasks.py 8 2 CPU=1")
    world.until(lambda: "LimitReached" in json.dumps(world.clusters.last(NAME)), "the limit is told")
    edit(world, workerGroups=[group(maxReplicas=3, idleTimeoutSeconds=600)])
    becomes(world, {"small": 3})
    edit(world, workerGroups=[group(maxReplicas=1, idleTimeoutSeconds=600)])
    world.until(lambda: sum(sizes(world, ready=False).values()) == 1, "two of them are drained", JOIN_SECONDS)
    assert "ran on" in str(world.finish("job", seconds=JOIN_SECONDS)["status"]["outputTail"]), "no task was lost"
    becomes(world, {"small": 1})
    edit(world, autoscaling={"enabled": False}, workerGroups=[group(replicas=2, maxReplicas=1)])
    becomes(world, {"small": 2})
    edit(world, workerGroups=[group(replicas=0, maxReplicas=1)])
    becomes(world, {})
    assert "replicas" in (world.clusters.last(NAME) or {})["spec"]["workerGroups"][0], "what people wrote stays"


def test_requested_resources_and_a_group_that_is_added_later(world: World) -> None:
    start(world, group(maxReplicas=2))
    assert "there is room" in run(world, "floor", "floor.py")
    becomes(world, {})
    submit(world, "job", "tasks.py 1 0 disk=1")
    demand = world.until(
        lambda: ((world.clusters.last(NAME) or {}).get("status") or {}).get("demand"), "what waits is told"
    )
    assert (demand[0]["verdict"], demand[0]["kind"], demand[0]["count"]) == ("Infeasible", "task", 1)
    assert "group `small` offers no disk" in demand[0]["message"]
    edit(world, workerGroups=[group(maxReplicas=2), group("disks", resources={"CPU": 0, "disk": 1})])
    assert "ran on demo-disks-0" in str(world.finish("job", seconds=JOIN_SECONDS)["status"]["outputTail"])
    becomes(world, {})
    assert "demand" not in (world.clusters.last(NAME) or {})["status"]


def test_a_conservative_cluster_grows_by_five(world: World) -> None:
    wait = {"name": "wait", "image": world.image, "command": ["sleep", "3"], "imagePullPolicy": "IfNotPresent"}
    slow = group(maxReplicas=10, template=manifests.template(terminationGracePeriodSeconds=2, initContainers=[wait]))
    start(world, slow, autoscaling={"upscaling": {"mode": "Conservative"}})
    submit(world, "job", "tasks.py 10 600 CPU=1")
    world.until(lambda: len(ever(world, "small")) == 10, "all that may be come in the end", JOIN_SECONDS)
    made = sorted(created_at(pod) for pod in world.workers())
    running = world.until(lambda: list(filter(None, map(started_at, world.workers()))), "one of the first runs")
    assert made[5] >= min(running), "the sixth comes when one of the five is there"


def test_another_group_takes_over_while_the_preferred_one_does_not_start(world: World) -> None:
    gated = manifests.template(terminationGracePeriodSeconds=2, schedulingGates=[{"name": "shoal.dev/e2e"}])
    start(world, group("first", priority=1, template=gated), group("second"))
    assert "ran on demo-second-0" in run(world, "one", "tasks.py 1 0 CPU=1")
    assert blocked(world, "first")["reason"] == "SchedulingGated"
    said = explain(world)
    assert "SchedulingGated" in said
    assert "adding 1 worker to group `second` for 1 task of 1 CPU" in said
    becomes(world, {})
    retry_at = datetime.fromisoformat(blocked(world, "first")["retryAt"]).timestamp()
    world.until(lambda: time.time() > retry_at, "its cool-down is over")
    submit(world, "two", "tasks.py 1 0 CPU=1")
    probe = world.until(
        lambda: [pod for pod in world.workers() if group_of(pod) == "first"], "the first is tried again"
    )
    change = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])
    world.kubectl("patch", "pod", probe[0]["metadata"]["name"], "--type=json", "--patch", change)
    assert "ran on demo-first-" in str(world.finish("two", seconds=JOIN_SECONDS)["status"]["outputTail"])
    world.until(lambda: not blocked(world, "first"), "nothing holds it up any more")


def test_a_group_without_nodes_is_used_again_once_it_is_put_right(world: World) -> None:
    nowhere = manifests.template(nodeSelector={"shoal.dev/e2e": "nowhere"}, terminationGracePeriodSeconds=2)
    start(world, group("first", priority=1, template=nowhere), group("second"))
    assert "ran on demo-second-0" in run(world, "one", "tasks.py 1 0 CPU=1")
    assert blocked(world, "first")["reason"] == "Unschedulable"
    assert condition(world.clusters.last(NAME), "Ready").get("status") == "True"
    becomes(world, {})
    edit(world, workerGroups=[group("first", priority=1), group("second")])
    assert "ran on demo-first-" in run(world, "two", "tasks.py 1 0 CPU=1")
    assert not blocked(world, "first")


def test_a_quota_on_the_preferred_group_sends_work_to_the_next(world: World) -> None:
    asks = {"name": "shoal", "resources": {"requests": {"memory": "32Mi"}}}
    counted = manifests.template(terminationGracePeriodSeconds=2, containers=[asks])
    hard = {"hard": {"pods": "0"}, "scopes": ["NotBestEffort"]}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "nothing"}, "spec": hard}
    world.apply(quota)
    start(world, group("first", priority=1, template=counted), group("second"))
    assert "ran on demo-second-0" in run(world, "one", "tasks.py 1 0 CPU=1")
    assert blocked(world, "first")["reason"] == "QuotaExceeded"
    world.kubectl("delete", "resourcequota", "nothing")
    becomes(world, {})
    retry_at = datetime.fromisoformat(blocked(world, "first")["retryAt"]).timestamp()
    world.until(lambda: time.time() > retry_at, "its cool-down is over")
    assert "ran on demo-first-" in run(world, "two", "tasks.py 1 0 CPU=1")
    world.until(lambda: not blocked(world, "first"), "nothing holds it up any more")


def test_a_head_with_its_state_on_a_volume_scales_on_after_its_loss(world: World) -> None:
    start(world, group(), state={"backend": "PersistentVolume"})
    assert "ran on" in run(world, "one", "tasks.py 2 0.2 CPU=1")
    becomes(world, {})
    head = world.pods.now()[f"{NAME}-head"]["metadata"]["uid"]
    world.kubectl("delete", "pod", f"{NAME}-head", "--wait=false")
    world.until(
        lambda: world.pods.now().get(f"{NAME}-head", {}).get("metadata", {}).get("uid", head) != head,
        "another head",
        45,
    )
    world.until(lambda: is_true(world.clusters.last(NAME), "Ready"), "the cluster is ready again", 45)
    assert "ran on" in run(world, "two", "tasks.py 2 0.2 CPU=1")
    becomes(world, {})
