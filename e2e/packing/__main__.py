"""The command behind `make bench-autoscaler`: how long decisions take, and how good they are.

Invariant: figures are printed with the machine's load beside them, and with what other packers say on the same
questions in the same run: OR-tools, and Ray where its wheel is there (`--ray-path`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from e2e.packing.exact import best_score, gap, score_of
from e2e.packing.instances import crowded, equal_tasks, hundred_shapes, small
from e2e.packing.rays import RaysScheduler
from shoal_operator.autoscaler.model import ScalingRequest
from shoal_operator.autoscaler.plan import plan_workers

ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="make bench-autoscaler", description=__doc__.splitlines()[0])
    parser.add_argument("--ray-path", type=Path, help="where Ray is (pip install --target FOLDER ray)")
    parser.add_argument("--instances", type=int, default=1_000, help="small questions for the exact solver")
    options = parser.parse_args(arguments)
    print(f"load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    ray = RaysScheduler(options.ray_path) if options.ray_path else None
    for name, request in _questions().items():
        compare(name, request, ray)
    measure_quality(options.instances)
    print(f"load {os.getloadavg()[0]:.1f}")
    return 0


def _questions() -> dict[str, ScalingRequest]:
    return {
        "10,000 equal tasks": equal_tasks(10_000),
        "5,000 tasks of 100 shapes, 3 groups": hundred_shapes(5_000),
        "100,000 tasks of 100 shapes, 1,000 full nodes, 20 groups": crowded(100_000, are_alike=True),
        "100,000 tasks of 100 shapes, 1,000 unlike nodes, 20 groups": crowded(100_000, are_alike=False),
    }


def compare(name: str, request: ScalingRequest, ray: RaysScheduler | None) -> None:
    """Time and nodes for one question; Ray's beside it for empty clusters."""
    rays: list[float] = []
    theirs = 0
    ours: list[float] = []
    for _ in range(ROUNDS):
        ours.append(_seconds(lambda: plan_workers(request)))
        if ray is not None and not request.nodes:
            seconds, nodes = ray.decide(request)
            rays.append(seconds)
            theirs = sum(nodes.values())
    plan = plan_workers(request)
    tracemalloc.start()
    plan_workers(request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    nodes_added = sum(addition.count for addition in plan.add)
    text = f"{name}: {min(ours) * 1e3:.1f} ms best, {statistics.median(ours) * 1e3:.1f} ms median, {nodes_added} nodes"
    print(f"{text}, {peak / 2**20:.1f} MiB at most")
    if rays:
        ratio = statistics.median(rays) / statistics.median(ours)
        print(f"  Ray: {min(rays) * 1e3:.1f} ms best, {statistics.median(rays) * 1e3:.1f} ms median, {theirs} nodes")
        print(f"  {ratio:.0f} times as fast")


def measure_quality(count: int) -> None:
    """The mean distance from the best answer there is."""
    gaps: list[float] = []
    seconds = 0.0
    for seed in range(count):
        request = small(seed)
        started = time.perf_counter()
        plan = plan_workers(request)
        seconds += time.perf_counter() - started
        gaps.append(gap(request, score_of(request, plan), best_score(request)))
    exact = sum(found == 0 for found in gaps)
    print(
        f"quality, {count} small questions: mean gap {statistics.mean(gaps):.2%}, {exact} answers are the best there is"
    )
    print(f"  worst gap {max(gaps):.0%}; {seconds / count * 1e3:.2f} ms each")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
