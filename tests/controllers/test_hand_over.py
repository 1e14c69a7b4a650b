"""Two operators and one lease: who leads, how soon the other one does, and that nobody writes twice.

Each process has a recorder of its own before the API server, so that a write has an author.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time

import yaml

from .conftest import Recorder, a_cluster, at_rest, until

LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/shoal-operator"
CLUSTER = "/apis/shoal.dev/v1alpha1/namespaces/default/computeclusters/demo"
DURATION_SECONDS = 3
WHOLE = ["demo-head", "demo-small-0", "demo-small-1", "demo-small-2"]


class Replica:
    """One operator process."""

    def __init__(self, child, recorder):
        self.child = child
        self.recorder = recorder
        self.lines = []

    async def read(self):
        async for line in self.child.stderr:
            self.lines.append(line.decode().rstrip())

    def writes(self, since=0):
        found = [each[:2] for each in self.recorder.requests[since:] if each[0] not in {"GET", "WATCH"}]
        return [write for write in found if "/leases" not in write[1]]

    def created(self, plural):
        return [
            path
            for method, path, status in self.recorder.requests
            if (method, status) == ("POST", 201) and path.endswith(f"/{plural}")
        ]


@contextlib.asynccontextmanager
async def replica(world, tmp_path, name, *arguments):
    async with Recorder(world.server.url, world.recorder._context, world.recorder.token).serving() as recorder:
        kubeconfig = tmp_path / f"{name}-kubeconfig"
        cluster, user = {"server": recorder.url}, {"token": recorder.token}
        contexts = [{"name": "c", "context": {"cluster": "c", "user": "u"}}]
        kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "current-context": "c",
                    "contexts": contexts,
                    "clusters": [{"name": "c", "cluster": cluster}],
                    "users": [{"name": "u", "user": user}],
                }
            )
        )
        command = (sys.executable, "-m", "shoal_operator.main", "--kubeconfig", str(kubeconfig), *arguments)
        child = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        found = Replica(child, recorder)
        reader = asyncio.create_task(found.read())
        try:
            yield found
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()
            await reader


@contextlib.asynccontextmanager
async def two(world, tmp_path, *arguments):
    """A leader, and a second one that waits for it."""
    async with replica(world, tmp_path, "first", *arguments) as first:
        await leads(world, first)
        async with replica(world, tmp_path, "second", *arguments) as second:
            await until(lambda: asyncio.sleep(0, [line for line in second.lines if "is the leader" in line]))
            yield first, second


async def leads(world, one, seconds=10.0):
    """Wait until that process holds the lease; returns when that was seen."""
    marker = f"_{one.child.pid}_"
    holder = "holderIdentity"
    await until(
        lambda: world.api.call("GET", LEASE), lambda lease: lease and marker in lease["spec"][holder], seconds=seconds
    )
    return time.monotonic()


async def whole(world, names=WHOLE):
    await until(world.api.pod_names, lambda found: found == names)


async def test_on_sigterm_the_other_leads_within_five_seconds(world, tmp_path):
    """With the times of a real installation."""
    await world.api.create("computeclusters", a_cluster())
    async with two(world, tmp_path) as (first, second):
        await whole(world)
        first.child.send_signal(signal.SIGTERM)
        began = time.monotonic()
        seconds = await leads(world, second) - began
        print(f"\nhand-over on SIGTERM: {seconds:.2f} s")
        assert seconds < 5
        assert await asyncio.wait_for(first.child.wait(), 10) == 0
        await world.api.patch(CLUSTER, {"spec": {"workerGroups": [{"name": "small", "minReplicas": 4}]}})
        await whole(world, [*WHOLE, "demo-small-3"])
        assert len(first.created("pods")) == 4
        assert len(second.created("pods")) == 1


async def test_on_sigkill_the_other_leads_when_the_lease_is_over(world, tmp_path):
    async with two(world, tmp_path, f"--lease-duration-seconds={DURATION_SECONDS}") as (first, second):
        first.child.kill()
        began = time.monotonic()
        await world.api.create("computeclusters", a_cluster())
        seconds = await leads(world, second) - began
        print(f"\nhand-over on SIGKILL, lease of {DURATION_SECONDS} s: {seconds:.2f} s")
        assert seconds < DURATION_SECONDS + 5
        await whole(world)
        assert first.writes() == []


async def test_a_leader_that_was_stopped_writes_nothing_after_its_lease(world, tmp_path):
    """Everything that it would have done is there to be done when it wakes up."""
    await world.api.create("computeclusters", a_cluster())
    async with two(world, tmp_path, f"--lease-duration-seconds={DURATION_SECONDS}") as (first, second):
        await whole(world)
        os.kill(first.child.pid, signal.SIGSTOP)
        began = time.monotonic()
        seconds = await leads(world, second) - began
        print(f"\nhand-over on SIGSTOP, lease of {DURATION_SECONDS} s: {seconds:.2f} s")
        assert seconds < DURATION_SECONDS + 5

        second.recorder.spoil = lambda method, path: 503 if (method, path.endswith("/pods")) == ("POST", True) else None
        await world.api.patch(CLUSTER, {"spec": {"workerGroups": [{"name": "small", "minReplicas": 4}]}})
        before = len(first.recorder.requests)
        os.kill(first.child.pid, signal.SIGCONT)
        assert await asyncio.wait_for(first.child.wait(), 10) == 3
        assert first.writes(since=before) == []
        assert any("lease is lost" in line for line in first.lines)

        second.recorder.spoil = lambda method, path: None
        await whole(world, [*WHOLE, "demo-small-3"])
        assert len(first.created("pods")) == 4
        assert len(second.created("pods")) == 1


async def test_two_that_both_think_they_lead_make_no_pod_twice(world):
    """Without a lease at all, both work on everything at the same time."""
    async with world.operator(seed=1) as first, world.operator(seed=2) as second:
        for name in ("a", "b", "c"):
            await world.api.create("computeclusters", a_cluster(name))
        wanted = sorted(f"{name}-{pod}" for name in "abc" for pod in ("head", "small-0", "small-1", "small-2"))
        await until(world.api.pod_names, lambda names: names == wanted)
        uids = {pod["metadata"]["uid"] for pod in await world.api.pods()}
        for name in ("a", "b", "c"):
            await world.api.patch(CLUSTER.replace("demo", name), {"metadata": {"annotations": {"look": "again"}}})
        await at_rest(world, first, second)
        assert {pod["metadata"]["uid"] for pod in await world.api.pods()} == uids
        made = [path for method, path, status in world.recorder.requests if (method, status) == ("POST", 201)]
        assert sum(path.endswith("/pods") for path in made) == len(wanted)
