"""The command behind `make e2e`: make a cluster, install the chart, run the scenarios.

Invariant: however it ends, what it made is removed, unless it was asked to keep it.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from e2e.cluster import binaries, packages, runs
from e2e.cluster.bare import Cluster, Options
from e2e.cluster.binaries import cache_folder
from e2e.cluster.errors import ProviderError
from e2e.cluster.kind import KindCluster
from e2e.cluster.timings import Timings, say

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOGS_KEPT = 5


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="make a cluster, install the chart, run the scenarios, remove the cluster")
    run.add_argument("--provider", choices=("bare", "kind"), default="bare")
    run.add_argument(
        "--kubernetes", default="newest", metavar="VERSION", help="newest (default), oldest, or one of them"
    )
    run.add_argument("--second-node", action="store_true", help="another node, in a network namespace of its own")
    run.add_argument("--kwok", type=int, default=0, metavar="N", help="also N fake nodes, tainted kwok.x-k8s.io/node")
    run.add_argument("--keep", action="store_true", help="leave the cluster up, and say how to enter it")
    run.add_argument("--only-up", action="store_true", help="make and check the cluster, no chart and no scenarios")
    run.add_argument("--no-scenarios", action="store_true", help="install the chart, but run no scenarios")
    run.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    commands.add_parser("clean", help="remove the clusters of all runs, kept ones too")
    guard = commands.add_parser("guard")
    guard.add_argument("id")
    guard.add_argument("--root", type=Path, default=runs.ROOT)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status: 1 scenarios failed, 2 no cluster."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "guard":
            runs.stand_guard(runs.Run(options.id, options.root))
            return 0
        if options.command == "clean":
            packages.require_machine()
            return clean()
        return run_kind(options) if options.provider == "kind" else run_bare(options)
    except ProviderError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def clean() -> int:
    """Remove every run."""
    for run in runs.all_runs():
        runs.remove(run)
        say(f"removed {run.id}")
    return 0


def run_bare(options: argparse.Namespace) -> int:
    """Make a bare cluster, use it, remove it."""
    packages.require_machine()
    release = binaries.kubernetes(options.kubernetes)
    for run_id in runs.remove_leftovers():
        say(f"e2e: removed what run {run_id} left behind")
    timings = Timings()
    with orderly_end():
        run, guard = runs.begin()
        cluster = Cluster(run, Options(release, options.second_node, options.kwok), timings)
        status, kept = 1, False
        try:
            cluster.up()
            kept = options.keep  # also when scenarios fail: that is when one wants to look
            status = _use(cluster, options)
        finally:
            _undisturbed()
            if kept:
                runs.keep(run)
                say(cluster.how_to_enter())
            else:
                with timings.step("remove the cluster"):
                    if status != 0:
                        say(f"  logs are in {_save_logs(run.id, [cluster.logs, *run.directory.glob('node*/pods')])}")
                    runs.remove(run)
            guard.dismiss()
            say(timings.table())
    return status


def run_kind(options: argparse.Namespace) -> int:
    """Make a cluster with kind, use it, remove it."""
    if options.kwok or options.kubernetes != "newest":
        raise ProviderError("PROVIDER=kind knows no --kwok and no --kubernetes: kind's own node image decides")
    timings = Timings()
    with orderly_end():
        directory = Path(tempfile.mkdtemp(prefix=runs.PREFIX))
        cluster = KindCluster(directory.name.removeprefix(runs.PREFIX), directory, timings, options.second_node)
        kept = False
        try:
            cluster.up()
            kept = options.keep
            return _use(cluster, options)
        finally:
            _undisturbed()
            if kept:
                say(f"kept: kubeconfig {cluster.kubeconfig}\n  remove it: kind delete cluster --name {cluster.name}")
            else:
                cluster.down()
                shutil.rmtree(directory)
            say(timings.table())


def _use(cluster: Cluster | KindCluster, options: argparse.Namespace) -> int:
    if options.only_up:
        return 0
    cluster.install()
    status = 0 if options.no_scenarios else cluster.use(options.pytest)
    if status == 0 and not options.keep and isinstance(cluster, Cluster) and cluster.has_nodes:
        cluster.leave()
    return status


@contextmanager
def orderly_end() -> Iterator[None]:
    """Signals that end a process unwind the stack instead, so that every `finally` runs."""

    def unwind(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, unwind) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _undisturbed() -> None:
    """The removal takes seconds; a second Ctrl-C must not cut it in half."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _save_logs(run_id: str, folders: Sequence[Path]) -> Path:
    """Copy logs out of a run that failed; only the last few are kept."""
    parent = cache_folder() / "logs"
    target = parent / run_id
    for folder in folders:
        if folder.is_dir():
            shutil.copytree(folder, target / folder.parent.name / folder.name, dirs_exist_ok=True, symlinks=True)
    saved = sorted(parent.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in saved[LOGS_KEPT:]:
        shutil.rmtree(old)
    return target
