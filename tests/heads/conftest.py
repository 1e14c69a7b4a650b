"""A head by protocol, on a port of this machine, that a test can make silent, slow, or another one."""

import asyncio
import random
import time

import grpc
import grpc.aio
import pytest

from shoal.protocol import PROTOCOL_VERSION, auth, head_pb2, head_pb2_grpc
from shoal_operator.control.clock import SystemClock
from shoal_operator.heads.address import HeadAddress
from shoal_operator.heads.pool import HeadPool

TOKEN = b"a token of the cluster"


class Head(head_pb2_grpc.HeadServicer):
    def __init__(self):
        self.snapshot = head_pb2.HeadSnapshot(protocol_version=PROTOCOL_VERSION, incarnation="first")
        self.calls = []
        self.silent = False
        self.refusal = None
        self.slow = None
        self._changed = asyncio.Event()
        self.port = 0

    async def serve(self, token=TOKEN):
        self.server = grpc.aio.server(interceptors=[auth.aio_server_interceptor(token)], options=auth.SERVER_OPTIONS)
        head_pb2_grpc.add_HeadServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    def say(self):
        self._changed.set()

    async def Watch(self, request, context):
        self.calls.append("watch")
        while True:
            if self.silent:
                await asyncio.sleep(60)
            yield self.snapshot
            await self._changed.wait()
            self._changed.clear()

    async def SubmitJob(self, request, context):
        self.calls.append(request.submission_id)
        if self.slow is not None:
            await self.slow.wait()
        if self.refusal is not None:
            await context.abort(self.refusal, "by the test")
        return head_pb2.SubmitJobReply()

    async def RecordDecisions(self, request, context):
        self.calls.append([decision.what for decision in request.decisions])
        if self.refusal is not None:
            await context.abort(self.refusal, "by the test")
        return head_pb2.RecordDecisionsReply()


@pytest.fixture(scope="session", autouse=True)
def grpc_runtime():
    """grpc keeps one poller a process: there before the first test, so that no test seems to leave it."""

    async def begin():
        grpc.aio.init_grpc_aio()

    asyncio.run(begin())
    yield
    grpc.aio.shutdown_grpc_aio()


@pytest.fixture
async def head():
    served = Head()
    await served.serve()
    yield served
    await served.server.stop(0)


class Pool:
    """A pool with what it told."""

    def __init__(self):
        self.news = []
        self.failures = []
        self.tokens = [TOKEN]
        self.asked_fresh = []
        self.pool = HeadPool(
            self._open,
            on_news=lambda key, news: self.news.append(news),
            on_failed=self.failures.append,
            clock=SystemClock(),
            rng=random.Random(0),
        )

    async def _open(self, address, namespace, fresh):
        self.asked_fresh.append(fresh)
        if fresh and len(self.tokens) > 1:
            self.tokens.pop(0)
        return auth.aio_channel(address.target, self.tokens[0])


@pytest.fixture
async def pool():
    made = Pool()
    yield made
    await made.pool.close()


def address(head, uid="uid"):
    return HeadAddress(uid, f"127.0.0.1:{head.port}", "demo-token")


async def wait_until(condition, *, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition did not come true in time")
        await asyncio.sleep(0.01)
