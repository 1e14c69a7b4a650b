"""A job's whole life through the whole operator: stops, finalizers, turns on a shared cluster, interactive use."""

import asyncio

from shoal.protocol import head_pb2
from shoal_operator.domain.labels import STOP_PROGRAM

from .conftest import a_cluster, a_job, at_rest, condition, heard, is_true, until

JOBS = "/apis/shoal.dev/v1alpha1/namespaces/default/computejobs"
JOB = f"{JOBS}/demo"


async def running(world, **spec):
    await world.api.create("computejobs", a_job(**spec))
    head = await world.serve_head()
    await until(world.api.job, is_true("Running"))
    return head


async def shared(world, **spec):
    """A cluster that several jobs use, and its head."""
    await world.api.create("computeclusters", a_cluster("shared", workerGroups=[{"name": "a"}], **spec))
    return await world.serve_head("shared")


def stopped(head):
    return [name for kind, name in head.commands if kind == "stop"]


async def test_a_deadline_is_reported_when_the_end_is_seen(world):
    async with world.operator():
        head = await running(world, activeDeadlineSeconds=1)
        head.ignores_stops = True
        await until(world.api.job, is_true("Stopping"))
        await until(lambda: asyncio.sleep(0, stopped(head)))
        job = await world.api.job()
        assert condition(job, "Failed") == ("False", "NotFinished")
        assert job["status"]["summary"] == "Stopping"
        head.finish_jobs(head_pb2.JOB_STATE_STOPPED, reason="DeadlineExceeded")
        job = await until(world.api.job, is_true("Failed"))
        assert condition(job, "Failed") == ("True", "DeadlineExceeded")


async def test_an_operator_that_dies_while_it_stops_a_program_goes_on_with_that(world):
    async with world.operator():
        head = await running(world, activeDeadlineSeconds=1)
        head.ignores_stops = True
        await until(world.api.job, is_true("Stopping"))
    head.ignores_stops = False
    async with world.operator(seed=1):
        job = await until(world.api.job, is_true("Failed"))
        assert condition(job, "Failed") == ("True", "DeadlineExceeded")


async def test_a_job_on_a_shared_cluster_stops_its_program_before_it_goes(world):
    async with world.operator():
        head = await shared(world)
        await world.api.create("computejobs", a_job(clusterRef={"name": "shared"}))
        job = await until(world.api.job, is_true("Running"))
        assert job["metadata"]["finalizers"] == [STOP_PROGRAM]
        await world.api.delete(JOB)
        await until(world.api.job, lambda job: job is None)
        assert stopped(head) == [f"{job['metadata']['uid']}-1"]
        assert await world.api.cluster("shared") is not None


async def test_jobs_on_a_shared_cluster_take_turns_and_nobody_polls(world):
    async with world.operator():
        head = await shared(world, jobConcurrency=1)
        for name in ("a", "b", "c"):
            await world.api.create("computejobs", a_job(name, clusterRef={"name": "shared"}))
            uid = (await world.api.job(name))["metadata"]["uid"]
            if name == "a":
                first = uid
                await until(lambda: world.api.job("a"), is_true("Running"))
        for name in ("b", "c"):
            waits = lambda job: (job.get("status") or {}).get("reason") == "ConcurrencyLimit"  # noqa: E731
            job = await until(lambda name=name: world.api.job(name), waits)
            assert "`a`" in job["status"]["message"]
        assert head.commands == [("submit", f"{first}-1")]
        order = []
        for _ in range(3):
            current = next(job for job in head.snapshot.jobs if job.state == head_pb2.JOB_STATE_RUNNING)
            order.append(current.submission_id)
            count = len(head.commands)
            head.finish_jobs()
            if len(order) < 3:
                await until(lambda count=count: asyncio.sleep(0, len(head.commands) > count), seconds=3)
                await until(lambda: asyncio.sleep(0, head.snapshot.jobs[-1].state == head_pb2.JOB_STATE_RUNNING))
        uids = [(await world.api.job(name))["metadata"]["uid"] for name in ("a", "b", "c")]
        assert order == [f"{uid}-1" for uid in uids]


async def test_a_place_is_free_when_its_job_is_deleted(world):
    async with world.operator():
        head = await shared(world, jobConcurrency=1)
        for name in ("a", "b"):
            await world.api.create("computejobs", a_job(name, clusterRef={"name": "shared"}))
            await until(lambda name=name: world.api.job(name), lambda job: job.get("status"))
        await until(lambda: world.api.job("a"), is_true("Running"))
        await world.api.delete(f"{JOBS}/a")
        await until(lambda: world.api.job("b"), is_true("Running"))
        assert len(head.commands) == 3


async def test_an_interactive_job_follows_the_submission_that_its_user_names(world):
    async with world.operator():
        await world.api.create("computejobs", a_job(mode="Interactive", entrypoint=""))
        head = await world.serve_head()
        waits = lambda job: (job.get("status") or {}).get("reason") == "WaitingForSubmission"  # noqa: E731
        job = await until(world.api.job, waits)
        assert job["status"]["headAddress"] == "demo-head.default.svc:7380"
        head.change(jobs=[head_pb2.JobSnapshot(submission_id="mine", state=head_pb2.JOB_STATE_RUNNING)])
        await world.api.patch(JOB, {"spec": {"submissionId": "mine"}})
        await until(world.api.job, is_true("Running"))
        head.finish_jobs()
        await until(world.api.job, is_true("Complete"))
        assert head.commands == []


async def test_a_wrong_edit_of_a_running_job_is_a_condition_and_the_program_goes_on(world):
    async with world.operator():
        head = await running(world, clusterSpec={"workerGroups": [{"name": "a"}]})
        template = {"spec": {"containers": {"name": "shoal"}}}
        await world.api.patch(JOB, {"spec": {"clusterSpec": {"workerGroups": [{"name": "a", "template": template}]}}})
        job = await until(world.api.job, is_true("InvalidSpec"))
        assert condition(job, "Running")[0] == "True"
        assert stopped(head) == []
        head.finish_jobs()
        await until(world.api.job, is_true("Complete"))


async def test_what_is_known_about_a_failure_stays_when_the_cluster_has_gone(world):
    async with world.operator():
        head = await running(world)
        head.finish_jobs(head_pb2.JOB_STATE_FAILED, exit_code=139, reason="EntrypointFailed", output_tail="segfault\n")
        await until(world.api.cluster, lambda cluster: cluster is None)
        job = await world.api.job()
        assert job["status"]["failure"]["exitCode"] == 139
        assert job["status"]["failure"]["signal"] == 11
        assert job["status"]["outputTail"] == "segfault\n"


async def test_a_head_that_is_cut_off_is_a_condition(world):
    async with world.operator():
        head = await running(world)
        await head.server.stop(0)
        job = await until(world.api.job, lambda job: condition(job, "HeadReachable")[0] == "Unknown")
        assert condition(job, "Running")[0] == "True"
        assert condition(job, "Failed")[0] == "False"


async def test_a_running_job_that_nothing_happens_to_is_not_written(world):
    async with world.operator() as operator:
        head = await running(world)
        await at_rest(world, operator)
        before = len(world.recorder.writes(without=["/events"]))
        for turn in range(2):
            heard_at = await heard(operator)
            head.change()  # a heartbeat
            await heard(operator, heard_at)
            await world.api.patch(JOB, {"metadata": {"annotations": {"look": str(turn)}}})
            await at_rest(world, operator)
        assert len(world.recorder.writes(without=["/events"])) == before
