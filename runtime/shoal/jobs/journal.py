"""How the job runner writes its jobs down, and what it does with those of an earlier head process.

Invariant: without a journal every job counts as written at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol

from shoal.core.jobs import Job

HEAD_LOST_WORDS: Final = "the head that ran the driver was lost, and the driver with it"
Fate = Literal["ended", "placed", "start", "stopped", "lost"]


class JobJournal(Protocol):
    """Where jobs are written; nothing here waits."""

    @property
    def outlives_the_head(self) -> bool:
        """Whether a later head process finds what was written."""
        ...

    def job(self, job: Job) -> None:
        """A job changed."""
        ...

    def jobs_forgotten(self, submission_ids: list[str]) -> None:
        """Jobs that ended long ago are gone from the table."""
        ...

    def when_durable(self, done: Callable[[], None]) -> None:
        """Call ``done`` once all changes so far are on disk, on any thread; it must be quick."""
        ...


class NoJournal:
    """Nothing outlives the process."""

    outlives_the_head = False

    def job(self, job: Job) -> None:
        """See ``JobJournal``."""

    def jobs_forgotten(self, submission_ids: list[str]) -> None:
        """See ``JobJournal``."""

    def when_durable(self, done: Callable[[], None]) -> None:
        """See ``JobJournal``."""
        done()


def fate(job: Job, *, places: bool) -> Fate:
    """What becomes of a job that an earlier head process left.

    ``placed``: its driver runs on another node, or waits for one. ``start``: its driver was certainly never started.
    A driver that this head's predecessor started itself is gone with it.
    """
    if job.done:
        return "ended"
    if job.spec.resources and places:
        return "placed"
    if job.stop_reason:
        return "stopped"
    return "start" if job.state == "PENDING" and not job.launched else "lost"
