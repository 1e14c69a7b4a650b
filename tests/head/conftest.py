"""A real head with its gRPC server on loopback, and a small agent that speaks the real session protocol."""

import asyncio
import contextlib
import time
from pathlib import Path

import grpc.aio
import pytest
from tests.head.redis_server import RedisServer

from shoal.head.control import ControlPlane
from shoal.head.service import HeadService
from shoal.jobs.package_store import PackageStore
from shoal.jobs.runner import JobRunner
from shoal.protocol import PROTOCOL_VERSION, auth, head_pb2, head_pb2_grpc, node_pb2, node_pb2_grpc
from shoal.resources import ResourceSet

TOKEN = b"a token for tests"


def amounts(**units):
    return head_pb2.Resources(amounts=dict(ResourceSet.from_units(units)))


class Head:
    token = TOKEN

    def __init__(self, directory: Path):
        packages = PackageStore(directory / "head")
        self.service = HeadService(packages)
        self.echoed = bytearray()
        self.jobs = JobRunner(
            directory, str(directory / "node.sock"), packages, self.service.job_hooks(), self.echoed.extend
        )
        self.service.attach_jobs(self.jobs)
        self.control = ControlPlane(self.service, "127.0.0.1", 0, TOKEN)
        self.target = f"127.0.0.1:{self.control.start()}"

    def close(self):
        self.service.close()
        self.control.close()


@pytest.fixture
def head(tmp_path):
    head = Head(tmp_path)
    yield head
    head.close()


class FakeAgent:
    """One session over real gRPC; what the head said is in ``heard``."""

    def __init__(self, channel, node_id, cpus=4.0, port=0, live=(), **register):
        self.node_id, self.cpus, self.port = node_id, cpus, port
        self.cluster = node_pb2_grpc.ClusterStub(channel)
        self.heard = []
        self._out = asyncio.Queue()
        self._news = asyncio.Event()
        self._register = node_pb2.NodeMessage(
            register=node_pb2.RegisterNode(
                protocol_version=register.pop("protocol_version", PROTOCOL_VERSION),
                address=node_pb2.NodeAddress(node_id=node_id, ip="127.0.0.1", port=port),
                total=amounts(CPU=cpus),
                live_actor_ids=live,
                **register,
            )
        )
        self.call = None

    async def __aenter__(self):
        self.call = self.cluster.Session(self._requests())
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *args):
        await self.leave()

    async def _requests(self):
        yield self._register
        while (message := await self._out.get()) is not None:
            yield message

    async def _read(self):
        async for message in self.call:
            self.heard.append(message)
            self._news.set()

    async def leave(self):
        """Say goodbye."""
        self.send(goodbye=node_pb2.Goodbye())
        self._out.put_nowait(None)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._reader, 5)

    async def crash(self):
        self.call.cancel()
        with contextlib.suppress(BaseException):
            await self._reader

    def send(self, **body):
        self._out.put_nowait(node_pb2.NodeMessage(**body))

    def report(self, available=None, **fields):
        free = self.cpus if available is None else available
        self.send(report=node_pb2.NodeReport(available=amounts(CPU=free), **fields))

    def last(self, kind):
        return next((getattr(m, kind) for m in reversed(self.heard) if m.HasField(kind)), None)

    async def hear(self, kind, where=lambda body: True, seconds=5.0):
        """Wait for a message of a kind; it is taken out of ``heard``."""
        async with asyncio.timeout(seconds):
            while True:
                self._news.clear()
                for message in self.heard:
                    if message.HasField(kind) and where(getattr(message, kind)):
                        self.heard.remove(message)
                        return getattr(message, kind)
                await self._news.wait()


@pytest.fixture
async def channel(head):
    async with auth.aio_channel(head.target, TOKEN) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return head_pb2_grpc.HeadStub(channel)


async def snapshot_where(stub, condition, seconds=5.0):
    """The first snapshot of a new stream that meets the condition."""
    last = None
    try:
        async for last in stub.Watch(head_pb2.WatchRequest(), timeout=seconds):
            if condition(last):
                return last
    except Exception as error:
        raise AssertionError(f"no such snapshot within {seconds} s; the last one was:\n{last}") from error
    raise AssertionError("the stream ended")


async def eventually(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


@pytest.fixture(name="FakeAgent")
def fake_agent_class():
    return FakeAgent


@pytest.fixture(name="amounts")
def amounts_function():
    return amounts


@pytest.fixture(name="eventually")
def eventually_function():
    return eventually


@pytest.fixture
def wait_for(stub):
    """``await wait_for(condition)``: the first snapshot that meets it."""

    async def wait(condition, seconds=5.0):
        return await snapshot_where(stub, condition, seconds)

    return wait


@pytest.fixture(scope="session", autouse=True)
def grpc_runtime():
    """grpc keeps one poller thread a process: there before the first test, so that no test seems to leave it."""

    async def begin():
        grpc.aio.init_grpc_aio()

    asyncio.run(begin())
    yield
    grpc.aio.shutdown_grpc_aio()


@pytest.fixture
def redis_server(tmp_path):
    server = RedisServer(tmp_path)
    yield server
    server.close()
