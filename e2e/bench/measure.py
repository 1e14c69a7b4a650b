"""The measurements themselves; runs inside the network namespace of the control plane.

Each function leaves the clusters that it found, prints nothing, and returns rows for the table. Invariant: a figure
is printed only together with the load average of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.bench.operator_process import OperatorProcess
from e2e.bench.plans import NAMESPACES, PLANS, Plan
from e2e.bench.subjects import KubeRay, Shoal, Subject
from e2e.bench.world import World, is_true, open_world, percentile
from shoal.resources import ResourceSet
from shoal_operator.kube.resources import COMPUTE_JOBS, SERVICES

Json = dict[str, Any]
Row = tuple[str, str]
WAIT_SECONDS = 600.0
SETTLE_SECONDS = 3.0
IDLE_CLUSTERS_SECONDS = 120.0
MEBIBYTE = 1024 * 1024


@dataclass
class Bench:
    """What a measurement has to work with."""

    plan: Plan
    world: World
    operator: OperatorProcess

    def key(self, index: int, prefix: str = "c") -> tuple[str, str]:
        """Namespace and name of cluster number ``index``."""
        return NAMESPACES[index % len(NAMESPACES)], f"{prefix}{index}"

    async def create(self, keys: list[tuple[str, str]], workers: int, most: int) -> None:
        """Create clusters of that many workers."""
        await self.world.each(keys, lambda key: self.world.create_cluster(key, workers, most))

    async def delete(self, keys: list[tuple[str, str]]) -> None:
        """Delete clusters and wait until all their pods are gone."""
        uids = {key: document["metadata"]["uid"] for key in keys if (document := self.world.clusters.get(*key))}
        await self.world.each(keys, lambda key: self.world.client.delete(self.world.subject.clusters, *key))
        await self.world.until(
            "the pods of deleted clusters are gone",
            lambda: not any(self.world.pods.owned_by(uid) for uid in uids.values()),
            WAIT_SECONDS,
        )

    async def all_ready(self, keys: list[tuple[str, str]], pods: int) -> None:
        """Wait until each cluster has that many Ready pods."""

        def done() -> bool:
            found = self.world.pods_of
            return all(sum(pod["metadata"]["uid"] in self.world.ready for pod in found(key)) >= pods for key in keys)

        await self.world.until(f"{len(keys)} clusters have {pods} Ready pods each", done, WAIT_SECONDS)

    async def settled(self) -> None:
        """Wait until the operator writes nothing any more."""
        last, since = self.operator.writes(), time.monotonic()
        while time.monotonic() - since < SETTLE_SECONDS:
            await asyncio.sleep(0.25)
            writes = self.operator.writes()
            if writes != last:
                last, since = writes, time.monotonic()


async def creation(bench: Bench) -> AsyncIterator[Row]:
    """500 clusters of 4 pods: until all pods are Ready, until half the clusters are whole, writes, memory."""
    plan, world = bench.plan, bench.world
    keys = [bench.key(index) for index in range(plan.clusters)]
    writes, started = bench.operator.writes(), time.monotonic()
    await bench.create(keys, plan.workers, plan.workers)
    created = time.monotonic() - started
    await bench.all_ready(keys, plan.workers + 1)
    whole = sorted(max(world.ready[pod["metadata"]["uid"]] for pod in world.pods_of(key)) - started for key in keys)
    yield f"{plan.clusters} clusters of {plan.workers + 1} pods, all pods Ready", f"{whole[-1]:.1f} s"
    yield "… the first half of the clusters", f"{whole[len(whole) // 2 - 1]:.1f} s"
    yield "… creating the objects themselves, beside it", f"{created:.1f} s"
    if world.subject.has_heads:
        await world.until("all clusters are Ready", lambda: _all(world, keys, "Ready"), WAIT_SECONDS)
        yield "… all ComputeClusters Ready", f"{time.monotonic() - started:.1f} s"
    await bench.settled()
    yield "writes for each cluster", f"{(bench.operator.writes() - writes) / len(keys):.2f}"
    yield f"operator memory with {len(world.pods)} pods", _memory(bench.operator)
    yield "operator CPU time so far", f"{bench.operator.usage().cpu_seconds:.1f} s"


async def silent_creation(bench: Bench) -> AsyncIterator[Row]:
    """The same with heads that take calls and never answer."""
    plan, world = bench.plan, bench.world
    keys = [bench.key(index, "s") for index in range(plan.clusters)]
    world.heads.silent.update(keys)
    started = time.monotonic()
    await bench.create(keys, plan.workers, plan.workers)
    await bench.all_ready(keys, plan.workers + 1)
    whole = sorted(max(world.ready[pod["metadata"]["uid"]] for pod in world.pods_of(key)) - started for key in keys)
    yield f"{plan.clusters} clusters whose heads never answer, all pods Ready", f"{whole[-1]:.1f} s"
    yield "… the first half of the clusters", f"{whole[len(whole) // 2 - 1]:.1f} s"
    await bench.delete(keys)


async def scaling(bench: Bench) -> AsyncIterator[Row]:
    """100 clusters from 3 to 20 workers by an edit of minReplicas."""
    plan, world = bench.plan, bench.world
    keys = [bench.key(index, "g") for index in range(plan.scaled_clusters)]
    await bench.create(keys, plan.workers, plan.scaled_to)
    await bench.all_ready(keys, plan.workers + 1)
    await bench.settled()
    before, writes, cpu = set(world.created), bench.operator.writes(), bench.operator.usage().cpu_seconds
    started = time.monotonic()
    await world.each(keys, lambda key: world.resize(key, plan.scaled_to, plan.scaled_to))
    wanted = plan.scaled_clusters * (plan.scaled_to - plan.workers)
    await world.until("all new pods exist", lambda: len(set(world.created) - before) >= wanted, WAIT_SECONDS)
    last = max(world.created[uid] for uid in set(world.created) - before) - started
    words = f"{plan.scaled_clusters} clusters {plan.workers} → {plan.scaled_to} workers"
    yield f"{words}, {wanted} pods created", f"{last:.1f} s"
    yield "… CPU time of the operator meanwhile", f"{bench.operator.usage().cpu_seconds - cpu:.1f} s"
    await bench.settled()
    yield "… writes beyond the pods", str(bench.operator.writes() - writes - wanted)
    yield f"operator memory with {len(world.pods)} pods", _memory(bench.operator)
    await bench.delete(keys)


async def black_holes(bench: Bench) -> AsyncIterator[Row]:
    """Latency from an edit to the new pod, before and after 5 % of all heads went into a black hole."""
    plan, world = bench.plan, bench.world
    keys = [bench.key(index) for index in range(plan.clusters)]
    bad = set(keys[:: max(1, len(keys) // max(1, len(keys) // 20))])
    good = [key for key in keys if key not in bad][: plan.edits]
    quiet = await _edit_latencies(bench, good, plan.workers + 1)
    yield "edit to new pod, all heads answer: p50 / p99", _latency(quiet)
    for key in bad:
        world.heads.heads[key].silent = True
        document = await world.client.get(SERVICES, key[0], f"{key[1]}-head")
        await _drop(document["spec"]["clusterIP"], add=True)
    holes = await _edit_latencies(bench, good, plan.workers + 2)
    yield f"… with {len(bad)} of {len(keys)} heads in a black hole: p50 / p99", _latency(holes)
    for key in bad:
        world.heads.heads[key].silent = False
        document = await world.client.get(SERVICES, key[0], f"{key[1]}-head")
        await _drop(document["spec"]["clusterIP"], add=False)


async def restart(bench: Bench) -> AsyncIterator[Row]:
    """A new operator process over everything that is there: writes, and until it has looked at every cluster."""
    world = bench.world
    await bench.settled()
    uids = world.pod_uids()
    stop = await bench.operator.stop()
    started = time.monotonic()
    await bench.operator.start()

    def caught_up() -> bool:
        return bench.operator.cluster_passes() >= len(world.clusters)

    await world.until("every cluster was looked at", caught_up, WAIT_SECONDS)
    yield (
        f"restart with {len(world.clusters)} clusters: process start to every cluster looked at",
        (f"{time.monotonic() - started:.1f} s"),
    )
    await bench.settled()
    after = world.pod_uids()
    yield "… writes after the restart", str(bench.operator.writes())
    yield "… pods that changed", str(len(uids ^ after))
    yield "… SIGTERM to end of the old process", f"{stop:.1f} s"


async def idle(bench: Bench) -> AsyncIterator[Row]:
    """Running jobs and nothing to do: requests in that time."""
    plan, world = bench.plan, bench.world
    keys = [bench.key(index, "j") for index in range(plan.jobs)]
    await world.each(keys, lambda key: world.client.create(job(key)))
    await world.until(
        "all jobs run",
        lambda: all(is_true(world.jobs.get(*key), "Running") for key in keys),
        WAIT_SECONDS,
    )
    await bench.settled()
    before, usage = bench.operator.requests(), bench.operator.usage()
    await asyncio.sleep(plan.idle_seconds)
    spent = bench.operator.requests() - before
    cpu = bench.operator.usage().cpu_seconds - usage.cpu_seconds
    words = f"{plan.jobs} running jobs and {len(world.clusters)} clusters, idle for {plan.idle_seconds:g} s"
    yield f"{words}: writes", str(spent["POST"] + spent["PATCH"] + spent["DELETE"])
    yield "… requests: Lease / reads / watches", f"{spent['PUT']} / {spent['GET']} / {spent['WATCH']}"
    yield "… CPU time of the operator", f"{cpu:.1f} s"
    yield f"operator memory with {len(world.pods)} pods", _memory(bench.operator)
    await world.each(keys, lambda key: world.client.delete(COMPUTE_JOBS, *key))
    await world.until("the jobs' clusters are gone", lambda: not any(world.pods_of(key) for key in keys), WAIT_SECONDS)


async def demand(bench: Bench) -> AsyncIterator[Row]:
    """One idle cluster gets work for 1,000 workers at once."""
    plan, world = bench.plan, bench.world
    key = bench.key(0, "d")
    await bench.create([key], 0, plan.demand_workers)
    await world.until("the cluster is Ready", lambda: is_true(world.clusters.get(*key), "Ready"), WAIT_SECONDS)
    await bench.settled()
    before, writes, started = set(world.created), bench.operator.writes(), time.monotonic()
    world.heads.set_demand(key, ResourceSet.from_units({"CPU": 1}), plan.demand_workers)
    await world.until(
        "the workers exist", lambda: len(set(world.created) - before) >= plan.demand_workers, WAIT_SECONDS
    )
    new = sorted(world.created[uid] - started for uid in set(world.created) - before)
    added = [line for line in world.heads.heads[key].decisions if line.startswith("add ")]
    if len(added) != 1:
        raise RuntimeError(f"{plan.demand_workers} workers took {len(added)} decisions and not one: {added[:5]}")
    yield f"0 → {plan.demand_workers} workers by demand: first pod / all pods", f"{new[0]:.2f} s / {new[-1]:.1f} s"
    world.heads.set_demand(key, ResourceSet.from_units({"CPU": 1}), 0)
    await bench.settled()
    yield "… decisions", str(len(added))
    yield "… writes beyond the pods", str(bench.operator.writes() - writes - plan.demand_workers)
    await bench.delete([key])


async def idle_clusters(bench: Bench) -> AsyncIterator[Row]:
    """Autoscaled clusters without workers, jobs and work: requests in that time."""
    plan, world = bench.plan, bench.world
    keys = [bench.key(index, "i") for index in range(plan.idle_clusters)]
    await bench.create(keys, 0, plan.scaled_to)
    await world.until("the clusters are Ready", lambda: _all(world, keys, "Ready"), WAIT_SECONDS)
    await bench.settled()
    before, usage = bench.operator.requests(), bench.operator.usage()
    seconds = min(plan.idle_seconds, IDLE_CLUSTERS_SECONDS)
    await asyncio.sleep(seconds)
    spent = bench.operator.requests() - before
    cpu = bench.operator.usage().cpu_seconds - usage.cpu_seconds
    words = f"{plan.idle_clusters} autoscaled clusters without work, idle for {seconds:g} s"
    yield f"{words}: writes", str(spent["POST"] + spent["PATCH"] + spent["DELETE"])
    yield "… requests: Lease / reads / watches", f"{spent['PUT']} / {spent['GET']} / {spent['WATCH']}"
    yield "… CPU time of the operator", f"{cpu:.1f} s"
    await bench.delete(keys)


MEASUREMENTS: dict[str, Callable[[Bench], AsyncIterator[Row]]] = {
    "creation": creation,
    "black-holes": black_holes,
    "restart": restart,
    "scaling": scaling,
    "demand": demand,
    "idle": idle,
    "idle-clusters": idle_clusters,
    "silent": silent_creation,
}
"""In this order; the clusters of `creation` stay for those after it."""

ANY_OPERATOR = ("creation", "restart", "scaling")
"""Those that need no word of a head."""


async def _edit_latencies(bench: Bench, keys: list[tuple[str, str]], workers: int) -> list[float]:
    return [await _edit_latency(bench.world, key, workers) for key in keys]


async def _edit_latency(world: World, key: tuple[str, str], workers: int) -> float:
    before = {pod["metadata"]["uid"] for pod in world.pods_of(key)}
    started = time.monotonic()
    await world.resize(key, workers, workers)
    await world.until(f"a new pod of {key}", lambda: len(world.pods_of(key)) > len(before), 60)
    new = [uid for pod in world.pods_of(key) if (uid := pod["metadata"]["uid"]) not in before]
    return min(world.created[uid] for uid in new) - started


async def _drop(address: str, *, add: bool) -> None:
    words = ["iptables", "--wait", "-A" if add else "-D", "INPUT", "-d", address, "-j", "DROP"]
    process = await asyncio.create_subprocess_exec(*words)
    if await process.wait():
        raise RuntimeError(f"failed: {' '.join(words)}")


def _all(world: World, keys: list[tuple[str, str]], condition: str) -> bool:
    return all(is_true(world.clusters.get(*key), condition) for key in keys)


def _latency(values: list[float]) -> str:
    return f"{percentile(values, 0.5) * 1000:.0f} ms / {percentile(values, 0.99) * 1000:.0f} ms"


def _memory(operator: OperatorProcess) -> str:
    usage = operator.usage()
    return f"{usage.resident_bytes / MEBIBYTE:.0f} MiB (peak {usage.peak_bytes / MEBIBYTE:.0f})"


def job(key: tuple[str, str]) -> Json:
    """A ComputeJob whose program never ends, on a head of its own."""
    return {
        "apiVersion": "shoal.dev/v1alpha1",
        "kind": "ComputeJob",
        "metadata": {"namespace": key[0], "name": key[1]},
        "spec": {"entrypoint": "sleep infinity"},
    }


@asynccontextmanager
async def _bench(options: argparse.Namespace) -> AsyncIterator[Bench]:
    subject: Subject = KubeRay(options.kuberay) if options.kuberay else Shoal(options.program)
    operator = OperatorProcess(subject, options.kubeconfig, options.logs / "operator.log")
    async with open_world(options.kubeconfig, subject) as world:
        await operator.start()
        try:
            yield Bench(PLANS[options.size], world, operator)
        finally:
            await operator.stop()


async def run(options: argparse.Namespace) -> list[str]:
    """All chosen measurements; returns the lines of a Markdown table."""
    default = ANY_OPERATOR if options.kuberay else tuple(MEASUREMENTS)
    chosen = [name for name in options.only.split(",") if name] or default
    lines = ["| what | figure | load |", "|---|---|---|"]
    async with _bench(options) as bench:
        for name in chosen:
            async for what, figure in MEASUREMENTS[name](bench):
                lines.append(f"| {what} | {figure} | {os.getloadavg()[0]:.1f} |")
                sys.stdout.write(lines[-1] + "\n")
                sys.stdout.flush()
    return lines


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.measure")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--size", choices=tuple(PLANS), default="small")
    parser.add_argument("--only", default="")
    parser.add_argument("--program", type=Path, help="the installed shoal-operator")
    parser.add_argument("--kuberay", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    unknown = {name for name in options.only.split(",") if name} - MEASUREMENTS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    lines = asyncio.run(run(options))
    if options.output is not None:
        with contextlib.suppress(FileExistsError):
            options.output.parent.mkdir(parents=True)
        options.output.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
