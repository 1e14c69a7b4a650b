"""What a decision asks the shell to do: data only, in the order in which it is to be done.

Invariant: a plan says everything and does nothing. Carrying out a plan and planning again in the world that
it leads to gives the empty plan. All objects are in the namespace of the root object.

Order of execution: ``finalizers``, ``delete_pods``, ``annotate_pods``, ``create``, ``issue_certificate``, ``apply``,
``create_pods``, ``delete``, ``head_commands``, ``events``. An intent (annotation) is thus durable before a head hears
of it, in a later pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from shoal.resources import ResourceSet

Manifest: TypeAlias = dict[str, Any]

REQUEUE_SECONDS_MIN: Final = 0.2
"""A wait that is about to end is not cut finer than this."""


@dataclass(frozen=True, slots=True)
class PodDeletion:
    """Delete a pod, with its UID as precondition; NotFound and Conflict count as done."""

    name: str
    uid: str
    reason: str
    """Why, for the log and the metrics: one of ``domain.reasons``."""


@dataclass(frozen=True, slots=True)
class PodAnnotation:
    """Merge annotations into a pod (merge patch with the UID as precondition); None removes a key."""

    name: str
    uid: str
    annotations: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Delete this object, with its UID as precondition; NotFound counts as done."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class DrainNode:
    """Ask the head of ``cluster`` to give a node no new work. The next pass sees a refusal by itself."""

    cluster: str
    node_id: str
    pod_name: str
    reason: str
    deadline_seconds: float
    """From now; always positive."""
    only_if_idle: bool = True


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """Submit to the head of ``cluster``; idempotent by ``submission_id``."""

    cluster: str
    submission_id: str
    entrypoint: str
    working_directory: str
    run_in_place: bool
    environment: Mapping[str, str]
    metadata: Mapping[str, str]
    resources: ResourceSet = field(default_factory=ResourceSet)
    """What the program itself needs; empty: it runs on the head."""
    output_url: str = ""
    output_secret_directory: str = ""
    """Where the head finds one file per environment variable for the upload."""


@dataclass(frozen=True, slots=True)
class StopJob:
    """Stop a job on the head of ``cluster``; stopping a job that has ended does nothing."""

    cluster: str
    submission_id: str
    reason: str
    grace_seconds: float = 3.0
    """Between SIGTERM and SIGKILL."""


HeadCommand: TypeAlias = DrainNode | SubmitJob | StopJob


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An Event about the root object. Only made on transitions."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    action: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of a head's log of decisions."""

    decision_id: str
    """The head keeps one of each id."""
    at: datetime
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one pass has to do."""

    create_pods: tuple[Manifest, ...] = ()
    """POST each; AlreadyExists counts as done."""
    delete_pods: tuple[PodDeletion, ...] = ()
    apply: tuple[Manifest, ...] = ()
    """Server-side apply each; by force only over an object that is known to be ours."""
    create: tuple[Manifest, ...] = ()
    """POST each once (the token Secret); AlreadyExists counts as done. May hold secrets: never log."""
    issue_certificate: str = ""
    """Why the cluster's pods need another certificate, for people; empty: they need none. Keys are in no plan."""
    annotate_pods: tuple[PodAnnotation, ...] = ()
    delete: tuple[ObjectRef, ...] = ()
    head_commands: tuple[HeadCommand, ...] = ()
    events: tuple[EventRecord, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """What the head's log of decisions gets; told once, best effort, and of no effect."""
    finalizers: tuple[str, ...] | None = None
    """What ``metadata.finalizers`` of the root object shall be; None leaves them. Written before all else."""
    requeue_after_seconds: float | None = None
    """Look again after this time even if nothing changes; None: only when something changes."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do (a requeue alone is nothing, nor are lines for the log)."""
        return not (
            self.create_pods
            or self.delete_pods
            or self.apply
            or self.create
            or self.issue_certificate
            or self.annotate_pods
            or self.delete
            or self.head_commands
            or self.events
            or self.finalizers is not None
        )
