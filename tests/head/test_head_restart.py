"""The head is killed with -9 and started again on its state: real processes, real sockets."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.head.redis_server import PASSWORD, RedisServer
from tests.polling import until

import shoal
from shoal.cli.start import STATE_PASSWORD
from shoal.jobs.client import JobClient
from shoal.protocol import head_pb2
from shoal.testing import LocalCluster

SECONDS = 30.0
RESTARTS = int(os.environ.get("SHOAL_HEAD_RESTARTS", "2"))
FAILED, SUCCEEDED = head_pb2.JOB_STATE_FAILED, head_pb2.JOB_STATE_SUCCEEDED

pytestmark = [
    pytest.mark.leaks("sockets", reason="files of a killed head go with the cluster's directory"),
    pytest.mark.timeout(120 * RESTARTS),
]


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """With its state in a file, or where that is the parameter, in Redis."""
    if getattr(request, "param", "file") == "file":
        with LocalCluster(state_dir=str(tmp_path)) as cluster:
            yield cluster
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    monkeypatch.setenv(STATE_PASSWORD, PASSWORD)
    with LocalCluster(state_url=server.url) as cluster:
        yield cluster


@pytest.fixture
def make_client(cluster: LocalCluster) -> Iterator[Callable[[], JobClient]]:
    made: list[JobClient] = []

    def make() -> JobClient:
        made.append(JobClient(cluster.address, cluster.token_file.read_bytes().strip()))
        return made[-1]

    yield make
    for client in made:
        client.close()


def workers(snapshot: head_pb2.HeadSnapshot) -> dict[str, head_pb2.NodeSnapshot]:
    return {node.node_id: node for node in snapshot.nodes if node.alive and node.group != "head"}


@shoal.remote
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def next(self) -> tuple[int, int]:
        self.count += 1
        return self.count, os.getpid()


@shoal.remote
class Caller:
    """Lives on a worker and calls the counter from there."""

    def __init__(self) -> None:
        self.counter: Any = None
        self.created: Any = None

    def call(self) -> tuple[int, int]:
        self.counter = self.counter or shoal.get_actor("counter", namespace="tests")
        count: tuple[int, int] = shoal.get(self.counter.next.remote(), timeout=SECONDS)
        return count

    def work_on(self, head_is_away: str, report: str) -> None:
        """Calls the counter all the time, and makes another actor once the head is away."""
        while not Path(head_is_away).exists():
            self.call()
        self.call()
        self.created = COUNTER.options(num_cpus=0.5).remote()
        first = self.created.next.remote()
        self.call()
        _ready, waits = shoal.wait([first], timeout=0.1)
        Path(report).write_text(f"{len(waits)} waits\n")
        count, _pid = shoal.get(first, timeout=SECONDS)
        Path(report).write_text(f"{len(waits)} waited, the new one counts {count}\n")


COUNTER: Any = Counter
CALLER: Any = Caller


@pytest.mark.parametrize("cluster", ["file", "redis"], indirect=True)
def test_workers_actors_jobs_and_names_survive(cluster: LocalCluster, make_client: Callable[[], JobClient]) -> None:
    node = cluster.add_node(num_cpus=2)
    cluster.connect()
    options = {"lifetime": "detached", "namespace": "tests", "num_cpus": 0.5}
    counter = COUNTER.options(name="counter", **options).remote()
    caller = CALLER.options(name="caller", **options).remote()
    _count, pid = shoal.get(caller.call.remote(), timeout=SECONDS)
    assert shoal.get(counter.next.remote(), timeout=SECONDS) == (2, pid)
    shoal.autoscaler.sdk.request_resources(num_cpus=3)
    shoal.shutdown()
    client = make_client()
    client.submit("echo over; exit 3", submission_id="over")
    assert client.wait("over", SECONDS).exit_code == 3
    before = client.snapshot()
    for turn in range(RESTARTS):
        client = make_client()
        running = f"running-{turn}"
        client.submit("echo begun; exec sleep 1000", submission_id=running)
        until(partial(has_begun, client, running))
        client.submit("true", submission_id=f"later-{turn}")  # answered when all before it is on disk, output too
        cluster.head.kill()
        cluster.restart_head()

        client = make_client()
        after = client.snapshot()
        assert (after.cluster_id, after.incarnation != before.incarnation) == (before.cluster_id, True)
        jobs = {job.submission_id: job for job in after.jobs}
        assert (jobs["over"].state, jobs["over"].exit_code, jobs["over"].output_tail) == (FAILED, 3, "over\n")
        assert (jobs[running].state, jobs[running].reason) == (FAILED, "HeadLost")
        assert jobs[running].output_tail == "begun\n"
        assert [floor.count for floor in after.floors] == [3]
        assert (after.activity.detached_actors, after.activity.idle_seconds) == (2, 0)
        assert list(workers(after)) == [node.node_id]
        assert all(worker.idle_seconds == 0 for worker in workers(after).values())

        cluster.connect()
        again = shoal.get_actor("counter", namespace="tests")
        count, same_pid = shoal.get(again.next.remote(), timeout=SECONDS)
        assert (count, same_pid) == (3 + 2 * turn, pid)
        through = shoal.get_actor("caller", namespace="tests")
        assert shoal.get(through.call.remote(), timeout=SECONDS) == (count + 1, pid)
        shoal.shutdown()
        client.submit("true", submission_id=f"new-{turn}")
        assert client.wait(f"new-{turn}", SECONDS).state == SUCCEEDED
        until(partial(is_busy, client, "2 actors"))
    assert node.process.poll() is None


def has_begun(client: JobClient, submission_id: str) -> bool:
    job = client.get(submission_id)
    return job is not None and "begun" in job.output_tail


def is_busy(client: JobClient, activity: str) -> bool:
    return any(activity in worker.activity for worker in workers(client.snapshot()).values())


def test_drivers_that_went_with_their_node_use_no_later_head(
    cluster: LocalCluster, make_client: Callable[[], JobClient]
) -> None:
    """One goes with the first head, the other with its worker: neither is there for any head after it."""
    node = cluster.add_node(num_cpus=1)
    client = make_client()
    program = "import shoal, time; shoal.init(); print('begun', flush=True); time.sleep(1000)"
    entrypoint = shlex.join([sys.executable, "-c", program])
    client.submit(entrypoint, submission_id="on-head")
    client.submit(entrypoint, submission_id="on-worker", resources={"CPU": 1})
    until(lambda: has_begun(client, "on-head") and has_begun(client, "on-worker"))
    for turn in range(3):
        cluster.head.kill()
        cluster.restart_head()
        client = make_client()
        if turn == 0:
            until(partial(all_are_back, client))
            assert {job.state for job in client.list()} == {FAILED, head_pb2.JOB_STATE_RUNNING}
            node.kill()
            assert client.wait("on-worker", SECONDS).state == FAILED
        used = until(partial(idle, client), what="an idle cluster")
        assert (used.drivers, used.jobs) == (0, 0)


def all_are_back(client: JobClient) -> bool:
    return not any("come back" in worker.activity for worker in workers(client.snapshot()).values())


def idle(client: JobClient) -> head_pb2.ClusterActivity | None:
    activity = client.snapshot().activity
    return activity if activity.idle_seconds > 0 else None


def test_what_runs_on_workers_goes_on_without_a_head(
    cluster: LocalCluster, make_client: Callable[[], JobClient], tmp_path: Path
) -> None:
    """Handles whose actor cannot be looked up now are not dead, and what is asked for meanwhile comes later."""
    cluster.add_node(num_cpus=2)
    cluster.connect()
    options = {"lifetime": "detached", "namespace": "tests", "num_cpus": 0.5}
    kept = [COUNTER.options(name="counter", **options).remote(), CALLER.options(name="caller", **options).remote()]
    shoal.get(kept[1].call.remote(), timeout=SECONDS)
    head_is_away, report = tmp_path / "head-is-away", tmp_path / "report"
    kept[1].work_on.remote(str(head_is_away), str(report))
    shoal.shutdown()
    cluster.head.kill()
    head_is_away.touch()
    until(lambda: report.exists() and report.read_text() == "1 waits\n")
    cluster.restart_head()
    until(lambda: report.read_text() == "1 waited, the new one counts 1\n")
    until(partial(is_busy, make_client(), "3 actors"))


def test_a_head_without_a_state_directory_starts_with_nothing() -> None:
    with LocalCluster() as cluster:
        node = cluster.add_node(num_cpus=1)
        cluster.connect()
        options = {"lifetime": "detached", "namespace": "tests", "num_cpus": 0.5}
        shoal.get(COUNTER.options(name="counter", **options).remote().next.remote(), timeout=SECONDS)
        shoal.shutdown()
        cluster.head.kill()
        cluster.restart_head()
        with JobClient(cluster.address, cluster.token_file.read_bytes().strip()) as client:
            until(lambda: list(workers(client.snapshot())) == [node.node_id])
        cluster.connect()
        with pytest.raises(ValueError, match="Failed to look up actor"):
            shoal.get_actor("counter", namespace="tests")


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_driver_on_a_worker_goes_on(
    cluster: LocalCluster, make_client: Callable[[], JobClient], tmp_path: Path, end: str
) -> None:
    """Also over an orderly end of the head, as an eviction is one; its own drivers end then."""
    open_ = tmp_path / "open"
    cluster.add_node(num_cpus=1)
    client = make_client()
    waits = f"echo begun; while [ ! -e {open_} ]; do sleep 0.05; done; echo ended; exit 4"
    client.submit(waits, submission_id="placed", resources={"CPU": 1})
    client.submit("echo begun; exec sleep 1000", submission_id="local")
    until(lambda: has_begun(client, "placed") and has_begun(client, "local"))
    getattr(cluster.head, end)()
    cluster.restart_head()
    client = make_client()
    jobs = {job.submission_id: job for job in client.snapshot().jobs}
    assert jobs["placed"].state == head_pb2.JOB_STATE_RUNNING
    assert jobs["local"].reason == {"kill": "HeadLost", "stop": "HeadStopped"}[end]
    open_.touch()
    job = client.wait("placed", SECONDS)
    assert (job.state, job.exit_code) == (FAILED, 4)
    assert "ended" in job.output_tail
