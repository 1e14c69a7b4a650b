"""Connections over real sockets: order, big payloads, descriptors, the challenge, leader and followers."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.wire import connection as connection_module
from shoal.wire.connection import Connection, ConnectionClosedError
from shoal.wire.frames import encode
from shoal.wire.handshake import ClientHandshake, ServerHandshake
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import CALL, REPLY, Caller, reply
from shoal.wire.sockets import connect_tcp, connect_unix, listen_tcp, listen_unix

TOKEN = b"0123456789abcdef0123456789abcdef"


class Server:
    """Echoes frames, answers calls of ``add``, keeps what it saw."""

    def __init__(self, listener: socket.socket, token: bytes | None = None) -> None:
        self.reactor = Reactor()
        self.listener = listener
        self.token = token
        self.seen: list[tuple[object, ...]] = []
        self.closed: list[str] = []
        self.connections: list[Connection] = []
        self.reactor.add_listener(listener, self.accept)
        self.thread = threading.Thread(target=self.reactor.run_forever)
        self.thread.start()

    def accept(self, sock: socket.socket) -> None:
        handshake = ServerHandshake(self.token, os.urandom(32)) if self.token else None
        self.connections.append(
            Connection(self.reactor, sock, self.on_message, lambda _c, why: self.closed.append(why), handshake)
        )

    def on_message(self, conn: Connection, message: tuple[object, ...], payload: bytes, fds: list[int]) -> None:
        if message[0] == CALL:
            a, b = message[3]  # type: ignore[misc]
            reply(conn, message[1], a + b)  # type: ignore[arg-type]
            return
        for fd in fds:
            payload += os.pread(fd, 100, 0)
            os.close(fd)
        self.seen.append(message)
        conn.send(message, payload)

    def stop(self) -> None:
        self.reactor.stop()
        self.thread.join()
        for connection in self.connections:
            connection.abandon()
        self.reactor.close()
        if self.listener.family == socket.AF_UNIX:
            Path(self.listener.getsockname()).unlink()
        self.listener.close()


class Client:
    def __init__(self, sock: socket.socket, handshake: ClientHandshake | None = None) -> None:
        self.reactor = Reactor()
        self.got: list[tuple[tuple[object, ...], bytes]] = []
        self.closed: list[str] = []
        self.connection = Connection(
            self.reactor, sock, self.on_message, lambda _c, why: self.closed.append(why), handshake
        )
        self.caller = Caller(self.connection)

    def on_message(self, _conn: Connection, message: tuple[object, ...], payload: bytes, fds: list[int]) -> None:
        if message[0] == REPLY:
            self.caller.handle_reply(message, payload, fds)
        else:
            self.got.append((message, payload))

    def wait(self, count: int) -> None:
        assert self.reactor.run_until(lambda: len(self.got) >= count or bool(self.closed), time.monotonic() + 20)

    def stop(self) -> None:
        self.connection.abandon()
        self.reactor.close()


@pytest.fixture
def unix_server(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    path = str(tmp_path / "s")
    server = Server(listen_unix(path))
    yield server, path
    server.stop()


def test_frames_keep_order_and_content(unix_server: tuple[Server, str]) -> None:
    client = Client(connect_unix(unix_server[1]))
    for number in range(500):
        client.connection.send((99, number, "text", b"bytes", None), b"x" * number)
    client.wait(500)
    assert [message[1] for message, _ in client.got] == list(range(500))
    assert all(len(payload) == message[1] for message, payload in client.got)
    client.stop()


def test_payloads_beyond_every_buffer_arrive_whole(unix_server: tuple[Server, str]) -> None:
    client = Client(connect_unix(unix_server[1]))
    block = os.urandom(20 << 20)
    client.connection.send((99, 1), block)
    client.connection.send((99, 2), b"after")
    client.wait(2)
    assert client.got[0][1] == block
    assert client.got[1] == ((99, 2), b"after")
    client.stop()


def test_descriptors_travel_with_their_frame(unix_server: tuple[Server, str]) -> None:
    client = Client(connect_unix(unix_server[1]))
    for text in (b"first", b"second"):
        fd = os.memfd_create("test")
        os.write(fd, text)
        client.connection.send((99, text), b"", [fd])
        os.close(fd)
    client.wait(2)
    assert [payload for _, payload in client.got] == [b"first", b"second"]
    client.stop()


def test_socket_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "private"
    sock = listen_unix(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="another process listens"):
        listen_unix(str(path))
    sock.close()
    listen_unix(str(path)).close()  # the file of a dead owner is replaced
    path.unlink()


def test_tcp_needs_the_token() -> None:
    listener = listen_tcp("127.0.0.1", 0)
    ip, port = listener.getsockname()
    server = Server(listener, TOKEN)
    try:
        good = Client(connect_tcp(ip, port), ClientHandshake(TOKEN, os.urandom(32)))
        good.connection.send((99, "queued until the challenge is over"))
        good.wait(1)
        assert len(good.got) == 1
        bad = Client(connect_tcp(ip, port), ClientHandshake(b"wrong token, long enough", os.urandom(32)))
        bad.connection.send((99, "never seen"))
        bad.wait(1)
        assert bad.got == []
        assert "token" in bad.closed[0]
        raw = socket.create_connection((ip, port))
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))
        raw.settimeout(10)
        assert raw.recv(10) == b""
        raw.close()
        assert server.seen == [(99, "queued until the challenge is over")]
        good.stop()
        bad.stop()
    finally:
        server.stop()


def test_calls_from_many_threads_with_and_without_io_thread(unix_server: tuple[Server, str]) -> None:
    client = Client(connect_unix(unix_server[1]))
    client.reactor.start_io_thread()
    sums: list[int] = []

    def work(base: int) -> None:
        for number in range(200):
            box: list[int] = []
            client.caller.call("add", base, number, on_reply=lambda _e, value, _p, _f, box=box: box.append(value))
            assert client.reactor.run_until(lambda box=box: bool(box), time.monotonic() + 20)
            sums.append(box[0] - base - number)

    threads = [threading.Thread(target=work, args=(base,)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [0] * 800
    client.stop()


def test_io_thread_answers_while_nobody_waits(unix_server: tuple[Server, str]) -> None:
    client = Client(connect_unix(unix_server[1]))
    client.reactor.start_io_thread()
    event = threading.Event()
    client.caller.call("add", 1, 2, on_reply=lambda *_: event.set())
    assert event.wait(5)
    client.stop()


def test_calls_fail_when_the_connection_goes(unix_server: tuple[Server, str]) -> None:
    server, path = unix_server
    client = Client(connect_unix(path))
    client.connection.send((99, "hello"))
    client.wait(1)
    server.connections[0].close("going")
    assert client.reactor.run_until(lambda: bool(client.closed), time.monotonic() + 5)
    with pytest.raises(ConnectionClosedError):
        client.connection.send((99,))
    client.stop()


def test_what_a_peer_said_before_it_went_is_heard_although_nothing_can_be_sent_to_it() -> None:
    """A worker that answered and ended: the answer counts, whichever thread notices the end first."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = Client(ours)
    client.connection.send((99, "more than the socket takes"), bytes(32 << 20))
    for number in range(3):
        theirs.sendall(encode((99, number)))
    theirs.close()
    client.wait(3)
    assert client.reactor.run_until(lambda: bool(client.closed), time.monotonic() + 5)
    assert [message for message, _ in client.got] == [(99, 0), (99, 1), (99, 2)]
    client.stop()


