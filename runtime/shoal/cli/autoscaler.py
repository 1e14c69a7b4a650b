"""``shoal autoscaler``: what the autoscaler would do with a cluster file and a trace of work.

Invariant: the operator is imported only when the command runs; nothing is started, and nothing written but the report
that was asked for. Exit code: 0 simulated, 2 a file is wrong or cannot be read.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from shoal.cli.main import show_error
from shoal.cli.progress import ProgressLine

if TYPE_CHECKING:
    from shoal_operator.whatif.outcome import Outcome
    from shoal_operator.whatif.startup import StartModels

MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TIME: Final = "[GROUP=]TIME"
_COUNT: Final = "[GROUP=]N"


@click.group()
def autoscaler() -> None:
    """Try the autoscaler without a cluster."""


@autoscaler.command("simulate")
@click.option("-f", "--filename", "cluster", type=_FILE, required=True, help="Manifest with the cluster.")
@click.option("--trace", type=_FILE, required=True, help="JSON lines: which work comes when.")
@click.option("--compare", type=_FILE, multiple=True, help="Another cluster file, shown beside it; several times.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML report there.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option("--scheduling-seconds", multiple=True, metavar=_TIME, help="Until a pod has a machine. Default: 1.")
@click.option("--image-pull-seconds", multiple=True, metavar=_TIME, help="First pod on a machine. Default: 10.")
@click.option("--pod-start-seconds", multiple=True, metavar=_TIME, help="From the image to a ready node. Default: 2.")
@click.option("--pods-per-machine", multiple=True, metavar=_COUNT, help="Pods that share a machine. Default: 1.")
@click.option("--pods-max", multiple=True, metavar=_COUNT, help="Pods that find a machine; others stay pending.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of times that vary.")
@click.option("--until", type=click.FloatRange(0, min_open=True), help="Stop at SECONDS. Default: when all is done.")
def simulate(
    cluster: Path,
    trace: Path,
    compare: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    until: float | None,
    **starting: Any,
) -> None:
    """Replay a trace of work against the autoscaler, in virtual time.

    A TIME is a number of seconds, uniform:2:8 (between) or lognormal:5:0.4 (median and sigma); with GROUP= it is of
    that group alone. Exit code: 0 simulated, 2 a file or an option is wrong.
    """
    try:
        with ProgressLine(sys.stderr, is_shown=_is_watched(as_json=as_json)) as line:
            outcomes = _outcomes([cluster, *compare], trace, starting, until, line)
    except ImportError as error:
        if os.environ.get("SHOAL_TRACEBACK") == "1":
            raise
        show_error(f"this command needs more packages: {error.name} is missing", "pip install 'shoal[operator]'")
        sys.exit(2)
    _show(outcomes, output, as_json=as_json)


def _is_watched(*, as_json: bool) -> bool:
    """Whether somebody sees how far it is: not when a program reads what comes."""
    return sys.stderr.isatty() and (not as_json or sys.stdout.isatty())


def _outcomes(
    files: list[Path], trace: Path, starting: Mapping[str, Any], until: float | None, line: ProgressLine
) -> list[Outcome]:
    from shoal_operator.local.errors import UsageProblem
    from shoal_operator.local.whatif import read_candidate
    from shoal_operator.whatif.figures import clock_text
    from shoal_operator.whatif.outcome import simulate as replay
    from shoal_operator.whatif.trace import LINE_BYTES_MAX, TraceError, parse_trace

    starts = _starts(starting)
    try:
        candidates = [read_candidate(_text(file), str(file), starts, until) for file in files]
        with trace.open("rb") as source:
            # A line that is too long comes in pieces, of which the first is refused: it is never held as a whole.
            work = parse_trace(iter(lambda: source.readline(LINE_BYTES_MAX + 1), b""), str(trace))
    except UsageProblem as problem:
        show_error(problem.message, problem.hint)
        sys.exit(2)
    except TraceError as error:
        show_error(str(error), "docs/autoscaling.md describes traces")
        sys.exit(2)
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}") from error

    def on_turn(name: str, at: float, plans: int) -> None:
        line.show(lambda: f"simulated {clock_text(at)}, {plans:,} plans ({name})")

    return replay(work, candidates, on_turn)


def _text(file: Path) -> str:
    with file.open("rb") as source:
        data = source.read(MANIFEST_BYTES_MAX + 1)
    if len(data) > MANIFEST_BYTES_MAX:
        raise click.UsageError(f"{file} has more than the {MANIFEST_BYTES_MAX} bytes of a manifest")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file} is not UTF-8: {error}") from error


def _starts(options: Mapping[str, Any]) -> StartModels:
    from shoal_operator.whatif.options import read_starts

    seed: int = options["seed"]
    texts = {f"--{name.replace('_', '-')}": given for name, given in options.items() if name != "seed"}
    try:
        return read_starts(texts, seed)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _show(outcomes: list[Outcome], output: Path | None, *, as_json: bool) -> None:
    from shoal_operator.whatif.report import page
    from shoal_operator.whatif.summary import as_data, render

    if output is not None:
        try:
            output.write_text(page(outcomes), encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"cannot write {output}: {error.strerror}") from error
    click.echo(json.dumps([as_data(each) for each in outcomes], indent=2) if as_json else render(outcomes))
    if output is not None:
        click.echo(f"report: {output}", err=True)
