"""Actors, drains, logs and job ends as agents on real sessions see them."""

import asyncio

import grpc
import pytest

from shoal.core.actors import SETTLE_SECONDS
from shoal.protocol import head_pb2, node_pb2, node_pb2_grpc


@pytest.fixture
def cluster(channel):
    return node_pb2_grpc.ClusterStub(channel)


@pytest.fixture
def create(cluster, amounts):
    async def create(actor_id="a", cpus=1.0, **fields):
        request = node_pb2.CreateActorRequest(
            actor_id=actor_id, job_id="j", resources=amounts(CPU=cpus), placement=amounts(CPU=cpus), **fields
        )
        return await cluster.CreateActor(request, timeout=5)

    return create


async def test_an_actor_is_started_and_its_subscribers_hear_of_it(cluster, create, channel, FakeAgent):
    async with FakeAgent(channel, "n1") as agent, FakeAgent(channel, "n2") as watcher:
        await watcher.hear("welcome")
        assert (await create(creation=b"code", handle=b"handle", name="x", namespace="ns", owner_node_id="n1")).created
        start = await agent.hear("start_actor")
        assert (start.actor_id, start.creation, start.job_id) == ("a", b"code", "j")
        got = await cluster.GetActor(node_pb2.GetActorRequest(name="x", namespace="ns", subscriber_node_id="n2"))
        assert (got.found, got.actor.state, got.handle) == (True, "PENDING", b"handle")
        agent.send(actor_started=node_pb2.ActorStarted(actor_id="a", worker=b"where"))
        update = await watcher.hear("actor_update")
        assert (update.state, update.worker) == ("ALIVE", b"where")
        agent.send(actor_failed=node_pb2.ActorFailed(actor_id="a", reason="CreationTaskFailed", error=b"pickle"))
        update = await watcher.hear("actor_update")
        assert (update.state, update.reason, update.error) == ("DEAD", "CreationTaskFailed", b"pickle")


async def test_a_waiting_actor_is_demand_until_a_node_comes(create, channel, FakeAgent, wait_for, amounts):
    reply = await create(cpus=2.0, class_name="Counter")
    assert reply.created
    assert "no node" in reply.message
    snapshot = await wait_for(lambda s: s.demands)
    (demand,) = snapshot.demands
    assert (demand.kind, demand.count, demand.shape, list(demand.examples)) == (
        *("actor", 1, amounts(CPU=2)),
        ["Counter"],
    )
    async with FakeAgent(channel, "n1", cpus=4) as agent:
        await agent.hear("start_actor")
        await wait_for(lambda s: not s.demands)


async def test_a_restartable_actor_moves_when_its_node_dies(create, channel, FakeAgent):
    async with FakeAgent(channel, "n1") as first, FakeAgent(channel, "n2", cpus=0) as watcher:
        await create(max_restarts=1)
        await first.hear("start_actor")
        first.send(actor_started=node_pb2.ActorStarted(actor_id="a", worker=b"1"))
        async with FakeAgent(channel, "n3") as second:
            await second.hear("welcome")
            await first.leave()
            assert (await second.hear("start_actor")).actor_id == "a"
            lost = await watcher.hear("view", lambda v: any(not n.alive for n in v.nodes))
            assert [n.address.node_id for n in lost.nodes if not n.alive] == ["n1"]


async def test_a_full_node_gets_no_second_actor_before_its_report(create, channel, FakeAgent):
    async with FakeAgent(channel, "n1", cpus=1) as agent:
        await agent.hear("welcome")
        await create("a")
        second = await create("b")
        assert "busy" in second.message
        await agent.hear("start_actor", lambda s: s.actor_id == "a")
        agent.report(available=0)
        agent.send(actor_started=node_pb2.ActorStarted(actor_id="a"))
        await asyncio.sleep(SETTLE_SECONDS)  # the head's clock: from then on only reports count
        await create("c", cpus=0)
        await agent.hear("start_actor", lambda s: s.actor_id == "c")  # whoever can be placed has been by now
        assert agent.last("start_actor") is None
        agent.send(actor_failed=node_pb2.ActorFailed(actor_id="a", reason="Exited"))
        agent.report(available=1)
        await agent.hear("start_actor", lambda s: s.actor_id == "b")


