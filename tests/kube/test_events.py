import asyncio
import contextlib

from shoal_operator.control.clock import ManualClock
from shoal_operator.kube.events import BURST, EventRecorder

from .conftest import status, wait_until

PATH = "/apis/events.k8s.io/v1/namespaces/ml/events"
CLUSTER = {
    "apiVersion": "shoal.dev/v1alpha1",
    "kind": "ComputeCluster",
    "metadata": {"name": "demo", "namespace": "ml", "uid": "uid-1"},
}


@contextlib.asynccontextmanager
async def recording(client, clock=None):
    recorder = EventRecorder(client, clock or ManualClock(), controller="shoal.dev/operator", instance="pod-1")
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def tell(recorder, message="grown", reason="CreatedWorkers"):
    recorder.record(CLUSTER, type_="Normal", reason=reason, message=message, action="ScaleUp")


async def test_an_event_says_who_about_what(api, client):
    api.on("POST", PATH, (201, {}))
    async with recording(client) as recorder:
        tell(recorder)
        await recorder.flush(2)
    [request] = api.seen("POST", PATH)
    body = request["body"]
    assert body["regarding"]["uid"] == "uid-1"
    assert (body["reason"], body["action"], body["note"]) == ("CreatedWorkers", "ScaleUp", "grown")
    assert (body["reportingController"], body["reportingInstance"]) == ("shoal.dev/operator", "pod-1")
    assert body["eventTime"] == "2026-01-01T00:00:00.000000Z"


async def test_the_same_words_again_raise_a_count(api, client):
    clock = ManualClock()
    api.on("POST", PATH, (201, {}))
    async with recording(client, clock) as recorder:
        tell(recorder)
        await recorder.flush(2)
        name = api.requests[0]["body"]["metadata"]["name"]
        api.on("PATCH", f"{PATH}/{name}", (200, {}))
        clock.advance(60)
        tell(recorder)
        tell(recorder, "something else")
        await wait_until(lambda: len(api.requests) == 3)
        assert api.seen("PATCH", f"{PATH}/{name}")[0]["body"]["series"]["count"] == 2
        clock.advance(3600)
        tell(recorder)
        await wait_until(lambda: len(api.seen("POST", PATH)) == 3)


async def test_one_object_cannot_flood(api, client):
    clock = ManualClock()
    api.on("POST", PATH, (201, {}))
    async with recording(client, clock) as recorder:
        for number in range(100):
            tell(recorder, f"message {number}")
        await recorder.flush(5)
        assert len(api.requests) == BURST
        clock.advance(15)
        tell(recorder, "later")
        tell(recorder, "too soon")
        await recorder.flush(5)
        assert len(api.requests) == BURST + 1


async def test_a_busy_server_gets_the_event_later_and_a_refusal_is_final(api, client):
    api.on("POST", PATH, status(503, "ServiceUnavailable"), status(409, "AlreadyExists"), status(403, "Forbidden"))
    async with recording(client) as recorder:
        tell(recorder)
        tell(recorder, "refused")
        await recorder.flush(5)
        await asyncio.sleep(0.05)
    notes = [request["body"]["note"] for request in api.requests]
    assert notes == ["grown", "grown", "refused"]


async def test_a_long_message_is_cut(api, client):
    api.on("POST", PATH, (201, {}))
    async with recording(client) as recorder:
        tell(recorder, "x" * 5000)
        await recorder.flush(2)
    assert len(api.requests[0]["body"]["note"]) == 1024
