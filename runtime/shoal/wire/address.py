"""Where a process can be reached.

Invariant: an address is a plain tuple of built-in types, so that it travels in any message as it is.
"""

from __future__ import annotations

from typing import NamedTuple

RawAddress = tuple[str, str, str, int, str]
RawNode = tuple[str, str, int]
"""(node id, ip, port of its agent)."""


class Address(NamedTuple):
    """A process: on its own node by its Unix socket, from another node by TCP."""

    process_id: str
    node_id: str
    ip: str = ""
    port: int = 0
    path: str = ""

    def raw(self) -> RawAddress:
        """The same as a plain tuple (marshal takes no subclasses)."""
        return (self.process_id, self.node_id, self.ip, self.port, self.path)
