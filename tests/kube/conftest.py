"""An HTTP server that says what a test wrote down: answers that a real API server gives only on bad days."""

import asyncio
import contextlib
import json
import time
from collections import defaultdict, deque

import pytest
from aiohttp import web

from shoal_operator.kube.access import ApiAccess
from shoal_operator.kube.client import ApiClient


class NoMetrics:
    """Metrics that nobody reads."""

    def __init__(self):
        self.requests = []
        self.relists = []

    def observe_request(self, method, code):
        self.requests.append((method, code))

    def observe_relist(self, kind, reason):
        self.relists.append(reason)

    def observe_watch_event(self, kind):
        pass


class ScriptedApi:
    """Answers by method and path, in the order they were written down; the last one is repeated."""

    def __init__(self):
        self.answers = defaultdict(deque)
        self.requests = []
        self.url = ""

    def on(self, method, path, *answers):
        self.answers[method, path].extend(answers)

    def seen(self, method, path):
        return [request for request in self.requests if request["method"] == method and request["path"] == path]

    async def handle(self, request):
        body = await request.read()
        self.requests.append(
            {
                "method": "WATCH" if request.query.get("watch") else request.method,
                "path": request.path,
                "query": dict(request.query),
                "headers": dict(request.headers),
                "body": json.loads(body) if body else None,
            }
        )
        method = self.requests[-1]["method"]
        script = self.answers[method, request.path]
        if not script:
            return web.json_response({"kind": "Status", "message": "not in the script", "code": 404}, status=404)
        answer = script.popleft() if len(script) > 1 else script[0]
        if callable(answer):
            return await answer(request)
        status, document, *headers = answer
        return web.json_response(document, status=status, headers=headers[0] if headers else None)


@pytest.fixture
async def api():
    scripted = ScriptedApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
def metrics():
    return NoMetrics()


@pytest.fixture
async def client(api, metrics):
    access = ApiAccess(server=api.url, token="a-token")
    async with ApiClient(access, monotonic=time.monotonic, metrics=metrics) as opened:
        yield opened


def pod(name, version, *, uid=None, namespace="ml"):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
        },
    }


def pod_list(version, *pods, continue_token=""):
    metadata = {"resourceVersion": str(version), **({"continue": continue_token} if continue_token else {})}
    # Items of a real list carry neither apiVersion nor kind.
    items = [{key: value for key, value in item.items() if key == "metadata"} for item in pods]
    return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}


def status(code, reason, message="no"):
    return code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


def watch(*events, then="close"):
    """A watch that sends these events; then it ends, breaks, or stays silent."""

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for kind, obj in events:
            await response.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")
        if then == "silence":
            with contextlib.suppress(asyncio.CancelledError, ConnectionResetError):
                await asyncio.sleep(30)
        if then == "break" and request.transport is not None:
            request.transport.abort()
        return response

    return answer


def bookmark(version):
    return "BOOKMARK", {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": str(version)}}


async def wait_until(condition, *, seconds=5.0):
    """Wait until the condition holds; fail after a while."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition did not come true in time")
        await asyncio.sleep(0.005)
