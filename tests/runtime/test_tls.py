"""A cluster of real processes in TLS: tasks, objects between nodes, and who does not get in."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
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


def test_a_node_without_tls_says_what_keeps_it_from_joining(tls_dir: str) -> None:
    with LocalCluster(tls_dir=tls_dir) as cluster:
        command = [sys.executable, "-m", "shoal.cli.start", "--address", cluster.address, "--node-ip", "127.0.0.1"]
        command += ["--frames-port", "0", "--token-file", str(cluster.token_file), "--owner-pid", str(os.getpid())]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
            assert node.stderr is not None
            assert "needs TLS, which this side has not: give --tls-dir" in node.stderr.readline()
            node.terminate()
            assert "stopped: SIGTERM" in node.stderr.read()


def test_a_node_with_unusable_certificates_does_not_start(tls_dir: str, tmp_path: Path) -> None:
    (tmp_path / "tls.key").write_text("nothing")
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef")
    command = [sys.executable, "-m", "shoal.cli.start", "--head", "--node-ip", "127.0.0.1", "--control-port", "0"]
    command += ["--frames-port", "0", "--token-file", str(tmp_path / "token"), "--tls-dir", tls_dir]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: cannot use {tls_dir}/tls.crt with tls.key for TLS")
    assert ended.stderr.count("\n") == 1
