"""TLS under the challenge: who gets in, who is told what, and that everything arrives whole in any portions."""

from __future__ import annotations

import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal.exceptions import TlsError
from shoal.wire.connection import Connection
from shoal.wire.handshake import ClientHandshake
from shoal.wire.network import Network
from shoal.wire.reactor import Reactor
from shoal.wire.sockets import connect_tcp, listen_tcp
from shoal.wire.tls import TlsFilesError, TlsIdentity, TlsStream
from shoal_operator.controllers.authority import Authority, issue_leaf, new_authority

TOKEN = b"0123456789abcdef0123456789abcdef"
NOW = datetime.now(UTC)


def write_identity(
    directory: Path,
    authority: Authority,
    names: tuple[str, ...] = ("shoal",),
    trusted: Authority | None = None,
    now: datetime = NOW,
) -> str:
    """A directory as a pod has it mounted."""
    directory.mkdir(exist_ok=True)
    leaf = issue_leaf(authority, names, now)
    (directory / "ca.crt").write_bytes((trusted or authority).certificate_pem)
    (directory / "tls.crt").write_bytes(leaf.certificate_pem)
    (directory / "tls.key").write_bytes(leaf.key_pem)
    return str(directory)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return new_authority("demo", NOW)


@pytest.fixture
def directory(tmp_path: Path, authority: Authority) -> str:
    return write_identity(tmp_path / "tls", authority)


class Server:
    """Echoes frames; leads in a thread of its own."""

    def __init__(self, network: Network) -> None:
        self.reactor = Reactor()
        self.listener = listen_tcp("127.0.0.1", 0)
        self.address: tuple[str, int] = self.listener.getsockname()
        self.network = network
        self.closed: list[str] = []
        self.connections: list[Connection] = []
        self.reactor.add_listener(self.listener, self.accept)
        self.thread = threading.Thread(target=self.reactor.run_forever)
        self.thread.start()

    def accept(self, sock: socket.socket) -> None:
        made = self.network.accept(self.reactor, sock, self.echo, lambda _c, why: self.closed.append(why))
        if made is not None:
            self.connections.append(made)

    def echo(self, connection: Connection, message: tuple[Any, ...], payload: bytes, _fds: list[int]) -> None:
        connection.send(message, payload)

    def heard_end(self, number: int = 1) -> str:
        """Why the connection that ended first (second, ...) did."""
        deadline = time.monotonic() + 10
        while len(self.closed) < number:
            assert time.monotonic() < deadline
            threading.Event().wait(0.005)
        return self.closed[number - 1]

    def stop(self) -> None:
        self.reactor.stop()
        self.thread.join()
        for connection in self.connections:
            connection.abandon()
        self.reactor.close()
        self.listener.close()


class Client:
    def __init__(self, network: Network, address: tuple[str, int]) -> None:
        self.reactor = Reactor()
        self.got: list[tuple[tuple[Any, ...], bytes]] = []
        self.closed: list[str] = []
        self.connection = network.connect(
            self.reactor,
            connect_tcp(*address),
            lambda _c, message, payload, _fds: self.got.append((message, payload)),
            lambda _c, why: self.closed.append(why),
        )

    def wait(self, count: int) -> None:
        assert self.reactor.run_until(lambda: len(self.got) >= count or bool(self.closed), time.monotonic() + 20)

    def stop(self) -> None:
        self.connection.abandon()
        self.reactor.close()


MakeServer = Callable[[str], Server]
MakeClient = Callable[[Server, str], Client]


@pytest.fixture
def serve() -> Iterator[MakeServer]:
    made: list[Server] = []

    def make(tls_directory: str) -> Server:
        made.append(Server(Network(TOKEN, tls_directory)))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def connect() -> Iterator[MakeClient]:
    made: list[Client] = []

    def make(server: Server, tls_directory: str) -> Client:
        made.append(Client(Network(TOKEN, tls_directory), server.address))
        return made[-1]

    yield make
    for client in made:
        client.stop()


def test_frames_of_all_sizes_keep_order_and_content(serve: MakeServer, connect: MakeClient, directory: str) -> None:
    client = connect(serve(directory), directory)
    sizes = [0, 1, 8191, 8192, 8193, 16384, 262143, 262144, 262145, 20 << 20, 3, *range(300)]
    blocks = [os.urandom(size) for size in sizes]
    for number, block in enumerate(blocks):  # the first ones wait for the handshake
        client.connection.send((99, number), memoryview(block) if number % 2 else block)
    client.wait(len(sizes))
    assert client.closed == []
    assert [message[1] for message, _ in client.got] == list(range(len(sizes)))
    assert [payload for _, payload in client.got] == blocks


