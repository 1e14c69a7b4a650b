"""Every call proves the token; nothing else gets in, and no proof works twice."""

import asyncio
import contextlib

import grpc
import pytest

from shoal.protocol import auth, head_pb2, head_pb2_grpc, node_pb2, node_pb2_grpc

TOKEN = b"correct horse"
WATCH = "/shoal.protocol.v1.Head/Watch"
NOW = 1_700_000_000.0


def verifier(**kw):
    return auth.Verifier(TOKEN, NOW - 1000, **kw)


def test_a_proof_is_taken_once():
    checker, proof = verifier(), auth.sign(TOKEN, WATCH, NOW, "ab")
    checker.check(WATCH, proof, NOW)
    with pytest.raises(auth.AuthError, match="replay"):
        checker.check(WATCH, proof, NOW + 1)


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (None, "carried none"),
        ("", "unknown form"),
        ("2 1 2 3", "unknown form"),
        ("1 nan nonce \u00e9", "another token"),
        (auth.sign(b"wrong", WATCH, NOW, "ab"), "another token"),
        (auth.sign(TOKEN, "/other", NOW, "ab"), "another token"),
        (auth.sign(TOKEN, WATCH, NOW - 121, "ab"), "clock"),
        (auth.sign(TOKEN, WATCH, NOW + 121, "ab"), "clock"),
    ],
)
def test_what_is_refused(proof, words):
    with pytest.raises(auth.AuthError, match=words):
        verifier().check(WATCH, proof, NOW)


def test_a_changed_time_or_nonce_breaks_the_proof():
    version, stamp, nonce, mac = auth.sign(TOKEN, WATCH, NOW, "ab").split(" ")
    for forged in (f"{version} {float(stamp) + 1:.3f} {nonce} {mac}", f"{version} {stamp} cd {mac}"):
        with pytest.raises(auth.AuthError, match="another token"):
            verifier().check(WATCH, forged, NOW)


def test_a_new_server_takes_no_proof_from_before_its_start():
    with pytest.raises(auth.AuthError, match="older than"):
        auth.Verifier(TOKEN, NOW).check(WATCH, auth.sign(TOKEN, WATCH, NOW - 30, "ab"), NOW)


def test_memory_is_bounded_and_no_forgotten_nonce_is_taken_again():
    checker = verifier(max_nonces=100)
    proofs = [auth.sign(TOKEN, WATCH, NOW + i / 2, str(i)) for i in range(200)]
    for i, proof in enumerate(proofs):
        checker.check(WATCH, proof, NOW + i / 2)
    assert checker._count <= 100
    for proof in proofs:
        with pytest.raises(auth.AuthError):
            checker.check(WATCH, proof, NOW + 100)


def test_an_empty_token_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        auth.Verifier(b"", NOW)


class Everything(head_pb2_grpc.HeadServicer, node_pb2_grpc.ClusterServicer):
    async def ListJobs(self, request, context):
        return head_pb2.ListJobsReply()

    async def Watch(self, request, context):
        yield head_pb2.HeadSnapshot(version=1)
        yield head_pb2.HeadSnapshot(version=2)

    async def Session(self, requests, context):
        async for _ in requests:
            yield node_pb2.HeadMessage(shutdown=node_pb2.Shutdown(reason="x"))


def add(server, servicer):
    head_pb2_grpc.add_HeadServicer_to_server(servicer, server)
    node_pb2_grpc.add_ClusterServicer_to_server(servicer, server)
    return server.add_insecure_port("127.0.0.1:0")


@contextlib.asynccontextmanager
async def serving():
    server = grpc.aio.server(interceptors=[auth.aio_server_interceptor(TOKEN)], options=auth.SERVER_OPTIONS)
    target = f"127.0.0.1:{add(server, Everything())}"
    await server.start()
    yield target
    await server.stop(0)


def call_blocking(target):
    with auth.channel(target, TOKEN) as channel:
        head, cluster = head_pb2_grpc.HeadStub(channel), node_pb2_grpc.ClusterStub(channel)
        assert head.ListJobs(head_pb2.ListJobsRequest(), timeout=5) == head_pb2.ListJobsReply()
        assert [s.version for s in head.Watch(head_pb2.WatchRequest(), timeout=5)] == [1, 2]
        replies = cluster.Session(iter([node_pb2.NodeMessage()] * 3), timeout=5)
        assert [r.shutdown.reason for r in replies] == ["x"] * 3
    with auth.channel(target, b"other") as channel, pytest.raises(grpc.RpcError) as caught:
        head_pb2_grpc.HeadStub(channel).ListJobs(head_pb2.ListJobsRequest(), timeout=5)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_blocking_calls_of_every_kind():
    async with serving() as target:
        await asyncio.to_thread(call_blocking, target)


async def test_asyncio_calls_of_every_kind():
    async with serving() as target, auth.aio_channel(target, TOKEN) as channel:
        head, cluster = head_pb2_grpc.HeadStub(channel), node_pb2_grpc.ClusterStub(channel)
        assert await head.ListJobs(head_pb2.ListJobsRequest(), timeout=5) == head_pb2.ListJobsReply()
        assert [s.version async for s in head.Watch(head_pb2.WatchRequest(), timeout=5)] == [1, 2]

        async def requests():
            for _ in range(3):
                yield node_pb2.NodeMessage()

        assert len([r async for r in cluster.Session(requests(), timeout=5)]) == 3


async def test_every_method_refuses_a_peer_without_the_token():
    services = (head_pb2.DESCRIPTOR.services_by_name["Head"], node_pb2.DESCRIPTOR.services_by_name["Cluster"])
    methods = [f"/{service.full_name}/{m.name}" for service in services for m in service.methods]
    assert len(methods) >= 14
    async with (
        serving() as target,
        grpc.aio.insecure_channel(target) as bare,
        auth.aio_channel(target, b"wrong") as wrong,
    ):
        for channel in (bare, wrong):
            for method in [*methods, "/shoal.protocol.v1.Head/Unknown"]:
                call = channel.unary_unary(method)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(b"", timeout=5)
                assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED, method
