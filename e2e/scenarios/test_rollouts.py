"""Changed templates reach running pods, one after the other, and never at the cost of what runs."""

from __future__ import annotations

from typing import Any

from e2e import manifests
from e2e.world import World, condition, is_true

WORKING = """
    import time
    import shoal

    @shoal.remote(num_cpus=1, max_retries=0)
    def work(i):
        time.sleep(1.0)
        return i

    print("sum", sum(shoal.get([work.remote(i) for i in range(12)])), flush=True)
"""


def versioned(version: str, **container: Any) -> manifests.Manifest:
    """A pod template whose environment names a version."""
    runtime = {"name": "shoal", "env": [{"name": "VERSION", "value": version}], **container}
    return manifests.template(containers=[runtime], terminationGracePeriodSeconds=2)


def start(world: World, name: str = "demo", **fields: Any) -> None:
    """A cluster with two workers of version 1, ready."""
    group = manifests.group(minReplicas=2, maxReplicas=2, template=versioned("1"))
    world.apply(manifests.cluster(name, manifests.cluster_spec(world.image, [group], **fields)))
    world.until(lambda: is_true(world.clusters.last(name), "Ready"), "the cluster is ready")
    world.until(lambda: len(world.workers(ready=True)) == 2, "both workers are ready")


def change(world: World, template: manifests.Manifest, name: str = "demo") -> None:
    """Give the group another template."""
    group = manifests.group(minReplicas=2, maxReplicas=2, template=template)
    world.patch(f"computecluster/{name}", {"spec": {"workerGroups": [group]}})


def versions(world: World) -> list[str]:
    """Of the workers that are there and stay."""
    found = []
    for pod in world.workers():
        runtime = next(item for item in pod["spec"]["containers"] if item["name"] == "shoal")
        found.append(next(entry["value"] for entry in runtime["env"] if entry["name"] == "VERSION"))
    return sorted(found)


def reason(world: World, name: str = "demo") -> str:
    return str(condition(world.clusters.last(name), "UpToDate").get("reason"))


def test_a_changed_template_reaches_the_workers_while_a_job_runs(world: World) -> None:
    start(world)
    head = world.pods.now()["demo-head"]["metadata"]["uid"]
    program = "python - <<'END'\n" + manifests.program("x", WORKING)["data"]["main.py"] + "END\n"
    world.apply(manifests.job("job", clusterRef={"name": "demo"}, entrypoint=program))
    world.until(lambda: is_true(world.jobs.last("job"), "Running"), "the job runs")
    change(world, versioned("2"))
    assert "sum 66" in world.finish()["status"]["outputTail"]
    world.until(lambda: versions(world) == ["2", "2"], "all workers are of the new version")
    world.until(lambda: is_true(world.clusters.last("demo"), "UpToDate"), "and the condition says so")
    assert world.pods.now()["demo-head"]["metadata"]["uid"] == head
    seen = world.clusters.first("demo", lambda item: condition(item, "UpToDate").get("reason") == "RollingOut")
    assert seen is not None
    assert "workers of group `small` run the present template" in condition(seen.object, "UpToDate")["message"]


def test_a_bad_template_stops_the_update_and_takes_nothing_down(world: World) -> None:
    start(world)
    before = {pod["metadata"]["uid"] for pod in world.workers(ready=True)}
    broken = versioned(
        "2",
        env=[
            {"name": "VERSION", "value": "2"},
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}},
        ],
    )
    change(world, broken)
    world.until(lambda: reason(world) == "RolloutStuck", "the update stops")
    message = condition(world.clusters.last("demo"), "UpToDate")["message"]
    assert "demo-small-2" in message
    assert before == {pod["metadata"]["uid"] for pod in world.workers(ready=True)}
    change(world, versioned("3"))
    world.until(lambda: versions(world) == ["3", "3"], "the corrected template reaches all")


def test_on_delete_leaves_pods_until_somebody_deletes_them(world: World) -> None:
    start(world, updateStrategy={"type": "OnDelete"})
    change(world, versioned("2"))
    world.until(lambda: reason(world) == "WaitingForDeletion", "the condition says what is waited for")
    assert versions(world) == ["1", "1"]
    world.kubectl("delete", "pod", "demo-small-0", "--wait=false")
    world.until(lambda: versions(world) == ["1", "2"], "the deleted one follows")


def test_recreate_replaces_all_at_once(world: World) -> None:
    start(world, updateStrategy={"type": "Recreate"})
    before = {pod["metadata"]["uid"] for pod in world.workers()}
    change(world, versioned("2"))
    world.until(lambda: versions(world) == ["2", "2"], "all are new")
    world.until(lambda: len(world.workers(ready=True)) == 2, "and run")
    assert not before & {pod["metadata"]["uid"] for pod in world.workers()}
    world.until(lambda: is_true(world.clusters.last("demo"), "UpToDate"), "and the condition says so")
