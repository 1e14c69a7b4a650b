"""``shoal local``: clusters on this machine, without Kubernetes.

Invariant: besides `lint` and `autoscaler` the one place in which the runtime imports the operator, and only when a
command runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.main import show_error

if TYPE_CHECKING:
    from shoal_operator.local.output import HeadAccess
    from shoal_operator.local.supervisor import Options, Terminal


@click.group()
def local() -> None:
    """Run manifests on this machine: the same operator, pods as local processes."""


@local.command("run")
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--keep", is_flag=True, help="Keep everything up when the jobs have ended, until Ctrl-C.")
@click.option(
    "--timeout", "timeout_seconds", type=click.FloatRange(min=0, min_open=True), help="Give up after SECONDS."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the API server. Default: a free one.")
@click.option("--namespace", "-n", default="default", show_default=True, help="Namespace for objects without one.")
def run(manifest: Path, keep: bool, timeout_seconds: float | None, port: int, namespace: str) -> None:
    """Apply MANIFEST, follow its jobs to their end, show what they wrote.

    Exit code: 0 all jobs Complete, 1 a job Failed, 124 out of time, 130 interrupted.
    """

    def work(options: Options, terminal: Terminal) -> Coroutine[Any, Any, int]:
        from shoal_operator.local.checks import load_manifest
        from shoal_operator.local.supervisor import run_manifest

        return run_manifest(load_manifest(manifest), manifest, options, terminal)

    _supervise(work, port=port, keep=keep, timeout_seconds=timeout_seconds, namespace=namespace)


@local.command("up")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the API server. Default: a free one.")
@click.option("--namespace", "-n", default="default", show_default=True, help="Namespace to report on.")
def up(port: int, namespace: str) -> None:
    """Keep an API server, a kubelet and the operator up until Ctrl-C; kubectl works with them."""

    def work(options: Options, terminal: Terminal) -> Coroutine[Any, Any, int]:
        from shoal_operator.local.supervisor import keep_up

        return keep_up(options, terminal)

    _supervise(work, port=port, namespace=namespace)


@local.command("ps")
def ps() -> None:
    """List running sessions and their pods."""
    from shoal_operator.local.inspection import describe_sessions

    _reporting_errors(lambda: click.echo(asyncio.run(describe_sessions(_root()))))


@local.command("down")
@click.argument("session", required=False)
def down(session: str | None) -> None:
    """End SESSION, or every running session of yours, and clear away what killed ones left."""
    from shoal_operator.local.inspection import end_sessions

    _reporting_errors(lambda: click.echo(end_sessions(_root(), session)))


def _root() -> Path:
    from shoal_operator.local.session import session_root

    return session_root(os.environ, os.getuid())


def _supervise(work: Callable[[Options, Terminal], Coroutine[Any, Any, int]], **choices: Any) -> None:
    began = time.monotonic()

    def say(line: str) -> None:
        _write(f"[{time.monotonic() - began:6.1f}s] {line}\n".encode())

    def act() -> int:
        from shoal_operator.local.supervisor import Options, Terminal

        terminal = Terminal(say=say, emit=_write, read_output=_read_output)
        return asyncio.run(work(Options(root=_root(), **choices), terminal))

    sys.exit(_reporting_errors(act))


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _read_output(head: HeadAccess, submission_id: str) -> Iterator[bytes]:
    """Stream a job's output from its head, until it ends or the head is lost; the job's status has the rest."""
    from shoal.jobs.client import JobClient, JobClientError
    from shoal.protocol.tls import Certificates

    certificates = Certificates(*head.certificates) if head.certificates else None
    with contextlib.suppress(JobClientError), JobClient(head.address, head.token, certificates) as client:
        yield from client.read_output(submission_id, follow=True)


def _reporting_errors(act: Callable[[], Any]) -> Any:
    """Run a command; errors that a person can put right come as two lines."""
    try:
        from shoal_operator.local.errors import LocalError, UsageProblem
    except ImportError as error:
        show_error(f"`shoal local` needs more packages: {error.name} is missing", "pip install 'shoal[local]'")
        sys.exit(2)
    try:
        return act()
    except LocalError as error:
        if os.environ.get("SHOAL_TRACEBACK") == "1":
            raise
        show_error(error.message, error.hint)
        sys.exit(2 if isinstance(error, UsageProblem) else 1)
    except ImportError as error:
        if os.environ.get("SHOAL_TRACEBACK") == "1":
            raise
        show_error(f"`shoal local` needs more packages: {error}", "pip install 'shoal[local]'")
        sys.exit(2)
