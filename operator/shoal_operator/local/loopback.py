"""Loopback addresses that no two sessions on this machine share.

A session claims whole blocks ``127.x.y.0/24`` and hands out addresses from them.

Invariant: a block belongs to at most one living process of this network namespace. The claim is a bound,
never listening abstract Unix socket: it has exactly the scope of the loopback interface (a lock file would not
be seen from another mount namespace) and the kernel drops it when the owner dies, however it dies.
"""

from __future__ import annotations

import socket
from typing import Final

_BLOCKS: Final = 254 * 255
"""127.1.0 to 127.254.254: 127.0.y stays with the machine."""
_HOSTS: Final = range(1, 255)


class AddressesExhausted(Exception):
    """Every block of 127.0.0.0/8 is claimed by other sessions."""


def block_prefix(index: int) -> str:
    """The first three bytes of a block.

    Example:
        >>> block_prefix(0), block_prefix(256)
        ('127.1.0', '127.2.1')
    """
    return f"127.{1 + index // 255}.{index % 255}"


class LoopbackPool:
    """Addresses of one session.

    Args:
        seed: where to begin the search for a free block; sessions with different seeds rarely meet.
    """

    def __init__(self, seed: int) -> None:
        self._next_block = seed % _BLOCKS
        self._claims: list[socket.socket] = []
        self._free: list[str] = []
        self._used: set[str] = set()

    def allocate(self) -> str:
        """An address nobody else has.

        Raises:
            AddressesExhausted: no block is free.
        """
        if not self._free:
            prefix = self._claim_block()
            self._free = [f"{prefix}.{host}" for host in _HOSTS]
        # Oldest first: an address that was just given back rests, as its ports may linger in TIME_WAIT.
        address = self._free.pop(0)
        self._used.add(address)
        return address

    def release(self, address: str) -> None:
        """Give an address back; unknown addresses are ignored."""
        if address in self._used:
            self._used.remove(address)
            self._free.append(address)

    def close(self) -> None:
        """Drop every claim."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()
        self._free.clear()
        self._used.clear()

    def _claim_block(self) -> str:
        for step in range(_BLOCKS):
            index = (self._next_block + step) % _BLOCKS
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(f"\0shoal-loopback-{block_prefix(index)}")
            except OSError:
                claim.close()
                continue
            self._claims.append(claim)
            self._next_block = index + 1
            return block_prefix(index)
        raise AddressesExhausted("every loopback block 127.x.y.0/24 is in use by another Shoal session")
