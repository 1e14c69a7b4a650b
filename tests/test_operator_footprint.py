"""What the operator's process does not load, and does not allocate, before it has to."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import ssl
import subprocess
import sys

import pytest

from shoal_operator.main import TLS_BUFFER_BYTES

LATER = {"cryptography", "google", "grpc", "kopf", "yaml"}
"""kopf comes when the operator leads, gRPC with the first head, cryptography with the first cluster that has TLS."""
NEVER = {"kubernetes", "common_expression_language", "cel", "jsonschema", "numpy", "fsspec", "requests"}
"""Parts of the development environment and of other commands."""


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("shoal_operator.main", LATER | NEVER | {"aiohttp", "pydantic", "prometheus_client"}),
        ("shoal_operator.composition", LATER | NEVER | {"shoal_operator.local", "shoal_operator.chartgen"}),
        ("shoal_operator.heads.commands", NEVER | {"cryptography", "kopf", "yaml"}),
    ],
)
def test_a_part_of_the_operator_loads_only_what_it_needs(module: str, absent: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert absent & set(done.stdout.split()) == set()


async def test_the_size_of_tls_buffers_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio does not document where; a Python that has it elsewhere should be noticed here."""
    monkeypatch.setattr(asyncio.sslproto.SSLProtocol, "max_size", TLS_BUFFER_BYTES)
    loop = asyncio.get_running_loop()
    unconnected = loop.create_future()
    protocol = asyncio.sslproto.SSLProtocol(loop, asyncio.Protocol(), ssl.create_default_context(), unconnected)
    assert len(protocol.get_buffer(-1)) == TLS_BUFFER_BYTES
    protocol.connection_lost(None)
