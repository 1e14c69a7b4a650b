"""Drivers that need resources: they run on a node that has them, and share its fate."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.polling import until

from shoal.core.actor_placement import Candidate
from shoal.core.jobs import JobSpec, JobTable
from shoal.core.placed_drivers import PlacedDrivers
from shoal.head.service import HeadService
from shoal.jobs.client import JobClient
from shoal.jobs.package_store import PackageStore
from shoal.jobs.runner import JobRunner
from shoal.protocol import PROTOCOL_VERSION, head_pb2, node_pb2
from shoal.resources import ResourceSet
from shoal.testing.cluster import LocalCluster

ENDED = (head_pb2.JOB_STATE_SUCCEEDED, head_pb2.JOB_STATE_FAILED, head_pb2.JOB_STATE_STOPPED)


def cpus(amount):
    return ResourceSet.from_units({"CPU": amount})


def node(name, amount):
    return Candidate(name, cpus(amount), cpus(amount))


def test_drivers_are_placed_once_and_never_beyond_what_is_free():
    drivers = PlacedDrivers()
    for key in ("a", "b", "c"):
        drivers.add(key, cpus(1))
    assert [demand.kind for demand in drivers.demands()] == ["job"] * 3
    assert [(one.submission_id, one.node_id) for one in drivers.place([node("n", 2)], 0.0)] == [("a", "n"), ("b", "n")]
    assert drivers.place([node("n", 2)], 0.1) == [], "the node's report does not show them yet"
    assert "1 CPU" in drivers.explain("c", [node("n", 2)])
    assert drivers.node_died("n") == ["a", "b"]
    assert (drivers.node_of("a"), drivers.node_of("c")) == (None, "")


def test_refused_driver_waits_a_moment_for_another_node():
    drivers = PlacedDrivers()
    drivers.add("a", cpus(1))
    drivers.place([node("n", 1)], 0.0)
    drivers.refused("a", "other", 0.0)
    assert drivers.node_of("a") == "n", "the word of a node that does not have it"
    drivers.refused("a", "n", 2.0)
    assert drivers.place([node("n", 1)], 2.1) == []
    assert drivers.next_deadline() == pytest.approx(2.2)
    assert len(drivers.place([node("m", 1)], 2.3)) == 1


def test_order_that_was_lost_with_a_session_is_given_again(tmp_path):
    packages = PackageStore(tmp_path / "head")
    service = HeadService(packages)
    hooks = service.job_hooks()
    service.attach_jobs(JobRunner(tmp_path, "", packages, hooks, None, service.drivers))
    register = node_pb2.RegisterNode(
        protocol_version=PROTOCOL_VERSION,
        address=node_pb2.NodeAddress(node_id="n" * 32, ip="127.0.0.1", port=1),
        total=head_pb2.Resources(amounts={"CPU": 10_000}),
    )
    report = node_pb2.NodeMessage(
        report=node_pb2.NodeReport(available=register.total, drain_state=head_pb2.DRAIN_STATE_ACTIVE)
    )
    heard = []
    try:
        session = service.open_session(register, heard.append, heard.append)
        session.receive(report)
        request = head_pb2.SubmitJobRequest(submission_id="s", entrypoint="true", resources=register.total)
        service.jobs.submit(request)
        until(lambda: any(message.HasField("start_driver") for message in heard))
        session.broke()
        heard.clear()
        session = service.open_session(register, heard.append, heard.append)
        (again,) = [message.start_driver for message in heard if message.HasField("start_driver")]
        assert (again.submission_id, again.entrypoint) == ("s", "true")
        ended = node_pb2.DriverReport(submission_id="s", state="STATE_EXITED", exit_code=4)
        session.receive(node_pb2.NodeMessage(driver_report=ended))
        assert service.jobs.snapshot("s").exit_code == 4
        assert any(message.HasField("forget_driver") for message in heard)
    finally:
        service.close()


def test_driver_that_nobody_knows_is_stopped(tmp_path):
    """A node comes back to a head that has lost its tables."""
    service = HeadService(PackageStore(tmp_path / "head"))
    heard = []
    register = node_pb2.RegisterNode(
        protocol_version=PROTOCOL_VERSION, address=node_pb2.NodeAddress(node_id="n" * 32, ip="127.0.0.1", port=1)
    )
    try:
        session = service.open_session(register, heard.append, heard.append)
        running = node_pb2.DriverReport(submission_id="old", state="STATE_RUNNING")
        session.receive(node_pb2.NodeMessage(driver_report=running))
        assert [m.stop_driver.submission_id for m in heard if m.HasField("stop_driver")] == ["old"]
    finally:
        service.close()


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with JobClient(cluster.address, cluster.token_file.read_bytes()) as client:
        yield client


def ended(client, key):
    return until(lambda: (job := client.get(key)) and job.state in ENDED and job)


def test_driver_waits_as_demand_and_runs_on_the_node_that_comes(cluster, client, tmp_path):
    (tmp_path / "data.txt").write_text("from the working directory")
    program = 'cat data.txt; echo; echo "pid $$"; exit 3'
    client.submit(program, submission_id="waits", working_directory=str(tmp_path), resources={"CPU": 1})
    waiting = until(lambda: (job := client.get("waits")).message and job)
    assert waiting.state == head_pb2.JOB_STATE_PENDING
    assert "waits for a node with" in waiting.message
    demand = next(one for one in client.snapshot().demands if one.kind == "job")
    assert (dict(demand.shape.amounts), demand.count) == ({"CPU": 10_000}, 1)
    added = cluster.add_node(num_cpus=1)
    job = ended(client, "waits")
    assert (job.state, job.exit_code, job.reason) == (head_pb2.JOB_STATE_FAILED, 3, "EntrypointFailed")
    assert job.output_tail.startswith("from the working directory\npid ")
    assert b"".join(client.read_output("waits")).startswith(b"from the working directory")
    assert job.node_id == added.node_id
    until(lambda: not client.snapshot().demands)
    held = until(lambda: next(n for n in client.snapshot().nodes if n.node_id == added.node_id).available.amounts)
    assert held["CPU"] == 10_000, "what the driver held is free again"
    added.stop()


def test_driver_on_a_node_uses_the_cluster_and_holds_its_share(cluster, client, tmp_path):
    (tmp_path / "main.py").write_text(
        "import shoal\nshoal.init()\n"
        "print('free', shoal.available_resources().get('CPU', 0), 'of', shoal.cluster_resources()['CPU'])\n"
        "print(shoal.get(shoal.remote(lambda: 41 + 1).remote()))\n"
    )
    added = cluster.add_node(num_cpus=2)
    client.submit("python main.py", submission_id="uses", working_directory=str(tmp_path), resources={"CPU": 1})
    job = ended(client, "uses")
    assert job.state == head_pb2.JOB_STATE_SUCCEEDED, job.output_tail
    assert "42" in job.output_tail
    assert job.tasks_finished == 1
    added.stop()


def test_stop_is_graceful_on_a_node_as_well(cluster, client, tmp_path):
    added = cluster.add_node(num_cpus=1)
    program = "trap 'echo got it; exit 0' TERM; echo ready; while true; do sleep 0.05; done"
    client.submit(program, submission_id="graceful", resources={"CPU": 1})
    until(lambda: "ready" in client.get("graceful").output_tail)
    assert client.stop("graceful", "Suspended", 10.0)
    job = ended(client, "graceful")
    assert (job.state, job.reason) == (head_pb2.JOB_STATE_STOPPED, "Suspended")
    assert "got it" in job.output_tail
    added.stop()


def test_driver_that_waits_is_stopped_at_once(client):
    client.submit("true", submission_id="never", resources={"CPU": 1000})
    until(lambda: client.get("never").message)
    client.stop("never", "Suspended")
    assert ended(client, "never").state == head_pb2.JOB_STATE_STOPPED
    until(lambda: not client.snapshot().demands)


def test_lost_node_fails_the_attempt_with_the_cause(cluster, client, tmp_path):
    added = cluster.add_node(num_cpus=1)
    marker = tmp_path / "pid"
    program = f"echo $$ > {marker}; sleep 600"
    client.submit(program, submission_id="lost", resources={"CPU": 1})
    until(lambda: client.get("lost").state == head_pb2.JOB_STATE_RUNNING and marker.exists() and marker.read_text())
    pid = int(marker.read_text())
    added.kill()
    job = ended(client, "lost")
    assert (job.state, job.reason) == (head_pb2.JOB_STATE_FAILED, "NodeLost")
    assert "is gone" in job.message
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_job_of_a_node_that_cannot_be_heard_says_so_until_it_can():
    with (
        LocalCluster(silence_seconds=3) as cluster,
        JobClient(cluster.address, cluster.token_file.read_bytes()) as client,
    ):
        frozen = cluster.add_node(num_cpus=1)
        client.submit("sleep 600", submission_id="s", resources={"CPU": 1})
        until(lambda: client.get("s").state == head_pb2.JOB_STATE_RUNNING)
        frozen.process.send_signal(signal.SIGSTOP)
        try:
            job = until(lambda: (job := client.get("s")).reason and job)
            assert (job.state, job.reason) == (head_pb2.JOB_STATE_RUNNING, "NodeOutOfTouch")
            assert "local-2" in job.message
        finally:
            frozen.process.send_signal(signal.SIGCONT)
        until(lambda: not client.get("s").reason)
        job = client.get("s")
        assert (job.state, job.message) == (head_pb2.JOB_STATE_RUNNING, "")


def shoal(cluster, *arguments):
    command = [sys.executable, "-m", "shoal.cli.main", "job", arguments[0], "--address", cluster.address]
    command += ["--token-file", str(cluster.token_file), *arguments[1:]]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_command_line_asks_for_resources_and_says_what_is_wrong_with_them(cluster, tmp_path):
    added = cluster.add_node(num_cpus=1)
    saved = f"file://{tmp_path}/whole.log"
    run = shoal(cluster, "submit", "--resources", '{"CPU": 1}', "--output-url", saved, "--", "echo here")
    assert (run.returncode, run.stdout) == (0, "here\n"), run.stderr
    until((tmp_path / "whole.log").exists)
    assert (tmp_path / "whole.log").read_text() == "here\n"
    for wrong in ("CPU", "[1]", '{"CPU": -1}', '{"CPU": "one"}'):
        run = shoal(cluster, "submit", "--resources", wrong, "--", "true")
        assert (run.returncode, "--resources needs" in run.stderr) == (2, True), run.stderr
    added.stop()


def test_a_driver_that_never_started_has_no_exit_code():
    table = JobTable()
    table.submit(JobSpec("waits", "01000000", "true"))
    table.stop_requested("waits", "StartDeadlineExceeded")
    table.exited("waits", 143, 5.0)
    job = table.get("waits")
    assert (job.state, job.exit_code) == ("STOPPED", None)
    assert "had not started" in job.message


def test_a_waiting_driver_is_known_by_the_name_of_its_job(tmp_path):
    packages = PackageStore(tmp_path / "head")
    service = HeadService(packages)
    service.attach_jobs(JobRunner(tmp_path, "", packages, service.job_hooks(), None, service.drivers))
    try:
        for submission_id, metadata in (("uid-1", {"shoal.dev/job": "ns/census"}), ("mine", {})):
            service.jobs.submit(
                head_pb2.SubmitJobRequest(
                    submission_id=submission_id,
                    entrypoint="true",
                    resources=head_pb2.Resources(amounts={"CPU": 640_000}),
                    metadata=metadata,
                )
            )
        assert [demand.examples for demand in service.drivers.demands()] == [("census",), ("mine",)]
    finally:
        service.close()
