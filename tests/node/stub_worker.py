"""A worker for tests: says hello, then runs what its lessee sends it. Forked by the real template."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from shoal.store.client import StoreClient
from shoal.wire.connection import Connection
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import CALL, CAST, REPLY, Caller, reply
from shoal.wire.sockets import connect_unix, listen_unix


class StubWorker:
    def __init__(self, setup: dict[str, Any]) -> None:
        self.setup = setup
        self.reactor = Reactor()
        self.exit_reason = ""
        self.creations: list[tuple[str, bytes]] = []
        self.work: list[tuple[Connection, int, str]] = []
        self.path = os.path.join(setup["session_dir"], f"p-{setup['worker_id'][:12]}")
        self.reactor.add_listener(listen_unix(self.path), self.accept)
        sock = connect_unix(setup["node_socket"])
        self.connection = Connection(self.reactor, sock, self.from_agent, lambda *_: os._exit(3))
        self.agent = Caller(self.connection)
        self.store = StoreClient(self.agent, self.reactor)
        self.address = (setup["worker_id"], setup["node_id"], setup["ip"], 0, self.path)
        self.ask("hello", "worker", self.hello(None))
        self.ask("hello", "worker", self.hello(self.address))

    def hello(self, address: Any) -> dict[str, Any]:
        setup = self.setup
        return {"process_id": setup["worker_id"], "pid": os.getpid(), "job": setup["job"], "address": address}

    def ask(self, method: str, *args: Any, payload: bytes = b"") -> Any:
        box: list[Any] = []
        self.agent.call(method, *args, payload=payload, on_reply=lambda e, v, _p, _f: box.append((e, v)))
        assert self.reactor.run_until(lambda: bool(box), time.monotonic() + 20)
        error, value = box[0]
        assert error is None, error
        return value

    def accept(self, sock: Any) -> None:
        Connection(self.reactor, sock, self.from_lessee, lambda *_: None)

    def from_agent(self, _connection: Connection, message: Any, payload: bytes, fds: list[int]) -> None:
        if message[0] == REPLY:
            self.agent.handle_reply(message, payload, fds)
        elif message[0] == CAST and not self.store.handle_cast(message[1], message[2]):
            if message[1] == "exit":
                self.exit_reason = message[2][0] or "asked"
            elif message[1] == "start_actor":
                self.creations.append((message[2][0], payload))

    def from_lessee(self, connection: Connection, message: Any, _payload: bytes, _fds: list[int]) -> None:
        if message[0] == CALL:
            self.work.append((connection, message[1], message[3][0]))

    def run(self) -> None:
        while not self.exit_reason:
            self.reactor.run_until(lambda: bool(self.work or self.creations or self.exit_reason), None)
            if self.creations:
                actor_id, creation = self.creations.pop()
                if creation == b"fail":
                    self.agent.cast("actor_failed", actor_id, "CreationTaskFailed", "no", payload=b"E")
                else:
                    self.agent.cast("actor_started", actor_id)
            if self.work:
                connection, call_id, code = self.work.pop(0)
                names: dict[str, Any] = {"worker": self, "os": os, "sys": sys, "time": time}
                try:
                    exec(code, names)
                    reply(connection, call_id, names.get("result"))
                except Exception as error:  # noqa: BLE001 - the test wants to see it
                    reply(connection, call_id, error=("Raised", repr(error), {}))
        os.unlink(self.path)


def run(setup: dict[str, Any]) -> int:
    print("stub worker started", setup["worker_id"][:8])
    StubWorker(setup).run()
    return 0


def fail(_setup: dict[str, Any]) -> int:
    raise RuntimeError("this worker cannot start")
