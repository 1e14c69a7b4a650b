"""What a snapshot says beside the nodes: recent demand, floors, gangs, labels, and who uses the cluster."""

import time

import grpc
import pytest

from shoal.core.gangs import Gang, GangBundle
from shoal.head.journal import Journal
from shoal.head.outlook import Outlook
from shoal.head.service import HeadService
from shoal.head.state import HeadState
from shoal.head.state_file import StateFile
from shoal.jobs.package_store import PackageStore
from shoal.protocol import head_pb2, node_pb2, node_pb2_grpc
from shoal.resources import ResourceSet

ONE = ResourceSet.from_units({"CPU": 1})


@pytest.fixture
def cluster(channel):
    return node_pb2_grpc.ClusterStub(channel)


def waiting(amounts, count, **more):
    return [head_pb2.Demand(shape=amounts(CPU=1), count=count, kind="task", **more)]


async def test_demand_that_went_is_told_for_a_second_and_its_end_is_told_too(
    channel, FakeAgent, amounts, stub, wait_for
):
    async with FakeAgent(channel, "n1") as agent:
        agent.report(available=0, demands=waiting(amounts, 5, examples=["f"]))
        await wait_for(lambda s: [(d.count, d.recent_count) for d in s.demands] == [(5, 5)])
        agent.report(available=0, demands=waiting(amounts, 1, examples=["f"]))
        await wait_for(lambda s: [(d.count, d.recent_count) for d in s.demands] == [(1, 5)])
        stream = stub.Watch(head_pb2.WatchRequest(), timeout=5)
        agent.report(available=0)
        began, seen = time.monotonic(), []
        async for snapshot in stream:
            seen.append([(d.count, d.recent_count, *d.examples) for d in snapshot.demands])
            if not snapshot.demands:
                break
        assert 0.9 < time.monotonic() - began < 2.5, "its end came without any other news"
        assert [(0, 5, "f")] in seen
        stream.cancel()


@pytest.mark.parametrize("idle_seconds", [float("nan"), float("inf"), -1])
async def test_a_node_that_reports_nonsense_spoils_no_snapshot(channel, FakeAgent, wait_for, idle_seconds):
    agent = await FakeAgent(channel, "n1").__aenter__()
    await agent.hear("welcome")
    agent.report(idle_seconds=idle_seconds)
    with pytest.raises(grpc.aio.AioRpcError, match="malformed message: idle_seconds must be finite"):
        await agent._reader
    assert [node.idle_seconds for node in (await wait_for(lambda s: True)).nodes] == [0]


async def test_a_waiting_actor_says_which_labels_its_node_must_have(cluster, channel, FakeAgent, amounts, wait_for):
    request = node_pb2.CreateActorRequest(
        actor_id="a", job_id="j", class_name="Trainer", placement=amounts(CPU=1), label_selector={"zone": "a"}
    )
    async with FakeAgent(channel, "n1", labels={"zone": "b"}) as other:
        await other.hear("welcome")
        reply = await cluster.CreateActor(request)
        assert reply.message == "none of 1 nodes has the labels zone=a"
        snapshot = await wait_for(lambda s: s.demands)
        assert [(d.kind, d.count, dict(d.label_selector), list(d.examples)) for d in snapshot.demands] == [
            ("actor", 1, {"zone": "a"}, ["Trainer"])
        ]
        assert [dict(node.labels) for node in snapshot.nodes] == [{"zone": "b"}]
        async with FakeAgent(channel, "n2", labels={"zone": "a"}) as agent:
            assert (await agent.hear("start_actor")).actor_id == "a"


async def test_resources_that_were_asked_for_are_told_until_the_next_call(cluster, amounts, wait_for):
    def floors(**units):
        return [head_pb2.Demand(shape=amounts(**units), count=2, label_selector={"zone": "a"})]

    await cluster.RequestResources(node_pb2.RequestResourcesRequest(floors=floors(CPU=4)))
    snapshot = await wait_for(lambda s: s.floors)
    assert [(f.shape, f.count, dict(f.label_selector)) for f in snapshot.floors] == [(amounts(CPU=4), 2, {"zone": "a"})]
    assert not snapshot.demands
    await cluster.RequestResources(node_pb2.RequestResourcesRequest(floors=floors(GPU=1)))
    await wait_for(lambda s: [f.shape for f in s.floors] == [amounts(GPU=1)])
    for wrong in (head_pb2.Demand(count=1), head_pb2.Demand(shape=amounts(CPU=1))):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await cluster.RequestResources(node_pb2.RequestResourcesRequest(floors=[wrong]))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert [f.shape for f in (await wait_for(lambda s: True)).floors] == [amounts(GPU=1)], "bad input changes nothing"
    await cluster.RequestResources(node_pb2.RequestResourcesRequest())
    await wait_for(lambda s: not s.floors)


