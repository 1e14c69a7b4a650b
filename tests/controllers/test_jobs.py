"""Jobs through the whole operator, with a head that speaks the real protocol."""

import asyncio

import grpc

from shoal.protocol import head_pb2

from .conftest import a_cluster, a_job, at_rest, condition, heard, is_true, until

JOB = "/apis/shoal.dev/v1alpha1/namespaces/default/computejobs/demo"


async def submitted(world):
    """A job whose program runs, and its head."""
    await world.api.create("computejobs", a_job())
    head = await world.serve_head()
    await until(world.api.job, is_true("Running"))
    return head


async def test_a_job_runs_and_takes_its_cluster_with_it(world):
    async with world.operator():
        head = await submitted(world)
        job = await world.api.job()
        assert head.commands == [("submit", f"{job['metadata']['uid']}-1")]
        head.finish_jobs(exit_code=0, output_tail="42 functions\n", tasks_finished=7)
        job = await until(world.api.job, is_true("Complete"))
        assert job["status"]["outputTail"] == "42 functions\n"
        await until(world.api.cluster, lambda cluster: cluster is None)
        await until(world.api.pods, lambda pods: pods == [])
        assert condition(await world.api.job(), "Complete")[0] == "True"


async def test_a_failing_program_says_so(world):
    async with world.operator():
        head = await submitted(world)
        head.finish_jobs(
            head_pb2.JOB_STATE_FAILED, exit_code=3, reason="EntrypointFailed", output_tail="ValueError: no\n"
        )
        job = await until(world.api.job, is_true("Failed"))
        assert condition(job, "Failed") == ("True", "EntrypointFailed")
        assert "ValueError" in job["status"]["outputTail"]


async def test_a_finished_job_goes_after_its_time_to_live(world):
    async with world.operator():
        await world.api.create("computejobs", a_job(ttlSecondsAfterFinished=0))
        head = await world.serve_head()
        await until(world.api.job, is_true("Running"))
        head.finish_jobs()
        await until(world.api.job, lambda job: job is None)


async def test_a_restart_in_the_middle_submits_nothing_and_loses_nothing(world):
    async with world.operator() as operator:
        head = await submitted(world)
        await at_rest(world, operator)
    pods = {pod["metadata"]["uid"] for pod in await world.api.pods()}
    before = len(world.recorder.writes())
    async with world.operator(seed=1) as operator:
        await heard(operator)
        await at_rest(world, operator)
        assert world.recorder.writes()[before:] == []
        assert len(head.commands) == 1
        head.finish_jobs()
        await until(world.api.job, is_true("Complete"))
    assert {pod["metadata"]["uid"] for pod in await world.api.pods()} <= pods


async def test_a_program_that_ends_while_the_operator_is_away_is_complete(world):
    async with world.operator():
        head = await submitted(world)
    head.finish_jobs()
    async with world.operator(seed=1):
        await until(world.api.job, is_true("Complete"))


async def test_a_head_that_hangs_holds_nobody_else_up(world):
    async with world.operator(workers=1):
        await world.api.create("computejobs", a_job("stuck"))
        head = await world.serve_head("stuck")
        head.hang = True
        await until(lambda: asyncio.sleep(0, head.commands))
        await world.api.create("computeclusters", a_cluster("other"))
        await until(lambda: world.api.cluster("other"), is_true("HeadReady"), seconds=3)


async def test_a_program_that_the_head_refuses_fails_with_its_words(world):
    async with world.operator():
        await world.api.create("computejobs", a_job())
        head = await world.serve_head()
        head.refusal = (grpc.StatusCode.UNAVAILABLE, "not yet")
        await until(world.api.job, lambda job: "not yet" in str(job.get("status")))
        head.refusal = (grpc.StatusCode.INVALID_ARGUMENT, "there is no directory /nowhere")
        job = await until(world.api.job, is_true("Failed"))
        assert condition(job, "Failed") == ("True", "SubmissionRefused")
        assert "there is no directory /nowhere" in job["status"]["message"]


async def test_a_job_on_an_existing_cluster_leaves_it_there(world):
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster("shared"))
        head = await world.serve_head("shared")
        await world.api.create("computejobs", a_job(clusterRef={"name": "shared"}))
        await until(world.api.job, is_true("Running"))
        head.finish_jobs()
        await until(world.api.job, is_true("Complete"))
        await at_rest(world, operator)
        assert await world.api.cluster("shared") is not None


async def test_suspend_stops_the_program_and_resume_starts_it_anew(world):
    async with world.operator():
        head = await submitted(world)
        await world.api.patch(JOB, {"spec": {"suspend": True}})
        await until(world.api.pods, lambda pods: pods == [])
        await head.server.stop(0)
        await world.api.patch(JOB, {"spec": {"suspend": False}})
        second = await world.serve_head()
        second.change(incarnation="second")
        await until(world.api.job, is_true("Running"))
        uid = (await world.api.job())["metadata"]["uid"]
        assert second.commands == [("submit", f"{uid}-2")]


async def test_workers_that_are_not_let_in_keep_no_program_from_running(world):
    world.recorder.spoil_body = lambda method, path, body: (
        (403, "exceeded quota: small") if path.endswith("/pods") and '"demo-small-' in body else None
    )
    async with world.operator():
        groups = [{"name": "small", "minReplicas": 2}]
        await world.api.create("computejobs", a_job(clusterSpec={"workerGroups": groups}))
        head = await world.serve_head()
        job = await until(world.api.job, is_true("Running"))
        await until(world.api.cluster, lambda found: condition(found, "Ready") == ("False", "QuotaExceeded"))
        await until(world.api.job, lambda job: "exceeded quota: small" in job["status"].get("message", ""))
        assert await world.api.pod_names() == ["demo-head"]
        assert head.commands == [("submit", f"{job['metadata']['uid']}-1")]


async def test_a_cluster_that_is_refused_is_said_on_the_job(world):
    words = 'computeclusters.shoal.dev "demo" is forbidden: exceeded quota: small'
    refuses = lambda method, path, _: (403, words) if method == "PATCH" and path.endswith("/demo") else None  # noqa: E731
    world.recorder.spoil_body = refuses
    async with world.operator():
        await world.api.create("computejobs", a_job())
        job = await until(world.api.job, lambda job: (job.get("status") or {}).get("reason") == "WriteRefused")
        assert "exceeded quota: small" in job["status"]["message"]
        assert condition(job, "Running") == ("False", "WriteRefused")
        world.recorder.spoil_body = lambda method, path, body: None
        await world.api.patch(JOB, {"metadata": {"labels": {"look": "again"}}})
        await until(world.api.cluster, lambda cluster: cluster is not None)
        await until(world.api.job, lambda job: job["status"]["reason"] != "WriteRefused")
        assert [event for event in await world.api.events() if event == ("WriteRefused", "demo")] == [
            ("WriteRefused", "demo")
        ]
