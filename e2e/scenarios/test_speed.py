"""How long the smallest job takes that needs a worker, and where the time goes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from e2e import manifests, timing
from e2e.history import Seen
from e2e.world import World

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
