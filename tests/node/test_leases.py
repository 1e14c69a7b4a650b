"""Leases on one node: real agent, real template, real forked workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from harness import ONE_CPU, Driver, Node, alive, eventually

from shoal.resources import ResourceSet

MakeNode = Callable[..., Node]
Drive = Callable[..., Driver]
PID = "result = os.getpid()"


def test_a_lease_gives_a_worker_that_runs(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node())
    started = time.perf_counter()
    lease_id, address = driver.lease()
    first = time.perf_counter() - started
    assert driver.run(address, "result = 6 * 7") == 42
    started = time.perf_counter()
    driver.lease()
    forked = time.perf_counter() - started
    driver.agent.cast("lease_return", lease_id, True)
    started = time.perf_counter()
    _, again = driver.lease()
    warm = time.perf_counter() - started
    print(f"\nlease: template's start {first * 1e3:.0f}, fork {forked * 1e3:.1f}, idle worker {warm * 1e3:.2f} ms")
    assert again[0] == address[0]


def test_requests_beyond_the_cpus_wait_and_are_the_demand(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    first, _ = driver.lease()
    driver.lease()
    waiting, _ = driver.request(backlog=500)
    other, call_id = driver.request((("CPU", 80_000),), backlog=3)
    assert driver.ask("nodes")
    demand = node.inside(node.agent.scheduler.demand)
    assert [(d.shape.to_units(), d.count) for d in demand] == [({"CPU": 1.0}, 500), ({"CPU": 8.0}, 3)]
    assert not waiting
    driver.agent.cast("lease_backlog", call_id, 0)
    driver.wait(lambda: other)
    assert other[0][1] == ("cancelled",)
    driver.agent.cast("lease_return", first, True)
    driver.wait(lambda: waiting)
    assert waiting[0][1][0] == "granted"
    assert node.inside(node.agent.scheduler.demand) == []


def test_workers_are_never_shared_between_jobs(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    one, two = drive(node), drive(node)
    lease_id, address = one.lease()
    one.agent.cast("lease_return", lease_id, True)
    _, other = two.lease()
    assert one.info["job_id"] != two.info["job_id"]
    assert address[0] != other[0]


def test_the_end_of_a_driver_ends_its_workers(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    pids = [driver.run(driver.lease()[1], PID) for _ in range(2)]
    driver.close()
    eventually(lambda: not any(alive(pid) for pid in pids), "its workers end")
    other = drive(node)
    other.lease()
    other.lease()


def test_a_killed_worker_gives_its_resources_back(make_node: MakeNode, drive: Drive) -> None:
    node = make_node(total=ResourceSet.from_units({"CPU": 1}))
    driver = drive(node)
    _, address = driver.lease()
    pid = driver.run(address, PID)
    waiting, _ = driver.request()
    os.kill(pid, 9)
    started = time.perf_counter()
    driver.wait(lambda: waiting)
    print(f"\na new lease {1e3 * (time.perf_counter() - started):.1f} ms after kill -9 of the old one's worker")
    assert waiting[0][1][0] == "granted"
    assert waiting[0][1][2][0] != address[0]


def test_a_blocked_worker_lends_its_cpu(make_node: MakeNode, drive: Drive) -> None:
    node = make_node(total=ResourceSet.from_units({"CPU": 1}))
    driver = drive(node)
    lease_id, address = driver.lease()
    waiting, _ = driver.request()
    driver.run(address, "worker.agent.cast('blocked', True)")
    driver.wait(lambda: waiting)
    driver.run(address, "worker.agent.cast('blocked', False)")
    eventually(lambda: not node.inside(lambda: node.agent.scheduler.available), "no CPU is free")
    driver.agent.cast("lease_return", lease_id, True)
    more, _ = driver.request()
    driver.ask("nodes")
    assert not more  # the one CPU is lent still
    driver.agent.cast("lease_return", waiting[0][1][1], True)
    driver.wait(lambda: more)


def test_idle_workers_beyond_the_cpus_are_stopped(make_node: MakeNode, drive: Drive) -> None:
    node = make_node(total=ResourceSet.from_units({"CPU": 1}))
    driver = drive(node)
    free = [driver.lease(()) for _ in range(3)]
    for lease_id, _ in free:
        driver.agent.cast("lease_return", lease_id, True)
    eventually(lambda: len(node.inside(lambda: dict(node.agent.pool.workers))) == 1, "one worker is left")


def test_a_worker_that_is_not_reusable_is_ended(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node())
    lease_id, address = driver.lease()
    pid = driver.run(address, PID)
    driver.agent.cast("lease_return", lease_id, False)
    eventually(lambda: not alive(pid), "the worker ends")


def test_workers_that_cannot_start_are_an_answer(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node(worker_entry="stub_worker:fail"))
    box, _ = driver.request()
    driver.wait(lambda: box)
    kind, words = box[0][1]
    assert kind == "failed"
    assert "this worker cannot start" in words


def test_a_template_that_cannot_start_is_an_answer(make_node: MakeNode, drive: Drive) -> None:
    node = make_node(worker_entry="no_such_module:run")
    driver = drive(node)
    box, _ = driver.request()
    driver.wait(lambda: box)
    kind, words = box[0][1]
    assert kind == "failed"
    assert "template.err" in words
    with open(words.rpartition("see ")[2]) as log:
        assert "no_such_module" in log.read()


def test_a_guest_waits_a_second_and_is_sent_home(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node(total=ResourceSet.from_units({"CPU": 1})))
    driver.lease()
    box, _ = driver.request(ONE_CPU, spill=False)
    started = time.monotonic()
    driver.wait(lambda: box)
    assert 0.8 < time.monotonic() - started < 5
    assert box[0][1] == ("rejected", "the node has no room now")


def test_a_label_selector_that_makes_no_sense_is_refused_for_good(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node())
    for labels in ({"zone": "in(a"}, {"a/b/c": "x"}, {"zone": 5}):
        answer = driver.ask("lease", ONE_CPU, driver.job, 1, True, {"kind": "task", "name": "f"}, labels, None)
        assert answer[:2] == ("refused", "unschedulable")
        assert answer[2].startswith("its label selector makes no sense: ")
    driver.lease()


def test_output_of_workers_reaches_the_driver(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    _, address = driver.lease()
    pid = driver.run(address, "print('hello'); print('oops', file=sys.stderr); result = os.getpid()")
    driver.wait(lambda: any("oops" in cast[1][1] for cast in driver.casts if cast[0] == "log"))
    logs = [cast[1] for cast in driver.casts if cast[0] == "log"]
    assert (f"(f pid={pid}, ip=127.0.0.1)", ["oops"], True) in logs
    assert any("hello" in lines for _, lines, is_err in logs if not is_err)


def test_a_flood_of_output_is_bounded_and_said(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node())
    _, address = driver.lease()
    driver.run(address, "sys.stdout.write('x\\n' * 300_000); sys.stdout.flush()")
    logs = lambda: [line for cast in driver.casts if cast[0] == "log" for line in cast[1][1]]  # noqa: E731
    driver.wait(lambda: any("lines were dropped" in line for line in logs()))
    assert len(logs()) < 200_000


def test_nothing_is_served_before_hello(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    client = next(iter(node.agent.clients.values()))
    client.kind = ""
    box, _ = driver.request()
    driver.wait(lambda: box)
    assert box[0][0][0] == "Refused"
    client.kind = "driver"
