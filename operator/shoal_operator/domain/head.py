"""What a head says about its cluster, as plain values (the shell converts from the wire).

Work that waits is told in the planner's words (``Demand``, ``Gang``): the planner is asked what the head says.

Invariant: amounts are ``ResourceSet`` in ten-thousandths; sequences keep the head's order; absent is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Demand, Gang, Labels


class DrainState(StrEnum):
    """Whether a node takes work."""

    ACTIVE = "Active"
    DRAINING = "Draining"
    DRAINED = "Drained"


class JobState(StrEnum):
    """Where a submitted job stands in the head's table."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    STOPPED = "Stopped"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED}


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node (worker pod or head) as the head knows it."""

    node_id: str
    pod_name: str
    group: str
    total: ResourceSet
    available: ResourceSet
    alive: bool = True
    idle_seconds: float = 0.0
    """At ``HeadView.received_at``; 0 while busy."""
    drain_state: DrainState = DrainState.ACTIVE
    activity: str = ""
    address: str = ""
    recently_available: ResourceSet | None = None
    """What was available a moment ago, where that was more: work that waits may have been placed there just now."""
    labels: Labels = ()
    """Its own, beside those of its group."""


@dataclass(frozen=True, slots=True)
class ActivityView:
    """Who uses the cluster."""

    drivers: int = 0
    """Connected programs, submitted jobs aside."""
    jobs: int = 0
    """Submitted jobs that wait or run."""
    detached_actors: int = 0
    idle_seconds: float = 0.0
    """Since all three were 0, at ``HeadView.received_at``; 0 while one is not."""

    @property
    def in_use(self) -> bool:
        """Whether somebody uses the cluster now."""
        return bool(self.drivers or self.jobs or self.detached_actors)


@dataclass(frozen=True, slots=True)
class JobView:
    """One row of the head's job table."""

    submission_id: str
    state: JobState
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    output_tail: str = ""
    tasks_submitted: int = 0
    tasks_finished: int = 0
    tasks_failed: int = 0
    output_state: str = ""
    """Of the whole output on its way to ``spec.output.url``: empty, Saving, Saved or Failed."""
    output_message: str = ""
    """Why it could not be saved."""


@dataclass(frozen=True, slots=True)
class HeadView:
    """The last snapshot of a head, and whether the head still answers."""

    incarnation: str
    received_at: datetime
    """When the last snapshot came in, by the operator's clock (timezone-aware)."""
    reachable: bool = True
    """False when the stream is broken or silent for too long; the rest is then the last known state."""
    unreachable_message: str = ""
    """What the connection failed with, for people; empty while reachable."""
    nodes: tuple[NodeView, ...] = ()
    demands: tuple[Demand, ...] = ()
    jobs: tuple[JobView, ...] = ()
    gangs: tuple[Gang, ...] = ()
    gangs_left_out: int = 0
    """Gangs that wait beside those listed."""
    floors: tuple[Demand, ...] = ()
    """What programs asked to be there in total, used or not (``request_resources``)."""
    activity: ActivityView | None = None
    """None where the head does not say: nothing may be concluded then."""

    @property
    def is_busy(self) -> bool:
        """Whether a job waits or runs."""
        return any(not job.state.is_final for job in self.jobs)

    def job(self, submission_id: str) -> JobView | None:
        """The row with that id."""
        return next((job for job in self.jobs if job.submission_id == submission_id), None)
