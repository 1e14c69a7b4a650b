"""Starts transfers as children of the head and waits for them, in threads of their own.

Invariant: at most ``PARALLEL_MAX`` children of each direction at once, each for a bounded time, so that uploads to a
bucket that hangs hold up no submission; none outlives the head, however that ends; credentials go to the child's
environment and nowhere else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.jobs import transfer

PARALLEL_MAX: Final = 4
SAVE_SECONDS: Final = 240.0
FETCH_SECONDS: Final = 25.0
SECRET_BYTES_MAX: Final = 65_536


@dataclass(frozen=True)
class Fault:
    """Why a transfer failed.

    Attributes:
        words: for people.
        is_final: another try would end alike.
    """

    words: str
    is_final: bool = False


class Transfers:
    """Thread-safe."""

    def __init__(self) -> None:
        self._saves = threading.Semaphore(PARALLEL_MAX)
        self._fetches = threading.Semaphore(PARALLEL_MAX)
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def save(self, url: str, file: Path, secret_directory: str, done: Callable[[str], None]) -> None:
        """Copy a file to a URL; ``done`` is called in another thread, with words when it failed."""

        def work() -> None:
            with self._saves:
                fault = self._run(["save", url, str(file)], _secret_environment(secret_directory), SAVE_SECONDS)
            done(fault.words if fault else "")
            with self._lock:
                self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=work, name="shoal-transfer", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def fetch(self, url: str, directory: Path) -> Fault | None:
        """Unpack an archive into a directory, and wait for it; returns why it failed, if it did."""
        began = time.monotonic()
        if not self._fetches.acquire(timeout=FETCH_SECONDS):
            return Fault(f"{PARALLEL_MAX} other fetches took longer than {FETCH_SECONDS:g} s")
        try:
            left = max(1.0, FETCH_SECONDS - (time.monotonic() - began))
            return self._run(["fetch", url, str(directory)], {}, left)
        finally:
            self._fetches.release()

    def close(self) -> None:
        """End what is under way. Idempotent."""
        with self._lock:
            self._closed = True
            children, threads = list(self._children), list(self._threads)
        for child in children:
            child.kill()
        for thread in threads:
            thread.join(5.0)

    def _run(self, arguments: list[str], secrets: dict[str, str], seconds: float) -> Fault | None:
        command = [sys.executable, "-P", "-m", "shoal.jobs.transfer", *arguments]
        with self._lock:
            if self._closed:
                return Fault("the head is shutting down")
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, **secrets},
            )
            self._children.add(child)
        try:
            return _outcome(child, seconds)
        finally:
            with self._lock:
                self._children.discard(child)


def _outcome(child: subprocess.Popen[bytes], seconds: float) -> Fault | None:
    assert child.stdin is not None
    assert child.stderr is not None
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return Fault(f"it took longer than {seconds:.0f} s")
    finally:
        child.stdin.close()
        words = child.stderr.read(4096).decode(errors="replace").strip().splitlines()
        child.stderr.close()
    if child.returncode == 0:
        return None
    text = words[-1][:500] if words else f"the transfer ended with code {child.returncode}"
    return Fault(text, is_final=child.returncode == transfer.FINAL)


def _secret_environment(directory: str) -> dict[str, str]:
    """One variable per file of a mounted Secret."""
    if not directory or not os.path.isdir(directory):
        return {}
    found = {}
    for entry in os.scandir(directory):
        if entry.is_file() and not entry.name.startswith("."):
            with open(entry.path, "rb") as file:
                found[entry.name] = file.read(SECRET_BYTES_MAX).decode(errors="replace").rstrip("\n")
    return found