def test_many_threads_send_while_the_answers_come(serve: MakeServer, connect: MakeClient, directory: str) -> None:
    client = connect(serve(directory), directory)
    client.reactor.start_io_thread()
    block = os.urandom(100_000)

    def work(base: int) -> None:
        for number in range(50):
            client.connection.send((99, base, number), block)

    threads = [threading.Thread(target=work, args=(base,)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.wait(200)
    assert all(payload == block for _, payload in client.got)
    for base in range(4):
        assert [m[2] for m, _ in client.got if m[1] == base] == list(range(50))


def test_nothing_readable_travels(serve: MakeServer, directory: str) -> None:
    """A relay between both sides sees neither the frames nor the challenge."""
    server = serve(directory)
    seen = bytearray()
    relay = listen_tcp("127.0.0.1", 0)
    relay.setblocking(True)

    def pump(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(1 << 16):
            seen.extend(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def run() -> None:
        near, _ = relay.accept()
        far = socket.create_connection(server.address)
        back = threading.Thread(target=pump, args=(far, near))
        back.start()
        pump(near, far)
        back.join()
        near.close()
        far.close()

    thread = threading.Thread(target=run)
    thread.start()
    client = Client(Network(TOKEN, directory), relay.getsockname())
    client.connection.send((99, "a secret word"), b"and another secret" * 1000)
    client.wait(1)
    client.stop()
    thread.join()
    relay.close()
    assert len(client.got) == 1
    assert len(seen) > 36_000
    for words in (b"secret", b"SHOAL/1"):
        assert words not in seen


def test_the_token_is_still_needed(serve: MakeServer, directory: str) -> None:
    server = serve(directory)
    client = Client(Network(b"another token, long enough", directory), server.address)
    client.connection.send((99, "never seen"))
    client.wait(1)
    client.stop()
    assert client.got == []
    assert "token" in client.closed[0]


def test_a_peer_without_tls_is_told_that_it_needs_it(serve: MakeServer, connect: MakeClient, directory: str) -> None:
    server = serve(directory)
    client = connect(server, "")
    client.wait(1)
    assert client.closed == ["the peer needs TLS, which this process has not"]
    assert server.heard_end() == "the peer speaks without TLS, which this cluster needs"


def test_a_peer_with_tls_is_told_that_the_server_has_none(
    serve: MakeServer, connect: MakeClient, directory: str
) -> None:
    server = serve("")
    client = connect(server, directory)
    client.wait(1)
    assert client.closed == ["the peer has no TLS, which this process needs"]
    assert server.heard_end() == "the peer speaks TLS, which this process has not"


def test_a_certificate_of_another_authority_is_refused_by_both_sides(
    serve: MakeServer, connect: MakeClient, directory: str, authority: Authority, tmp_path: Path
) -> None:
    stranger = new_authority("other", NOW)
    server = serve(directory)
    client = connect(server, write_identity(tmp_path / "other", stranger))
    client.wait(1)
    assert "certificate is refused" in client.closed[0]
    believer = connect(server, write_identity(tmp_path / "believer", stranger, trusted=authority))
    believer.wait(1)
    assert "refuses this process's certificate" in believer.closed[0]
    assert "refuses this process's certificate" in server.heard_end(1)
    assert "certificate is refused" in server.heard_end(2)


@pytest.mark.parametrize("names", [("example.com",), ("demo-head", "shoal.example.com")])
def test_a_certificate_for_another_name_is_refused_by_both_sides(
    serve: MakeServer, connect: MakeClient, directory: str, authority: Authority, tmp_path: Path, names: tuple[str, ...]
) -> None:
    misnamed = write_identity(tmp_path / "misnamed", authority, names)
    client = connect(serve(misnamed), directory)
    client.wait(1)
    assert "certificate is refused" in client.closed[0]
    server = serve(directory)
    client = connect(server, misnamed)
    client.wait(1)
    assert client.got == []
    assert server.heard_end() == "the peer's certificate is not made out for 'shoal'"


def test_an_expired_certificate_is_refused(
    serve: MakeServer, connect: MakeClient, directory: str, authority: Authority, tmp_path: Path
) -> None:
    old = write_identity(tmp_path / "old", authority, now=NOW - timedelta(days=365))
    client = connect(serve(old), directory)
    client.wait(1)
    assert client.closed == ["the peer's certificate is refused: certificate has expired"]


def handshake_of(context: ssl.SSLContext, address: tuple[str, int]) -> bytes:
    """What a TLS client of the standard library hears first; it may be refused on the way."""
    with (
        socket.create_connection(address, timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="shoal") as secured,
    ):
        secured.sendall(b"SHOAL/1\n" + bytes(32))
        return secured.recv(100)


def test_a_peer_without_a_certificate_is_refused(serve: MakeServer, directory: str) -> None:
    server = serve(directory)
    context = ssl.create_default_context(cafile=f"{directory}/ca.crt")
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        handshake_of(context, server.address)
    assert server.heard_end() == "the peer shows no certificate"


def test_older_versions_of_tls_are_refused(serve: MakeServer, directory: str) -> None:
    server = serve(directory)
    context = ssl.create_default_context(cafile=f"{directory}/ca.crt")
    context.load_cert_chain(f"{directory}/tls.crt", f"{directory}/tls.key")
    assert len(handshake_of(context, server.address)) == 64, "with TLS 1.3 the challenge begins"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        handshake_of(context, server.address)


def test_nobody_waits_for_a_handshake_that_stops(
    serve: MakeServer, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal.wire.handshake.ServerHandshake.limit_seconds", 0.2)
    server = serve(directory)
    for begin in (b"", b"\x16\x03\x01\x02\x00\x01"):  # silent, and silent within a record
        with socket.create_connection(server.address, timeout=10) as raw:
            raw.sendall(begin)
            assert raw.recv(100) == b""
        assert server.heard_end() == "no handshake within 0.2 s"
        server.closed.clear()


def test_a_half_closed_connection_ends_on_both_sides(serve: MakeServer, connect: MakeClient, directory: str) -> None:
    server = serve(directory)
    client = connect(server, directory)
    client.connection.send((99, "last words"))
    client.wait(1)
    client.connection._sock.shutdown(socket.SHUT_WR)
    assert server.heard_end() == "closed by the peer"
    assert client.reactor.run_until(lambda: bool(client.closed), time.monotonic() + 10)
    assert client.got == [((99, "last words"), b"")]


def test_what_was_tampered_with_ends_the_connection(serve: MakeServer, connect: MakeClient, directory: str) -> None:
    server = serve(directory)
    client = connect(server, directory)
    client.connection.send((99, "whole"))
    client.wait(1)
    client.connection._sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that was not encrypted with the key
    assert "TLS stream is broken" in server.heard_end()


def test_a_renewed_certificate_counts_for_the_next_connection(
    serve: MakeServer, connect: MakeClient, directory: str, tmp_path: Path
) -> None:
    """The old authority goes: who connects with the new files gets in, without a restart of the server."""
    server = serve(directory)
    before = connect(server, directory)
    before.connection.send((99, "before"))
    before.wait(1)
    other = new_authority("demo", NOW)
    write_identity(tmp_path / "tls", other)
    after = connect(server, directory)
    after.connection.send((99, "after"))
    after.wait(1)
    assert [message for message, _ in after.got] == [(99, "after")]
    before.connection.send((99, "and still"))
    before.wait(2)
    assert before.closed == []


def test_broken_files_do_not_replace_good_ones(directory: str, tmp_path: Path) -> None:
    identity = TlsIdentity(directory)
    good = identity.context(server_side=True)
    (tmp_path / "tls" / "tls.key").write_text("half of a key")
    assert identity.context(server_side=True) is good
    (tmp_path / "tls" / "ca.crt").unlink()
    assert identity.context(server_side=True) is good


@pytest.mark.parametrize("name", ["ca.crt", "tls.crt", "tls.key"])
def test_unusable_files_are_named(directory: str, name: str) -> None:
    Path(directory, name).write_text("no PEM")
    with pytest.raises(TlsFilesError, match=name.replace(".", r"\.")):
        Network(TOKEN, directory).check()
    Path(directory, name).unlink()
    with pytest.raises(TlsFilesError, match=f"{name}.*No such file"):
        Network(TOKEN, directory).check()


def test_a_server_whose_files_went_bad_takes_no_connection_and_says_so(
    serve: MakeServer, connect: MakeClient, tmp_path: Path, directory: str, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve(str(tmp_path / "nothing"))
    client = connect(server, directory)
    client.wait(1)
    assert client.closed
    assert "a connection cannot be taken: cannot use" in capfd.readouterr().err


def test_any_portions_of_the_stream_give_the_same_bytes(directory: str) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    identity = TlsIdentity(directory)
    client, server = TlsStream(identity, server_side=False), TlsStream(identity, server_side=True)
    network = client.start()
    while not (client.established and server.established):
        answer = b""
        while network:
            size = rng.randint(1, 700)
            answer += server.feed(network[:size])[0]
            network = network[size:]
        while answer:
            size = rng.randint(1, 700)
            network += client.feed(answer[:size])[0]
            answer = answer[size:]
    data = rng.randbytes(300_000)
    sent = b"".join(client.encrypt(data[i : i + 50_000]) for i in range(0, len(data), 50_000))
    got = b""
    while sent:
        size = rng.choice([1, 100, 5_000, 100_000])
        got += b"".join(server.feed(sent[:size])[1])
        sent = sent[size:]
    assert got == data


def test_the_error_says_which_side_lacks_what_and_can_be_pickled(directory: str) -> None:
    stream = TlsStream(TlsIdentity(directory), server_side=True)
    with pytest.raises(TlsError) as caught:
        stream.feed(ClientHandshake(TOKEN, bytes(32)).start())
    assert caught.value.fault == "PeerWithoutTls"
    kind, arguments = caught.value.__reduce__()[:2]
    assert kind(*arguments).fault == "PeerWithoutTls"
    stream = TlsStream(TlsIdentity(directory), server_side=True)
    with pytest.raises(TlsError, match="does not speak TLS"):
        stream.feed(b"GET / HTTP/1.1\r\nHost: shoal\r\n\r\n")
