"""Run commands, start daemons, wait for conditions. Invariant: every wait has a deadline and a name."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from e2e.cluster.errors import CommandError, ProviderError, log_tail

POLL_SECONDS = 0.1


def run(
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float = 60,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
) -> str:
    """Run a command to its end and return its stdout.

    `environment` is added to this process's own; `text` goes to its stdin.

    Raises:
        CommandError: it failed, or did not end in time.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise CommandError(words, None, _decode(late.stdout) + _decode(late.stderr)) from None
    except FileNotFoundError:
        raise ProviderError(f"`{words[0]}` is not installed (needed for: {' '.join(words)})") from None
    if done.returncode != 0:
        raise CommandError(words, done.returncode, done.stdout + done.stderr)
    return done.stdout


def _decode(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def run_logged(
    argv: Sequence[str | Path],
    log: Path,
    *,
    timeout_seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command that says much: its output goes to `log`, whose end is shown when it fails.

    Raises:
        CommandError: it failed, or did not end in time.
    """
    words = [str(word) for word in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
        try:
            status = child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise CommandError(words, None, log_tail(log)) from None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if status != 0:
        raise CommandError(words, status, log_tail(log))


class Daemon:
    """A process that runs as long as the cluster does. It dies with the run's control group, not by itself."""

    def __init__(self, name: str, argv: Sequence[str | Path], log: Path, folder: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise ProviderError, with the end of its log, when the process is no longer there."""
        status = self._process.poll()
        if status is not None:
            raise ProviderError(f"{self.name} ended with status {status}; the end of {self.log}:\n{log_tail(self.log)}")


def wait_until(
    what: str, condition: Callable[[], bool], timeout_seconds: float, daemons: Sequence[Daemon] = ()
) -> float:
    """Poll until `condition` holds and return the seconds it took. A CommandError in it means "not yet".

    Raises:
        ProviderError: it did not hold in time, or one of `daemons` ended; says which and why.
    """
    started = time.monotonic()
    last = ""
    while True:
        for daemon in daemons:
            daemon.check()
        try:
            if condition():
                return time.monotonic() - started
        except CommandError as error:
            last = f"\nlast answer: {error}"
        if time.monotonic() - started > timeout_seconds:
            logs = "".join(f"\n--- the end of {daemon.log}:\n{log_tail(daemon.log)}" for daemon in daemons)
            raise ProviderError(f"not within {timeout_seconds:.0f} s: {what}{last}{logs}")
        time.sleep(POLL_SECONDS)
