"""A cluster that nobody uses rests or goes, when its policy says so; a job brings it back."""

from __future__ import annotations

import shlex
import time
from datetime import datetime
from typing import Any

from e2e import manifests
from e2e.world import World, condition, is_true

TIMEOUT_SECONDS = 4
TOLERANCE_SECONDS = 5.0
PROGRAM = f"""import shoal
{manifests.GATE}
shoal.init()
pass_gate()
"""


def apply(world: World, action: str, **gate: Any) -> None:
    policy = {"timeoutSeconds": TIMEOUT_SECONDS, "action": action}
    groups = [{**manifests.gate(), **gate}]
    world.apply(manifests.cluster("demo", manifests.cluster_spec(world.image, groups, idlePolicy=policy)))


def rests(world: World) -> bool:
    return condition(world.clusters.last("demo"), "Suspended").get("reason") == "IdleTimeout"


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_cluster_that_nobody_uses_rests_until_a_job_wants_it(world: World) -> None:
    apply(world, "Suspend")
    counts = world.until(
        lambda: (world.clusters.last("demo") or {}).get("status", {}).get("idleSince"), "the countdown is visible"
    )
    world.until(lambda: rests(world), "the cluster rests", TIMEOUT_SECONDS + 25)
    told = moment(condition(world.clusters.last("demo"), "Suspended")["lastTransitionTime"])
    assert -1 <= told - moment(counts) - TIMEOUT_SECONDS <= TOLERANCE_SECONDS
    world.until(lambda: not world.pods.now(), "the pods are gone")

    world.apply(manifests.job("job", clusterRef={"name": "demo"}, entrypoint=f"python -c {shlex.quote(PROGRAM)}"))
    world.until(lambda: is_true(world.jobs.last("job"), "Running"), "the job brings the cluster back and runs", 40)
    begun = moment(condition(world.jobs.last("job"), "Running")["lastTransitionTime"])

    def has_run_long() -> bool:
        assert not rests(world)
        last = world.clusters.last("demo")
        return condition(last, "Idle").get("reason") == "InUse" and time.time() - begun > 2 * TIMEOUT_SECONDS

    world.until(has_run_long, "the program runs for longer than the policy waits")
    apply(world, "Delete", minReplicas=1)
    world.finish()
    world.until(lambda: "demo" not in world.clusters.now(), "the cluster that nobody uses is deleted", 25)
    assert is_true(world.jobs.last("job"), "Complete")
