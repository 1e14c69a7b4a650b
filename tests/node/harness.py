"""Real agents (in threads or processes), real templates and workers, and a driver to talk to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal.head.local_link import LocalLink
from shoal.head.service import HeadService
from shoal.jobs.package_store import PackageStore
from shoal.node.agent import NodeAgent
from shoal.node.config import NodeConfig
from shoal.resources import ResourceSet
from shoal.store.client import StoreClient, StoreFailure
from shoal.wire.connection import Connection
from shoal.wire.handshake import ClientHandshake
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import CAST, REPLY, Caller
from shoal.wire.sockets import connect_tcp, connect_unix

TOKEN = b"0123456789abcdef0123456789abcdef"
ONE_CPU = (("CPU", 10_000),)
HERE = Path(__file__).parent


def eventually(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Poll until the condition is true."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def make_head(directory: Path) -> HeadService:
    return HeadService(PackageStore(directory / "head-packages"))


def make_config(directory: Path, **changes: Any) -> NodeConfig:
    values: dict[str, Any] = {
        "node_id": os.urandom(16).hex(),
        "ip": "127.0.0.1",
        "frames_port": None,
        "token": None,
        "session_dir": str(directory),
        "total": ResourceSet.from_units({"CPU": 2}),
        "is_head": True,
        "object_store_bytes": 256 << 20,
        "worker_entry": "stub_worker:run",
    }
    return NodeConfig(**{**values, **changes})


class Node:
    """An agent on a reactor of its own, in a thread."""

    def __init__(self, head: HeadService, config: NodeConfig) -> None:
        self.config = config
        self.reactor = Reactor()
        self.stopped: list[str] = []
        self.agent = NodeAgent(
            self.reactor,
            config,
            lambda events: LocalLink(head, events, self.reactor.call_soon),
            self._on_stopped,
        )
        ready = threading.Event()
        self.failure: list[BaseException] = []
        self.thread = threading.Thread(target=self._run, args=(ready,), name="node")
        self.thread.start()
        assert ready.wait(20)
        if self.failure:
            self.thread.join()
            self.reactor.close()
            raise self.failure[0]

    def _run(self, ready: threading.Event) -> None:
        try:
            self.agent.start()
        except OSError as error:
            self.failure.append(error)
            ready.set()
            return
        ready.set()
        self.reactor.run_forever()

    def _on_stopped(self, reason: str) -> None:
        self.stopped.append(reason)
        self.reactor.stop()

    @property
    def node(self) -> tuple[str, str, int]:
        return (self.config.node_id, self.config.ip, self.agent.port)

    def inside(self, function: Callable[[], Any]) -> Any:
        """Run in the agent's thread and return the value."""
        box: list[Any] = []
        done = threading.Event()

        def run() -> None:
            box.append(function())
            done.set()

        self.reactor.call_soon(run)
        assert done.wait(20)
        return box[0]

    def stop(self, grace_seconds: float = 0.0) -> None:
        if self.thread.is_alive():
            self.agent.stop("the test is over", grace_seconds)
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.reactor.close()


