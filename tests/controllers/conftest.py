"""The whole operator in the test's loop, against the embedded API server, with a recorder in between.

``World`` stands for everything that is not the operator: the API server (real), a kubelet that says that
pods run, and heads that speak the real protocol on the real addresses of their Services.
"""

import asyncio
import contextlib
import json
import random
import secrets
import ssl
import time
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
import yaml
from aiohttp import web

from shoal.protocol import PROTOCOL_VERSION, auth, head_pb2, head_pb2_grpc
from shoal_operator.composition import Operator
from shoal_operator.handlers import EXIT_SECONDS, KopfThread
from shoal_operator.kube.access import ApiAccess
from shoal_operator.local.apiserver import ApiServer
from shoal_operator.local.loopback import LoopbackPool
from shoal_operator.settings import Settings

CRDS = Path(__file__).parents[2] / "crds"
DRY_RUN = "DRY-RUN"
SOON_SECONDS = 1.0
"""An operator that plans to look again within this time is not at rest."""
READS = {"GET", "WATCH", DRY_RUN}
"""Requests that write no object. A POST with dryRun is one of them, under a method name of its own."""


class Recorder:
    """An HTTP proxy before the API server: it writes requests down and can spoil them."""

    def __init__(self, upstream, context, token):
        self.upstream = upstream
        self.token = token
        self.requests = []
        self.under_way = 0
        self.spoil = lambda method, path: None
        self.spoil_body = lambda method, path, body: None
        self.lag_seconds = lambda path: 0.0
        self.url = ""
        self.user = ""
        self._context = context

    def writes(self, *, without=()):
        found = [(method, path) for method, path, _ in self.requests if method not in READS]
        return [write for write in found if not any(part in write[1] for part in without)]

    @contextlib.asynccontextmanager
    async def serving(self):
        connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                await runner.cleanup()

    async def _handle(self, request):
        is_short = "watch" not in request.query
        self.under_way += is_short
        try:
            return await self._answer(request)
        finally:
            self.under_way -= is_short

    async def _answer(self, request):
        method = "WATCH" if "watch" in request.query else DRY_RUN if "dryRun" in request.query else request.method
        spoiled = self.spoil(method, request.path)
        if spoiled is None:
            spoiled = self.spoil_body(method, request.path, (await request.read()).decode())
        if spoiled is not None:
            code, words = spoiled if isinstance(spoiled, tuple) else (spoiled, "spoiled by the test")
            self.requests.append((method, request.path, code))
            body = {"kind": "Status", "status": "Failure", "code": code, "message": words}
            return web.json_response(body, status=code)
        headers = {name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers}
        headers["Authorization"] = f"Bearer {self.token}"
        if self.user:
            headers["Impersonate-User"] = self.user
        async with self._session.request(
            request.method,
            self.upstream + request.path_qs,
            data=await request.read(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            self.requests.append((method, request.path, answer.status))
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                if method == "WATCH":
                    await asyncio.sleep(self.lag_seconds(request.path))
                await response.write(chunk)
            return response


class Api:
    """kubectl for tests: straight to the server, not through the recorder."""

    def __init__(self, session, url):
        self._session = session
        self._url = url

    async def call(self, method, path, body=None, content_type="application/json"):
        async with self._session.request(
            method,
            self._url + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
        ) as answer:
            document = await answer.json(content_type=None)
            if answer.status >= 400 and answer.status != 404:
                raise AssertionError(f"{method} {path}: {document}")
            return None if answer.status == 404 else document

    async def create(self, plural, body):
        prefix = f"/apis/{body['apiVersion']}" if "/" in body["apiVersion"] else f"/api/{body['apiVersion']}"
        namespace = body["metadata"].get("namespace")
        middle = f"/namespaces/{namespace}" if namespace else ""
        return await self.call("POST", f"{prefix}{middle}/{plural}", body)

    async def cluster(self, name="demo"):
        return await self.call("GET", f"/apis/shoal.dev/v1alpha1/namespaces/default/computeclusters/{name}")

    async def job(self, name="demo"):
        return await self.call("GET", f"/apis/shoal.dev/v1alpha1/namespaces/default/computejobs/{name}")

    async def pods(self):
        return (await self.call("GET", "/api/v1/namespaces/default/pods"))["items"]

    async def pod_names(self):
        return sorted(pod["metadata"]["name"] for pod in await self.pods())

    async def versions(self, resource, selector=""):
        """The objects of a resource by name, with their versions."""
        found = await self.call("GET", f"{resource.path(None)}?labelSelector={selector}")
        metas = [item["metadata"] for item in found["items"]]
        return {(meta["namespace"], meta["name"]): meta["resourceVersion"] for meta in metas}

    async def service(self, name):
        return await self.call("GET", f"/api/v1/namespaces/default/services/{name}")

    async def secret(self, name):
        return await self.call("GET", f"/api/v1/namespaces/default/secrets/{name}")

    async def events(self):
        found = await self.call("GET", "/apis/events.k8s.io/v1/namespaces/default/events")
        return [(event["reason"], event["regarding"]["name"]) for event in found["items"]]

    async def patch(self, path, patch):
        return await self.call("PATCH", path, patch, "application/merge-patch+json")

    async def delete(self, path):
        return await self.call("DELETE", path)


class Kubelet:
    """Says that every pod runs and is ready, and lets deleted ones go."""

    def __init__(self, api):
        self._api = api
        self.paused = False

    async def run(self):
        while True:
            for pod in [] if self.paused else await self._api.pods():
                await self._handle(pod)
            await asyncio.sleep(0.03)

    async def _handle(self, pod):
        path = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}"
        if pod["metadata"].get("deletionTimestamp"):
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
            await self._api.call("DELETE", path, options)
        elif (pod.get("status") or {}).get("phase") != "Running":
            conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
            status = {"phase": "Running", "podIP": "127.0.0.9", "conditions": conditions}
            await self._api.patch(f"{path}/status", {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status})


class FakeHead(head_pb2_grpc.HeadServicer):
    """A head by protocol: it sends what the test put into ``snapshot`` and writes commands down."""

    def __init__(self):
        self.snapshot = head_pb2.HeadSnapshot(protocol_version=PROTOCOL_VERSION, incarnation="first", version=1)
        self.commands = []
        self.decisions = []
        self.hang = False
        self.ignores_stops = False
        self.refusal = None
        self.streams = 0
        self._changed = asyncio.Event()

    def change(self, **fields):
        for name, value in fields.items():
            target = getattr(self.snapshot, name)
            if isinstance(value, list):
                del target[:]
                target.extend(value)
            else:
                setattr(self.snapshot, name, value)
        self.snapshot.version += 1
        self._changed.set()

    async def Watch(self, request, context):
        self.streams += 1
        while True:
            self._changed.clear()
            yield self.snapshot
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 2)

    async def SubmitJob(self, request, context):
        self.commands.append(("submit", request.submission_id))
        if self.hang:
            await asyncio.sleep(60)
        if self.refusal is not None:
            await context.abort(*self.refusal)
        known = {job.submission_id for job in self.snapshot.jobs}
        job = head_pb2.JobSnapshot(submission_id=request.submission_id, state=head_pb2.JOB_STATE_RUNNING)
        if request.submission_id not in known:
            self.change(jobs=[*self.snapshot.jobs, job])
        return head_pb2.SubmitJobReply(job=job, created=request.submission_id not in known)

    async def StopJob(self, request, context):
        self.commands.append(("stop", request.submission_id))
        for job in self.snapshot.jobs:
            if job.submission_id == request.submission_id and not self.ignores_stops:
                job.state, job.reason = head_pb2.JOB_STATE_STOPPED, request.reason
        self.change()
        return head_pb2.StopJobReply(found=True)

    async def RecordDecisions(self, request, context):
        self.decisions += [f"{line.what}: {line.why}" for line in request.decisions]
        return head_pb2.RecordDecisionsReply()

    async def DrainNode(self, request, context):
        self.commands.append(("drain", request.node_id))
        for node in self.snapshot.nodes:
            if node.node_id == request.node_id:
                node.drain_state = head_pb2.DRAIN_STATE_DRAINED
        self.change()
        return head_pb2.DrainNodeReply(accepted=True)

    def finish_jobs(self, state=head_pb2.JOB_STATE_SUCCEEDED, **fields):
        for job in self.snapshot.jobs:
            job.state = state
            job.start_time_seconds, job.end_time_seconds = time.time() - 1, time.time()
            job.has_exit_code = True
            for name, value in fields.items():
                setattr(job, name, value)
        self.change()


