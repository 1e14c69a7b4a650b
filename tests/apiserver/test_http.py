"""The server over real TLS: who is let in, what the protocol's edges answer, how watches behave."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import stat
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoal_operator.local.apiserver import ApiServer
from shoal_operator.local.apiserver.requests import BODY_LIMIT_BYTES

PODS = "/api/v1/namespaces/default/pods"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def next_event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    line = await asyncio.wait_for(response.content.readline(), 10)
    event: dict[str, Any] = json.loads(line)
    return event


@pytest.mark.parametrize("path", ["/", "/healthz", "/api", "/apis", "/openapi/v3", "/version", PODS, "/nonsense"])
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer a-token-of-the-tests-012345678", "Bearer \xe9"],
)
async def test_without_the_token_every_path_is_401(
    server: ApiServer, tls: ssl.SSLContext, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=tls)) as client:
        for method in ("GET", "POST", "DELETE"):
            response = await client.request(method, path, headers=headers)
            assert response.status == 401
            assert (await response.json())["reason"] == "Unauthorized"


async def test_the_certificate_names_loopback_and_only_its_own_authority_vouches(
    server: ApiServer, http: aiohttp.ClientSession
) -> None:
    port = server.url.rsplit(":", 1)[1]
    assert (await http.get(f"https://localhost:{port}/healthz")).status == 200
    async with aiohttp.ClientSession(server.url) as stranger:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await stranger.get("/healthz")


async def test_key_files_are_private(server: ApiServer, tmp_path: Path) -> None:
    for name in ("apiserver.key", "apiserver.crt"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("host", "token", "words"),
    [("0.0.0.0", "x" * 20, "loopback only"), ("127.0.0.1", "short", "token of at least 16")],
)
async def test_it_never_starts_open(tmp_path: Path, host: str, token: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await ApiServer(addresses=None).start(host, directory=tmp_path, token=token)  # type: ignore[arg-type]


async def test_a_port_in_use_is_an_os_error(server: ApiServer, tmp_path: Path) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    other = ApiServer(addresses=None)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="in use"):
        await other.start(port=port, directory=tmp_path, token="x" * 20)
    await other.stop()


async def test_start_is_fast(tmp_path: Path) -> None:
    started = time.monotonic()
    server = ApiServer(addresses=None)  # type: ignore[arg-type]
    await server.start(directory=tmp_path, token="x" * 20)
    took = time.monotonic() - started
    await server.stop()
    assert took < 0.6


async def test_a_body_over_the_limit_is_413(http: aiohttp.ClientSession, new_pod: Any) -> None:
    body = new_pod()
    body["metadata"]["annotations"] = {"big": "x" * BODY_LIMIT_BYTES}
    sent = io.BytesIO(json.dumps(body).encode())
    response = await http.post(PODS, data=sent, headers={"Content-Type": "application/json"})
    assert response.status == 413
    assert (await response.json())["message"] == "Request entity too large: limit is 3145728"


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason"),
    [
        ("POST", PODS, b"{", 400, "BadRequest"),
        ("POST", PODS, b"[]", 400, "BadRequest"),
        ("POST", PODS, b'{"kind":"Pod"}', 422, "Invalid"),
        ("POST", PODS, b"[" * 100_000, 400, "BadRequest"),
        ("POST", "/api/v1/pods", b'{"kind":"Pod","apiVersion":"v1"}', 405, "MethodNotAllowed"),
        ("PUT", PODS, b"{}", 405, "MethodNotAllowed"),
        ("GET", PODS + "/nobody", None, 404, "NotFound"),
        ("GET", PODS + "/p/nonsense", None, 404, "NotFound"),
        ("GET", "/api/v1/unicorns", None, 404, "NotFound"),
        ("GET", "/api/v1/pods/p", None, 404, "NotFound"),
        ("GET", PODS + "?limit=x", None, 400, "BadRequest"),
        ("GET", PODS + "?labelSelector=a%20in%20(", None, 400, "BadRequest"),
        ("GET", PODS + "?fieldSelector=spec.foo%3D1", None, 400, "BadRequest"),
        ("GET", PODS + "?continue=nonsense", None, 400, "BadRequest"),
        ("GET", PODS + "?resourceVersion=99999999999999", None, 504, "Timeout"),
        ("GET", PODS + "?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", None, 422, "Invalid"),
        ("GET", PODS + "?watch=1&resourceVersionMatch=NotOlderThan", None, 422, "Invalid"),
    ],
)
async def test_bad_requests_get_a_status(
    http: aiohttp.ClientSession, method: str, path: str, body: bytes | None, code: int, reason: str
) -> None:
    response = await http.request(method, path, data=body, headers={"Content-Type": "application/json"})
    status = await response.json()
    assert (response.status, status["kind"], status["code"], status["reason"]) == (code, "Status", code, reason)


async def test_a_watch_shows_adds_changes_and_deletes_in_order(http: aiohttp.ClientSession, new_pod: Any) -> None:
    version = (await (await http.get(PODS)).json())["metadata"]["resourceVersion"]
    async with http.get(f"{PODS}?watch=1&resourceVersion={version}") as watch:
        await http.post(PODS, json=new_pod())
        merge = {"Content-Type": "application/merge-patch+json"}
        await http.patch(PODS + "/p", json={"metadata": {"labels": {"a": "b"}}}, headers=merge)
        await http.delete(PODS + "/p")
        events = [await next_event(watch) for _ in range(3)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


async def test_a_watch_with_a_selector_turns_changes_into_adds_and_deletes(
    http: aiohttp.ClientSession, new_pod: Any
) -> None:
    await http.post(PODS, json=new_pod())
    merge = {"Content-Type": "application/merge-patch+json"}
    async with http.get(f"{PODS}?watch=1&labelSelector=a%3Db") as watch:
        for labels in ({"a": "b"}, {"a": "b", "x": "y"}, {"a": None}):
            await http.patch(PODS + "/p", json={"metadata": {"labels": labels}}, headers=merge)
        assert [(await next_event(watch))["type"] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watch_from_an_old_or_foreign_version_is_410(http: aiohttp.ClientSession) -> None:
    for version in ("1", "99999999999999999"):
        async with http.get(f"{PODS}?watch=1&resourceVersion={version}") as watch:
            event = await next_event(watch)
            assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
            assert await watch.content.readline() == b""


async def test_a_watch_ends_at_its_timeout_with_a_bookmark_before(http: aiohttp.ClientSession) -> None:
    started = time.monotonic()
    async with http.get(f"{PODS}?watch=1&timeoutSeconds=3&allowWatchBookmarks=true") as watch:
        lines = [json.loads(line) async for line in watch.content]
    assert [line["type"] for line in lines] == ["BOOKMARK"]
    assert lines[0]["object"]["metadata"]["resourceVersion"].isdigit()
    assert 2.9 < time.monotonic() - started < 5


async def test_stop_ends_watches_and_leaves_nothing(
    server: ApiServer, http: aiohttp.ClientSession, new_pod: Any
) -> None:
    async with http.get(f"{PODS}?watch=1") as watch:
        started = time.monotonic()
        await server.stop()
        assert await watch.content.read() == b""
    assert time.monotonic() - started < 2


async def test_a_list_in_pages_is_the_list_at_its_start(http: aiohttp.ClientSession, new_pod: Any) -> None:
    for name in ("a", "b", "c", "d"):
        await http.post(PODS, json=new_pod(name))
    first = await (await http.get(PODS + "?limit=2")).json()
    await http.delete(PODS + "/c")
    await http.post(PODS, json=new_pod("bb"))
    second = await (await http.get(f"{PODS}?limit=2&continue={first['metadata']['continue']}")).json()
    assert [item["metadata"]["name"] for item in (*first["items"], *second["items"])] == ["a", "b", "c", "d"]
    assert first["metadata"]["remainingItemCount"] == 2
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


async def test_discovery_in_both_forms_says_the_same(
    http: aiohttp.ClientSession, widget_definition: dict[str, Any]
) -> None:
    await http.post(CRDS, json=widget_definition)
    listed = (await (await http.get("/apis/example.com/v1")).json())["resources"]
    assert {entry["name"]: entry["kind"] for entry in listed} == {
        "widgets": "Widget",
        "widgets/scale": "Scale",
        "widgets/status": "Widget",
    }
    assert listed[0]["singularName"] == "widget"
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    response = await http.get("/apis", headers=accept)
    assert "as=APIGroupDiscoveryList" in response.headers["Content-Type"]
    groups = {item["metadata"]["name"]: item["versions"] for item in json.loads(await response.read())["items"]}
    found = groups["example.com"][0]["resources"][0]
    assert (found["resource"], found["scope"], found["singularResource"]) == ("widgets", "Namespaced", "widget")
    assert {sub["subresource"] for sub in found["subresources"]} == {"scale", "status"}
    assert {g["name"] for g in (await (await http.get("/apis")).json())["groups"]} == set(groups)


async def test_unknown_fields_warn_by_default_and_refuse_when_strict(
    http: aiohttp.ClientSession, widget_definition: dict[str, Any], new_widget: Any
) -> None:
    await http.post(CRDS, json=widget_definition)
    body = new_widget(sise="x")
    strict = await http.post(WIDGETS + "?fieldValidation=Strict", json=body)
    assert strict.status == 400
    assert (await strict.json())["message"] == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.sise"'
    )
    warned = await http.post(WIDGETS, json=body)
    assert warned.status == 201
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.sise\\""'
    assert "sise" not in (await warned.json())["spec"]


async def test_dry_run_changes_nothing(http: aiohttp.ClientSession, new_pod: Any) -> None:
    created = await http.post(PODS + "?dryRun=All", json=new_pod())
    assert created.status == 201
    assert (await http.get(PODS + "/p")).status == 404
    await http.post(PODS, json=new_pod())
    assert (await http.delete(PODS + "/p?dryRun=All")).status == 200
    assert (await http.get(PODS + "/p")).status == 200


async def test_binding_gives_a_pod_its_node_once(http: aiohttp.ClientSession, new_pod: Any) -> None:
    await http.post(PODS, json=new_pod())
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "node"}}
    assert (await http.post(PODS + "/p/binding", json=binding)).status == 201
    assert (await (await http.get(PODS + "/p")).json())["spec"]["nodeName"] == "node"
    assert (await http.post(PODS + "/p/binding", json=binding)).status == 409
    found = await (await http.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode")).json()
    assert len(found["items"]) == 1


async def test_events_have_two_shapes_and_one_store(http: aiohttp.ClientSession) -> None:
    core = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "Started",
        "message": "container started",
        "source": {"component": "kubelet"},
        "count": 2,
    }
    assert (await http.post("/api/v1/namespaces/default/events", json=core)).status == 201
    shown = await (await http.get("/apis/events.k8s.io/v1/namespaces/default/events/e")).json()
    assert shown["apiVersion"] == "events.k8s.io/v1"
    assert (shown["regarding"]["name"], shown["note"], shown["deprecatedCount"]) == ("p", "container started", 2)
    query = "fieldSelector=involvedObject.name%3Dp,involvedObject.kind%3DPod"
    found = await (await http.get(f"/api/v1/namespaces/default/events?{query}")).json()
    assert found["items"][0]["message"] == "container started"


async def test_metadata_only_lists(http: aiohttp.ClientSession, new_pod: Any) -> None:
    await http.post(PODS, json=new_pod())
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    found = await (await http.get(PODS, headers=accept)).json()
    assert found["kind"] == "PartialObjectMetadataList"
    assert set(found["items"][0]) == {"kind", "apiVersion", "metadata"}


async def test_only_json_is_spoken(http: aiohttp.ClientSession) -> None:
    response = await http.get(PODS, headers={"Accept": "application/vnd.kubernetes.protobuf"})
    assert response.status == 406
    response = await http.post(PODS, data=b"k8s\0", headers={"Content-Type": "application/vnd.kubernetes.protobuf"})
    assert response.status == 415
