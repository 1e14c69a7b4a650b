"""``shoal.autoscaler.sdk.request_resources``: from a driver, a task or an actor to what the head tells."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.polling import until

import shoal
from shoal.jobs.client import JobClient
from shoal.protocol import head_pb2
from shoal.testing import LocalCluster

pytestmark = pytest.mark.leaks("sockets", reason="files of a node that ended go with the cluster's directory")


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        cluster.add_node(num_cpus=2)
        cluster.connect()
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[JobClient]:
    client = JobClient(cluster.address, cluster.token_file.read_bytes().strip())
    yield client
    client.close()


Floors = list[tuple[int, dict[str, float], dict[str, str]]]


def floors(client: JobClient) -> Floors:
    return [
        (
            floor.count,
            {name: amount / 10_000 for name, amount in floor.shape.amounts.items()},
            dict(floor.label_selector),
        )
        for floor in client.snapshot().floors
    ]


@shoal.remote
def ask_from_a_task() -> None:
    shoal.autoscaler.sdk.request_resources(num_cpus=7)


@shoal.remote
class Asker:
    def ask(self) -> None:
        from shoal.autoscaler.sdk import request_resources

        request_resources(bundles=[{"GPU": 1}], bundle_label_selectors=[{"zone": "a"}])


def test_the_last_call_from_anywhere_counts_and_an_empty_one_ends_it(cluster: LocalCluster, client: JobClient) -> None:
    shoal.autoscaler.sdk.request_resources(num_cpus=4, bundles=[{"GPU": 0.5, "widget": 2}] * 3)
    assert floors(client) == [(4, {"CPU": 1.0}, {}), (3, {"GPU": 0.5, "widget": 2.0}, {})]
    shoal.get(ask_from_a_task.remote(), timeout=30)
    assert floors(client) == [(7, {"CPU": 1.0}, {})]
    asker = Asker.remote()
    shoal.get(asker.ask.remote(), timeout=30)
    assert floors(client) == [(1, {"GPU": 1.0}, {"zone": "a"})]
    with pytest.raises(ValueError, match="num_cpus"):
        shoal.autoscaler.sdk.request_resources(num_cpus=-1)
    assert len(floors(client)) == 1, "bad input changes nothing"
    shoal.autoscaler.sdk.request_resources()
    assert floors(client) == []


def test_it_outlives_the_program_that_asked(cluster: LocalCluster, client: JobClient) -> None:
    program = "import shoal as ray; ray.init(); ray.autoscaler.sdk.request_resources(num_cpus=3)"
    client.submit(f"{sys.executable} -c '{program}'")
    until(lambda: client.snapshot().jobs[0].state == head_pb2.JOB_STATE_SUCCEEDED)
    assert floors(client) == [(3, {"CPU": 1.0}, {})]
    shoal.autoscaler.sdk.request_resources(num_cpus=0)
    assert floors(client) == []


def test_shapes_that_wait_say_their_labels_and_names(cluster: LocalCluster, client: JobClient) -> None:
    @shoal.remote(num_cpus=1, label_selector={"zone": "b"})
    def crunch() -> None: ...

    @shoal.remote(num_cpus=5, label_selector={"zone": "!c"})
    class Trainer:
        pass

    waiting = [crunch.remote() for _ in range(3)]
    trainer = Trainer.remote()

    def told() -> list[tuple[str, int, dict[str, str], list[str]]]:
        demands = client.snapshot().demands
        return sorted((d.kind, d.count, dict(d.label_selector), list(d.examples)) for d in demands if d.count)

    until(lambda: told() == [("actor", 1, {"zone": "!c"}, ["Trainer"]), ("task", 3, {"zone": "b"}, ["crunch"])])
    node = cluster.add_node(num_cpus=1, labels={"zone": "b"})
    shoal.get(waiting, timeout=30)
    assert {n.node_id: dict(n.labels) for n in client.snapshot().nodes}[node.node_id] == {"zone": "b"}
    shoal.kill(trainer)
    until(lambda: not told())


def test_the_example_of_the_page_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "demand.md").read_text()
    [example] = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.delenv("SHOAL_ADDRESS", raising=False)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_asked_without_a_session() -> None:
    code = (
        "import shoal, shoal.exceptions\n"
        "try: shoal.autoscaler.sdk.request_resources(num_cpus=1)\n"
        "except shoal.exceptions.SystemFailureError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "Call init() first" in done.stdout


def test_importing_it_loads_little() -> None:
    code = (
        "import sys, shoal; assert 'shoal.autoscaler' not in sys.modules; shoal.autoscaler.sdk.request_resources; "
        "assert not {'grpc', 'google.protobuf', 'shoal._api.session'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)


def test_programs_and_detached_actors_are_users_of_the_cluster(cluster: LocalCluster, client: JobClient) -> None:
    def users() -> tuple[int, int, int]:
        activity = client.snapshot().activity
        return activity.drivers, activity.jobs, activity.detached_actors

    assert users() == (1, 0, 0)
    asker = Asker.options(lifetime="detached", name="asker", namespace="tests", num_cpus=0.5).remote()
    client.submit(f"{sys.executable} -c 'import shoal; shoal.init(); import time; time.sleep(60)'", submission_id="job")
    until(lambda: users() == (1, 1, 1))
    shoal.get(asker.ask.remote(), timeout=30)
    shoal.shutdown()
    until(lambda: users() == (0, 1, 1))
    client.stop("job")
    until(lambda: users() == (0, 0, 1))
    assert client.snapshot().activity.idle_seconds == 0
    cluster.connect()
    shoal.kill(shoal.get_actor("asker", namespace="tests"))
    shoal.shutdown()
    until(lambda: users() == (0, 0, 0))
    assert 0 < client.snapshot().activity.idle_seconds < 20
