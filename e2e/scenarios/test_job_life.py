"""A job's life between its start and its end: stops with grace, drivers on workers, turns on a shared cluster."""

from __future__ import annotations

from e2e import manifests
from e2e.world import World, condition, is_true

POLITE = """
    import signal, sys, time

    def end(*_):
        print("said goodbye", flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    time.sleep(300)
"""
WHERE = """
    import os
    import shoal

    @shoal.remote(num_cpus=1)
    def task():
        return os.environ["POD_NAME"]

    print("driver on", os.environ["POD_NAME"], flush=True)
    print("task on", shoal.get(task.remote()), flush=True)
"""


def test_a_suspended_program_ends_with_grace_and_begins_again(world: World) -> None:
    world.start_job(POLITE)
    world.wrote("ready")
    log = world.follow_log("job-head")
    world.patch("computejob/job", {"spec": {"suspend": True}})
    world.prints(log, "said goodbye")
    world.until(lambda: is_true(world.jobs.last("job"), "Suspended"), "the job is suspended")
    assert "Stopping" in world.transitions()
    world.until(lambda: not world.clusters.now(), "its cluster goes")
    world.pods_are_gone()
    world.patch("computejob/job", {"spec": {"suspend": False}})
    world.until(lambda: is_true(world.jobs.last("job"), "Running"), "the job runs again")
    job = world.jobs.now()["job"]
    assert (job["status"]["attempt"], job["status"]["failedAttempts"]) == (2, 0)
    world.kubectl("delete", "computejob", "job")


def test_a_deadline_stops_the_program_and_then_says_so(world: World) -> None:
    world.start_job(POLITE, activeDeadlineSeconds=2, cleanupPolicy=[{"outcome": "Failed", "action": "KeepCluster"}])
    job = world.finish(outcome="Failed")
    failed = condition(job, "Failed")
    assert failed["reason"] == "DeadlineExceeded"
    assert "activeDeadlineSeconds (2 s) and was stopped" in failed["message"]
    assert "said goodbye" in job["status"]["outputTail"]
    words = world.transitions()
    assert words.index("Stopping") < words.index("Failed")


def test_a_driver_with_resources_runs_on_a_worker_that_is_made_for_it(world: World) -> None:
    groups = (manifests.group("drivers", maxReplicas=1, resources={"CPU": 1, "driver": 1}), manifests.group())
    world.start_job(WHERE, groups=groups, entrypointResources={"CPU": 1, "driver": 1})
    output = world.finish()["status"]["outputTail"]
    assert "driver on job-drivers-0" in output
    assert "task on job-small-0" in output


def test_jobs_on_a_shared_cluster_take_turns_and_stop_when_they_are_deleted(world: World) -> None:
    world.apply(manifests.cluster("shared", manifests.cluster_spec(world.image, jobConcurrency=1)))
    command = "echo $$; sleep 300"
    world.apply(manifests.job("first", clusterRef={"name": "shared"}, entrypoint=command))
    world.wrote("\n", "first")
    world.apply(manifests.job("second", clusterRef={"name": "shared"}, entrypoint="echo mine"))

    def waits() -> bool:
        status = (world.jobs.last("second") or {}).get("status") or {}
        return status.get("reason") == "ConcurrencyLimit" and "`first`" in status["message"]

    world.until(waits, "the second job waits for the first")
    world.kubectl("delete", "computejob", "first", "--timeout=20s")
    assert "mine" in world.finish("second")["status"]["outputTail"]


def test_after_the_end_workers_go_first_then_the_cluster_then_the_job(world: World) -> None:
    steps = (("DeleteWorkers", 1), ("DeleteCluster", 4), ("DeleteJob", 6))
    rules = [{"outcome": "Complete", "action": action, "afterSeconds": after} for action, after in steps]
    world.start_job("print('short')", groups=(manifests.group(minReplicas=1),), cleanupPolicy=rules)
    world.finish()
    world.until(lambda: not world.workers() and "job-head" in world.pods.now(), "the workers go, the head stays")
    world.until(lambda: not world.clusters.now() and world.jobs.now(), "the cluster goes, the job stays")
    world.until(lambda: not world.jobs.now(), "the job goes")


def test_the_whole_output_is_saved_or_the_job_says_why_not(world: World) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"KEY": "secret"}}
    world.apply(secret)
    output = {"url": "file:///tmp/{name}-{attempt}.log", "secretRef": {"name": "keys"}}
    world.start_job("print('kept')", "kept", output=output)
    world.start_job("print('lost')", "lost", output={"url": "nowhere://bucket/{name}"})
    for name, reason in (("kept", "OutputSaved"), ("lost", "OutputNotSaved")):
        assert name in world.finish(name)["status"]["outputTail"]

        def said(name: str = name, reason: str = reason) -> bool:
            return condition(world.jobs.last(name), "OutputSaved").get("reason") == reason

        world.until(said, f"job {name} says {reason}")
    assert "nowhere" in condition(world.jobs.last("lost"), "OutputSaved")["message"]
    world.until(lambda: not world.clusters.now(), "the clusters go all the same")
    assert "OutputNotSaved" in world.kubectl("describe", "computejob", "lost").partition("Events:")[2]
