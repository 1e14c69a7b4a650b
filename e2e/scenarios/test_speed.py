"""How long the smallest job takes that needs a worker, and where the time goes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest

from e2e import manifests, timing
from e2e.history import Seen
from e2e.world import World

REACTION_SECONDS = 0.25
"""What a pod may come later than the work that it is for; its own start aside."""

ONE_AND_ONE = """
    import time
    started = time.time()
    import shoal

    @shoal.remote(num_cpus=1)
    def task():
        return time.time()

    first_task = shoal.get(task.remote())
    print(f"moments started={started:.3f} first_task={first_task:.3f} ended={time.time():.3f}", flush=True)
"""


@pytest.mark.alone
def test_one_head_and_one_worker(world: World, print_at_end: list[str]) -> None:
    world.start_job(ONE_AND_ONE, groups=(manifests.group(maxReplicas=1),))
    job = world.finish()
    noted = re.search(r"moments started=(\S+) first_task=(\S+) ended=(\S+)", job["status"]["outputTail"])
    assert noted is not None, job["status"]["outputTail"]
    rows = timing.breakdown(
        world.applied_at["job"],
        versions(world.jobs.all("job")),
        versions(world.pods.all("job-head")),
        versions(world.pods.all("job-small-0")),
        timing.Program(*(float(text) for text in noted.groups())),
    )
    print_at_end.append(timing.table(rows))
    assert sum(row.seconds for row in rows) < 30.0 * world.provider.patience


def versions(seen: Sequence[Seen]) -> list[timing.Version]:
    """As the table wants them."""
    return [timing.Version(one.at, one.object) for one in seen]


GROWS = """
    import time
    import shoal

    @shoal.remote(num_cpus=1)
    def hold():
        time.sleep(600)

    moments, held = [], []
    for count in range(1, ROUNDS + 1):
        moments.append(time.time())
        held.append(hold.remote())
        while shoal.cluster_resources().get("CPU", 0) < count:
            time.sleep(0.02)
        time.sleep(0.4)
    print("submitted " + " ".join(f"{moment:.3f}" for moment in moments), flush=True)
"""
ROUNDS = int(os.environ.get("SHOAL_REACTION_ROUNDS", "4"))


@pytest.mark.alone
def test_a_pod_is_asked_for_soon_after_work_waits(world: World, print_at_end: list[str]) -> None:
    groups = (manifests.group(maxReplicas=ROUNDS, idleTimeoutSeconds=60),)
    world.start_job(GROWS.replace("ROUNDS", str(ROUNDS)), groups=groups)
    job = world.finish(seconds=30.0 + 5.0 * ROUNDS)
    submitted = re.search(r"submitted (.*)", job["status"]["outputTail"])
    assert submitted is not None, job["status"]["outputTail"]
    took = sorted(
        world.pods.all(f"job-small-{index}")[0].at - float(moment)
        for index, moment in enumerate(submitted.group(1).split())
    )
    median, worst = took[len(took) // 2], took[-1]
    print_at_end.append(
        f"From a task's submission to its pod: median {median * 1000:.0f} ms, worst {worst * 1000:.0f} ms of {ROUNDS}"
    )
    assert median < REACTION_SECONDS * world.provider.patience
