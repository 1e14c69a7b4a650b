import asyncio
import contextlib
import random
import secrets
import time

import pytest
from aiohttp import web

from shoal_operator.control.clock import SystemClock
from shoal_operator.kube import errors
from shoal_operator.kube.access import ApiAccess
from shoal_operator.kube.client import CONNECTIONS_MAX, ApiClient
from shoal_operator.kube.lease import LeaseElector, LeaseTimes
from shoal_operator.kube.resources import LEASES, PODS
from shoal_operator.local.apiserver import ApiServer
from shoal_operator.local.loopback import LoopbackPool

from .conftest import NoMetrics, pod, status, wait_until

QUICK = LeaseTimes(duration_seconds=1, renew_deadline_seconds=0.6, retry_seconds=0.1)


@pytest.fixture
async def real(tmp_path):
    """A client of the embedded API server."""
    pool = LoopbackPool(seed=secrets.randbelow(60_000))
    server = ApiServer(pool)
    token = secrets.token_urlsafe(24)
    await server.start(directory=tmp_path, token=token)
    access = ApiAccess(server=server.url, ca_data=server.ca_pem.decode(), token=token)
    async with ApiClient(access, monotonic=time.monotonic, metrics=NoMetrics()) as client:
        yield client
    await server.stop()
    pool.close()


def elector(client, identity, times=QUICK):
    return LeaseElector(
        client,
        namespace="default",
        name="shoal-operator",
        identity=identity,
        clock=SystemClock(),
        rng=random.Random(0),
        times=times,
    )


@contextlib.asynccontextmanager
async def holding(candidate):
    task = asyncio.create_task(candidate.hold())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def holder(client):
    return (await client.get(LEASES, "default", "shoal-operator"))["spec"]["holderIdentity"]


async def test_a_free_lease_is_ours_at_once(real):
    first = elector(real, "first", LeaseTimes())
    started = time.monotonic()
    await first.acquire()
    assert time.monotonic() - started < 1
    assert first.is_leader
    assert await holder(real) == "first"


async def test_one_leads_and_the_other_waits_until_it_is_released(real):
    first, second = elector(real, "first"), elector(real, "second")
    await first.acquire()
    async with holding(first):
        waiting = asyncio.create_task(second.acquire())
        until_first = time.monotonic() + QUICK.duration_seconds
        await wait_until(lambda: first.leader_until > until_first + QUICK.duration_seconds)
        assert not waiting.done()
        assert first.is_leader
        await first.release()
    await asyncio.wait_for(waiting, 0.5)
    assert await holder(real) == "second"
    assert not first.is_leader
    lease = await real.get(LEASES, "default", "shoal-operator")
    assert lease["spec"]["leaseTransitions"] == 1


async def test_the_lease_of_a_silent_leader_is_taken_after_its_time(real):
    first, second = elector(real, "first"), elector(real, "second")
    await first.acquire()
    started = time.monotonic()
    await asyncio.wait_for(second.acquire(), 5)
    assert time.monotonic() - started >= 1
    assert not first.is_leader


async def test_a_leader_without_a_server_gives_up_before_others_take_over(api, client):
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "shoal-operator"}}
    api.on("GET", f"{path}/shoal-operator", status(404, "NotFound"), status(503, "ServiceUnavailable"))
    api.on("POST", path, (201, lease))
    first = elector(client, "first")
    await first.acquire()
    started = time.monotonic()
    await asyncio.wait_for(first.hold(), 3)
    assert not first.is_leader
    assert time.monotonic() - started < QUICK.duration_seconds


async def test_who_sees_another_holder_stops_at_once(real):
    first = elector(real, "first", LeaseTimes(retry_seconds=0.1))
    await first.acquire()
    async with holding(first) as task:
        lease = await real.get(LEASES, "default", "shoal-operator")
        await real.replace(lease | {"spec": {**lease["spec"], "holderIdentity": "thief"}})
        await wait_until(task.done, seconds=2)
        assert not first.is_leader
    await first.release()
    assert await holder(real) == "thief"


PODS_PATH = "/api/v1/namespaces/ml/pods"


