"""A connection that carries frames, registered with a reactor.

Invariants: ``send`` may be called from any thread, keeps order and never blocks; a frame that could not be sent is the
last one: the connection closes; what the peer had sent before it went is handed on before ``on_close``; ``on_close`` is
called exactly once, in the leading thread, and no ``on_message`` after it; descriptors that arrive and are not taken by
``on_message`` are its caller's to close.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from shoal.exceptions import AuthenticationError, ProtocolError
from shoal.wire.frames import DESCRIPTORS_MAX, Decoder, FrameError, Message, encode
from shoal.wire.handshake import Handshake
from shoal.wire.reactor import Reactor, Timer

READ_BYTES: Final = 1 << 16  # more would make every small read pay for mapping fresh pages
BULK_READ_BYTES: Final = 1 << 20
READS_PER_TURN: Final = 16
LAST_TURNS: Final = 64
JOIN_BYTES: Final = 1 << 16
"""Payloads up to this size are joined with their header: one copy is cheaper than one more buffer."""
QUEUE_BYTES_MAX: Final = 1 << 30
_EPOLL_OUT: Final = 0x004

OnMessage = Callable[["Connection", Message, bytes, list[int]], None]
OnClose = Callable[["Connection", str], None]


class ConnectionClosedError(ProtocolError):
    """The connection is closed; nothing was sent."""


class Connection:
    """One socket, framed.

    Args:
        reactor: whose leader reads the socket.
        sock: connected (or connecting) and non-blocking; owned by the connection from now on.
        on_message: called with (connection, message, payload, descriptors) for each frame.
        on_close: called once with (connection, reason).
        handshake: for TCP, the challenge to pass before frames flow.
        descriptors: whether a Unix socket may bring descriptors; without, reading is cheaper.
    """

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        on_message: OnMessage,
        on_close: OnClose,
        handshake: Handshake | None = None,
        *,
        descriptors: bool = True,
    ) -> None:
        self.attachment: Any = None
        self.peer = _describe_peer(sock)
        self.closed = False
        self._reactor = reactor
        self._sock = sock
        self._fd = sock.fileno()
        self._on_message = on_message
        self._on_close = on_close
        self._handshake = handshake
        self._takes_descriptors = descriptors and sock.family == socket.AF_UNIX
        self._decoder = Decoder()
        self._descriptors: deque[int] = deque()
        self._lock = threading.Lock()
        self._queue: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._held: deque[tuple[memoryview, tuple[int, ...]]] = deque()  # frames that wait for the handshake
        self._queued_bytes = 0
        self._writing = False
        self._handshake_timer: Timer | None = None
        if handshake is not None:
            self._begin_handshake(handshake)
        reactor.register(self._fd, self._on_event, write=self._writing)

    def _begin_handshake(self, handshake: Handshake) -> None:
        first = handshake.start()
        if first:
            self._queue.append((memoryview(first), ()))
            self._writing = True
        self._handshake_timer = self._reactor.call_later(
            handshake.limit_seconds, lambda: self._close_now(f"no handshake within {handshake.limit_seconds:g} s")
        )

    @property
    def unsent(self) -> bool:
        """Whether frames wait in this process for the peer to read."""
        return not self.closed and bool(self._queue or self._held)

    # Sending

    def send(self, message: Message, payload: bytes | memoryview = b"", fds: Sequence[int] = ()) -> None:
        """Send a frame, or queue it when the socket is full. Queued descriptors are duplicated: the caller may close.

        Raises:
            ConnectionClosedError: the connection is closed, or is closed now because its peer does not read (1 GiB
                waits).
        """
        size = len(payload) if isinstance(payload, bytes) else payload.nbytes
        head = encode(message, size, len(fds))
        with self._lock:
            if self.closed:
                raise ConnectionClosedError(f"connection to {self.peer} is closed")
            if self._handshake is not None:
                self._enqueue(self._held, head, payload, size, fds)
            elif self._queue:
                self._enqueue(self._queue, head, payload, size, fds)
            else:
                self._send_now(head, payload, size, fds)

    def _send_now(self, head: bytes, payload: bytes | memoryview, size: int, fds: Sequence[int]) -> None:
        buffers: list[bytes | memoryview] = [head + bytes(payload)] if size <= JOIN_BYTES else [head, payload]
        try:
            if fds:
                sent = self._sock.sendmsg(buffers, [_rights(fds)])
                fds = ()
            elif len(buffers) == 1:
                sent = self._sock.send(buffers[0])
            else:
                sent = self._sock.sendmsg(buffers)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._fail_soon(_words(error))
            raise ConnectionClosedError(f"connection to {self.peer} is closed: {error}") from None
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            if sent >= view.nbytes:
                sent -= view.nbytes
                continue
            rest = view[sent:]
            sent = 0
            self._append(self._queue, rest if isinstance(buffer, bytes) else memoryview(bytes(rest)), fds)
            fds = ()
        if self._queue:
            self._want_write()

    def _enqueue(
        self,
        queue: deque[tuple[memoryview, tuple[int, ...]]],
        head: bytes,
        payload: bytes | memoryview,
        size: int,
        fds: Sequence[int],
    ) -> None:
        self._check_room(size)
        self._append(queue, memoryview(head), fds)
        if size:
            self._append(queue, memoryview(bytes(payload)), ())

    def _check_room(self, size: int) -> None:
        if self._queued_bytes + size > QUEUE_BYTES_MAX:
            words = f"{self.peer} does not read: {QUEUE_BYTES_MAX} bytes wait to be sent to it"
            self._fail_soon(words)  # whoever counts on this frame has to hear that it is lost
            raise ConnectionClosedError(words)

    def _append(self, queue: deque[tuple[memoryview, tuple[int, ...]]], view: memoryview, fds: Sequence[int]) -> None:
        queue.append((view, tuple(os.dup(fd) for fd in fds)))
        self._queued_bytes += view.nbytes

    def _want_write(self) -> None:
        if not self._writing and not self.closed:
            self._writing = True
            self._reactor.modify(self._fd, write=True)

    def _fail_soon(self, reason: str) -> None:
        self._reactor.call_soon(lambda: self._fail(reason))

    def _flush(self) -> None:
        with self._lock:
            if self._send_queue() and self._writing:
                self._writing = False
                self._reactor.modify(self._fd, write=False)

    def _send_queue(self) -> bool:
        """Send what the socket takes of the queue; whether that was all. Called with the lock held."""
        while self._queue:
            view, fds = self._queue[0]
            try:
                sent = self._sock.sendmsg([view], [_rights(fds)]) if fds else self._sock.send(view)
            except (BlockingIOError, InterruptedError):
                return False
            _close_all(fds)
            self._queued_bytes -= sent
            if sent < view.nbytes:
                self._queue[0] = (view[sent:], ())
                return False
            self._queue.popleft()
        return True

    # Receiving

    def _on_event(self, mask: int) -> None:
        if self.closed:
            return
        if mask & _EPOLL_OUT:
            try:
                self._flush()
            except OSError as error:
                self._fail(_words(error))
                return
        if mask & ~_EPOLL_OUT:
            self._guard(self._read)

    def _fail(self, reason: str) -> None:
        """Nothing more can be sent. What the peer sent before it went (answers, perhaps) is taken first."""
        self.take_arrived()
        self._close_now(reason)

    def take_arrived(self) -> None:
        """Hand on what the peer has sent so far. In the leading thread, and not in this connection's own handler."""
        for _ in range(LAST_TURNS):  # bounded: a peer that only writes must not keep this thread
            if self.closed or not self._guard(self._read):
                return

    def _guard(self, read: Callable[[], bool]) -> bool:
        """Read, and close when that fails; whether there may be more."""
        try:
            return read()
        except (ProtocolError, AuthenticationError) as error:
            self._close_now(str(error))
        except OSError as error:
            self._close_now(_words(error))
        except Exception as error:  # noqa: BLE001
            # A handler's bug: the peer must not wait for an answer that will never come.
            traceback.print_exc()
            self._close_now(f"a message could not be handled: {_words(error)}")
        return False

    def _read(self) -> bool:
        """Hand on what has arrived, up to a limit; whether there may be more."""
        for _ in range(READS_PER_TURN):
            try:
                data = self._receive()
            except (BlockingIOError, InterruptedError):
                return False
            if not data:
                self._close_now("closed by the peer")
                return False
            if self._handshake is not None:
                data = self._shake(data)
                if not data:
                    continue
            for message, payload, count in self._decoder.feed(data):
                if count > len(self._descriptors):
                    raise FrameError(f"a frame came without its {count} descriptors")
                fds = [self._descriptors.popleft() for _ in range(count)]
                self._on_message(self, message, payload, fds)
                if self.closed:
                    return False
            if len(data) < READ_BYTES:
                break
        return True

    def _receive(self) -> bytes:
        size = READ_BYTES if self._decoder.missing_bytes < READ_BYTES else BULK_READ_BYTES
        if not self._takes_descriptors:
            return self._sock.recv(size)
        data, ancillary, _flags, _address = self._sock.recvmsg(size, socket.CMSG_LEN(DESCRIPTORS_MAX * 4))
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(content[: len(content) - len(content) % received.itemsize])
                for fd in received:
                    os.set_inheritable(fd, False)
                self._descriptors.extend(received)
        return data

    def _shake(self, data: bytes) -> bytes:
        assert self._handshake is not None
        try:
            reply, rest = self._handshake.feed(data)
        except AuthenticationError:
            self._bid_farewell(self._handshake.farewell)
            raise
        with self._lock:
            if reply:
                self._append(self._queue, memoryview(reply), ())
            if self._handshake.done:
                self._handshake = None
                self._release_held()
                if self._handshake_timer is not None:
                    self._handshake_timer.cancel()
            if self._queue:
                self._want_write()
        return rest

    def _release_held(self) -> None:
        self._queue.extend(self._held)
        self._held.clear()

    def _bid_farewell(self, words: bytes) -> None:
        if words and not self._queue:
            with contextlib.suppress(OSError):  # the peer is told if it still listens
                self._sock.send(words)

    # Closing

    def close(self, reason: str = "closed by this side") -> None:
        """Close; ``on_close`` follows in the leading thread. Thread-safe, idempotent."""
        if self._reactor.in_leader():
            self._close_now(reason)
        else:
            self._reactor.call_soon(lambda: self._close_now(reason))

    def _close_now(self, reason: str) -> None:
        with self._lock:
            if self.closed:
                return
            self._release()
        self._on_close(self, reason)

    def _release(self) -> None:
        self.closed = True
        for queue in (self._queue, self._held):
            for _view, fds in queue:
                _close_all(fds)
            queue.clear()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
        self._reactor.unregister(self._fd)
        self._sock.close()

    def abandon(self) -> None:
        """Close the socket without telling anybody: for the end of a process or session whose reactor has stopped."""
        with self._lock:
            if not self.closed:
                self._release()


def _rights(fds: Sequence[int]) -> tuple[int, int, array.array[int]]:
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _describe_peer(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return "a peer that is not connected yet"
    if isinstance(name, tuple):
        return f"{name[0]}:{name[1]}"
    return str(name) or "a local process"
