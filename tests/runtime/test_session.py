"""Sessions: start, end, and leaving nothing behind, also after kill -9 (the leak fixture looks after each test)."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.polling import until

import shoal
from shoal.exceptions import RemoteDriverError, SystemFailureError
from shoal.testing.cluster import LocalCluster

PROGRAM = """
import os, sys, time
import numpy as np
import shoal
shoal.init(num_cpus=2)
@shoal.remote
def child():
    return os.getpid()
@shoal.remote
class Actor:
    def pid(self):
        return os.getpid()
actor = Actor.remote()
refs = [shoal.put(np.ones(1_000_000)), child.remote()]
print(shoal.get(actor.pid.remote()), shoal.get(refs[1]), flush=True)
time.sleep(600)
"""


PRINTS = """
import os, sys
import shoal
shoal.init(num_cpus=2)
@shoal.remote
def says(number):
    print("said", number)
    os.write(2, b"without an end")
shoal.get([says.remote(number) for number in range(5)])
{end}
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def test_start_work_and_end_leave_nothing() -> None:
    with shoal.init(num_cpus=2) as context:
        assert shoal.is_initialized()
        assert shoal.cluster_resources()["CPU"] == 2
        directory = context.address_info["session_dir"]

        @shoal.remote
        def one() -> int:
            return 1

        assert shoal.get(one.remote()) == 1
        assert Path(directory).stat().st_mode & 0o777 == 0o700
    assert not shoal.is_initialized()
    assert not Path(directory).exists()
    shoal.shutdown()


def test_a_second_init_is_refused_or_ignored() -> None:
    shoal.init(num_cpus=1)
    with pytest.raises(RuntimeError, match="twice"):
        shoal.init()
    shoal.init(ignore_reinit_error=True)
    shoal.shutdown()
    shoal.init(num_cpus=1)
    shoal.shutdown()


def test_references_of_an_ended_session_say_so() -> None:
    shoal.init(num_cpus=1)
    ref = shoal.put(1)
    shoal.shutdown()
    shoal.init(num_cpus=1)
    with pytest.raises(shoal.exceptions.ObjectLostError, match="session that has ended"):
        shoal.get(ref)
    shoal.shutdown()


def test_what_is_not_supported_is_refused() -> None:
    with pytest.raises(ValueError, match="num_cpu"):
        shoal.init(num_cpu=1)
    with pytest.raises(ConnectionError, match="no running node"):
        shoal.init(address="auto")
    with pytest.raises(SystemFailureError, match="not been started"):
        shoal.nodes()
    assert not shoal.is_initialized()


def test_a_head_that_cannot_be_joined_is_refused_and_no_node_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_ADDRESS", "demo-head:7380")
    for address in (None, "auto"):
        with pytest.raises(RemoteDriverError, match=r"demo-head:7380 \(from SHOAL_ADDRESS\)") as refused:
            shoal.init(address, num_cpus=1)
        assert (refused.value.address, refused.value.source) == ("demo-head:7380", "SHOAL_ADDRESS")
        assert "shoal job submit --address demo-head:7380 --token-file" in str(refused.value)
    with pytest.raises(ConnectionError, match="init\\('local'\\)"):  # as Ray's programs catch it
        shoal.remote(len).remote("auto-init")
    with pytest.raises(RemoteDriverError, match=r"--address other:7380 ") as explicit:
        shoal.init("ray://other:10001")
    copy = pickle.loads(pickle.dumps(explicit.value))
    assert (str(copy), copy.address, copy.source) == (str(explicit.value), "ray://other:10001", "address")
    assert not shoal.is_initialized()


@pytest.mark.parametrize(("address", "variable"), [("local", "demo-head:7380"), (None, "local"), (None, "")])
def test_a_local_node_is_started_where_it_is_asked_for(
    address: str | None, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_ADDRESS", variable)
    with shoal.init(address, num_cpus=1):
        assert shoal.cluster_resources()["CPU"] == 1


JOINS = """
import shoal
assert shoal.init().address_info["node_id"] == "{node_id}"
try:
    shoal.shutdown()
    shoal.init("other:7380")
except shoal.exceptions.RemoteDriverError as error:
    assert "runs on a node already" in str(error), error
else:
    raise SystemExit("not refused")
assert shoal.init("auto").address_info["node_id"] == "{node_id}"
"""


def test_on_a_node_its_own_node_is_joined_whatever_the_address_says() -> None:
    with LocalCluster() as cluster:
        environment = {
            **os.environ,
            "SHOAL_NODE_SOCKET": cluster.head.facts["socket"],
            "SHOAL_ADDRESS": "demo-head:7380",
        }
        program = JOINS.format(node_id=cluster.head.node_id)
        subprocess.run([sys.executable, "-c", program], env=environment, timeout=30, check=True)


@pytest.mark.parametrize("victim", ["driver", "node"])
@pytest.mark.leaks("sockets", reason="a killed node cannot remove its socket files; they are in its own directory")
def test_kill_9_leaves_no_process(victim: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    home = Path(f"/tmp/shoal-test-{os.getpid()}")
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        env={**os.environ, "SHOAL_HOME": str(home)},
    )
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline()
        family = descendants(driver.pid)
        assert len(family) >= 4  # node, template, a worker, an actor
        node = int(Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()[0])
        os.kill(driver.pid if victim == "driver" else node, signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in family))
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()
        subprocess.run(["rm", "-rf", str(home)], check=True)


def test_a_killed_template_does_not_end_the_session() -> None:
    shoal.init(num_cpus=1)

    @shoal.remote(max_retries=-1)
    def pid() -> tuple[int, int]:
        return os.getpid(), os.getppid()

    _worker, template = shoal.get(pid.remote())
    os.kill(template, signal.SIGKILL)
    until(lambda: not alive(template))
    assert shoal.get(pid.remote(), timeout=30)[1] != template
    shoal.shutdown()


@pytest.mark.parametrize("end", ["", "shoal.shutdown()", "raise ValueError('over')"])
def test_what_tasks_printed_last_is_shown_before_the_program_ends(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS.format(end=end)], capture_output=True, text=True, timeout=30, check=False
    )
    assert [f"said {number}" in done.stdout for number in range(5)] == [True] * 5


NEEDS_TOO_MUCH = """
import shoal
shoal.init(num_cpus=2)
@shoal.remote(num_cpus=8)
def wide():
    pass
@shoal.remote(num_gpus=1)
class Accelerated:
    pass
@shoal.remote(num_cpus=2)
def fits():
    return shoal.wait([wide.remote()], timeout=0.01)
actor = Accelerated.remote()
shoal.wait([wide.remote(), wide.remote()], timeout=0.1)
shoal.get(fits.remote())
"""


def test_a_program_hears_what_its_machine_can_never_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEEDS_TOO_MUCH], capture_output=True, text=True, timeout=30, check=True
    )
    assert sorted(done.stderr.splitlines()) == [
        "shoal: actor `Accelerated` needs 1 CPU, 1 GPU, this machine has no GPU: it can never start here",
        "shoal: task `wide` needs 8 CPU, this machine has 2 CPU: it can never start here",
    ]


@pytest.mark.parametrize("amounts", [{"num_cpus": -1}, {"num_gpus": -1}, {"resources": {"widget": -2}}])
def test_wrong_amounts_are_refused_before_a_node_starts(amounts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        shoal.init(**amounts)
    assert not shoal.is_initialized()


def test_a_node_that_ends_at_once_is_not_called_slow() -> None:
    with pytest.raises(SystemFailureError, match="it ended with exit code 1"):
        shoal.init(num_cpus=1, object_store_memory=-1)