class World:
    """What surrounds the operator."""

    def __init__(self, server, api, recorder, stack):
        self.server = server
        self.api = api
        self.recorder = recorder
        self.kubelet = Kubelet(api)
        self._stack = stack

    async def serve_head(self, cluster="demo", certificates=None):
        """Start a head where the cluster's Service says that it is."""
        await until(lambda: self.api.service(f"{cluster}-head"))
        secret = await until(lambda: self.api.secret(f"{cluster}-token"))
        address = (await self.api.service(f"{cluster}-head"))["spec"]["clusterIP"]
        import base64

        token = base64.b64decode(secret["data"]["token"])
        head = FakeHead()
        server = grpc.aio.server(interceptors=[auth.aio_server_interceptor(token)], options=auth.SERVER_OPTIONS)
        head_pb2_grpc.add_HeadServicer_to_server(head, server)
        if certificates is None:
            assert server.add_insecure_port(f"{address}:7380")
        else:
            pair = [(certificates.key_pem, certificates.certificate_pem)]
            secured = grpc.ssl_server_credentials(pair, certificates.authority_pem, require_client_auth=True)
            assert server.add_secure_port(f"{address}:7380", secured)
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        head.server = server
        return head

    @contextlib.asynccontextmanager
    async def operator(self, *, seed=0, with_kopf=False, **settings):
        """An operator process, as a task."""
        access = ApiAccess(server=self.recorder.url, token=self.recorder.token)
        deaths = []
        settings = Settings(**{"leader_election": False, "shutdown_seconds": 2.0, **settings})
        kopf = KopfThread(access, settings.namespaces) if with_kopf else None
        operator = Operator(
            settings,
            access,
            identity=f"test-{secrets.token_hex(3)}",
            rng=random.Random(seed),
            new_token=lambda: secrets.token_urlsafe(24),
            die=deaths.append,
            kopf=kopf,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(operator.run(stop))
        operator.task, operator.stop = task, stop.set
        try:
            yield operator
        finally:
            stop.set()
            await asyncio.gather(task, return_exceptions=not task.cancelled())
            assert kopf is None or await kopf.join(EXIT_SECONDS)
            assert deaths == []


@pytest.fixture(scope="session", autouse=True)
def grpc_runtime():
    """grpc keeps one poller a process: there before the first test, so that no test seems to leave it."""

    async def begin():
        grpc.aio.init_grpc_aio()

    asyncio.run(begin())
    yield
    grpc.aio.shutdown_grpc_aio()


@pytest.fixture
async def world(tmp_path):
    pool = LoopbackPool(seed=secrets.randbelow(60_000))
    server = ApiServer(pool)
    token = secrets.token_urlsafe(24)
    await server.start(directory=tmp_path, token=token)
    context = ssl.create_default_context(cadata=server.ca_pem.decode())
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(pool.close)
        stack.push_async_callback(server.stop)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context), headers={"Authorization": f"Bearer {token}"}
            )
        )
        api = Api(session, server.url)
        for path in sorted(CRDS.glob("*.yaml")):
            await api.create("customresourcedefinitions", yaml.safe_load(path.read_text()))
        recorder = await stack.enter_async_context(Recorder(server.url, context, token).serving())
        world = World(server, api, recorder, stack)
        kubelet = asyncio.create_task(world.kubelet.run())
        try:
            yield world
        finally:
            kubelet.cancel()
            await asyncio.gather(kubelet, return_exceptions=True)


