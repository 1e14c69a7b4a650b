"""The operator that is measured: one process, installed from this checkout, and what it and the kernel say about it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from e2e.bench.installation import environment
from e2e.bench.subjects import METRICS, Subject
from e2e.cluster.errors import log_tail

LINE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>[-+0-9.eE]+|NaN)")
LABEL = re.compile(r'(\w+)="([^"]*)"')
WRITES = ("POST", "PATCH", "DELETE")
"""Methods of the operator's writes. PUT is the Lease's alone."""


@dataclass(frozen=True)
class Usage:
    """What the operator has used so far."""

    resident_bytes: int
    peak_bytes: int
    cpu_seconds: float


class OperatorProcess:
    """Start, ask, stop. `kubeconfig` is an administrator's; `log` takes what it says."""

    def __init__(self, subject: Subject, kubeconfig: Path, log: Path) -> None:
        self._subject = subject
        self._words = list(subject.command(kubeconfig))
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> float:
        """Start it and return the seconds until it answered."""
        started = time.monotonic()
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._words, stdout=out, stderr=subprocess.STDOUT, cwd="/", env=environment()
            )
        while time.monotonic() - started < 60:
            if self._process.poll() is not None:
                raise RuntimeError(f"the operator ended with status {self._process.returncode}:\n{log_tail(self._log)}")
            if self.metrics():
                return time.monotonic() - started
            await asyncio.sleep(0.05)
        raise RuntimeError(f"the operator did not answer at {METRICS} within 60 s:\n{log_tail(self._log)}")

    async def stop(self) -> float:
        """SIGTERM; returns the seconds until it was gone."""
        if self._process is None:
            return 0.0
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, 30)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        return time.monotonic() - started

    def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Everything under /metrics, by name; empty while it does not answer."""
        try:
            with urlopen(f"http://{METRICS}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except (URLError, OSError):
            return {}
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for line in text.splitlines():
            match = LINE.fullmatch(line)
            if match:
                labels = dict(LABEL.findall(match["labels"] or ""))
                found.setdefault(match["name"], []).append((labels, float(match["value"])))
        return found

    def requests(self) -> Counter[str]:
        """Requests to the API server so far, by method."""
        count: Counter[str] = Counter()
        for labels, value in self.metrics().get(self._subject.requests_metric, []):
            count[labels["method"]] += int(value)
        return count

    def cluster_passes(self) -> int:
        """Passes over clusters so far."""
        passes = self.metrics().get(self._subject.reconciles_metric, [])
        return int(sum(value for labels, value in passes if "cluster" in labels["controller"].lower()))

    def writes(self) -> int:
        """Requests so far that write, the Lease's aside."""
        requests = self.requests()
        return sum(requests[method] for method in WRITES)

    def usage(self) -> Usage:
        """Memory and CPU time."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        sizes = {name: int(value) * 1024 for name, value in re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status)}
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return Usage(sizes["VmRSS"], sizes["VmHWM"], ticks / os.sysconf("SC_CLK_TCK"))
