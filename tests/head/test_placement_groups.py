"""Placement groups at a real head, over real sessions: orders and answers, gangs, drains, refusals, a new head."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time

import grpc
import grpc.aio
import pytest

from shoal.core.packing import Bundle
from shoal.core.placement import SPREAD_WAIT_SECONDS
from shoal.core.placement_group import GroupSpec, Place, PlacementGroup
from shoal.head.journal import Journal
from shoal.head.state import HeadState
from shoal.head.state_error import StateError
from shoal.head.state_file import FILE_NAME, StateFile
from shoal.protocol import head_pb2, node_pb2
from shoal.resources import ResourceSet


@pytest.fixture
def agent(channel, FakeAgent):
    """``agent("a")``: a session of a node of four CPUs."""
    return lambda name, **fields: FakeAgent(channel, name, **fields)


def wanted(amounts, *sizes, strategy="STRICT_SPREAD", **fields):
    bundles = [node_pb2.PlacedBundle(shape=amounts(**({"CPU": s} if isinstance(s, int) else s))) for s in sizes]
    values = {"group_id": "g", "job_id": "job", "strategy": strategy, **fields}
    return node_pb2.CreatePlacementGroupRequest(group=node_pb2.PlacementGroup(bundles=bundles, **values))


async def table(agent, **which):
    return list((await agent.cluster.ListPlacementGroups(node_pb2.ListPlacementGroupsRequest(**which))).groups)


def answer(agent, order, accepted=True, message=""):
    agent.send(
        bundles_answer=node_pb2.BundlesAnswer(
            group_id=order.group_id, attempt=order.attempt, accepted=accepted, message=message
        )
    )


async def test_nodes_are_asked_and_the_group_is_a_gang_until_all_have_room(agent, stub, amounts, wait_for):
    async with agent("a") as a:
        await a.hear("welcome")
        a.report()
        created = await a.cluster.CreatePlacementGroup(wanted(amounts, 1, 1))
        assert (created.created, created.message) == (True, "2 bundles need a node each, and 1 node could take one")
        seen = await wait_for(lambda s: s.gangs)
        gang = seen.gangs[0]
        assert (gang.gang_id, gang.strategy, list(gang.occupied_node_ids)) == (
            "g",
            head_pb2.GANG_STRATEGY_STRICT_SPREAD,
            [],
        )
        assert [(bundle.count, dict(bundle.shape.amounts)) for bundle in gang.bundles] == [(2, {"CPU": 10_000})]
        async with agent("b") as b:
            b.report()
            orders = [await node.hear("reserve_bundles") for node in (a, b)]
            assert [[bundle.index for bundle in order.bundles] for order in orders] == [[0], [1]]
            seen = await wait_for(lambda s: not s.gangs)
            assert [node.activity for node in seen.nodes] == ["1 bundle being reserved"] * 2
            assert [node.idle_seconds for node in seen.nodes] == [0, 0]
            drain = await stub.DrainNode(head_pb2.DrainNodeRequest(node_id="a", only_if_idle=True))
            assert (drain.accepted, "bundles" in drain.message) == (False, True)
            answer(a, orders[0])
            answer(b, orders[1], accepted=False, message="it is full")
            back = await a.hear("return_bundles")
            assert (back.group_id, list(back.indexes), back.kill) == ("g", [0], False)
            again = [await node.hear("reserve_bundles") for node in (a, b)]
            assert {order.attempt for order in again} == {2}
            for node, order in zip((a, b), again, strict=True):
                answer(node, order)
            subscribed = await table(a, group_id="g", subscriber_node_id="a")
            if subscribed[0].state != "CREATED":
                update = await a.hear("placement_group", lambda group: group.state == "CREATED")
                assert [bundle.node.node_id for bundle in update.bundles] == ["a", "b"]
            await b.leave()
            lost = await a.hear("placement_group", lambda group: group.state == "RESCHEDULING")
            assert [bundle.node.node_id for bundle in lost.bundles] == ["a", ""]
            gang = (await wait_for(lambda s: s.gangs)).gangs[0]
            assert (list(gang.occupied_node_ids), [bundle.count for bundle in gang.bundles]) == (["a"], [1])


async def test_a_spread_group_waits_while_nodes_join_and_is_told_with_all_its_bundles(agent, amounts, wait_for):
    async with agent("a") as a:
        await a.hear("welcome")
        a.report()
        created = await a.cluster.CreatePlacementGroup(wanted(amounts, 1, 1, 1, strategy="SPREAD"))
        assert "nodes are joining" in created.message
        [gang] = (await wait_for(lambda s: s.gangs)).gangs
        assert ([bundle.count for bundle in gang.bundles], list(gang.occupied_node_ids)) == ([3], [])
        async with agent("b") as b:
            joined = time.monotonic()
            b.report()
            orders = [await node.hear("reserve_bundles") for node in (a, b)]
            assert time.monotonic() - joined > SPREAD_WAIT_SECONDS - 0.5, "nothing joined for so long: it shares a node"
            assert sorted(len(order.bundles) for order in orders) == [1, 2]


async def test_a_group_that_finds_room_at_once_is_no_demand(agent, stub, amounts):
    told = set()

    async def watch():
        async for snapshot in stub.Watch(head_pb2.WatchRequest()):
            told.update(gang.gang_id for gang in snapshot.gangs)

    async with agent("a") as a:
        await a.hear("welcome")
        a.report(0.0)
        watching = asyncio.create_task(watch())
        try:
            await a.cluster.CreatePlacementGroup(wanted(amounts, 1))
            a.report(4.0)
            answer(a, await a.hear("reserve_bundles"))
            pinned = wanted(amounts, 8, group_id="pinned")
            pinned.group.bundles[0].label_selector["ray.io/node-id"] = "a"
            await a.cluster.CreatePlacementGroup(pinned)
            await a.cluster.CreatePlacementGroup(wanted(amounts, 8, group_id="large"))
            async with asyncio.timeout(5):
                while "large" not in told:
                    await asyncio.sleep(0.01)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        assert told == {"large"}


async def test_removal_and_the_end_of_the_job_send_bundles_back(agent, amounts):
    async with agent("a") as a:
        a.report()
        for group_id, detached in (("mine", False), ("kept", True)):
            await a.cluster.CreatePlacementGroup(
                wanted(amounts, 1, group_id=group_id, detached=detached, name=group_id)
            )
            answer(a, await a.hear("reserve_bundles"))
        a.send(driver_started=node_pb2.DriverStarted(job_id="job"))
        a.send(driver_exited=node_pb2.DriverExited(job_id="job"))
        back = await a.hear("return_bundles")
        assert (back.group_id, back.kill, back.reason) == ("mine", True, "its job job has ended")
        assert [group.group_id for group in await table(a, name="kept")] == ["kept"]
        assert await table(a, name="mine") == []
        assert (await a.cluster.RemovePlacementGroup(node_pb2.RemovePlacementGroupRequest(group_id="kept"))).found
        assert (await a.hear("return_bundles")).group_id == "kept"
        assert not (await a.cluster.RemovePlacementGroup(node_pb2.RemovePlacementGroupRequest(group_id="kept"))).found
        assert {group.state for group in await table(a)} == {"REMOVED"}


async def test_an_actor_of_a_removed_group_dies_at_once(agent, amounts):
    async with agent("a") as a:
        a.report()
        bundle = node_pb2.BundleKey(group_id="never", index=0)
        await a.cluster.CreateActor(node_pb2.CreateActorRequest(actor_id="x", job_id="job", bundle=bundle))
        found = await a.cluster.GetActor(node_pb2.GetActorRequest(actor_id="x"))
        assert (found.actor.state, found.actor.reason) == ("DEAD", "PlacementGroupRemoved")


async def test_what_waits_for_a_group_is_its_gang_and_no_other_demand(agent, amounts, wait_for):
    async with agent("a") as a:
        await a.hear("welcome")
        await a.cluster.CreatePlacementGroup(wanted(amounts, 8))
        for actor_id, bundle in (("in", node_pb2.BundleKey(group_id="g", index=-1)), ("out", None)):
            request = node_pb2.CreateActorRequest(actor_id=actor_id, placement=amounts(CPU=8), bundle=bundle)
            await a.cluster.CreateActor(request)
        seen = await wait_for(lambda s: s.gangs and s.demands)
        assert [(demand.count, demand.kind) for demand in seen.demands] == [(1, "actor")]
        assert [sum(bundle.count for bundle in gang.bundles) for gang in seen.gangs] == [1]


async def test_a_head_that_knows_no_group_has_its_bundles_given_back(agent):
    held = [node_pb2.BundleKey(group_id="old", index=index) for index in (0, 3)]
    async with agent("a", held_bundles=held) as a:
        back = await a.hear("return_bundles")
        assert (back.group_id, list(back.indexes), back.kill) == ("old", [0, 3], True)


async def test_a_draining_node_gives_its_bundles_up(agent, amounts):
    async with agent("a") as a:
        a.report()
        await a.cluster.CreatePlacementGroup(wanted(amounts, 1))
        answer(a, await a.hear("reserve_bundles"))
        a.report(3.0, activity="1 reserved bundle")
        a.report(3.0, drain_state=head_pb2.DRAIN_STATE_DRAINING)
        back = await a.hear("return_bundles")
        assert (list(back.indexes), back.kill, back.reason) == ([0], False, "the node is being drained")
        assert (await table(a))[0].state == "RESCHEDULING"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"group_id": ""}, "1 to 256 characters"),
        ({"group_id": "g" * 257}, "1 to 256 characters"),
        ({"name": "n" * 256}, "at most 255 characters"),
        ({"strategy": "NEAR"}, "'NEAR' is no placement strategy"),
        ({"sizes": ()}, "1 to 1000 bundles, got 0"),
        ({"sizes": (1,) * 1001}, "1 to 1000 bundles, got 1001"),
        ({"sizes": (1, {})}, "bundle 1 of the placement group asks for nothing"),
        ({"sizes": (1, -1)}, "must not be negative"),
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(agent, amounts, change, words):
    sizes = change.pop("sizes", (1,))
    request = wanted(amounts, *(size for size in sizes if size != -1), **change)
    if -1 in sizes:
        request.group.bundles[0].shape.amounts["CPU"] = -1
    async with agent("a") as a:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await a.cluster.CreatePlacementGroup(request)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert words in (raised.value.details() or "")
        assert await table(a) == []


def test_a_state_file_of_before_gets_its_table_and_rows_that_make_no_sense_are_told(tmp_path):
    HeadState(StateFile(tmp_path)).close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("DROP TABLE placement_groups")
    database.commit()
    database.close()
    bundles = (Bundle(ResourceSet.from_units({"CPU": 1, "x": 0.5}), (("zone", "a"),)), Bundle(ResourceSet({"GPU": 1})))
    spec = GroupSpec("g", "job", "SPREAD", bundles, "name", "space", detached=True)
    group = PlacementGroup(spec, "RESCHEDULING", [Place("a", True, 2), Place()], 3)
    state = HeadState(StateFile(tmp_path))
    Journal(state).placement_group(group)
    state.close()
    state = HeadState(StateFile(tmp_path))
    assert Journal(state).restored.groups == (group,)
    state.put("placement_groups", "bad", "", "CREATED", '{"strategy": "NEAR", "bundles": [], "places": []}')
    state.close()
    state = HeadState(StateFile(tmp_path))
    with pytest.raises(StateError, match="bad has strategy 'NEAR'"):
        Journal(state)
    state.close()