def test_a_peer_that_does_not_read_loses_its_connection_not_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "QUEUE_BYTES_MAX", 8 << 20)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = Client(ours)
    with pytest.raises(ConnectionClosedError, match="does not read"):  # noqa: PT012
        for _ in range(20):
            client.connection.send((99,), bytes(1 << 20))
    assert client.reactor.run_until(lambda: bool(client.closed), time.monotonic() + 5)
    assert "does not read" in client.closed[0]
    with pytest.raises(ConnectionClosedError):
        client.connection.send((99, "a later, smaller one"))
    theirs.close()
    client.stop()


def test_frames_that_wait_for_the_challenge_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "QUEUE_BYTES_MAX", 4 << 20)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = Client(ours, ClientHandshake(TOKEN, os.urandom(32)))
    with pytest.raises(ConnectionClosedError, match="does not read"):  # noqa: PT012
        for _ in range(10):
            client.connection.send((99,), bytes(1 << 20))
    theirs.close()
    client.stop()


def test_a_frame_without_its_descriptors_ends_the_connection(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = Client(ours)
    theirs.sendall(encode((99,), 0, 2))
    assert client.reactor.run_until(lambda: bool(client.closed), time.monotonic() + 5)
    assert "without its 2 descriptors" in client.closed[0]
    assert capfd.readouterr().err == ""
    theirs.close()
    client.stop()


def test_an_abandoned_connection_leaves_no_descriptor() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = Client(ours)
    before = len(os.listdir("/proc/self/fd"))
    fd = os.memfd_create("test")
    client.connection.send((99,), bytes(32 << 20))  # more than the socket takes: what follows is queued
    client.connection.send((99,), b"", [fd])
    os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    client.stop()
    assert len(os.listdir("/proc/self/fd")) == before - 3  # the socket, the epoll and its eventfd too
    theirs.close()


def test_a_process_without_descriptors_rests_and_accepts_later(capfd: pytest.CaptureFixture[str]) -> None:
    reactor = Reactor()
    listener = listen_tcp("127.0.0.1", 0)
    accepted: list[socket.socket] = []
    reactor.add_listener(listener, accepted.append)
    stranger = socket.create_connection(listener.getsockname())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (stranger.fileno() + 1, hard))
    try:
        assert not reactor.run_until(lambda: bool(accepted), time.monotonic() + 0.2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    words = capfd.readouterr().err
    assert words.count("\n") == 1, "one line, not a hot loop of tracebacks"
    assert "Too many open files" in words
    assert reactor.run_until(lambda: bool(accepted), time.monotonic() + 5)
    reactor.close()
    for sock in (*accepted, stranger, listener):
        sock.close()
