import asyncio
import contextlib
import random

import pytest

from shoal_operator.control.clock import SystemClock
from shoal_operator.kube.informer import Informer, InformerOptions, Selection
from shoal_operator.kube.resources import PODS
from shoal_operator.kube.store import ChangeType, Store

from .conftest import bookmark, pod, pod_list, status, wait_until, watch

PATH = "/api/v1/pods"


@contextlib.asynccontextmanager
async def following(client, metrics, **options):
    store, changes = Store(), []
    store.subscribe(lambda change: changes.append((change.type, change.name[1])))
    informer = Informer(
        client,
        Selection(PODS, None, "shoal.dev/cluster"),
        store,
        clock=SystemClock(),
        rng=random.Random(0),
        metrics=metrics,
        options=InformerOptions(**options),
    )
    task = asyncio.create_task(informer.run())
    try:
        yield informer, store, changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def names(store):
    return {name for _, name in store.names()}


async def test_pages_are_joined_before_anybody_may_decide(api, client, metrics):
    gate = asyncio.Event()

    async def second_page(request):
        await gate.wait()
        from aiohttp import web

        return web.json_response(pod_list(5, pod("b", 2))[1])

    api.on("GET", PATH, pod_list(5, pod("a", 1), continue_token="more"), second_page)
    api.on("WATCH", PATH, watch(then="silence"))
    async with following(client, metrics) as (informer, store, _):
        await wait_until(lambda: len(api.seen("GET", PATH)) == 2)
        assert not informer.synced.is_set()
        gate.set()
        await wait_until(informer.synced.is_set)
        assert names(store) == {"a", "b"}
        assert store.get("ml", "a")["kind"] == "Pod"
        assert api.seen("GET", PATH)[1]["query"]["continue"] == "more"
        assert api.seen("GET", PATH)[0]["query"]["labelSelector"] == "shoal.dev/cluster"


async def test_the_next_watch_goes_on_where_the_last_one_ended(api, client, metrics):
    api.on("GET", PATH, pod_list(5))
    api.on(
        "WATCH",
        PATH,
        watch(("ADDED", pod("a", 6)), bookmark(40)),
        watch(("DELETED", pod("a", 41)), then="break"),
        watch(then="silence"),
    )
    async with following(client, metrics) as (_, store, changes):
        await wait_until(lambda: len(api.seen("WATCH", PATH)) == 3)
        versions = [request["query"]["resourceVersion"] for request in api.seen("WATCH", PATH)]
        assert versions == ["5", "40", "41"]
        assert changes == [(ChangeType.ADDED, "a"), (ChangeType.DELETED, "a")]
        assert names(store) == set()
        assert metrics.relists == ["start"]


@pytest.mark.parametrize(
    "gone", [status(410, "Expired"), watch(("ERROR", status(410, "Expired")[1])), watch(("WHAT", pod("x", 1)))]
)
async def test_after_gone_the_relist_leaves_no_ghosts(api, client, metrics, gone):
    api.on("GET", PATH, pod_list(5, pod("a", 1), pod("b", 2)), pod_list(90, pod("b", 2)))
    api.on("WATCH", PATH, gone, watch(then="silence"))
    async with following(client, metrics) as (_, store, changes):
        await wait_until(lambda: metrics.relists == ["start", "gone"])
        assert names(store) == {"b"}
        assert changes[-1] == (ChangeType.DELETED, "a")
        await wait_until(lambda: len(api.seen("WATCH", PATH)) == 2)
        assert api.seen("WATCH", PATH)[1]["query"]["resourceVersion"] == "90"


async def test_a_silent_watch_is_taken_for_dead(api, client, metrics):
    api.on("GET", PATH, pod_list(5))
    api.on("WATCH", PATH, watch(then="silence"), watch(("ADDED", pod("a", 6)), then="silence"))
    async with following(client, metrics, inactivity_seconds=0.2) as (informer, store, _):
        await wait_until(lambda: names(store) == {"a"})
        assert informer.silent_seconds() < 5


async def test_errors_at_the_start_are_waited_out(api, client, metrics):
    api.on("GET", PATH, status(503, "ServiceUnavailable"), status(403, "Forbidden"), pod_list(5, pod("a", 1)))
    api.on("WATCH", PATH, status(500, "InternalError"), watch(then="silence"))
    async with following(client, metrics) as (informer, store, _):
        await wait_until(informer.synced.is_set)
        assert names(store) == {"a"}
        await wait_until(lambda: len(api.seen("WATCH", PATH)) == 2)


async def test_the_whole_collection_is_listed_again_from_time_to_time(api, client, metrics):
    api.on("GET", PATH, pod_list(5, pod("ghost", 1)), pod_list(5))
    api.on("WATCH", PATH, watch())
    async with following(client, metrics, relist_min_seconds=0.1, relist_max_seconds=0.2) as (_, store, _):
        await wait_until(lambda: "schedule" in metrics.relists)
        assert names(store) == set()


async def test_a_refusal_is_said_once_and_is_no_silence(api, client, metrics, caplog):
    api.on("GET", PATH, status(403, "Forbidden", "no"), status(403, "Forbidden", "no"), pod_list(5, pod("a", 1)))
    api.on("WATCH", PATH, watch(then="silence"))
    with caplog.at_level("INFO", "shoal_operator.kube.informer"):
        async with following(client, metrics) as (informer, store, _):
            informer._last_word -= 1_000
            await wait_until(lambda: informer.silent_seconds() < 5)
            assert not informer.synced.is_set()
            await wait_until(informer.synced.is_set)
            assert names(store) == {"a"}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "do the operator's roles allow list and watch there?" in said[0]
    assert said[1] == "pods can be followed again"