@contextlib.asynccontextmanager
async def candidate(api, leads):
    access = ApiAccess(server=api.url, token="a-token")
    gate = {"monotonic": time.monotonic, "metrics": NoMetrics(), "may_write": lambda: leads[0]}
    async with ApiClient(access, **gate) as opened:
        yield opened


async def test_who_does_not_lead_reads_and_writes_nothing_but_the_lease(api):
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "namespace": "ml"}}
    api.on("GET", f"{PODS_PATH}/a", (200, pod("a", 1)))
    api.on("PUT", "/apis/coordination.k8s.io/v1/namespaces/ml/leases/l", (200, lease))
    async with candidate(api, [False]) as client:
        assert await client.get(PODS, "ml", "a")
        assert await client.replace(lease)
        sent = len(api.requests)
        for write in (
            client.create(pod("a", 1)),
            client.apply(pod("a", 1)),
            client.apply_status(pod("a", 1)),
            client.replace(pod("a", 1)),
            client.merge(PODS, "ml", "a", {}),
            client.delete(PODS, "ml", "a"),
        ):
            with pytest.raises(errors.NotLeaderError):
                await write
        assert len(api.requests) == sent


@pytest.mark.parametrize(("namespace", "name"), [("leases", "a"), ("leases-of-cars", "a"), ("ml", "leases")])
async def test_what_is_only_named_like_the_lease_is_not_written_without_it(api, namespace, name):
    async with candidate(api, [False]) as client:
        with pytest.raises(errors.NotLeaderError):
            await client.delete(PODS, namespace, name)
    assert api.requests == []


async def test_a_write_that_waited_for_a_connection_asks_again_when_it_has_one(api):
    """All connections are busy while the lease is lost: what was decided before does not leave after."""
    free = asyncio.Event()

    async def answer(request):
        await free.wait()
        return web.json_response(pod("a", 1))

    api.on("GET", f"{PODS_PATH}/a", answer)
    api.on("POST", PODS_PATH, (201, pod("b", 2)))
    leads = [True]
    async with candidate(api, leads) as client:
        readers = [asyncio.create_task(client.get(PODS, "ml", "a")) for _ in range(CONNECTIONS_MAX)]
        await wait_until(lambda: len(api.requests) == CONNECTIONS_MAX)
        write = asyncio.create_task(client.create(pod("b", 2)))
        await asyncio.sleep(0.05)
        leads[0] = False
        free.set()
        with pytest.raises(errors.NotLeaderError):
            await write
        await asyncio.gather(*readers)
        assert api.seen("POST", PODS_PATH) == []


async def test_the_lease_is_renewed_while_all_connections_are_busy(api, client):
    async def never(_request):
        await asyncio.sleep(30)

    api.on("GET", f"{PODS_PATH}/a", never)
    api.on("GET", LEASES.path("default", "shoal-operator"), status(404, "NotFound"))
    api.on("POST", LEASES.path("default"), (201, {}))
    readers = [asyncio.create_task(client.get(PODS, "ml", "a")) for _ in range(CONNECTIONS_MAX)]
    await wait_until(lambda: len(api.requests) == CONNECTIONS_MAX)
    async with asyncio.timeout(5):
        await elector(client, "a").acquire()
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def test_a_leader_renews_without_reading_until_somebody_else_wrote(api, client):
    path = LEASES.path("default", "shoal-operator")
    lease = {"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": "", "leaseTransitions": 4}}
    ours = {"metadata": {"resourceVersion": "8"}, "spec": {"holderIdentity": "a", "leaseTransitions": 5}}
    theirs = {"metadata": {"resourceVersion": "9"}, "spec": {"holderIdentity": "b", "leaseDurationSeconds": 15}}
    api.on("GET", path, (200, lease), (200, theirs))
    api.on("PUT", path, (200, ours), (200, ours), status(409, "Conflict"))
    candidate = elector(client, "a")
    await candidate.acquire()
    async with asyncio.timeout(5):
        await candidate.hold()
    assert not candidate.is_leader
    writes = [request["body"] for request in api.seen("PUT", path)]
    assert [body["metadata"]["resourceVersion"] for body in writes] == ["7", "8", "8"]
    assert {body["spec"]["leaseTransitions"] for body in writes} == {5}
    assert len(api.seen("GET", path)) == 2
