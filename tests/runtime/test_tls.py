"""A cluster of real processes in TLS: tasks, objects between nodes, and who does not get in."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

import shoal
from shoal.cli.token_file import read_token
from shoal.jobs.client import JobClient, JobClientError
from shoal.protocol.tls import Certificates
from shoal.testing import LocalCluster
from shoal.wire.handshake import NEEDS_TLS, ClientHandshake
from shoal_operator.controllers.authority import issue_leaf, new_authority

NOW = datetime.now(UTC)
SIZE = 50_000_000


@pytest.fixture
def tls_dir(tmp_path: Path) -> str:
    leaf = issue_leaf(new_authority("demo", NOW), ("shoal",), NOW)
    for name, content in (("ca.crt", leaf.authority_pem), ("tls.crt", leaf.certificate_pem), ("tls.key", leaf.key_pem)):
        (tmp_path / name).write_bytes(content)
    return str(tmp_path)


def test_objects_move_between_nodes_and_plaintext_is_refused(tls_dir: str) -> None:
    @shoal.remote(resources={"left": 1})
    def make() -> bytes:
        return bytes(range(250)) * (SIZE // 250)

    @shoal.remote(resources={"right": 1})
    def measure(data: bytes) -> tuple[int, int]:
        return len(data), data[-1]

    with LocalCluster(tls_dir=tls_dir) as cluster:
        nodes = [cluster.add_node(resources={"left": 1}), cluster.add_node(resources={"right": 1})]
        cluster.connect()
        assert shoal.get(measure.remote(make.remote()), timeout=30) == (SIZE, 249)
        token = read_token(str(cluster.token_file))
        with JobClient(cluster.address, token, Certificates.read(tls_dir)) as client:
            assert len(client.snapshot().nodes) == 3
        with JobClient(cluster.address, token) as plain, pytest.raises(JobClientError, match="needs TLS"):
            plain.list()
        for node in [cluster.head, *nodes]:
            with socket.create_connection((node.ip, 7381), timeout=10) as raw:
                raw.sendall(ClientHandshake(token, bytes(32)).start())
                assert raw.recv(1000) == NEEDS_TLS
                assert raw.recv(1000) == b""
