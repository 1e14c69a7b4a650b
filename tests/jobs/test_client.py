"""Submitting to a real head over gRPC, as the operator and the command line do."""

import threading
import time

import pytest
from click.testing import CliRunner
from tests.polling import until

from shoal.cli.job import job
from shoal.cli.status import render
from shoal.head.control import ControlPlane, ControlPortError
from shoal.head.service import HeadService
from shoal.jobs.client import JobClient, JobClientError
from shoal.jobs.package_store import PackageStore
from shoal.jobs.runner import JobRunner
from shoal.protocol import auth, head_pb2, head_pb2_grpc

TOKEN = b"a token for tests"


class Head:
    def __init__(self, directory):
        packages = PackageStore(directory / "head")
        self.service = HeadService(packages)
        self.service.attach_jobs(JobRunner(directory, "", packages, self.service.job_hooks()))
        self.control = ControlPlane(self.service, "127.0.0.1", 0, TOKEN)
        self.address = f"127.0.0.1:{self.control.start()}"


@pytest.fixture
def head(tmp_path):
    head = Head(tmp_path)
    yield head
    head.service.close()
    head.control.close()


@pytest.fixture
def client(head):
    with JobClient(head.address, TOKEN) as client:
        yield client


def test_submit_wait_and_read(client):
    job = client.submit("echo hello", submission_id="s")
    assert job.submission_id == "s"
    ended = client.wait("s", 10)
    assert ended.state == head_pb2.JOB_STATE_SUCCEEDED
    assert ended.output_tail == "hello\n"
    assert b"".join(client.read_output("s")) == b"hello\n"
    assert b"".join(client.read_output("s", offset=4)) == b"o\n"
    assert [j.submission_id for j in client.list()] == ["s"]


def test_true_is_over_in_a_moment(client):
    client.submit("true", submission_id="warm")
    client.wait("warm", 10)
    began = time.monotonic()
    client.submit("true", submission_id="s")
    client.wait("s", 10)
    assert time.monotonic() - began < 2.0  # 0.1 s on a quiet machine


def test_following_shows_output_as_it_comes(client, tmp_path):
    gate = tmp_path / "gate"
    client.submit(f"echo first; while [ ! -e {gate} ]; do sleep 0.02; done; echo second", submission_id="s")
    stream = client.read_output("s", follow=True)
    assert next(stream) == b"first\n"
    gate.touch()
    assert b"".join(stream) == b"second\n"


def test_a_directory_that_the_head_cannot_see(client):
    with pytest.raises(JobClientError, match="not a directory that the head can see") as caught:
        client.submit("true", working_directory="/nowhere/at/all")
    assert caught.value.code == "FAILED_PRECONDITION"
    assert client.list() == []


def test_unknown_jobs(client):
    assert not client.stop("nope")
    assert client.get("nope") is None
    with pytest.raises(JobClientError, match="no job nope"):
        list(client.read_output("nope"))
    with pytest.raises(JobClientError, match="no job nope"):
        client.wait("nope", 5)


def test_stop_by_request(client):
    client.submit("sleep 1000", submission_id="s")
    assert client.stop("s")
    assert client.wait("s", 10).state == head_pb2.JOB_STATE_STOPPED


def test_the_stop_command_says_of_a_job_that_has_ended_how(client, head, tmp_path):
    token_file = tmp_path / "token"
    token_file.write_bytes(TOKEN)
    token_file.chmod(0o600)

    def stop(name):
        options = ["stop", name, "--address", head.address, "--token-file", str(token_file)]
        return CliRunner().invoke(job, options, catch_exceptions=False)

    client.submit("exit 3", submission_id="ended")
    client.wait("ended", 10)
    ended = stop("ended")
    assert ended.output.startswith("job ended has ended already: FAILED, exit code 3")
    assert ended.exit_code == 0
    client.submit("sleep 1000", submission_id="runs")
    assert stop("runs").output == "job runs is being stopped\n"
    assert client.wait("runs", 10).state == head_pb2.JOB_STATE_STOPPED
    assert stop("runs").output.startswith("job runs has ended already: STOPPED")
    assert "there is no job nope" in stop("nope").output


@pytest.mark.parametrize("command", ["submit", "logs"])
def test_a_head_that_goes_away_is_not_the_end_of_the_job(client, head, tmp_path, command):
    token_file = tmp_path / "token"
    token_file.write_bytes(TOKEN)
    token_file.chmod(0o600)
    options = ["--address", head.address, "--token-file", str(token_file)]
    program = f"touch {tmp_path}/begun; exec sleep 1000"
    if command == "submit":
        line = ["submit", "--submission-id", "s", *options, "--", program]
    else:
        client.submit(program, submission_id="s")
        line = ["logs", "--follow", "s", *options]
    results = []
    shell = threading.Thread(target=lambda: results.append(CliRunner().invoke(job, line)))
    shell.start()
    until((tmp_path / "begun").exists)
    head.control.close()
    shell.join(20)
    [result] = results
    assert result.exit_code == 1
    assert "the connection to the head was lost (" in result.output
    assert "Job s may go on" in result.output
    assert {"  shoal job status s", "  shoal job logs --follow s"} <= set(result.output.splitlines())
    assert "shoal status" in result.output


