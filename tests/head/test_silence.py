"""Nodes that say nothing: frozen ones are lost though their connections stand, quiet ones cost nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.polling import until

import shoal
from shoal.jobs.client import JobClient
from shoal.protocol import head_pb2
from shoal.testing import LocalCluster

SECONDS = 30.0
SILENCE_SECONDS = 2.0
REFUSED = 3

pytestmark = pytest.mark.leaks("sockets", reason="files of a killed node go with the cluster's directory")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(state_dir=str(tmp_path), silence_seconds=SILENCE_SECONDS) as cluster:
        yield cluster


def workers(snapshot: head_pb2.HeadSnapshot) -> list[head_pb2.NodeSnapshot]:
    return [node for node in snapshot.nodes if node.group != "head"]


def written(directory: Path) -> list[tuple[str, int, int]]:
    found = []
    for path in sorted(directory.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            found.append((str(path), path.stat().st_size, path.stat().st_mtime_ns))
    return found


def test_nodes_that_are_only_there_are_no_news_and_nothing_to_write(cluster: LocalCluster, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    client = JobClient(cluster.address, cluster.token_file.read_bytes().strip())
    with contextlib.closing(client):
        until(lambda: [node.idle_seconds > 0.5 for node in workers(client.snapshot())] == [True, True])
        before, files = client.snapshot(), written(tmp_path)
        # That they still live after this is the proof that their reports came.
        long = 2 * SILENCE_SECONDS
        until(lambda: [node.idle_seconds > long for node in workers(client.snapshot())] == [True, True])
        after = client.snapshot()
        assert [node.alive for node in workers(after)] == [True, True]
        assert after.version == before.version
        assert written(tmp_path) == files


def test_a_frozen_agent_is_lost_and_may_not_go_on_when_it_wakes(cluster: LocalCluster, tmp_path: Path) -> None:
    frozen = cluster.add_node(num_cpus=1)
    cluster.connect()
    marks = tmp_path / "marks"
    marks.mkdir()

    @shoal.remote(num_cpus=1)
    def ends_elsewhere(here: str) -> str:
        node_id = shoal.get_runtime_context().get_node_id()
        (marks / f"{node_id}.{os.getpid()}").touch()
        while node_id == here:
            time.sleep(0.1)
        return node_id

    ref = ends_elsewhere.remote(frozen.node_id)
    until(lambda: list(marks.iterdir()))
    pid = int(next(marks.iterdir()).suffix[1:])
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        frozen_at = time.monotonic()
        other = cluster.add_node(num_cpus=1)
        assert shoal.get(ref, timeout=SECONDS) == other.node_id
        assert time.monotonic() - frozen_at >= SILENCE_SECONDS
        assert len(list(marks.iterdir())) == 2
        assert [node["Alive"] for node in shoal.nodes() if node["NodeID"] == frozen.node_id] == [False]
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    assert frozen.process.wait(SECONDS) == REFUSED
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert len(list(marks.iterdir())) == 2
