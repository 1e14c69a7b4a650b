"""The two processes of a local session: the node (API server and kubelet) and the operator.

Invariant: both die with the supervisor. A killed operator is started again, more slowly each time and a bounded
number of times; a node that ends ends the session, because its objects are gone with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shoal_operator.local.errors import LocalError
from shoal_operator.local.kubelet.container import ProcessSpec, Run, start
from shoal_operator.local.kubelet.logs import LogLimits, LogOptions, read_log
from shoal_operator.local.session import Session
from shoal_operator.local.sweep import SESSION_MARK

_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 8.0
_LOG_LIMITS: Final = LogLimits(max_bytes=4 * 1024 * 1024, max_files=3)
_TAIL_LINES: Final = 15


@dataclass(frozen=True)
class RestartBudget:
    """How often the operator may be started again: a healthy run of ``reset_seconds`` forgives earlier crashes."""

    base_seconds: float = 0.2
    maximum_seconds: float = 10.0
    attempts: int = 6
    reset_seconds: float = 30.0

    def delay(self, crashes: int) -> float | None:
        """Seconds to wait after the n-th crash in a row (from 1); None when it was one too many.

        Example:
            >>> [RestartBudget(attempts=2).delay(n) for n in (1, 2, 3)]
            [0.2, 0.4, None]
        """
        if crashes > self.attempts:
            return None
        return float(min(self.base_seconds * 2 ** (crashes - 1), self.maximum_seconds))


def child_environment(session: Session) -> dict[str, str]:
    """The environment of both processes: this one's, with the session's mark."""
    return {**os.environ, SESSION_MARK: session.session_id, "PYTHONUNBUFFERED": "1"}


def log_path(session: Session, name: str, run: int = 0) -> Path:
    """The log of a process of the session."""
    return session.directory / "logs" / name / f"{run}.log"


def log_tail(path: Path) -> str:
    """The last lines of such a log."""
    lines = read_log(path, _LOG_LIMITS, LogOptions(tail_lines=_TAIL_LINES))
    return b"".join(lines).decode("utf-8", "replace").rstrip()


def _spec(session: Session, name: str, command: list[str], run: int = 0, **extra: Any) -> ProcessSpec:
    return ProcessSpec(
        container_id=f"{session.session_id}-{name}-{run}",
        command=[sys.executable, "-m", *command],
        environment=child_environment(session),
        directory=Path.cwd(),
        log_path=log_path(session, name, run),
        **extra,
    )


class NodeProcess:
    """The API server and kubelet. ``lifeline`` is held open for as long as the session shall live."""

    def __init__(self, run: Run, lifeline: int, url: str) -> None:
        self.run = run
        self.url = url
        self._lifeline = lifeline

    @classmethod
    async def start(cls, session: Session, port: int, extra: Mapping[str, str]) -> NodeProcess:
        """Start it and wait until it serves.

        Args:
            port: 0 for a free one.
            extra: further options of the command line, by name.

        Raises:
            LocalError: the port is taken, or it ended or hung before it served.
        """
        lifeline_read, lifeline_write = os.pipe2(os.O_CLOEXEC)
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        command = ["shoal_operator.local.node", "--session-id", session.session_id]
        command += ["--directory", str(session.directory), "--port", str(port)]
        command += ["--lifeline-fd", "10", "--ready-fd", "11"]
        for name, value in extra.items():
            command += [f"--{name}", value]
        inherit = {10: lifeline_read, 11: ready_write}
        spec = _spec(session, "node", command, inherit=inherit, death_signal=signal.SIGTERM)
        try:
            run = await start(spec, _LOG_LIMITS)
        except BaseException:
            os.close(ready_read)
            os.close(lifeline_write)
            raise
        finally:
            os.close(lifeline_read)
            os.close(ready_write)
        try:
            answer = await _read_answer(ready_read)
            if "url" not in answer:
                problem = answer.get("error") or f"the node process ended at once\n{log_tail(spec.log_path)}"
                raise LocalError(problem, answer.get("hint", ""))
        except BaseException:
            os.close(lifeline_write)
            run.kill()
            await run.wait()
            raise
        return cls(run, lifeline_write, answer["url"])

    async def stop(self) -> None:
        """End the session's pods, then the process; by force when it takes too long."""
        self.run.child.signal_group(signal.SIGTERM)
        await self.run.child.wait(_STOP_SECONDS)
        self.kill()
        await self.run.wait()

    def kill(self) -> None:
        """End it now."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        self.run.kill()


async def _read_answer(fd: int) -> dict[str, str]:
    """The node's first and only line; empty when it ended without one."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    try:
        async with asyncio.timeout(_READY_SECONDS):
            line = await reader.readline()
    except TimeoutError as error:
        raise LocalError(f"the node process did not serve within {_READY_SECONDS:g} s") from error
    finally:
        transport.close()
    answer: dict[str, str] = json.loads(line) if line else {}
    return answer


class OperatorProcess:
    """The operator, kept running. ``failed`` gets an error when it cannot be kept running."""

    def __init__(
        self,
        session: Session,
        command: list[str],
        say: Callable[[str], None],
        budget: RestartBudget | None = None,
    ) -> None:
        self.failed: asyncio.Future[LocalError] = asyncio.get_running_loop().create_future()
        self._session = session
        self._command = command
        self._say = say
        self._budget = budget or RestartBudget()
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def process_id(self) -> int:
        """The pid of the present run; 0 between runs."""
        return self._run.child.pid if self._run is not None else 0

    def start(self) -> None:
        """Start it, and again whenever it ends."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        crashes = number = 0
        while True:
            spec = _spec(self._session, "operator", self._command, number)
            began = time.monotonic()
            self._run = await start(spec, _LOG_LIMITS)
            status = await self._run.wait()
            self._run = None
            number += 1
            crashes = 1 if time.monotonic() - began > self._budget.reset_seconds else crashes + 1
            delay = self._budget.delay(crashes)
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            if delay is None:
                self.failed.set_result(
                    LocalError(f"the operator {how}, {crashes} times in a row\n\n{log_tail(spec.log_path)}")
                )
                return
            self._say(f"operator: {how}; starting it again in {delay:g} s, pods stay")
            await asyncio.sleep(delay)

    async def stop(self) -> None:
        """End it for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        run = self._run
        if run is None:
            return
        run.terminate()
        if await run.child.wait(2.0) is None:
            run.kill()
        await run.wait()

    def kill(self) -> None:
        """End it now."""
        if self._task is not None:
            self._task.cancel()
        if self._run is not None:
            self._run.kill()