async def test_a_node_that_comes_back_stops_what_it_should_not_have(channel, FakeAgent):
    async with FakeAgent(channel, "n1", live=["stray"]) as agent:
        stop = await agent.hear("stop_actor")
        assert (stop.actor_id, stop.force) == ("stray", True)


async def test_kill_and_a_name_that_is_taken(cluster, create, channel, FakeAgent):
    async with FakeAgent(channel, "n1") as agent:
        await create("a", name="x")
        assert "'x' is taken" in (await create("b", name="x")).message
        await agent.hear("start_actor")
        reply = await cluster.KillActor(node_pb2.KillActorRequest(actor_id="a", no_restart=True))
        assert reply.found
        assert (await agent.hear("stop_actor")).force
        assert not (await cluster.KillActor(node_pb2.KillActorRequest(actor_id="a", no_restart=True))).found
        assert (await create("b", name="x")).created


async def test_the_last_driver_takes_its_jobs_actors_and_workers(create, channel, FakeAgent):
    async with FakeAgent(channel, "n1") as agent:
        agent.send(driver_started=node_pb2.DriverStarted(job_id="j"))
        agent.send(driver_started=node_pb2.DriverStarted(job_id="j"))
        await create("plain")
        await create("kept", detached=True)
        await agent.hear("start_actor", lambda s: s.actor_id == "kept")
        agent.send(driver_exited=node_pb2.DriverExited(job_id="j"))
        agent.send(driver_exited=node_pb2.DriverExited(job_id="j"))
        assert (await agent.hear("job_ended")).job_id == "j"
        assert (await agent.hear("stop_actor")).actor_id == "plain"
        assert agent.last("stop_actor") is None


async def test_the_end_of_a_submitted_job_reaches_every_node(stub, channel, FakeAgent):
    async with FakeAgent(channel, "n1") as agent:
        await agent.hear("welcome")
        await stub.SubmitJob(head_pb2.SubmitJobRequest(submission_id="s", entrypoint="true"))
        ended = await agent.hear("job_ended")
    async with FakeAgent(channel, "n2") as late:
        assert (await late.hear("job_ended")).job_id == ended.job_id


async def test_worker_output_goes_to_the_node_with_the_driver(channel, FakeAgent):
    async with FakeAgent(channel, "n1") as driver, FakeAgent(channel, "n2") as worker:
        driver.send(driver_started=node_pb2.DriverStarted(job_id="j"))
        await driver.hear("welcome")
        driver.report(available=1)
        await worker.hear("view", lambda v: any(n.available.amounts["CPU"] == 10000 for n in v.nodes))
        worker.send(log_lines=node_pb2.LogLines(job_id="j", source="(f pid=1)", lines=["hello"]))
        lines = await driver.hear("log_lines")
        assert (lines.source, list(lines.lines)) == ("(f pid=1)", ["hello"])


