"""Where a process can be reached.

Invariant: an address is a plain tuple of built-in types, so that it travels in any message as it is.
"""

from __future__ import annotations

RawAddress = tuple[str, str, str, int, str]
"""(process id, node id, ip, TCP port, path): by its Unix socket on its own node, from another node by TCP.

The ip is "" and the port 0 for a process that listens on no network."""
RawNode = tuple[str, str, int]
"""(node id, ip, port of its agent)."""