def test_what_was_asked_for_outlives_the_head(tmp_path, amounts):
    def started(run):
        return HeadService(PackageStore(tmp_path / run), journal=Journal(HeadState(StateFile(tmp_path))))

    floor = head_pb2.Demand(shape=amounts(CPU=4), count=2, label_selector={"zone": "a", "disk": "ssd"})
    service = started("first")
    service.calls.durably("RequestResources", node_pb2.RequestResourcesRequest(floors=[floor])).result(10)
    service.close()
    service = started("second")
    [kept] = service.snapshot().floors
    assert (kept.shape, kept.count, dict(kept.label_selector)) == (amounts(CPU=4), 2, {"zone": "a", "disk": "ssd"})
    service.calls.durably("RequestResources", node_pb2.RequestResourcesRequest()).result(10)
    service.close()
    service = started("third")
    assert not service.snapshot().floors
    service.close()


def users(snapshot):
    said = snapshot.activity
    return said.drivers, said.jobs, said.detached_actors


async def test_who_uses_the_cluster_is_told(cluster, channel, FakeAgent, wait_for):
    idle = await wait_for(lambda s: True)
    assert users(idle) == (0, 0, 0)
    async with FakeAgent(channel, "n1") as agent:
        for _ in range(2):
            agent.send(driver_started=node_pb2.DriverStarted(job_id="j"))
        told = await wait_for(lambda s: users(s) == (2, 0, 0))
        assert told.activity.idle_seconds == 0
        await cluster.CreateActor(node_pb2.CreateActorRequest(actor_id="a", job_id="j", detached=True))
        await cluster.CreateActor(node_pb2.CreateActorRequest(actor_id="b", job_id="j"))
        await agent.hear("start_actor", lambda s: s.actor_id == "a")
        for _ in range(2):
            agent.send(driver_exited=node_pb2.DriverExited(job_id="j"))
        told = await wait_for(lambda s: users(s) == (0, 0, 1))
        assert told.activity.idle_seconds == 0
        await cluster.KillActor(node_pb2.KillActorRequest(actor_id="a", no_restart=True))
        ended = time.monotonic()
        told = await wait_for(lambda s: users(s) == (0, 0, 0))
        assert 0 < told.activity.idle_seconds <= time.monotonic() - ended + 0.1


async def test_a_submitted_job_is_a_job_and_its_driver_no_other_user(head, stub, channel, FakeAgent, wait_for):
    request = head_pb2.SubmitJobRequest(submission_id="one", entrypoint="sleep 60", run_in_place=True)
    await stub.SubmitJob(request, timeout=10)
    await wait_for(lambda s: users(s) == (0, 1, 0) and s.jobs[0].state == head_pb2.JOB_STATE_RUNNING)
    [job] = list(head.jobs._table)
    async with FakeAgent(channel, "n1") as agent:
        agent.send(driver_started=node_pb2.DriverStarted(job_id=job.spec.job_id))
        agent.send(driver_started=node_pb2.DriverStarted(job_id="by hand"))
        await wait_for(lambda s: users(s) == (1, 1, 0))
        await stub.StopJob(head_pb2.StopJobRequest(submission_id="one", reason="StoppedByRequest"))
        agent.send(driver_exited=node_pb2.DriverExited(job_id=job.spec.job_id))
        await wait_for(lambda s: users(s) == (1, 0, 0), seconds=10)
    await wait_for(lambda s: users(s) == (0, 0, 0))


async def test_a_node_out_of_touch_may_come_back_with_its_driver(channel, FakeAgent, wait_for):
    agent = await FakeAgent(channel, "n1").__aenter__()
    agent.send(driver_started=node_pb2.DriverStarted(job_id="by hand"))
    await wait_for(lambda s: users(s) == (1, 0, 0))
    await agent.crash()
    assert users(await wait_for(lambda s: True)) == (1, 0, 0)


def test_gangs_are_told(amounts):
    gang = Gang("g", "train", "STRICT_SPREAD", (GangBundle(ONE), GangBundle(ONE)), ("n1",))
    snapshot = head_pb2.HeadSnapshot()
    Outlook(0.0).tell(snapshot, [gang] * 1000, 0.0, more_gangs=3)
    told = snapshot.gangs[0]
    assert (told.gang_id, told.name, told.strategy) == ("g", "train", head_pb2.GANG_STRATEGY_STRICT_SPREAD)
    assert [(b.shape, b.count) for b in told.bundles] == [(amounts(CPU=1), 2)]
    assert (list(told.occupied_node_ids), len(snapshot.gangs), snapshot.gangs_left_out) == (["n1"], 1000, 3)
