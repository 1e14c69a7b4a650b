"""One run of a container as local processes.

Invariant: when ``wait`` returns, every process of the run is gone, the log is closed, and no descriptor of
the run is left; ``kill`` reaches descendants that left the process group.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from shoal_operator.local.kubelet.logs import ContainerLog, LogLimits
from shoal_operator.local.spawn import Child, Launch, spawn
from shoal_operator.local.sweep import CONTAINER_MARK, descendants, kill_marked, kill_pids

_READ_BYTES: Final = 64 * 1024
_LAST_OUTPUT_SECONDS: Final = 1.0


@dataclass(frozen=True)
class ProcessSpec:
    """Everything needed to run a container; ``container_id`` marks its processes.

    ``inherit`` and ``death_signal`` are as in ``Launch``; containers leave them alone.
    """

    container_id: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    log_path: Path
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    inherit: Mapping[int, int] = field(default_factory=dict)
    death_signal: int = signal.SIGKILL


class _Pump:
    """Moves what comes out of a pipe into the log."""

    def __init__(self, fd: int, stream: str, log: ContainerLog) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fd = fd
        self._stream = stream
        self._log = log
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._log.write(self._stream, data, datetime.now(UTC))
        else:
            self.stop()

    def stop(self) -> None:
        """Read no more; safe to call twice."""
        if self.ended.done():
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        self._log.flush(self._stream, datetime.now(UTC))
        self.ended.set_result(None)


class Run:
    """A started container. Made by ``start``."""

    def __init__(self, spec: ProcessSpec, child: Child, log: ContainerLog, pumps: Sequence[_Pump]) -> None:
        self.spec = spec
        self.child = child
        self.log = log
        self._pumps = pumps

    async def wait(self) -> int:
        """Wait for the main process; then end what it left behind. Returns its status (negative: signal)."""
        status = await asyncio.shield(self.child.exited)
        kill_marked(CONTAINER_MARK, self.spec.container_id)
        await asyncio.wait([pump.ended for pump in self._pumps], timeout=_LAST_OUTPUT_SECONDS)
        self._close()
        return status

    def terminate(self) -> None:
        """Ask the main process to end; what it started is its own business, as in a real container."""
        self.child.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End every process of the run now."""
        below = descendants(self.child.pid) if self.child.running else []
        self.child.signal_group(signal.SIGKILL)
        kill_pids(below)
        kill_marked(CONTAINER_MARK, self.spec.container_id)

    def _close(self) -> None:
        for pump in self._pumps:
            pump.stop()
        self.log.close()


async def start(spec: ProcessSpec, log_limits: LogLimits) -> Run:
    """Start the processes of a container.

    Raises:
        StartError: the command cannot be run.
    """
    log = ContainerLog(spec.log_path, log_limits)
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    pumps = [_Pump(out_read, "stdout", log), _Pump(err_read, "stderr", log)]
    launch = Launch(
        command=spec.command,
        environment={**spec.environment, CONTAINER_MARK: spec.container_id},
        directory=str(spec.directory),
        limits=spec.limits,
        inherit={**spec.inherit, 1: out_write, 2: err_write},
        death_signal=spec.death_signal,
    )
    try:
        child = await spawn(launch)
    except BaseException:
        for pump in pumps:
            pump.stop()
        log.close()
        raise
    finally:
        os.close(out_write)
        os.close(err_write)
    return Run(spec, child, log, pumps)


async def run_once(spec: ProcessSpec, timeout_seconds: float) -> int:
    """Run a command of a container (an exec probe, a hook) to its end; its exit status.

    Raises:
        StartError: the command cannot be run.
        TimeoutError: it took too long; it has been killed.
    """
    launch = Launch(
        command=spec.command,
        environment={**spec.environment, CONTAINER_MARK: spec.container_id},
        directory=str(spec.directory),
        inherit=_discard(),
    )
    try:
        child = await spawn(launch)
    finally:
        for fd in launch.inherit.values():
            os.close(fd)
    try:
        status = await child.wait(timeout_seconds)
        if status is None:
            raise TimeoutError(f"command {list(spec.command)!r} timed out after {timeout_seconds:g}s")
        return status
    finally:
        if child.running:
            kill_pids(descendants(child.pid))
            child.signal_group(signal.SIGKILL)
            await child.wait()


def _discard() -> dict[int, int]:
    return {number: os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC) for number in (1, 2)}
