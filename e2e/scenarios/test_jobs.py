"""A job from nothing to its end, the good one and the bad ones."""

from __future__ import annotations

from e2e import manifests
from e2e.world import World, condition, is_true

GROW_AND_SHRINK = """
    import os, time
    import shoal

    @shoal.remote(num_cpus=1)
    def where(number):
        time.sleep(0.5)
        return number * number, os.environ["POD_NAME"]

    def workers():
        return [node["NodeName"] for node in shoal.nodes() if node["Alive"] and "head" not in node["NodeName"]]

    shoal.init()
    print("before:", len(workers()), "workers", flush=True)
    results = shoal.get([where.remote(n) for n in range(6)])
    print("squares:", [square for square, _ in results], flush=True)
    print("ran on:", sorted({pod for _, pod in results}), flush=True)
    deadline = time.monotonic() + 60
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    print("after:", len(workers()), "workers", flush=True)
"""


def test_a_job_grows_its_workers_from_nothing_and_loses_them_again(world: World) -> None:
    world.start_job(GROW_AND_SHRINK)
    log = world.follow_log("job-head")
    world.until(lambda: len(world.workers()) == 2, "two workers come from the demand")
    header = world.kubectl("get", "computecluster", "job").splitlines()[0].split()
    assert header == ["NAME", "READY", "DESIRED", "WORKERS", "REASON", "AGE"]
    job = world.finish()
    output = job["status"]["outputTail"]
    assert "before: 0 workers" in output
    assert "squares: [0, 1, 4, 9, 16, 25]" in output
    assert "ran on: ['job-small-0', 'job-small-1']" in output
    assert "after: 0 workers" in output
    assert world.pods.names() == ["job-head", "job-small-0", "job-small-1"]
    words = [word for word in world.transitions() if "HeadReachable" not in word]
    assert words == ["Running", "not Running", "Complete"]
    assert job["status"]["tasks"] == {"submitted": 6, "finished": 6, "failed": 0}
    assert "squares: [0, 1, 4, 9, 16, 25]" in log.finish(20.0 * world.provider.patience)
    world.until(lambda: not world.clusters.now(), "the job's cluster goes")
    world.pods_are_gone()
    header, row = (line.split() for line in world.kubectl("get", "computejobs").splitlines())
    assert header == ["NAME", "STATUS", "REASON", "DONE", "TASKS", "AGE"]
    assert row[:2] == ["job", "Complete"]
    described = world.kubectl("describe", "computejob", "job")
    assert "Succeeded" in described.partition("Events:")[2], described


def test_workers_are_drained_before_they_go(world: World) -> None:
    world.start_job(GROW_AND_SHRINK, groups=(manifests.group(maxReplicas=1),))
    world.finish()
    drained = world.pods.first("job-small-0", lambda pod: "shoal.dev/drain" in pod["metadata"].get("annotations", {}))
    deleted = world.pods.first("job-small-0", lambda pod: "deletionTimestamp" in pod["metadata"])
    assert drained is not None
    assert "Idle" in drained.object["metadata"]["annotations"]["shoal.dev/drain"]
    assert deleted is not None
    assert drained.at <= deleted.at


def test_a_job_goes_after_its_time_to_live(world: World) -> None:
    world.start_job("print('short')", ttlSecondsAfterFinished=1)
    world.until(lambda: is_true(world.jobs.last("job"), "Complete"), "the job is Complete")
    world.until(lambda: not world.jobs.now() and not world.clusters.now(), "the job goes by itself")
    world.pods_are_gone()


def test_a_failing_program_shows_its_traceback(world: World) -> None:
    world.start_job("def deep():\n    raise ValueError('boom')\n\ndeep()\n")
    job = world.finish(outcome="Failed")
    failed = condition(job, "Failed")
    assert failed["reason"] == "EntrypointFailed"
    assert "exit code 1" in failed["message"]
    output = job["status"]["outputTail"]
    assert "Traceback" in output
    assert "in deep" in output
    assert output.rstrip().endswith("ValueError: boom")
    assert not is_true(job, "Complete")
    world.until(lambda: not world.clusters.now(), "the job's cluster goes")
    world.pods_are_gone()
    assert world.kubectl("get", "computejob", "job").splitlines()[1].split()[:3] == [
        "job",
        "Failed",
        "EntrypointFailed",
    ]
    assert "EntrypointFailed" in world.kubectl("describe", "computejob", "job").partition("Events:")[2]
    world.kubectl("delete", "computejob", "job")
    assert not world.kubectl("get", "computejobs", "-o", "name")


def test_a_program_that_is_not_there_says_so(world: World) -> None:
    world.start_job("", entrypoint="no-such-program --flag")
    job = world.finish(outcome="Failed")
    assert condition(job, "Failed")["reason"] == "EntrypointNotFound"
    assert "127" in condition(job, "Failed")["message"]
    assert "no-such-program" in job["status"]["outputTail"]


def test_two_jobs_run_side_by_side(world: World) -> None:
    text = """
        import os
        import shoal
        GATE
        @shoal.remote(num_cpus=1)
        def pod():
            pass_gate()
            return os.environ["POD_NAME"]

        print("ran on", shoal.get(pod.remote()), flush=True)
    """
    for name in ("left", "right"):
        world.start_job(text, name, groups=(manifests.group(), manifests.gate()))
    world.until(lambda: len(world.workers(ready=True)) == 2, "both have a worker")
    assert all(is_true(world.jobs.last(name), "Running") for name in ("left", "right"))
    for name in ("left", "right"):
        world.open_gate(name)
    for name in ("left", "right"):
        assert f"ran on {name}-small-0" in world.finish(name)["status"]["outputTail"]