def test_wait_gives_up(client):
    client.submit("sleep 1000", submission_id="s")
    with pytest.raises(TimeoutError):
        client.wait("s", 0.3)


def test_no_head_and_wrong_token(head):
    with JobClient("127.0.0.1:9", TOKEN) as absent, pytest.raises(JobClientError) as caught:
        absent.list()
    assert caught.value.code == "UNAVAILABLE"
    with JobClient(head.address, b"another token, not it") as wrong, pytest.raises(JobClientError) as caught:
        wrong.submit("true")
    assert caught.value.code == "UNAUTHENTICATED"


def test_a_port_in_use_is_an_error_with_words(head):
    second = ControlPlane(head.service, "127.0.0.1", head.control.port, TOKEN)
    with pytest.raises(ControlPortError, match="in use"):
        second.start()
    second.close()


def test_snapshots_are_coalesced_and_versions_grow(client):
    snapshots, stream = [], client.watch(20)
    snapshots.append(next(stream))
    done = threading.Event()

    def follow():
        for snapshot in stream:
            snapshots.append(snapshot)
            if snapshot.jobs and snapshot.jobs[0].state == head_pb2.JOB_STATE_SUCCEEDED:
                break
        stream.close()
        done.set()

    reader = threading.Thread(target=follow)
    reader.start()
    began = time.monotonic()
    client.submit("for i in $(seq 100); do echo $i; sleep 0.005; done", submission_id="s")
    assert done.wait(20)
    reader.join()
    took = time.monotonic() - began
    assert len(snapshots) <= 3 + took / 0.1
    versions = [snapshot.version for snapshot in snapshots]
    assert versions == sorted(set(versions))
    assert len({snapshot.incarnation for snapshot in snapshots}) == 1
    assert snapshots[-1].jobs[0].output_tail.endswith("99\n100\n")


def test_two_heads_on_one_port_of_two_addresses(head, tmp_path):
    other = HeadService(PackageStore(tmp_path / "other"))
    plane = ControlPlane(other, "127.0.0.2", head.control.port, TOKEN + b" of another cluster")
    try:
        assert plane.start() == head.control.port
        with JobClient(f"127.0.0.2:{plane.port}", TOKEN) as stranger, pytest.raises(JobClientError) as caught:
            stranger.snapshot()
        assert caught.value.code == "UNAUTHENTICATED"
    finally:
        plane.close()
        other.close()


def test_a_node_that_offers_nothing_is_not_said_to_have_nothing_free_of_nothing():
    text = render(head_pb2.HeadSnapshot(nodes=[head_pb2.NodeSnapshot(node_id="01", pod_name="demo-head", alive=True)]))
    assert "waiting: nothing" in text
    assert "offers no resources" in text
    assert "nothing free of nothing" not in text


def test_what_waits_and_what_was_requested_is_said_in_words():
    cpu = head_pb2.Resources(amounts={"CPU": 10_000})
    bundles = [head_pb2.GangBundle(shape=cpu, count=4, label_selector={"zone": "a"})]
    gang = head_pb2.Gang(gang_id="g", name="train", strategy=head_pb2.GANG_STRATEGY_PACK, bundles=bundles)
    lines = render(
        head_pb2.HeadSnapshot(
            demands=[
                head_pb2.Demand(shape=cpu, count=3, kind="task", examples=["crunch"]),
                head_pb2.Demand(shape=cpu, count=0, recent_count=5, kind="actor"),
            ],
            gangs=[gang] * 21,
            gangs_left_out=2,
            floors=[head_pb2.Demand(shape=cpu, count=8)],
        )
    ).splitlines()
    assert lines[1:4] == [
        "waiting: 26",
        "  3 x 1 CPU for a task (crunch)",
        "  4 x 1 CPU where zone=a for a placement group (train)",
    ]
    assert lines[-3:] == ["  3 more placement groups", "requested in total: 8 x 1 CPU", "jobs: none"]


def test_decisions_that_were_recorded_are_listed_once(head, client):
    assert client.decisions() == ()
    line = head_pb2.Decision(decision_id="one", time_seconds=1.0, what="add 3 workers", why="Demand")
    with auth.channel(head.address, TOKEN) as channel:
        stub = head_pb2_grpc.HeadStub(channel)
        for _ in range(2):
            stub.RecordDecisions(head_pb2.RecordDecisionsRequest(decisions=[line]), timeout=5)
    assert [decision.what for decision in client.decisions()] == ["add 3 workers"]
    assert "add 3 workers: Demand" in render(client.snapshot(), client.decisions())
