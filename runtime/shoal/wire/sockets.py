"""Opening and binding the two kinds of sockets that frames travel on.

Invariant: a Unix socket is mode 0600 from its first moment; every socket is non-blocking and not inherited by children.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

BACKLOG: Final = 512
BUFFER_BYTES: Final = 1 << 20
PEER_TIMEOUT_SECONDS: Final = 30


def listen_unix(path: str) -> socket.socket:
    """Bind a listening Unix socket with mode 0600; a stale file of a dead owner is replaced.

    Raises:
        OSError: the path is longer than 107 bytes, or somebody listens there.
    """
    if len(os.fsencode(path)) > 107:
        raise OSError(f"socket path {path!r} is longer than the 107 bytes that Linux allows")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    # fchmod before bind sets the mode that the file is made with (less the umask): no moment with a wider mode.
    os.fchmod(sock.fileno(), 0o600)
    sock.bind(path)
    Path(path).chmod(0o600)
    sock.listen(BACKLOG)
    return sock


def _remove_stale(path: str) -> None:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        probe.settimeout(1.0)
        probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        Path(path).unlink(missing_ok=True)
        return
    except OSError as error:
        # A listener that lives but is slow, or something that is no socket: not ours to remove.
        raise OSError(f"cannot listen on {path!r}: {error}") from error
    finally:
        probe.close()
    raise OSError(f"another process listens on {path!r}")


def connect_unix(path: str) -> socket.socket:
    """Connect to a Unix socket.

    Raises:
        OSError: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    _widen(sock)
    return sock


def listen_tcp(ip: str, port: int) -> socket.socket:
    """Bind a listening TCP socket; port 0 picks a free one.

    Raises:
        OSError: the address is in use or not ours.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def connect_tcp(ip: str, port: int) -> socket.socket:
    """Begin to connect; a refusal shows as the closing of the Connection made from the socket."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _watch_peer(sock)
        sock.connect((ip, port))
    except BlockingIOError:
        pass  # in progress; writability or an error follows
    except OSError:
        sock.close()
        raise
    return sock


def prepare_accepted(sock: socket.socket) -> None:
    """Give an accepted socket the options that a connecting one has."""
    sock.setblocking(False)
    if sock.family == socket.AF_INET:
        _watch_peer(sock)
    else:
        _widen(sock)


def _watch_peer(sock: socket.socket) -> None:
    """Send at once, and notice a host that vanished without a word within half a minute."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_SECONDS * 1000)


def _widen(sock: socket.socket) -> None:
    """A Unix socket's send buffer is small by default; a batch of tasks should go in one call."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
