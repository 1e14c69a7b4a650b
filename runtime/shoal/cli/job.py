"""``shoal job``: submit programs to a running cluster and see what becomes of them.

Invariant: exit codes tell the job's end: 0 succeeded, 1 failed or stopped (or nobody knows, which it then says), 2 used
wrongly, 124 out of time.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.connect import head_options

if TYPE_CHECKING:
    from shoal.jobs.client import JobClient
    from shoal.protocol import head_pb2


@click.group()
def job() -> None:
    """Submit programs to a running cluster."""


@job.command("submit", context_settings={"ignore_unknown_options": True})
@click.option(
    "--submission-id", default="", help="Chosen by the head when not given. The same id again returns that job."
)
@click.option("--working-directory", default="", help="A directory on the head's machine, copied for the job.")
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="For the driver. Can be repeated.")
@click.option(
    "--resources",
    default="",
    metavar="JSON",
    help="What the program itself needs, such as '{\"CPU\": 1}': it then runs on a worker that has it.",
)
@click.option("--output-url", default="", help="Where the whole output is saved at the end: any URL that fsspec knows.")
@click.option("--no-wait", is_flag=True, help="Print the submission id and return.")
@click.argument("entrypoint", nargs=-1, required=True, type=click.UNPROCESSED)
@head_options
def submit(
    client: JobClient,
    entrypoint: tuple[str, ...],
    submission_id: str,
    working_directory: str,
    environment: tuple[str, ...],
    resources: str,
    output_url: str,
    no_wait: bool,
) -> None:
    """Run ENTRYPOINT on the cluster and follow its output: shoal job submit ... -- python main.py"""
    command = entrypoint[0] if len(entrypoint) == 1 else shlex.join(entrypoint)
    submitted = client.submit(
        command,
        submission_id=submission_id,
        working_directory=working_directory,
        environment=_environment(environment),
        resources=_resources(resources),
        output_url=output_url,
    )
    if no_wait:
        click.echo(submitted.submission_id)
        return
    click.echo(f"job {submitted.submission_id} submitted", err=True)
    with _knowing_the_job(submitted.submission_id):
        _follow(client, submitted.submission_id)
        exit_code = _conclude(client, submitted.submission_id)
    sys.exit(exit_code)


@contextlib.contextmanager
def _knowing_the_job(submission_id: str) -> Iterator[None]:
    """A lost connection is not the job's end: say so, and how to find it again."""
    from shoal.jobs.client import JobClientError

    try:
        yield
    except JobClientError as error:
        if error.code != "UNAVAILABLE":
            raise
        raise click.ClickException(
            f"the connection to the head was lost ({error.message}).\n"
            f"Job {submission_id} may go on. Once the head answers again, see what became of it:\n"
            f"  shoal job status {submission_id}\n"
            f"  shoal job logs --follow {submission_id}\n"
            "or look at the cluster: shoal status"
        ) from error


def _environment(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise click.UsageError(f"--env needs NAME=VALUE, got {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def _resources(text: str) -> dict[str, float]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise click.UsageError(f"--resources needs JSON such as '{{\"CPU\": 1}}', got {text!r}") from error
    if not isinstance(found, dict) or not all(
        isinstance(amount, int | float) and amount > 0 for amount in found.values()
    ):
        raise click.UsageError(f"--resources needs numbers by name, such as '{{\"CPU\": 1}}', got {text!r}")
    return found


def _follow(client: JobClient, submission_id: str, offset: int = 0) -> None:
    for data in client.read_output(submission_id, follow=True, offset=offset):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _conclude(client: JobClient, submission_id: str) -> int:
    from shoal.protocol import head_pb2

    found = client.get(submission_id)
    if found is None:
        raise click.ClickException(f"job {submission_id} is gone")
    click.echo(f"job {submission_id} {_state(found)}" + (f": {found.message}" if found.message else ""), err=True)
    return 0 if found.state == head_pb2.JOB_STATE_SUCCEEDED else 1


@job.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@head_options
def list_jobs(client: JobClient, as_json: bool) -> None:
    """Show all jobs that the head remembers."""
    jobs = client.list()
    if as_json:
        click.echo(json.dumps([_plain(found) for found in jobs], indent=2))
        return
    rows = [("SUBMISSION ID", "STATE", "TASKS", "TIME", "MESSAGE")]
    rows += [
        (j.submission_id, _state(j), f"{j.tasks_finished}/{j.tasks_submitted}", _duration(j), j.message) for j in jobs
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        click.echo("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]]).rstrip())


@job.command("status")
@click.argument("submission_id")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@head_options
def status(client: JobClient, submission_id: str, as_json: bool) -> None:
    """Show one job's state."""
    found = _find(client, submission_id)
    if as_json:
        click.echo(json.dumps(_plain(found), indent=2))
        return
    for name, value in _plain(found).items():
        if value not in ("", None) and name != "output_tail":
            click.echo(f"{name.replace('_', ' ')}: {value}")
    if found.output_tail:
        click.echo("last output:\n" + found.output_tail.rstrip("\n"))


@job.command("logs")
@click.argument("submission_id")
@click.option("--follow", "-f", is_flag=True, help="Until the job has ended.")
@head_options
def logs(client: JobClient, submission_id: str, follow: bool) -> None:
    """Show what a job's driver wrote."""
    with _knowing_the_job(submission_id) if follow else contextlib.nullcontext():
        for data in client.read_output(submission_id, follow=follow):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


@job.command("stop")
@click.argument("submission_id")
@head_options
def stop(client: JobClient, submission_id: str) -> None:
    """End a job: SIGTERM, and SIGKILL three seconds later. One that has ended stays as it is."""
    from shoal.jobs.client import TERMINAL_STATES

    found = _find(client, submission_id)
    if found.state in TERMINAL_STATES:
        click.echo(f"job {submission_id} has ended already: {_end(found)}")
        return
    if not client.stop(submission_id):
        raise click.ClickException(f"there is no job {submission_id}; `shoal job list` shows all")
    click.echo(f"job {submission_id} is being stopped")


def _find(client: JobClient, submission_id: str) -> head_pb2.JobSnapshot:
    found = client.get(submission_id)
    if found is None:
        raise click.ClickException(f"there is no job {submission_id}; `shoal job list` shows all")
    return found


def _end(found: head_pb2.JobSnapshot) -> str:
    """How a job ended: ``FAILED, exit code 3: the program ...``."""
    code = f", exit code {found.exit_code}" if found.has_exit_code else ""
    return f"{_state(found)}{code}" + (f": {found.message}" if found.message else "")


def _state(found: head_pb2.JobSnapshot) -> str:
    from shoal.protocol import head_pb2

    return head_pb2.JobState.Name(found.state).removeprefix("JOB_STATE_")


def _duration(found: head_pb2.JobSnapshot) -> str:
    if not found.start_time_seconds:
        return "-"
    return f"{(found.end_time_seconds or time.time()) - found.start_time_seconds:.1f} s"


def _plain(found: head_pb2.JobSnapshot) -> dict[str, Any]:
    return {
        "submission_id": found.submission_id,
        "state": _state(found),
        "reason": found.reason,
        "message": found.message,
        "exit_code": found.exit_code if found.has_exit_code else None,
        "start_time_seconds": found.start_time_seconds or None,
        "end_time_seconds": found.end_time_seconds or None,
        "tasks_submitted": found.tasks_submitted,
        "tasks_finished": found.tasks_finished,
        "tasks_failed": found.tasks_failed,
        "output_tail": found.output_tail,
    }
