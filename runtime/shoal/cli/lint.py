"""``shoal lint``: what is wrong with manifests, before anybody applies them.

Invariant: the operator is imported only when the command runs; nothing leaves this machine. Exit code: 0 nothing
found, 1 something found, 2 a file cannot be read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence

import click

from shoal.cli.main import show_error

FILE_BYTES_MAX = 4 * 1024 * 1024
STANDARD_INPUT = "<stdin>"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True, help="Of what is found."
)
def lint(files: tuple[str, ...], form: str) -> None:
    """Check manifests (`-`: standard input) as the operator would, and say what was probably meant.

    One line a problem: file:line: field: what is wrong: hint. Exit code: 0 none, 1 some, 2 a file cannot be read.
    """
    try:
        from shoal_operator.local.linting import lint as lint_texts
    except ImportError as error:
        if os.environ.get("SHOAL_TRACEBACK") == "1":
            raise
        show_error(f"`shoal lint` needs more packages: {error.name} is missing", "pip install 'shoal[operator]'")
        sys.exit(2)
    report = lint_texts(dict(_read(files)))
    if form == "json":
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in report.findings], indent=2))
    else:
        for finding in report.findings:
            click.echo(str(finding))
    others = f" ({report.passed_over} of other kinds passed over)" if report.passed_over else ""
    click.echo(f"{report.objects} object(s){others}, {len(report.findings)} problem(s)", err=True)
    sys.exit(1 if report.findings else 0)


def _read(files: Sequence[str]) -> list[tuple[str, str]]:
    texts = []
    for name in dict.fromkeys(files):
        try:
            with click.open_file(name, "rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise click.UsageError(f"cannot read {name}: {error.strerror}") from error
        if len(data) > FILE_BYTES_MAX:
            raise click.UsageError(f"{name} has more than the {FILE_BYTES_MAX} bytes of a manifest")
        try:
            texts.append((STANDARD_INPUT if name == "-" else name, data.decode()))
        except UnicodeDecodeError as error:
            raise click.UsageError(f"{name} is not UTF-8: {error}") from error
    return texts
