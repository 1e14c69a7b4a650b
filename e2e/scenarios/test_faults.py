"""Pods, containers and the operator end abruptly: the job is right all the same, or says what happened to it."""

from __future__ import annotations

import time

import pytest

from e2e import manifests
from e2e.world import World, condition, is_true

SQUARES = """
    import os, time
    import shoal

    @shoal.remote(num_cpus=1)
    def square(number):
        print("task", number, "on", os.environ["POD_NAME"], flush=True)
        time.sleep(0.4)
        return number * number

    print("sum:", sum(shoal.get([square.remote(n) for n in range(16)])), flush=True)
"""
SUM = "sum: 1240"

PATIENT = """
    import os, time
    print("begin", flush=True)
    time.sleep(float(os.environ["PATIENCE"]))
    print("end", flush=True)
"""
QUIET_SECONDS = 10.0
LONG = [{"name": "PATIENCE", "value": "300"}]
SHORT = [{"name": "PATIENCE", "value": "0"}]

GATED = """
    import shoal
    GATE
    @shoal.remote(num_cpus=1)
    def task():
        print("task begins", flush=True)
        pass_gate()
        return 42

    print("answer:", shoal.get(task.remote()), flush=True)
"""


def test_a_worker_pod_is_deleted_while_it_works(world: World) -> None:
    world.start_job(SQUARES)
    world.prints(world.follow_log("job-head"), "on job-small-0")
    uid = world.pods.now()["job-small-0"]["metadata"]["uid"]
    world.kubectl("delete", "pod", "job-small-0", "--wait=false", "--grace-period=1")
    assert not is_true(world.jobs.last("job"), "Complete")
    job = world.finish()
    assert SUM in job["status"]["outputTail"]

    def gone() -> set[str]:
        return {seen.object["metadata"]["uid"] for seen in world.pods.all("job-small-0") if seen.kind == "DELETED"}

    world.until(lambda: uid in gone(), "the deleted pod is gone: its last seconds may be longer than the job")


def test_a_worker_container_is_killed_while_it_works(world: World) -> None:
    world.start_job(SQUARES)
    world.prints(world.follow_log("job-head"), "on job-small-0")
    world.provider.kill_container(world.pods.now()["job-small-0"])
    assert not is_true(world.jobs.last("job"), "Complete")
    assert SUM in world.finish()["status"]["outputTail"]
    killed = world.pods.first("job-small-0", _was_killed)
    assert killed is not None


def _was_killed(pod: dict[str, object]) -> bool:
    return "'exitCode': 137" in str(pod.get("status"))


def test_a_lost_head_fails_a_job_that_may_not_be_repeated(world: World) -> None:
    world.start_job(PATIENT, env=LONG)
    world.prints(world.follow_log("job-head"), "begin")
    world.until(lambda: is_true(world.jobs.last("job"), "Running"), "the job is running")
    world.provider.kill_container(world.pods.now()["job-head"])
    failed = condition(world.finish(outcome="Failed"), "Failed")
    assert failed["reason"] == "HeadLost"
    assert "backoffLimit" in failed["message"]
    world.until(
        lambda: "exit code 137" in str(world.jobs.now()["job"]["status"]["failure"].get("pods")),
        "the end of the head's container is among the pods",
    )
    assert "HeadLost" in world.kubectl("get", "computejob", "job")
    world.pods_are_gone()


def test_a_lost_head_is_made_good_by_another_attempt(world: World) -> None:
    world.start_job(PATIENT, env=LONG, backoffLimit=1)
    world.prints(world.follow_log("job-head"), "begin")
    world.until(lambda: is_true(world.jobs.last("job"), "Running"), "the job is running")
    world.patch("computejob/job", {"spec": {"env": SHORT}})
    world.kubectl("delete", "pod", "job-head", "--wait=false", "--grace-period=1")
    job = world.finish()
    assert (job["status"]["attempt"], job["status"]["failedAttempts"]) == (2, 1)
    assert "end" in job["status"]["outputTail"]
    assert "Retrying" in world.kubectl("describe", "computejob", "job").partition("Events:")[2]


@pytest.mark.alone
def test_a_restarted_operator_writes_nothing_and_changes_no_pod(world: World) -> None:
    groups = (manifests.group(), manifests.gate())
    world.start_job(GATED, groups=groups)
    world.prints(world.follow_log("job-head"), "task begins")
    world.settles()
    before = world.resource_versions()
    assert any(" Pod job-small-0" in key for key in before)
    world.provider.restart_operator()
    restarted_at = time.time()
    world.until(lambda: time.time() - restarted_at > QUIET_SECONDS, "some time passes", QUIET_SECONDS + 1.0)
    assert world.resource_versions() == before
    world.open_gate()
    assert "answer: 42" in world.finish()["status"]["outputTail"]
    assert world.pods.names() == ["job-head", "job-small-0", "job-gate-0"]
    assert all(len(_uids(world, name)) == 1 for name in world.pods.names())


def _uids(world: World, name: str) -> set[str]:
    return {seen.object["metadata"]["uid"] for seen in world.pods.all(name)}
