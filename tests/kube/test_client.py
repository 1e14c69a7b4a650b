import asyncio
import contextlib
import time

import pytest
from aiohttp import web

from shoal_operator.kube import errors
from shoal_operator.kube.access import ApiAccess
from shoal_operator.kube.client import CONNECTIONS_MAX, ApiClient
from shoal_operator.kube.resources import PODS

from .conftest import pod, status, watch

POD = "/api/v1/namespaces/ml/pods/demo-0"
PODS_PATH = "/api/v1/namespaces/ml/pods"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (status(404, "NotFound"), errors.NotFoundError),
        (status(409, "Conflict"), errors.ConflictError),
        (status(409, "AlreadyExists"), errors.AlreadyExistsError),
        (status(422, "Invalid"), errors.InvalidError),
        (status(400, "BadRequest"), errors.InvalidError),
        (status(410, "Expired"), errors.GoneError),
        (status(401, "Unauthorized"), errors.UnauthorizedError),
        (status(403, "Forbidden"), errors.ForbiddenError),
        (status(429, "TooManyRequests"), errors.TooManyRequestsError),
        (status(500, "InternalError"), errors.UnavailableError),
        (status(503, "ServiceUnavailable"), errors.UnavailableError),
        (status(418, "Teapot"), errors.ApiError),
    ],
)
async def test_answers_become_typed_errors(api, client, answer, kind):
    api.on("GET", POD, answer)
    with pytest.raises(errors.ApiError) as caught:
        await client.get(PODS, "ml", "demo-0")
    assert type(caught.value) is kind
    assert caught.value.code == answer[0]
    assert str(caught.value) == f"no (GET {POD})"


async def test_an_owners_kind_that_the_server_does_not_know_yet_is_a_matter_of_time(api, client):
    """Right after the definitions were installed; a refusal would be looked at again only after half a minute."""
    words = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion shoal.dev/v1"
    api.on("POST", PODS_PATH, (403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": words}))
    with pytest.raises(errors.NotMappedError) as caught:
        await client.create(pod("demo-0", 0))
    assert caught.value.retryable


async def test_a_create_names_us_and_never_retries(api, client):
    api.on("POST", PODS_PATH, status(500, "InternalError"))
    with pytest.raises(errors.UnavailableError):
        await client.create(pod("demo-0", 0))
    [request] = api.seen("POST", PODS_PATH)
    assert request["query"] == {"fieldManager": "shoal-operator"}
    assert request["headers"]["Authorization"] == "Bearer a-token"


async def test_a_delete_is_bound_to_the_object_that_was_seen(api, client):
    api.on("DELETE", POD, (200, {}))
    await client.delete(PODS, "ml", "demo-0", uid="uid-7")
    assert api.requests[0]["body"]["preconditions"] == {"uid": "uid-7"}


async def test_the_status_has_a_manager_of_its_own(api, client):
    api.on("PATCH", f"{POD}/status", (200, pod("demo-0", 5)))
    await client.apply_status(pod("demo-0", 4))
    [request] = api.requests
    assert request["query"] == {"fieldManager": "shoal-operator-status", "force": "true"}
    assert request["headers"]["Content-Type"] == "application/apply-patch+yaml"


async def test_patience_that_the_server_asks_for_holds_for_every_request(api, client):
    api.on("GET", POD, (*status(429, "TooManyRequests"), {"Retry-After": "1"}))
    api.on("GET", "/api/v1/namespaces/ml/pods/other", (200, pod("other", 1)))
    with pytest.raises(errors.TooManyRequestsError) as caught:
        await client.get(PODS, "ml", "demo-0")
    assert caught.value.retry_after_seconds == 1
    started = time.monotonic()
    await client.get(PODS, "ml", "other")
    assert time.monotonic() - started > 0.9


async def test_no_server_is_unavailable(metrics):
    access = ApiAccess(server="http://127.0.0.1:1")
    async with ApiClient(access, monotonic=time.monotonic, metrics=metrics) as client:
        with pytest.raises(errors.UnavailableError, match="cannot be reached"):
            await client.get(PODS, "ml", "demo-0")
    assert metrics.requests == [("GET", 0)]


async def test_an_event_longer_than_the_usual_buffer_arrives_whole(api, client):
    big = pod("big", 2)
    big["metadata"]["annotations"] = {"note": "x" * 600_000}
    api.on("WATCH", PODS_PATH, watch(("ADDED", big), ("ADDED", pod("small", 3))))
    events = client.watch(PODS, "ml", resource_version="1", timeout_seconds=5, inactivity_seconds=5, label_selector="a")
    objects = [event["object"] async for event in events]
    assert [obj["metadata"]["name"] for obj in objects] == ["big", "small"]
    assert objects[0] == big
    assert api.requests[0]["query"] == {
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "1",
        "labelSelector": "a",
        "timeoutSeconds": "5",
    }


@pytest.mark.parametrize("name", ["../secrets", "a/b", "", "..", "a?x=1", "a%2Fb"])
async def test_a_name_cannot_lead_elsewhere(client, api, name):
    with pytest.raises(ValueError, match="not a valid name"):
        await client.get(PODS, "ml", name)
    assert api.requests == []


async def test_credentials_do_not_show(client):
    access = ApiAccess(server="https://x", token="top-secret", client_key="private", ca_data="ca")
    assert "top-secret" not in repr(access)
    assert "private" not in repr(access)


async def test_watches_take_no_connection_away_from_requests(api, client):
    """One watch for each kind and namespace keeps its connection: with many namespaces more than requests have."""
    api.on("WATCH", PODS_PATH, watch(("ADDED", pod("seen", 1)), then="silence"))
    api.on("GET", POD, (200, pod("demo-0", 1)))
    async with asyncio.timeout(10), contextlib.AsyncExitStack() as stack:
        for _ in range(CONNECTIONS_MAX + 1):
            options = {"resource_version": "1", "timeout_seconds": 30, "inactivity_seconds": 30}
            events = await stack.enter_async_context(contextlib.aclosing(client.watch(PODS, "ml", **options)))
            assert (await anext(events))["object"]["metadata"]["name"] == "seen"
        await client.get(PODS, "ml", "demo-0")


async def test_many_requests_share_few_connections(api, client):
    """A connection with TLS takes 100 KiB and more."""
    open_now, most = 0, 0

    async def slow(_request):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        return web.json_response(pod("demo-0", 1))

    api.on("GET", POD, slow)
    await asyncio.gather(*(client.get(PODS, "ml", "demo-0") for _ in range(3 * CONNECTIONS_MAX)))
    assert most == CONNECTIONS_MAX
