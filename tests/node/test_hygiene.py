"""kill -9 of each kind of process: nothing outlives its owner, and the rest goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Driver, Node, NodeProcess, alive, eventually

from shoal.node.orphans import end_orphans
from shoal.resources import ResourceSet

MakeNode = Callable[..., Node]
Drive = Callable[..., Driver]
FAMILY = """
import subprocess
child = subprocess.Popen(["sleep", "1000"])
daemon = subprocess.Popen(["sleep", "1001"], start_new_session=True)
result = (os.getpid(), child.pid, daemon.pid)
"""


def family(driver: Driver) -> tuple[int, int, int]:
    _, address = driver.lease()
    worker, child, daemon = driver.run(address, FAMILY)
    assert alive(worker)
    assert alive(child)
    return worker, child, daemon


@pytest.mark.leaks("sockets", reason="a killed agent cannot remove its socket; the next start does")
def test_kill_9_of_the_agent_ends_everything(node_process: NodeProcess, drive: Drive) -> None:
    driver = drive(node_process)
    pids = [*family(driver), *family(driver)]
    below = node_process.descendants() | set(pids)
    started = time.perf_counter()
    node_process.kill()
    eventually(lambda: not any(alive(pid) for pid in below), "everything is gone", 10)
    print(f"\n{len(below)} processes gone {1e3 * (time.perf_counter() - started):.0f} ms after kill -9 of the agent")
    assert driver.closed


def test_sigterm_of_the_agent_ends_everything(node_process: NodeProcess, drive: Drive) -> None:
    driver = drive(node_process)
    below = {*family(driver), *node_process.descendants()}
    assert node_process.terminate() == 0
    assert not any(alive(pid) for pid in below)
    assert not (node_process.directory / "node.sock").exists()


def test_kill_9_of_a_worker_ends_its_group(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node())
    worker, child, daemon = family(driver)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not alive(child), "its child ends")
    assert alive(daemon)  # it left the group; the end of the node ends it


def test_kill_9_of_the_template_ends_its_workers_and_a_new_one_serves(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    worker, child, daemon = family(driver)
    template = node.agent.pool.template.pid
    os.kill(template, signal.SIGKILL)
    eventually(lambda: not alive(worker) and not alive(child), "workers end with their template")
    os.kill(daemon, signal.SIGKILL)  # nobody can know of it any more
    _, address = driver.lease()
    assert driver.run(address, "result = os.getppid()") == node.agent.pool.template.pid != template


def test_the_end_of_a_worker_is_told_with_its_reason(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    ended = []
    on_ended = node.agent.pool._on_ended
    node.agent.pool._on_ended = lambda worker: (ended.append(worker.end_reason), on_ended(worker))[0]  # type: ignore[func-returns-value,assignment]
    driver = drive(node)
    _, address = driver.lease()
    box = driver.begin_run(address, "os._exit(7)")
    driver.wait(lambda: box)
    eventually(lambda: ended == ["the process ended with code 7"], f"the reason is told: {ended}")


def test_fifty_workers_leave_nothing_behind(make_node: MakeNode, drive: Drive) -> None:
    node = make_node(total=ResourceSet.from_units({"CPU": 2}))
    driver = drive(node)
    driver.lease()
    before = len(os.listdir("/proc/self/fd"))
    latencies = []
    for _ in range(50):
        started = time.perf_counter()
        lease_id, _address = driver.lease()
        latencies.append(time.perf_counter() - started)
        driver.agent.cast("lease_return", lease_id, False)
        eventually(lambda: len(node.agent.pool.workers) == 1, "the worker ends")
    latencies.sort()
    print(f"\nlease with a fork: median {latencies[25] * 1e3:.1f} ms, worst {latencies[-1] * 1e3:.1f} ms")
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_worker_dies_when_nobody_is_left_to_tell(node_process: NodeProcess, drive: Drive) -> None:
    """Agent and template killed at the same moment."""
    driver = drive(node_process)
    _, address = driver.lease()
    pid = driver.run(address, "result = os.getpid()")
    template = next(p for p in node_process.descendants() if b"shoal.worker.template" in cmdline(p) and p != pid)
    os.kill(node_process.process.pid, signal.SIGSTOP)
    os.kill(template, signal.SIGKILL)
    os.kill(node_process.process.pid, signal.SIGKILL)
    eventually(lambda: not alive(pid), "the worker is gone")
    Path(node_process.path).unlink(missing_ok=True)


@pytest.mark.leaks("sockets", reason="a killed agent cannot remove its socket; the next start does")
def test_what_outlives_everybody_is_ended_by_the_next_start(node_process: NodeProcess, drive: Drive) -> None:
    driver = drive(node_process)
    worker, child, daemon = family(driver)
    below = node_process.descendants()
    for pid in [node_process.process.pid, *below - {child, daemon}]:
        os.kill(pid, signal.SIGSTOP)  # so that none of them can clean up
    for pid in [node_process.process.pid, *below - {child, daemon}]:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(worker), "the worker is gone")
    assert alive(daemon)
    assert end_orphans(str(node_process.directory)) == 2
    eventually(lambda: not alive(child) and not alive(daemon), "nothing is left")


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
