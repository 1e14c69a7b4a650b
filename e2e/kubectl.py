"""The kubectl on PATH, with a home of its own: nothing of the machine's configuration matters.

Invariant: every call has a time limit; a failed one shows what was asked and what kubectl said.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import yaml

CALL_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Result:
    """How a call ended."""

    code: int
    out: str
    err: str


class KubectlError(AssertionError):
    """A call that should have succeeded did not."""


class Kubectl:
    """Runs kubectl against one kubeconfig, in one namespace if one is given."""

    def __init__(self, kubeconfig: Path, home: Path, namespace: str = "") -> None:
        self._kubeconfig = kubeconfig
        self._home = home
        self._namespace = namespace

    def within(self, namespace: str) -> Kubectl:
        """The same, in a namespace."""
        return Kubectl(self._kubeconfig, self._home, namespace)

    @property
    def environment(self) -> dict[str, str]:
        """What kubectl is started with."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "KUBECACHEDIR": str(self._home / "cache"),
            "KUBECONFIG": str(self._kubeconfig),
        }

    def command(self, *arguments: str) -> list[str]:
        """The command line of a call."""
        scope = ["--namespace", self._namespace] if self._namespace else []
        return ["kubectl", *scope, *arguments]

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = CALL_SECONDS) -> Result:
        """Run to the end, whatever the end is."""
        ended = subprocess.run(
            self.command(*arguments),
            input=stdin or "",
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=seconds,
            check=False,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)

    def __call__(self, *arguments: str, stdin: str | None = None, seconds: float = CALL_SECONDS) -> str:
        """Run and expect success; returns what it printed.

        Raises:
            KubectlError: it failed.
        """
        result = self.run(*arguments, stdin=stdin, seconds=seconds)
        if result.code:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {result.err or result.out}")
        return result.out

    def apply(self, *manifests: Mapping[str, Any], options: tuple[str, ...] = ()) -> str:
        """Apply all manifests in one call."""
        return self("apply", *options, "-f", "-", stdin=yaml.safe_dump_all(manifests, sort_keys=False))

    def start(self, *arguments: str) -> Running:
        """Start a call that goes on: ``logs -f``, ``wait``."""
        return Running(self.command(*arguments), self.environment)


class Running:
    """A kubectl that goes on in the background; its output is kept in an unnamed file."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.command = command
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT, env=environment
        )

    @property
    def text(self) -> str:
        """What it has printed so far."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode("utf-8", "replace")

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.poll()

    def finish(self, seconds: float) -> str:
        """Wait for its end; returns what it printed.

        Raises:
            KubectlError: it did not end in time.
        """
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            text = f"{' '.join(self.command)} goes on after {seconds:g} s; it printed\n{self.text}"
            raise KubectlError(text) from error
        return self.text

    def close(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._output.close()
