"""The command behind `make bench-operator`: a control plane, fake nodes, the operator of this checkout, figures.

It starts etcd, API server, controller manager, scheduler and kwok in a network namespace of its own, and runs
`measure.py` inside it. Invariant: however it ends, what it made is removed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e import manifests
from e2e.bench.installation import install_operator
from e2e.bench.plans import NAMESPACES, PLANS
from e2e.cluster import commands, network, packages, runs
from e2e.cluster.bare import Cluster, Options
from e2e.cluster.binaries import kubernetes
from e2e.cluster.cli import orderly_end
from e2e.cluster.errors import ProviderError
from e2e.cluster.product import CHECKOUT
from e2e.cluster.timings import Timings, say

SECONDS_MAX = 60 * 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the control plane, measure, remove it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench", description=__doc__)
    parser.add_argument("--size", choices=tuple(PLANS), default="full", help="how much: `small` is for trying it out")
    parser.add_argument("--only", default="", metavar="NAMES", help="some of the measurements, comma-separated")
    parser.add_argument("--fake-nodes", type=int, default=40, metavar="N")
    parser.add_argument("--kuberay", type=Path, metavar="BINARY", help="measure KubeRay's operator instead of ours")
    parser.add_argument("--kuberay-crds", type=Path, metavar="DIR", help="the definitions of its kinds")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there, too")
    options = parser.parse_args(arguments)
    if (options.kuberay is None) != (options.kuberay_crds is None):
        parser.error("--kuberay and --kuberay-crds come together")
    try:
        packages.require_machine()
        return _run(options)
    except ProviderError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _run(options: argparse.Namespace) -> int:
    for run_id in runs.remove_leftovers():
        say(f"bench: removed what run {run_id} left behind")
    timings = Timings()
    with orderly_end():
        run, guard = runs.begin()
        chosen = Options(kubernetes("newest"), fake_nodes=options.fake_nodes, without_nodes=True)
        cluster = Cluster(run, chosen, timings)
        try:
            cluster.up()
            _route_services_here(cluster)
            _prepare(cluster, options.kuberay_crds or CHECKOUT / "crds")
            return _measure(cluster, options)
        finally:
            runs.remove(run)
            guard.dismiss()
            say(timings.table())


def _route_services_here(cluster: Cluster) -> None:
    """Every Service address is an address of this namespace, so that one process can answer for all heads."""
    commands.run(cluster.first.inside("ip", "route", "add", "local", network.SERVICE_RANGE, "dev", "lo"))


def _prepare(cluster: Cluster, definitions: Path) -> None:
    for path in sorted(definitions.glob("*.yaml")):
        cluster.plane.kubectl("apply", "--server-side", "-f", path)
    cluster.plane.apply(*(manifests.namespace(name) for name in NAMESPACES))


def _measure(cluster: Cluster, options: argparse.Namespace) -> int:
    words = [sys.executable, "-m", "e2e.bench.measure", f"--kubeconfig={cluster.plane.kubeconfig()}"]
    words += [f"--size={options.size}", f"--only={options.only}", f"--logs={cluster.logs}"]
    if options.kuberay is not None:
        words.append(f"--kuberay={options.kuberay.absolute()}")
    else:
        words.append(f"--program={_install(cluster)}")
    if options.output is not None:
        words.append(f"--output={options.output.absolute()}")
    command = [str(word) for word in cluster.first.inside(*words)]
    return subprocess.run(command, cwd=CHECKOUT, timeout=SECONDS_MAX, check=False).returncode


def _install(cluster: Cluster) -> Path:
    with cluster.timings.step("install the operator"):
        return install_operator(cluster.run.directory / "operator")


if __name__ == "__main__":
    sys.exit(main())
