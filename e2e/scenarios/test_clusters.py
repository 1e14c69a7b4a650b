"""Clusters: shared by jobs, too small for the work, suspended, and deleted with all that is theirs."""

from __future__ import annotations

from e2e import manifests
from e2e.world import World, condition, is_true

POD_OF_A_TASK = """
    import os
    import shoal

    @shoal.remote(num_cpus=1)
    def pod():
        return os.environ["POD_NAME"]

    print("ran on", shoal.get(pod.remote()), flush=True)
"""

HUGE_TASK = """
    import shoal

    @shoal.remote(num_cpus=8)
    def huge():
        return "done"

    print("huge task:", shoal.get(huge.remote()), flush=True)
"""

PATIENT = """
    import os, time
    import shoal

    @shoal.remote(num_cpus=1)
    def wait(seconds):
        time.sleep(seconds)
        return "waited"

    print("begin", flush=True)
    print(shoal.get(wait.remote(float(os.environ["PATIENCE"]))), flush=True)
"""
MADE_BY_OTHERS = {"v1 ConfigMap job-program", "v1 ConfigMap kube-root-ca.crt", "v1 ServiceAccount default"}
LONG = ({"name": "PATIENCE", "value": "300"},)
SHORT = ({"name": "PATIENCE", "value": "0"},)


def test_jobs_share_a_cluster_that_outlives_them(world: World) -> None:
    head = manifests.template(
        volumes=[{"name": "programs", "configMap": {"name": "programs"}}],
        containers=[
            {
                "name": "shoal",
                "env": [{"name": "PROGRAMS", "value": "/programs"}],
                "volumeMounts": [{"name": "programs", "mountPath": "/programs"}],
            }
        ],
    )
    groups = [manifests.group(minReplicas=1, maxReplicas=1)]
    spec = manifests.cluster_spec(world.image, groups, head={"template": head})
    world.apply(manifests.program("programs", POD_OF_A_TASK), manifests.cluster("shared", spec))
    world.until(lambda: is_true(world.clusters.last("shared"), "Ready"), "the cluster is ready")
    row = world.kubectl("get", "computecluster", "shared").splitlines()[1].split()
    assert row[:4] == ["shared", "True", "1", "1"]
    before = {name: pod["metadata"]["uid"] for name, pod in world.pods.now().items()}
    for name in ("first", "second"):
        command = "python $PROGRAMS/main.py"
        world.apply(manifests.job(name, clusterRef={"name": "shared"}, entrypoint=command))
        assert "ran on shared-small-0" in world.finish(name)["status"]["outputTail"]
        world.kubectl("delete", "computejob", name)
    assert {name: pod["metadata"]["uid"] for name, pod in world.pods.now().items()} == before
    assert world.clusters.names() == ["shared"]
    world.kubectl("delete", "computecluster", "shared")
    world.pods_are_gone()


def test_a_job_waits_for_the_cluster_that_it_names(world: World) -> None:
    world.apply(manifests.job("job", clusterRef={"name": "late"}, entrypoint="echo here"))
    world.until(lambda: condition(world.jobs.last("job"), "Running").get("reason") == "ClusterNotFound", "it says so")
    assert "`late`" in condition(world.jobs.last("job"), "Running")["message"]
    world.apply(manifests.cluster("late", manifests.cluster_spec(world.image)))
    assert "here" in world.finish()["status"]["outputTail"]


def test_work_that_no_group_can_hold_is_explained_and_recovers(world: World) -> None:
    world.start_job(HUGE_TASK)
    running = world.until(lambda: world.jobs.first("job", lambda job: is_true(job, "Running")), "the program runs")

    def explained() -> object:
        return world.jobs.first("job", lambda job: job.get("status", {}).get("reason") == "Infeasible")

    world.until(explained, "the job says why it waits")
    seen = world.jobs.first("job", lambda job: job.get("status", {}).get("reason") == "Infeasible")
    assert seen is not None
    assert seen.at - running.at < 5.0
    for words in ("huge", "8 CPU", "`small`", "1"):
        assert words in seen.object["status"]["message"]
    demand = condition(world.clusters.last("job"), "DemandSatisfied")
    assert (demand["status"], demand["reason"]) == ("False", "Infeasible")
    assert "Infeasible" in world.kubectl("get", "computejobs")
    world.until(
        lambda: "InfeasibleDemand" in world.kubectl("describe", "computecluster", "job").partition("Events:")[2],
        "an event tells of it",
    )
    assert not world.workers()
    bigger = manifests.cluster_spec(world.image, [manifests.group(resources={"CPU": 8})])
    world.patch("computejob/job", {"spec": {"clusterSpec": bigger}})
    assert "huge task: done" in world.finish()["status"]["outputTail"]


def test_a_suspended_job_gives_everything_back_and_begins_again(world: World) -> None:
    world.start_job(PATIENT, env=LONG)
    world.prints(world.follow_log("job-head"), "begin")
    world.until(lambda: world.workers(ready=True), "a worker comes")
    world.patch("computejob/job", {"spec": {"suspend": True}})
    world.kubectl("wait", "--for=condition=Suspended", "computejob/job", "--timeout=30s")
    world.until(lambda: not world.clusters.now(), "its cluster goes")
    world.pods_are_gone()
    assert "Suspended" in world.kubectl("get", "computejob", "job")
    world.patch("computejob/job", {"spec": {"suspend": False, "env": list(SHORT)}})
    job = world.finish()
    assert "waited" in job["status"]["outputTail"]
    assert job["status"]["attempt"] == 2
    assert not is_true(job, "Suspended")
    assert not job["status"].get("failedAttempts")


def test_a_deleted_job_takes_all_that_is_its_own_along(world: World) -> None:
    before = set(world.resource_versions())
    world.start_job(PATIENT, env=LONG)
    world.until(lambda: world.workers(ready=True), "a worker is there")
    world.kubectl("delete", "computejob", "job")
    world.until(lambda: not world.clusters.now(), "the cluster goes")
    world.pods_are_gone()

    def left() -> set[str]:
        found = {key for key in world.resource_versions() if "Event" not in key.split()[1]}
        return found - before - MADE_BY_OTHERS

    world.until(lambda: not left(), f"nothing is left but {left()}")
