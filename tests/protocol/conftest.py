"""What the tests of this area share."""

import asyncio

import grpc.aio
import pytest


@pytest.fixture(scope="session", autouse=True)
def grpc_runtime():
    """grpc keeps one poller thread a process: there before the first test, so that no test seems to leave it."""

    async def begin():
        grpc.aio.init_grpc_aio()

    asyncio.run(begin())
    yield
    grpc.aio.shutdown_grpc_aio()