async def until(read, check=bool, *, seconds=10.0):
    """Read until the check holds, and return what was read."""
    deadline = time.monotonic() + seconds
    while True:
        value = await read()
        if check(value):
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true in {seconds} s; last: {json.dumps(value, indent=1, default=str)}")
        await asyncio.sleep(0.02)


async def at_rest(world, *operators, seconds=10.0):
    """Wait until the operators know all that the server has, have looked at it and written what they want to."""

    async def done():
        asked = len(world.recorder.requests)
        for resource, _, selector in operators[0].world.feeds():
            has = await world.api.versions(resource, selector)
            if not all(_known(operator, resource) == has for operator in operators):
                return False
        return asked == len(world.recorder.requests) and not world.recorder.under_way and all(map(_is_idle, operators))

    await until(done, seconds=seconds)


def _known(operator, resource):
    store = next(store for one, store, _ in operator.world.feeds() if one == resource)
    return {name: store.get(*name)["metadata"]["resourceVersion"] for name in store.names()}


def _is_idle(operator):
    soon = asyncio.get_running_loop().time() + SOON_SECONDS
    timers = [controller.queue._state.next_timer() for controller in operator._controllers]
    queues_rest = all(controller.queue.is_idle for controller in operator._controllers)
    return (
        queues_rest
        and min((due for due in timers if due is not None), default=soon) >= soon
        and not (operator._events._queue or not operator._events._idle.is_set())
    )


async def heard(operator, since=None, cluster="demo"):
    """Wait for a snapshot of the cluster's head (that came after ``since``); returns when it came."""

    async def received_at():
        view = operator._heads.view(("default", cluster))
        return None if view is None or not view.reachable else view.received_at

    return await until(received_at, lambda at: at is not None and (since is None or at > since))


def condition(document, kind):
    """Status and reason of a condition, or None."""
    for entry in ((document or {}).get("status") or {}).get("conditions", ()):
        if entry["type"] == kind:
            return entry["status"], entry["reason"]
    return None


def is_true(kind):
    return lambda document: (condition(document, kind) or ("", ""))[0] == "True"


def a_cluster(name="demo", **spec):
    return {
        "apiVersion": "shoal.dev/v1alpha1",
        "kind": "ComputeCluster",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec or {"workerGroups": [{"name": "small", "minReplicas": 3}]},
    }


def a_job(name="demo", **spec):
    return {
        "apiVersion": "shoal.dev/v1alpha1",
        "kind": "ComputeJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"entrypoint": "python main.py", **spec},
    }
