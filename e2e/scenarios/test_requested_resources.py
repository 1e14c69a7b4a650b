"""Workers that a program asks for before it has work for them: they come, stay though idle, and go when told."""

from __future__ import annotations

import shlex
import time

from e2e import manifests
from e2e.world import World

IDLE_SECONDS = 1
HELD_SECONDS = 4.0
"""Several times as long as idle workers stay otherwise."""


def ask(world: World, name: str, arguments: str) -> None:
    """Run a job on the cluster that says what should be there, and ends."""
    code = f"import shoal; shoal.init(); shoal.autoscaler.sdk.request_resources({arguments})"
    entrypoint = f"python -c {shlex.quote(code)}"
    world.apply(manifests.job(name, clusterRef={"name": "demo"}, entrypoint=entrypoint))
    world.finish(name)


def uids(world: World) -> set[str]:
    return {pod["metadata"]["uid"] for pod in world.workers(ready=True)}


def test_requested_workers_come_are_held_and_go(world: World) -> None:
    groups = [
        manifests.group(maxReplicas=3, idleTimeoutSeconds=IDLE_SECONDS),
        manifests.group("gpu", maxReplicas=2, idleTimeoutSeconds=IDLE_SECONDS, resources={"CPU": 1, "GPU": 1}),
    ]
    world.apply(manifests.cluster("demo", manifests.cluster_spec(world.image, groups)))
    ask(world, "wants", 'num_cpus=3, bundles=[{"GPU": 1}]')
    world.until(lambda: len(uids(world)) == 3, "as many workers as were asked for run")
    asked_for = uids(world)
    groups_of = sorted(pod["metadata"]["labels"]["shoal.dev/group"] for pod in world.workers())
    assert groups_of == ["gpu", "small", "small"], "the CPU beside the GPU counts too"
    until = time.time() + HELD_SECONDS

    def is_held() -> bool:
        assert uids(world) == asked_for, world.describe()
        return time.time() > until

    world.until(is_held, "they stay, although nothing runs there")
    ask(world, "wants-less", "bundles=[{'GPU': 1}]")
    world.until(lambda: len(world.workers()) == 1, "what is not asked for any more goes")
    assert uids(world) <= asked_for
    ask(world, "wants-nothing", "")
    world.until(lambda: not world.workers(), "nothing is asked for, and nothing is left")
