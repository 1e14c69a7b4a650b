"""``shoal explain``: why a cluster is as it is.

Invariant: besides `local`, `lint` and `autoscaler` the one place in which the runtime imports the operator, and only
when the command runs; it reads and changes nothing. Exit code: 0 explained, 1 no answer, 2 no such object.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

import click

from shoal.cli.main import show_error

_FILE_BYTES_MAX = 64 * 1024 * 1024


@click.group()
def explain() -> None:
    """Say why things are as they are."""


@explain.command("cluster")
@click.argument("name")
@click.option("--namespace", "-n", help="Default: that of the kubeconfig's context.")
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Default: $KUBECONFIG, else the one local session that runs, else ~/.kube/config; in a pod its own account.",
)
@click.option(
    "--filename", "-f", type=click.File(encoding="utf-8"), help="Read objects from FILE (`-`) and ask nobody."
)
def cluster(name: str, namespace: str | None, kubeconfig: Path | None, filename: TextIO | None) -> None:
    """Explain the ComputeCluster NAME: groups, limits, what waits and why, decisions, and when it is given up."""
    try:
        from shoal_operator.local.errors import LocalError, UsageProblem
        from shoal_operator.local.explaining import explain_cluster, explain_text
    except ImportError as error:
        if os.environ.get("SHOAL_TRACEBACK") == "1":
            raise
        show_error(f"`shoal explain` needs more packages: {error.name} is missing", "pip install 'shoal[local]'")
        sys.exit(2)
    try:
        if filename is not None:
            click.echo(explain_text(name, namespace, filename.read(_FILE_BYTES_MAX)))
        else:
            click.echo(explain_cluster(name, namespace, kubeconfig))
    except LocalError as error:
        show_error(error.message, error.hint)
        sys.exit(2 if isinstance(error, UsageProblem) else 1)


@explain.command("job", hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def job(words: tuple[str, ...]) -> None:  # noqa: ARG001  # whatever was given, the answer is one
    """Say where jobs are explained: there is no such command, and many look for it."""
    hint = "`kubectl describe computejob NAME` says how a job is, `shoal explain cluster NAME` why its cluster is so"
    show_error("`shoal explain` explains clusters, not jobs", hint)
    sys.exit(2)
