"""Actors, drains, reports and packages: the agent together with the real head."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from harness import Driver, Node, alive, eventually

from shoal.resources import ResourceSet

MakeNode = Callable[..., Node]
Drive = Callable[..., Driver]


def create(driver: Driver, creation: bytes = b"ok", **changes: Any) -> str:
    actor_id = os.urandom(16).hex()
    info = {
        "actor_id": actor_id,
        "name": "",
        "namespace": "n",
        "class_name": "Counter",
        "resources": (("CPU", 10_000),),
        "placement": (("CPU", 10_000),),
        "max_restarts": 0,
        "detached": False,
        "handle": b"handle",
        "job": driver.job,
        **changes,
    }
    assert driver.ask("actor_create", info, payload=creation)["created"]
    found = driver.ask("actor_get", {"actor_id": actor_id, "name": "", "namespace": "", "subscribe": True})
    assert found["found"]
    driver.casts.append(("actor_update", found["update"]))
    return actor_id


def updates(driver: Driver, actor_id: str) -> list[tuple[Any, ...]]:
    return [args for method, args in driver.casts if method == "actor_update" and args[0] == actor_id]


def wait_state(driver: Driver, actor_id: str, state: str) -> tuple[Any, ...]:
    driver.wait(lambda: any(update[1] == state for update in updates(driver, actor_id)))
    return next(update for update in reversed(updates(driver, actor_id)) if update[1] == state)


def test_an_actor_lives_in_a_worker_of_its_own(make_node: MakeNode, drive: Drive) -> None:
    node = make_node(total=ResourceSet.from_units({"CPU": 1}))
    driver = drive(node)
    actor_id = create(driver)
    address = wait_state(driver, actor_id, "ALIVE")[2]
    pid = driver.run(address, "result = os.getpid()")
    waiting, _ = driver.request()
    driver.ask("nodes")
    assert not waiting  # the actor holds the CPU
    assert driver.ask("actor_kill", actor_id, True)["found"]
    dead = wait_state(driver, actor_id, "DEAD")
    assert dead[3] == "Killed"
    driver.wait(lambda: waiting)
    assert not alive(pid)


def test_a_killed_actor_is_restarted_as_often_as_it_may_be(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node())
    actor_id = create(driver, max_restarts=1)
    first = wait_state(driver, actor_id, "ALIVE")[2]
    os.kill(driver.run(first, "result = os.getpid()"), 9)
    driver.wait(lambda: any(u[1] == "ALIVE" and u[2] != first for u in updates(driver, actor_id)))
    second = updates(driver, actor_id)[-1]
    assert second[6] == 1
    os.kill(driver.run(second[2], "result = os.getpid()"), 9)
    dead = wait_state(driver, actor_id, "DEAD")
    assert dead[3] == "WorkerDied"
    assert "SIGKILL" in dead[4]


def test_a_failed_init_is_told_with_its_error(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    actor_id = create(driver, b"fail", max_restarts=5)
    dead = wait_state(driver, actor_id, "DEAD")
    assert (dead[3], dead[5]) == ("CreationTaskFailed", b"E")
    eventually(lambda: node.inside(lambda: node.agent.scheduler.holders) == 0, "its resources are free")


def test_the_actors_of_a_driver_end_with_it(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver, other = drive(node), drive(node)
    mine = create(driver)
    detached = create(driver, detached=True)
    pids = [driver.run(wait_state(driver, a, "ALIVE")[2], "result = os.getpid()") for a in (mine, detached)]
    driver.close()
    eventually(lambda: not alive(pids[0]), "the actor ends")
    assert alive(pids[1])
    assert other.ask("actor_get", {"actor_id": detached, "subscribe": False})["update"][1] == "ALIVE"


def test_an_actor_that_ends_itself_is_told_so(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node())
    actor_id = create(driver, max_restarts=5)
    address = wait_state(driver, actor_id, "ALIVE")[2]
    driver.run(address, f"worker.agent.cast('actor_failed', {actor_id!r}, 'Exited', 'exit_actor() was called')")
    assert wait_state(driver, actor_id, "DEAD")[3] == "Exited"


def test_an_actor_that_does_not_fit_waits_and_is_demand(make_node: MakeNode, drive: Drive) -> None:
    node = make_node(total=ResourceSet.from_units({"CPU": 1}))
    driver = drive(node)
    lease_id, _ = driver.lease()
    actor_id = create(driver)
    driver.ask("nodes")
    assert [u[1] for u in updates(driver, actor_id)] == ["PENDING"]
    driver.agent.cast("lease_return", lease_id, True)
    wait_state(driver, actor_id, "ALIVE")


def head_view(driver: Driver, node: Node) -> dict[str, Any]:
    return next(n for n in driver.ask("nodes") if n["node_id"] == node.config.node_id)


def test_reports_say_what_keeps_a_node(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    assert head_view(driver, node)["activity"] == ""
    lease_id, _ = driver.lease()
    driver.put(b"o" * 28, b"x" * 1000)
    view = head_view(driver, node)
    assert view["activity"] == "1 lease, 1 object"
    assert view["available"] == {"CPU": 10_000}
    driver.agent.cast("lease_return", lease_id, True)
    driver.store.free([b"o" * 28])
    eventually(lambda: head_view(driver, node)["activity"] == "", "nothing keeps it")


def drain(node: Node, *, only_if_idle: bool, deadline_seconds: float = 60.0) -> None:
    from shoal.protocol import node_pb2

    order = node_pb2.Drain(reason="test", deadline_seconds=deadline_seconds, only_if_idle=only_if_idle, drain_id="d")
    node.inside(lambda: node.agent._drain(order))


def test_a_drain_waits_for_what_is_needed(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    lease_id, address = driver.lease()
    driver.put(b"o" * 28, b"x" * 1000)
    driver.ask("nodes")
    drain(node, only_if_idle=True)
    assert node.agent._drain_state == "active"
    drain(node, only_if_idle=False)
    assert node.agent._drain_state == "draining"
    assert driver.run(address, "result = 1") == 1
    waiting, _ = driver.request()
    driver.agent.cast("lease_return", lease_id, True)
    driver.ask("nodes")
    assert not waiting
    assert node.agent._drain_state == "draining"
    driver.store.free([b"o" * 28])
    eventually(lambda: node.agent._drain_state == "drained", "drained")


def test_a_drain_ends_at_its_deadline(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    driver = drive(node)
    driver.lease()
    drain(node, only_if_idle=False, deadline_seconds=0.1)
    eventually(lambda: node.agent._drain_state == "drained", "drained")


def package(**files: str) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return os.urandom(16).hex(), buffer.getvalue()


def test_workers_of_a_job_with_a_package_import_from_it(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    digest, data = package(of_the_job="answer = 42")
    first = drive(node)
    assert first.ask("put_package", digest, payload=data)
    driver = drive(node, job={"id": "", "package": digest, "paths": [], "cwd": "", "env": {"COLOUR": "green"}})
    _, address = driver.lease()
    code = "import of_the_job; result = (of_the_job.answer, os.getcwd(), os.environ['COLOUR'])"
    answer, directory, colour = driver.run(address, code)
    assert (answer, colour) == (42, "green")
    assert directory.endswith(f"packages/{digest}")


@pytest.mark.parametrize(("digest", "words"), [("0" * 32, "no package"), ("../../etc", "not the hash")])
def test_a_package_that_is_not_there_is_an_answer(make_node: MakeNode, drive: Drive, digest: str, words: str) -> None:
    driver = drive(make_node(), job={"id": "", "package": digest, "paths": [], "cwd": "", "env": {}})
    box, _ = driver.request()
    driver.wait(lambda: box)
    assert box[0][1][0] == "failed"
    assert words in box[0][1][1]


def test_task_counts_are_summed_over_processes(make_node: MakeNode, drive: Drive) -> None:
    node = make_node()
    told: list[Any] = []
    node.agent.counts._send = lambda job_id, counts: told.append((job_id, counts))
    driver = drive(node)
    _, address = driver.lease()
    driver.agent.cast("task_counts", 10, 5, 1)
    driver.run(address, "worker.agent.cast('task_counts', 3, 2, 1)")
    eventually(lambda: told and told[-1] == (driver.job["id"], (13, 7, 2)), "the sum is told")


def test_kv_goes_to_the_head(make_node: MakeNode, drive: Drive) -> None:
    driver = drive(make_node())
    driver.ask("kv", "put", "n", "k", b"v", True)
    assert driver.ask("kv", "get", "n", "k", b"", False)["value"] == b"v"
    with pytest.raises(RuntimeError, match="unknown operation"):
        driver.ask("kv", "eat", "n", "k", b"", False)
