"""Real node processes: they start, join, are refused, lose their head, stop; nothing of them stays."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.polling import until

from shoal.jobs.client import JobClient
from shoal.protocol import head_pb2

TOKEN = "0123456789abcdef0123456789abcdef"
NET = f"127.{2 + os.getpid() % 100}"
"""Loopback addresses for this process, so that another run on the machine is not in the way; ports are fixed."""


class Processes:
    """Starts ``shoal start`` processes with a home of their own; every cluster gets its own loopback network."""

    def __init__(self, directory):
        self.home = directory / "home"
        self.directory = directory
        self.token_file = directory / "token"
        self.token_file.write_text(TOKEN + "\n")
        self._started = []

    def start(self, *arguments, token_file=None, module="shoal.cli.start", **popen):
        # Short paths: a session directory below pytest's own may be too long for a Unix socket.
        environment = {**os.environ, "SHOAL_HOME": str(self.home)}
        command = [sys.executable, "-m", module, *arguments]
        if "--local" not in arguments:
            command += ["--token-file", str(token_file or self.token_file)]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen
        )
        self._started.append(process)
        return process

    def head(self, ip, **popen):
        process = self.start("--head", "--node-ip", ip, "--num-cpus", "0", "--pod-name", "h", **popen)
        assert "listening" in process.stdout.readline()
        return process

    def worker(self, head_ip, ip, *more, **kw):
        arguments = ("--address", f"{head_ip}:7380", "--node-ip", ip, "--resources", '{"CPU": 1}', *more)
        return self.start(*arguments, **kw)

    def close(self):
        for process in self._started:
            if process.poll() is None:
                process.terminate()
        for process in self._started:
            try:
                process.wait(15)
            finally:
                process.kill()
                process.stdout.close()


@pytest.fixture
def processes(tmp_path_factory):
    directory = tmp_path_factory.mktemp("n")
    processes = Processes(directory)
    yield processes
    processes.close()


def client(ip):
    return JobClient(f"{ip}:7380", TOKEN.encode())


def alive(ip):
    with client(ip) as c:
        return [node for node in c.snapshot().nodes if node.alive]


def test_a_worker_waits_for_its_head_and_leaves_with_a_goodbye(processes):
    worker = processes.worker(f"{NET}.1.1", f"{NET}.1.2", "--pod-name", "w", "--group", "small")
    assert "joining" in worker.stdout.readline()
    processes.head(f"{NET}.1.1")
    nodes = until(lambda: [n for n in alive(f"{NET}.1.1") if n.group == "small"])
    assert (nodes[0].pod_name, dict(nodes[0].total.amounts)) == ("w", {"CPU": 10000})
    worker.terminate()
    assert worker.wait(10) == 0
    assert until(lambda: len(alive(f"{NET}.1.1")) == 1, seconds=3)


def test_two_clusters_with_the_same_ports_on_one_machine(processes):
    for network in (2, 3):
        processes.head(f"{NET}.{network}.1")
        processes.worker(f"{NET}.{network}.1", f"{NET}.{network}.2")
    for network in (2, 3):
        until(lambda network=network: len(alive(f"{NET}.{network}.1")) == 2)


def test_a_wrong_token_ends_the_worker_with_words(processes):
    wrong = processes.directory / "wrong"
    wrong.write_text("fedcba9876543210")
    processes.head(f"{NET}.4.1")
    worker = processes.worker(f"{NET}.4.1", f"{NET}.4.2", token_file=wrong)
    assert worker.wait(30) == 3
    assert f"error: head {NET}.4.1:7380 refuses this node's token" in worker.stdout.read()


def test_a_lost_head_ends_the_worker_after_its_timeout(processes):
    head = processes.head(f"{NET}.5.1")
    worker = processes.worker(f"{NET}.5.1", f"{NET}.5.2", "--head-timeout-seconds", "1")
    until(lambda: len(alive(f"{NET}.5.1")) == 2)
    head.kill()
    assert worker.wait(15) == 4
    assert "lost the head" in worker.stdout.read()


def test_kill_9_of_a_worker_is_noticed_before_the_grace_ends(processes):
    processes.head(f"{NET}.6.1")
    worker = processes.worker(f"{NET}.6.1", f"{NET}.6.2")
    until(lambda: len(alive(f"{NET}.6.1")) == 2)
    worker.kill()
    until(lambda: len(alive(f"{NET}.6.1")) == 1, seconds=5)


def test_sigterm_stops_jobs_first_and_says_so(processes):
    head = processes.head(f"{NET}.7.1")
    with client(f"{NET}.7.1") as c:
        c.submit("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", submission_id="s")
        until(lambda: c.get("s").output_tail == "up\n")
        states, seen = [], threading.Event()

        def follow():
            for snapshot in c.watch(30):
                states.append((snapshot.jobs[0].state, snapshot.jobs[0].reason))
                seen.set()

        reader = threading.Thread(target=follow)
        reader.start()
        assert seen.wait(10)
        head.terminate()
        assert head.wait(15) == 0
        reader.join(10)
    assert states[-1] == (head_pb2.JOB_STATE_STOPPED, "HeadStopped")
    assert "bye" in head.stdout.read()


def test_kill_9_of_the_head_ends_its_driver(processes):
    head = processes.head(f"{NET}.8.1")
    with client(f"{NET}.8.1") as c:
        c.submit("echo $$; exec sleep 1000", submission_id="s")
        pid = int(until(lambda: c.get("s").output_tail))
    assert os.path.exists(f"/proc/{pid}")
    head.kill()
    until(lambda: not os.path.exists(f"/proc/{pid}"), seconds=10)
    successor = processes.head(f"{NET}.8.1")
    until(lambda: len(list(processes.home.iterdir())) == 1)
    successor.terminate()
    assert successor.wait(15) == 0
    assert list(processes.home.iterdir()) == []


def test_a_port_in_use(processes):
    processes.head(f"{NET}.9.1")
    second = processes.start("--head", "--node-ip", f"{NET}.9.1", "--frames-port", "0", "--num-cpus", "0")
    assert second.wait(15) == 1
    assert f"cannot listen on {NET}.9.1:7380" in second.stdout.read()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--head", "--address", "x:1"], 2, "either --head"),
        (["--head", "--resources", "[]"], 2, "JSON object"),
        (["--head", "--num-cpus", "0.00001"], 2, "0.0001"),
        (["--head", "--control-port", "99999"], 2, "0 to 65535"),
        (["--address", "x:1", "--local"], 2, "--local is for --head"),
    ],
)
def test_wrong_options(processes, arguments, code, words):
    process = processes.start(*arguments)
    assert process.wait(15) == code
    assert words in process.stdout.read()


def test_a_short_or_missing_token(processes, tmp_path):
    (tmp_path / "short").write_text("abc")
    for name, words in (("short", "at least 16"), ("missing", "cannot read")):
        process = processes.start("--head", token_file=tmp_path / name)
        assert process.wait(15) == 1
        assert words in process.stdout.read()


def start_local(processes):
    ready_read, ready_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    options = ("--owner-pid", str(os.getpid()), "--lifeline-fd", str(lifeline_read), "--ready-fd", str(ready_write))
    node = processes.start("--head", "--local", "--num-cpus", "2", *options, pass_fds=(ready_write, lifeline_read))
    os.close(ready_write)
    os.close(lifeline_read)
    assert select.select([ready_read], [], [], 20)[0]
    with os.fdopen(ready_read) as file:
        ready = json.loads(file.readline())
    return node, ready, lifeline_write


def listening_sockets(pid):
    own = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            own.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]


def test_a_local_node_has_no_network_and_ends_with_its_owner(processes):
    node, ready, lifeline = start_local(processes)
    assert ready["resources"]["CPU"] == 2
    assert os.stat(ready["socket"]).st_mode & 0o777 == 0o600
    assert os.stat(ready["session_dir"]).st_mode & 0o777 == 0o700
    assert listening_sockets(node.pid) == []
    with open(f"/proc/{node.pid}/maps") as file:
        assert "cygrpc" not in file.read()
    os.close(lifeline)
    assert node.wait(15) == 0
    assert not os.path.exists(ready["session_dir"])


def test_two_interrupts_end_a_node_at_once(processes):
    node, ready, lifeline = start_local(processes)
    node.send_signal(signal.SIGINT)
    node.send_signal(signal.SIGTERM)
    assert node.wait(5) == 0
    os.close(lifeline)
    assert not os.path.exists(ready["session_dir"])


def blocked(pid):
    """The signals that a process holds back."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk:")]
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


def test_a_signal_that_comes_while_it_starts_ends_it_in_order(processes):
    """The first process of a container would never get one that comes before its handlers are there."""
    process = processes.start("start", "--head", "--local", module="shoal_command")
    until(lambda: signal.SIGTERM in blocked(process.pid) or process.poll() is not None, look_seconds=0.001)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output


def test_nothing_is_held_back_from_what_it_starts(processes):
    process = processes.start("start", "--head", "--local", module="shoal_command")
    of_its_main_thread = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = until(lambda: of_its_main_thread.read_text().split())
    assert blocked(children[0]) == set()
    until(lambda: not blocked(process.pid))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0