class TestDrains:
    async def ask(self, stub, node_id="n1", **fields):
        request = head_pb2.DrainNodeRequest(node_id=node_id, reason="Idle", deadline_seconds=30, **fields)
        return await stub.DrainNode(request, timeout=10)

    async def test_the_agent_decides(self, stub, channel, FakeAgent, wait_for):
        async with FakeAgent(channel, "n1") as agent:
            await agent.hear("welcome")
            asked = asyncio.create_task(self.ask(stub, only_if_idle=True))
            drain = await agent.hear("drain")
            assert (drain.reason, drain.only_if_idle, drain.deadline_seconds) == ("Idle", True, 30)
            agent.send(drain_answer=node_pb2.DrainAnswer(drain_id=drain.drain_id, message="2 leases"))
            reply = await asked
            assert (reply.accepted, reply.message) == (False, "2 leases")
            await wait_for(lambda s: s.nodes[0].drain_state == head_pb2.DRAIN_STATE_ACTIVE)

            asked = asyncio.create_task(self.ask(stub, only_if_idle=True))
            drain = await agent.hear("drain")
            agent.send(drain_answer=node_pb2.DrainAnswer(drain_id=drain.drain_id, accepted=True))
            assert (await asked).accepted
            await wait_for(lambda s: s.nodes[0].drain_state == head_pb2.DRAIN_STATE_DRAINING)
            agent.report(drain_state=head_pb2.DRAIN_STATE_DRAINED)
            await wait_for(lambda s: s.nodes[0].drain_state == head_pb2.DRAIN_STATE_DRAINED)
            again = await self.ask(stub)
            assert again.accepted

    async def test_a_draining_node_gets_no_actor(self, stub, channel, create, FakeAgent):
        async with FakeAgent(channel, "n1") as agent:
            await agent.hear("welcome")
            asked = asyncio.create_task(self.ask(stub))
            drain = await agent.hear("drain")
            assert "no node" in (await create()).message
            agent.send(drain_answer=node_pb2.DrainAnswer(drain_id=drain.drain_id, message="no"))
            await asked
            await agent.hear("start_actor")

    async def test_a_node_that_is_silent_or_unknown_or_gone(self, stub, channel, FakeAgent):
        assert "no node n1" in (await self.ask(stub)).message
        async with FakeAgent(channel, "n1") as agent:
            await agent.hear("welcome")
            assert "did not answer" in (await self.ask(stub)).message
            asked = asyncio.create_task(self.ask(stub))
            await agent.hear("drain", lambda d: d.drain_id)
            await agent.leave()
            assert not (await asked).accepted
        assert "is dead" in (await self.ask(stub)).message


async def test_an_actor_on_its_way_keeps_a_node_from_idleness(stub, channel, create, FakeAgent, wait_for):
    async with FakeAgent(channel, "n1") as agent:
        agent.report(idle_seconds=5)
        await wait_for(lambda s: s.nodes and s.nodes[0].idle_seconds >= 5)
        await create()
        busy = await wait_for(lambda s: s.nodes[0].idle_seconds == 0)
        assert busy.nodes[0].activity == "1 actor starting"
        reply = await stub.DrainNode(head_pb2.DrainNodeRequest(node_id="n1", only_if_idle=True))
        assert (reply.accepted, reply.message) == (False, "an actor is starting there")


class TestKv:
    async def call(self, cluster, operation, key="k", **fields):
        return await cluster.Kv(node_pb2.KvRequest(operation=operation, namespace="ns", key=key, **fields))

    async def test_all_operations(self, cluster):
        assert not (await self.call(cluster, "get")).found
        assert not (await self.call(cluster, "put", value=b"1")).found
        assert (await self.call(cluster, "put", value=b"2")).found
        assert (await self.call(cluster, "get")).value == b"1"
        await self.call(cluster, "put", value=b"2", overwrite=True)
        await self.call(cluster, "put", "other", value=b"x")
        assert (await self.call(cluster, "get")).value == b"2"
        assert list((await self.call(cluster, "keys", "k")).keys) == ["k"]
        assert (await self.call(cluster, "delete")).found
        assert not (await self.call(cluster, "delete")).found

    async def test_limits_have_words(self, cluster):
        with pytest.raises(grpc.aio.AioRpcError, match="at most") as caught:
            await self.call(cluster, "put", value=bytes(16 * 1024 * 1024 + 1))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError, match="get, put, delete or keys"):
            await self.call(cluster, "steal")


async def test_packages_have_names_and_limits(cluster):
    for digest, words in (("../../etc", "not the hash"), ("0" * 32, "no package")):
        with pytest.raises(grpc.aio.AioRpcError, match=words):
            async for _ in cluster.FetchPackage(node_pb2.FetchPackageRequest(hash=digest)):
                pass
    with pytest.raises(grpc.aio.AioRpcError, match="at most"):
        await cluster.PutPackage(node_pb2.PutPackageRequest(hash="0" * 32, data=bytes(64 * 1024 * 1024 + 1)))
