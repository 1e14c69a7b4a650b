"""The control plane in TLS: both sides show a certificate of the cluster, and an error says which side lacks it."""

import asyncio
import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio
import pytest

from shoal.jobs.client import JobClient, JobClientError
from shoal.protocol import auth, head_pb2, head_pb2_grpc
from shoal.protocol.tls import CertificateDirectory, Certificates, TlsFilesError, explain_unavailable
from shoal_operator.controllers.authority import issue_leaf, new_authority

TOKEN = b"correct horse battery"
NOW = datetime.now(UTC)


def write(directory, authority, names=("shoal",), trusted=None):
    directory.mkdir(exist_ok=True)
    leaf = issue_leaf(authority, names, NOW)
    (directory / "ca.crt").write_bytes((trusted or authority).certificate_pem)
    (directory / "tls.crt").write_bytes(leaf.certificate_pem)
    (directory / "tls.key").write_bytes(leaf.key_pem)
    return str(directory)


@pytest.fixture(scope="module")
def authority():
    return new_authority("demo", NOW)


@pytest.fixture
def directory(tmp_path, authority):
    return write(tmp_path / "tls", authority)


class Head(head_pb2_grpc.HeadServicer):
    async def ListJobs(self, request, context):
        return head_pb2.ListJobsReply()


@pytest.fixture
async def serve():
    servers = []

    async def start(directory):
        server = grpc.aio.server(interceptors=[auth.aio_server_interceptor(TOKEN)], options=auth.SERVER_OPTIONS)
        head_pb2_grpc.add_HeadServicer_to_server(Head(), server)
        if directory:
            port = server.add_secure_port("127.0.0.1:0", CertificateDirectory(directory).for_server())
        else:
            port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(0)


async def ask(target, certificates, token=TOKEN):
    async with auth.aio_channel(target, token, certificates) as channel:
        return await head_pb2_grpc.HeadStub(channel).ListJobs(head_pb2.ListJobsRequest(), timeout=10)


async def refusal(target, certificates, token=TOKEN):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(target, certificates, token)
    return caught.value


async def test_both_kinds_of_channels_call_an_address_that_no_certificate_names(serve, directory):
    target = await serve(directory)
    assert await ask(target, Certificates.read(directory)) == head_pb2.ListJobsReply()

    def ask_blocking():
        with JobClient(target, TOKEN, Certificates.read(directory)) as client:
            return client.list()

    assert await asyncio.to_thread(ask_blocking) == []
    version, chain = ssl_facts(target, directory)
    assert version == "TLSv1.3"
    assert chain


def ssl_facts(target, directory):
    context = ssl.create_default_context(cafile=f"{directory}/ca.crt")
    context.load_cert_chain(f"{directory}/tls.crt", f"{directory}/tls.key")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(target.split(":"), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="shoal") as secured,
    ):
        return secured.version(), secured.getpeercert()


async def test_the_token_is_still_needed(serve, directory):
    error = await refusal(await serve(directory), Certificates.read(directory), b"another token")
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_client_without_tls_is_refused_and_told_so(serve, directory):
    target = await serve(directory)
    error = await refusal(target, None)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "needs TLS" in explain_unavailable(target, error.details(), with_tls=False)


async def test_a_client_with_tls_is_told_that_the_head_has_none(serve, directory):
    target = await serve("")
    error = await refusal(target, Certificates.read(directory))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "has no TLS" in explain_unavailable(target, error.details(), with_tls=True)


async def test_a_head_of_another_authority_is_refused(serve, directory, tmp_path):
    target = await serve(write(tmp_path / "other", new_authority("other", NOW)))
    error = await refusal(target, Certificates.read(directory))
    assert "certificate of the head" in explain_unavailable(target, error.details(), with_tls=True)


async def test_a_head_with_another_name_is_refused(serve, directory, tmp_path, authority):
    target = await serve(write(tmp_path / "misnamed", authority, ("example.com",)))
    assert (await refusal(target, Certificates.read(directory))).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_of_another_authority_is_refused(serve, directory, tmp_path, authority):
    target = await serve(directory)
    stranger = write(tmp_path / "other", new_authority("other", NOW), trusted=authority)
    error = await refusal(target, Certificates.read(stranger))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "may refuse this side's certificate" in explain_unavailable(target, error.details(), with_tls=True)


async def test_a_client_without_a_certificate_is_refused(serve, directory):
    target = await serve(directory)
    credentials = grpc.ssl_channel_credentials(Path(directory, "ca.crt").read_bytes())
    options = [("grpc.ssl_target_name_override", "shoal")]
    async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await head_pb2_grpc.HeadStub(channel).ListJobs(head_pb2.ListJobsRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_certificate_counts_for_the_next_connection(serve, directory, tmp_path):
    target = await serve(directory)
    old = Certificates.read(directory)
    await ask(target, old)
    write(tmp_path / "tls", new_authority("demo", NOW))
    assert await ask(target, Certificates.read(directory)) == head_pb2.ListJobsReply()
    assert (await refusal(target, old)).code() is grpc.StatusCode.UNAVAILABLE


def test_files_that_are_being_replaced_do_not_count(directory):
    watched = CertificateDirectory(directory)
    before = watched.current()
    Path(directory, "tls.key").unlink()
    assert watched.current() is before
    Path(directory, "tls.key").write_text("not yet")
    assert watched.current() is before


@pytest.mark.parametrize("name", ["ca.crt", "tls.crt", "tls.key"])
def test_a_file_that_cannot_be_used_is_named(directory, name):
    Path(directory, name).write_text("nothing")
    with pytest.raises(TlsFilesError, match=f"{name}.* for TLS"):
        Certificates.read(directory)
    Path(directory, name).unlink()
    with pytest.raises(TlsFilesError, match=f"{name}.*No such file"):
        CertificateDirectory(directory)


def test_no_key_is_shown(directory):
    assert "PRIVATE" not in repr(Certificates.read(directory))


def test_a_head_that_is_not_there_is_not_asked_twice():
    assert explain_unavailable("127.0.0.1:1", "Connection refused", with_tls=True) == "Connection refused"
    with JobClient("127.0.0.1:1", TOKEN) as client, pytest.raises(JobClientError, match=r"(?i)refused"):
        client.list()


@pytest.fixture
def hangs_up():
    """The port of something that takes connections and closes them, as what is left of a killed head does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("with_tls", [False, True])
def test_a_connection_that_just_ends_is_no_sign_of_tls(hangs_up, with_tls):
    assert explain_unavailable(hangs_up, "Socket closed", with_tls=with_tls) == "Socket closed"


def test_a_head_that_hangs_up_does_not_answer(hangs_up):
    with JobClient(hangs_up, TOKEN) as client, pytest.raises(JobClientError) as caught:
        client.list()
    assert str(caught.value).startswith(f"the head at {hangs_up} does not answer: ")
    assert "TLS" not in str(caught.value)
