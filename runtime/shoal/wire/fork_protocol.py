"""What a node agent and its template process say to each other, over one SOCK_SEQPACKET pair.

Agent to template:   (FORK, worker id, setup) with the descriptors of the worker's stdout and stderr
                     (KILL, worker id, signal): to the worker's process group
Template to agent:   (READY, pid), (FORKED, worker id, pid), (REFUSED, worker id, words), (ENDED, worker id,
pid, wait status)

Invariant: a packet is one whole message; the agent's closing of its end is the order to end everything.
"""

from __future__ import annotations

import array
import marshal
import os
import socket
from typing import Any, Final

FORK: Final = 1
KILL: Final = 2
READY: Final = 10
FORKED: Final = 11
REFUSED: Final = 12
ENDED: Final = 13

PACKET_BYTES_MAX: Final = 128 << 10
"""Less than the default socket buffer, so that a packet always fits."""


def send_packet(sock: socket.socket, message: tuple[Any, ...], fds: tuple[int, ...] = ()) -> None:
    """Send one message.

    Raises:
        ValueError: it is too large.
        OSError: the other side is gone, or does not read (BlockingIOError).
    """
    data = marshal.dumps(message, 2)
    if len(data) > PACKET_BYTES_MAX:
        raise ValueError(f"the description of the worker has {len(data)} bytes, at most {PACKET_BYTES_MAX} can be sent")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def receive_packet(sock: socket.socket) -> tuple[tuple[Any, ...], list[int]] | None:
    """Take one message and its descriptors; None when the other side is gone.

    Raises:
        BlockingIOError: nothing is there now.
    """
    try:
        data, ancillary, _flags, _address = sock.recvmsg(PACKET_BYTES_MAX, socket.CMSG_LEN(4 * 4))
    except ConnectionError:
        return None
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    for fd in fds:
        os.set_inheritable(fd, False)
    if not data:
        return None
    return marshal.loads(data), list(fds)
