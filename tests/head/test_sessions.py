"""Nodes join, report, break, come back, leave and die: what the operator and the other nodes see of it."""

import socket
import time

import grpc
import pytest

from shoal.core.membership import GRACE_SECONDS
from shoal.head import head_servicer
from shoal.protocol import auth, head_pb2, node_pb2


def alive(snapshot):
    return sorted(node.node_id for node in snapshot.nodes if node.alive)


async def test_a_node_joins_and_is_seen(head, channel, FakeAgent, amounts, wait_for):
    async with FakeAgent(channel, "n1", pod_name="demo-small-0", group="small") as agent:
        welcome = await agent.hear("welcome")
        assert welcome.session == head.service.incarnation
        view = await agent.hear("view")
        assert [node.address.node_id for node in view.nodes] == ["n1"]
        agent.report(available=3, idle_seconds=0, activity="1 lease")
        seen = await wait_for(lambda s: s.nodes and s.nodes[0].activity == "1 lease")
        assert seen.nodes[0].available == amounts(CPU=3)
        assert seen.nodes[0].recently_available == amounts(CPU=4)  # what it gave away just now is told, too
        seen = await wait_for(lambda s: not s.nodes[0].HasField("recently_available"))
        node = seen.nodes[0]
        assert (node.pod_name, node.group, node.alive) == ("demo-small-0", "small", True)
        assert (node.total, node.available) == (amounts(CPU=4), amounts(CPU=3))
        assert node.drain_state == head_pb2.DRAIN_STATE_ACTIVE


async def test_goodbye_needs_no_grace(channel, FakeAgent, wait_for):
    async with FakeAgent(channel, "n1"), FakeAgent(channel, "n2") as other:
        await wait_for(lambda s: alive(s) == ["n1", "n2"])
        await other.leave()
        gone = await wait_for(lambda s: alive(s) == ["n1"], seconds=2)
        assert [n.activity for n in gone.nodes if not n.alive] == ["it was stopped"]


async def test_a_broken_session_has_grace_and_comes_back(head, channel, FakeAgent, wait_for):
    agent = await FakeAgent(channel, "n1").__aenter__()
    await agent.hear("welcome")
    await agent.crash()
    await wait_for(lambda s: s.nodes and head.service._members.get("n1").lost_at is not None)
    async with FakeAgent(channel, "n1") as again:
        await again.hear("welcome")
        snapshot = await wait_for(lambda s: alive(s) == ["n1"])
        assert len(snapshot.nodes) == 1
        assert head.service._members.get("n1").lost_at is None


async def test_a_process_that_is_gone_is_dead_before_the_grace_ends(channel, FakeAgent, wait_for):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    async with FakeAgent(channel, "n2") as other:
        agent = await FakeAgent(channel, "n1", port=port).__aenter__()
        await agent.hear("welcome")
        await agent.crash()
        dead = await wait_for(lambda s: alive(s) == ["n2"], seconds=3)
        assert [n.activity for n in dead.nodes if not n.alive] == ["its process ended"]
        await other.hear("view", lambda view: any(not node.alive for node in view.nodes))


async def test_a_pod_that_runs_a_new_node_has_no_old_one(head, channel, FakeAgent, amounts, wait_for):
    """Its container was started again: what it held is placed on the new node at once, and no node waits for it."""
    agent = await FakeAgent(channel, "old", pod_name="demo-small-0").__aenter__()
    agent.report()
    bundles = [node_pb2.PlacedBundle(shape=amounts(CPU=1))]
    group = node_pb2.PlacementGroup(group_id="g", job_id="j", strategy="PACK", bundles=bundles)
    await agent.cluster.CreatePlacementGroup(node_pb2.CreatePlacementGroupRequest(group=group))
    order = await agent.hear("reserve_bundles")
    done = node_pb2.BundlesAnswer(group_id="g", attempt=order.attempt, accepted=True)
    agent.send(bundles_answer=done)
    create = node_pb2.CreateActorRequest(actor_id="a", job_id="j", max_restarts=1, placement=amounts(CPU=1))
    await agent.cluster.CreateActor(create)
    await agent.hear("start_actor")
    agent.send(actor_started=node_pb2.ActorStarted(actor_id="a"))
    agent.send(driver_started=node_pb2.DriverStarted(job_id="other"))
    await wait_for(lambda s: s.activity.drivers == 1)
    await agent.crash()
    await wait_for(lambda s: head.service._members.get("old").lost_at is not None)
    async with FakeAgent(channel, "new", pod_name="demo-small-0") as new:
        began = time.monotonic()
        await new.hear("welcome")
        view = await new.hear("view")
        assert [(node.address.node_id, node.alive) for node in view.nodes] == [("old", False), ("new", True)]
        new.report()
        assert (await new.hear("reserve_bundles")).group_id == "g"
        assert (await new.hear("start_actor")).actor_id == "a"
        seen = await wait_for(lambda s: alive(s) == ["new"])
        assert [n.activity for n in seen.nodes if not n.alive] == ["its connection broke and its pod runs node new now"]
        assert seen.activity.drivers == 0
        assert time.monotonic() - began < GRACE_SECONDS / 2