class Driver:
    """A driver (or a remote process) connected to an agent."""

    def __init__(self, path: str, kind: str = "driver", *, job: dict[str, Any] | None = None) -> None:
        self._begin(Connection(self._reactor(), connect_unix(path), self.receive, self._closed), kind, job)

    @classmethod
    def over_tcp(cls, ip: str, port: int, kind: str = "remote", token: bytes = TOKEN) -> Driver:
        driver = cls.__new__(cls)
        connection = Connection(
            driver._reactor(),
            connect_tcp(ip, port),
            driver.receive,
            driver._closed,
            ClientHandshake(token, os.urandom(32)),
        )
        try:
            driver._begin(connection, kind, None)
        except BaseException:
            driver.close()
            raise
        return driver

    def _reactor(self) -> Reactor:
        self.reactor = Reactor()
        self.casts: list[tuple[str, tuple[Any, ...]]] = []
        self.closed: list[str] = []
        self.workers: dict[str, Caller] = {}
        return self.reactor

    def _begin(self, connection: Connection, kind: str, job: dict[str, Any] | None) -> None:
        self.connection = connection
        self.agent = Caller(connection)
        self.store = StoreClient(self.agent, self.reactor)
        self.process_id = os.urandom(16).hex()
        self.job = job if job is not None else {"id": "", "package": "", "paths": [], "cwd": "", "env": {}}
        info = {"process_id": self.process_id, "pid": os.getpid(), "job": self.job, "address": None}
        self.reactor.start_io_thread()
        self.info = self.ask("hello", kind, info)
        self.job["id"] = self.job["id"] or self.info["job_id"]
        self.node = (self.info["node_id"], self.info["ip"], self.info["frames_port"])

    def receive(self, _connection: Connection, message: Any, payload: bytes, fds: list[int]) -> None:
        if message[0] == REPLY:
            self.agent.handle_reply(message, payload, fds)
        elif message[0] == CAST and not self.store.handle_cast(message[1], message[2]):
            self.casts.append((message[1], message[2]))

    def _closed(self, _connection: Connection, reason: str) -> None:
        self.closed.append(reason)
        self.agent.fail_all(reason)

    def wait(self, condition: Callable[[], Any], seconds: float = 20.0) -> None:
        assert self.reactor.run_until(lambda: bool(condition()), time.monotonic() + seconds), "timed out"

    def begin(self, method: str, *args: Any, payload: bytes = b"") -> tuple[list[Any], int]:
        box: list[Any] = []
        call_id = self.agent.call(method, *args, payload=payload, on_reply=lambda e, v, p, _f: box.append((e, v, p)))
        return box, call_id

    def ask(self, method: str, *args: Any, payload: bytes = b"", seconds: float = 20.0) -> Any:
        box, _ = self.begin(method, *args, payload=payload)
        self.wait(lambda: box, seconds)
        error, value, _payload = box[0]
        if error is not None:
            raise RuntimeError(f"{error[0]}: {error[1]}")
        return value

    # Leases

    def request(self, shape: Any = ONE_CPU, backlog: int = 1, spill: bool = True) -> tuple[list[Any], int]:
        return self.begin("lease", shape, self.job, backlog, spill, {"kind": "task", "name": "f"}, {}, None)

    def lease(self, shape: Any = ONE_CPU, spill: bool = True) -> tuple[str, Any]:
        box, _ = self.request(shape, spill=spill)
        self.wait(lambda: box)
        error, value, _ = box[0]
        assert error is None, error
        assert value[0] == "granted", value
        return value[1], value[2]

    def run(self, address: Any, code: str, seconds: float = 20.0) -> Any:
        box = self.begin_run(address, code)
        self.wait(lambda: box, seconds)
        error, value = box[0]
        if error is not None:
            raise RuntimeError(f"{error[0]}: {error[1]}")
        return value

    def begin_run(self, address: Any, code: str) -> list[Any]:
        caller = self.workers.get(address[0])
        if caller is None:
            made: list[Caller] = []

            def receive(_c: Connection, message: Any, payload: bytes, fds: list[int]) -> None:
                made[0].handle_reply(message, payload, fds)

            connection = Connection(
                self.reactor, connect_unix(address[4]), receive, lambda _c, reason: made[0].fail_all(reason)
            )
            caller = Caller(connection)
            made.append(caller)
            self.workers[address[0]] = caller
        box: list[Any] = []
        caller.call("run", code, on_reply=lambda e, v, _p, _f: box.append((e, v)))
        return box

    # Objects

    def put(self, object_id: bytes, data: bytes, owner: str = "") -> None:
        view = self.store.write(object_id, len(data))
        view[:] = data
        view.release()
        self.store.seal(object_id, owner or self.process_id)

    def begin_fetch(self, object_id: bytes, locations: Any = None) -> list[Any]:
        box: list[Any] = []
        self.store.fetch(object_id, (self.node,) if locations is None else locations, box.append)
        return box

    def get(self, object_id: bytes, locations: Any = None, seconds: float = 20.0) -> memoryview | StoreFailure:
        box = self.begin_fetch(object_id, locations)
        self.wait(lambda: box, seconds)
        result: memoryview | StoreFailure = box.pop()
        return result

    def close(self) -> None:
        self.reactor.stop()
        for caller in self.workers.values():
            caller.connection.abandon()
        self.connection.abandon()
        self.reactor.close()
        self.store.close()


class NodeProcess:
    """An agent with its head in a process of its own, to be killed."""

    def __init__(self, directory: Path, *, cpus: int = 2, entry: str = "stub_worker:run") -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "node_process.py"), str(directory), str(cpus), entry],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the node did not start"
        self.ready = json.loads(line)
        self.path = str(directory / "node.sock")

    def descendants(self) -> set[int]:
        return set(_descendants(self.process.pid))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()


def _descendants(pid: int) -> list[int]:
    found = []
    for child in (Path(f"/proc/{pid}/task/{pid}/children")).read_text().split():
        found.append(int(child))
        try:
            found += _descendants(int(child))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
