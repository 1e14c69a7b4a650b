"""What goes after the end of a job, and when: workers, then the cluster, then the job object.

Invariant: nothing goes before the outcome stands in the job's status; of several things that are due only the one
that takes most with it is done; a whole output that is still on its way is waited for, for a bounded time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shoal_operator.api.job import CleanupAction, ComputeJob
from shoal_operator.domain.head import JobView
from shoal_operator.domain.job.failure import LATE_SECONDS, seconds_for_late_words
from shoal_operator.domain.job.progress import Progress, Stage

OUTPUT_SECONDS_MAX: Final = 300.0
"""How long the cluster waits for the output's upload before it goes all the same."""
LOOK_SECONDS: Final = 1.0
SAVING: Final = "Saving"
"""What the head's row says while the output is on its way."""
_WEIGHT: Final[dict[CleanupAction, int]] = {"KeepCluster": 0, "DeleteWorkers": 1, "DeleteCluster": 2, "DeleteJob": 3}


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What is due now (None: nothing), and in how many seconds the next thing will be."""

    action: CleanupAction | None
    wake_seconds: float | None = None


def due_cleanup(job: ComputeJob, progress: Progress, row: JobView | None, now: datetime) -> Cleanup:
    """The most impactful action whose time has come.

    Args:
        job: a job whose outcome is recorded.
        progress: its final stage.
        row: the head's row of its last attempt, while the head is there.
        now: the current time.
    """
    ended = job.status.completion_time or now
    passed = (now - ended) / timedelta(seconds=1)
    is_incomplete = seconds_for_late_words(job, ended, now) > 0
    hold = max(_output_hold(row), LATE_SECONDS if is_incomplete else 0.0)
    times = [(action, max(after, hold)) for action, after in _timeline(job, progress)]
    due = [action for action, after in times if passed >= after]
    waits = [after - passed for action, after in times if passed < after]
    if is_incomplete:
        waits.append(LOOK_SECONDS)  # a pod's end by itself brings no pass over the job
    most = max(due, key=_WEIGHT.__getitem__, default=None)
    return Cleanup(most if most != "KeepCluster" else None, min(waits, default=None))


def _timeline(job: ComputeJob, progress: Progress) -> Iterator[tuple[CleanupAction, float]]:
    outcome = "Complete" if progress.stage is Stage.COMPLETE else "Failed"
    rules = [rule for rule in job.spec.cleanup_policy if rule.outcome == outcome]
    yield from ((rule.action, float(rule.after_seconds)) for rule in rules)
    speaks_of_cluster = any(rule.action != "DeleteJob" for rule in rules)
    if not speaks_of_cluster and job.spec.cluster_ref is None:
        yield "DeleteCluster", 0.0
    if job.spec.ttl_seconds_after_finished is not None:
        yield "DeleteJob", float(job.spec.ttl_seconds_after_finished)


def _output_hold(row: JobView | None) -> float:
    """Seconds after the end before which nothing goes: the upload of the output runs in the head."""
    if row is None or row.output_state != SAVING:
        return 0.0
    return OUTPUT_SECONDS_MAX