async def test_a_break_swallows_neither_the_start_nor_the_end_of_a_driver(head, channel, FakeAgent, wait_for):
    def told(**counts):
        return node_pb2.ConnectedDrivers(count_by_job_id=counts)

    agent = await FakeAgent(channel, "n1", drivers=told()).__aenter__()
    assert (await agent.hear("welcome")).knows_drivers
    agent.send(driver_started=node_pb2.DriverStarted(job_id="ends"))
    await wait_for(lambda s: s.activity.drivers == 1)
    await agent.cluster.CreateActor(node_pb2.CreateActorRequest(actor_id="a", job_id="ends"))
    await agent.hear("start_actor")
    await agent.crash()
    again = await FakeAgent(channel, "n1", drivers=told(starts=2), live=["a"]).__aenter__()
    assert (await again.hear("job_ended")).job_id == "ends"
    assert (await again.hear("stop_actor")).actor_id == "a"
    assert (await wait_for(lambda s: s.nodes)).activity.drivers == 2
    await again.crash()
    refused = await FakeAgent(channel, "n1", drivers=told(starts=-1)).__aenter__()
    with pytest.raises(grpc.aio.AioRpcError, match="'starts' must have at least 1 driver"):
        await refused._reader


async def test_a_dead_node_id_is_refused(channel, FakeAgent, wait_for):
    async with FakeAgent(channel, "n1") as agent:
        await agent.hear("welcome")
    await wait_for(lambda s: not alive(s))
    again = await FakeAgent(channel, "n1").__aenter__()
    with pytest.raises(grpc.aio.AioRpcError, match="declared dead") as caught:
        await again._reader
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_another_protocol_version_is_refused_with_words(channel, FakeAgent):
    agent = await FakeAgent(channel, "n1", protocol_version=99).__aenter__()
    with pytest.raises(grpc.aio.AioRpcError, match="protocol 99"):
        await agent._reader


async def test_a_session_must_begin_with_a_registration(channel, FakeAgent):
    agent = FakeAgent(channel, "n1")
    agent._register = node_pb2.NodeMessage(report=node_pb2.NodeReport())
    await agent.__aenter__()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agent._reader
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_every_method_of_the_real_server_refuses_a_wrong_token(head):
    services = (head_pb2.DESCRIPTOR.services_by_name["Head"], node_pb2.DESCRIPTOR.services_by_name["Cluster"])
    async with (
        grpc.aio.insecure_channel(head.target) as bare,
        auth.aio_channel(head.target, head.token + b"x") as wrong,
    ):
        for channel in (bare, wrong):
            for service in services:
                for method in service.methods:
                    call = channel.unary_unary(f"/{service.full_name}/{method.name}")
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call(b"", timeout=5)
                    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_demand_of_nodes_is_summed_by_shape(channel, FakeAgent, amounts, wait_for):
    async with FakeAgent(channel, "n1") as one, FakeAgent(channel, "n2") as two:
        for agent in (one, two):
            demand = head_pb2.Demand(shape=amounts(CPU=1), count=5, kind="task", examples=["f"])
            agent.report(available=0, demands=[demand])
        snapshot = await wait_for(lambda s: any(d.count == 10 for d in s.demands))
        assert len(snapshot.demands) == 1
        assert list(snapshot.demands[0].examples) == ["f"]


async def test_a_quiet_cluster_is_heard_of_again_and_again(stub, monkeypatch):
    monkeypatch.setattr(head_servicer, "HEARTBEAT_SECONDS", 0.2)
    stream = stub.Watch(head_pb2.WatchRequest(), timeout=5)
    versions = [(await anext(aiter(stream))).version for _ in range(3)]
    stream.cancel()
    assert len(set(versions)) == 1


async def test_a_node_that_only_stays_idle_is_no_news(head, channel, FakeAgent, wait_for):
    async with FakeAgent(channel, "n1") as agent:
        agent.report(idle_seconds=1.0)
        version = (await wait_for(lambda s: s.nodes and s.nodes[0].idle_seconds >= 1)).version
        agent.report(idle_seconds=1.1)
        agent.report(idle_seconds=1.2)
        agent.report(available=3, idle_seconds=0)
        assert (await wait_for(lambda s: s.nodes[0].idle_seconds == 0)).version == version + 1
