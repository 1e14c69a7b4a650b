"""From the timestamps of objects to a table: where the time between `kubectl apply` and Complete went.

Pure. Invariant: the steps follow each other without gaps or overlaps, so they add up to the whole. Kubernetes writes
whole seconds; where the arrival of a version was observed, the moment is refined to it, but never out of its second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

Object = Mapping[str, Any]

RUNTIME_CONTAINER: Final = "shoal"


@dataclass(frozen=True)
class Version:
    """One version of an object and the Unix time at which it was seen."""

    at: float
    object: Object


@dataclass(frozen=True)
class Step:
    """One row: a named stretch of time. ``begin`` and ``seconds`` count from the apply."""

    name: str
    begin: float
    seconds: float


@dataclass(frozen=True)
class Program:
    """Unix times that the program noted itself."""

    started: float
    first_task: float
    ended: float


def breakdown(
    applied_at: float,
    job: Sequence[Version],
    head: Sequence[Version],
    worker: Sequence[Version],
    program: Program,
) -> list[Step]:
    """The steps of a job that needed one worker, in order.

    Args:
        applied_at: Unix time at which `kubectl apply` was called.
        job: versions of the ComputeJob, oldest first.
        head: versions of the head pod.
        worker: versions of the worker pod that ran the first task.
        program: what the program noted.

    Raises:
        ValueError: a moment is missing: the job is not Complete, or a container never started.

    Example:
        Steps are ``admission`` (apply to stored job), ``head created`` (the operator's first pass), then for each pod
        ``scheduling``, ``container start``, and ``process start`` with ``submit`` or ``join``; ``run``, ``report``.
    """
    moments = [
        ("admission", moment(job, "creation", _created)),
        ("head created", moment(head, "creation", _created)),
        ("head scheduling", moment(head, "PodScheduled", _condition("PodScheduled"))),
        ("head container start", moment(head, "start", _container_started)),
        ("head process start, submit", program.started),  # a program may run before the head's pod is called ready
        ("worker created", moment(worker, "creation", _created)),
        ("worker scheduling", moment(worker, "PodScheduled", _condition("PodScheduled"))),
        ("worker container start", moment(worker, "start", _container_started)),
        ("process start, join", program.first_task),
        ("run", program.ended),
        ("report", moment(job, "Complete", _condition("Complete"))),
    ]
    return steps(applied_at, moments)


def steps(start: float, moments: Iterable[tuple[str, float]]) -> list[Step]:
    """Stretches between moments; one that lies before its predecessor (coarse clocks) takes no time.

    Example:
        >>> steps(10.0, [("a", 11.5), ("b", 11.0), ("c", 12.0)])
        [Step(name='a', begin=0.0, seconds=1.5), Step(name='b', begin=1.5, seconds=0.0), \
Step(name='c', begin=1.5, seconds=0.5)]
    """
    found: list[Step] = []
    last = start
    for name, at in moments:
        reached = max(last, at)
        found.append(Step(name, last - start, reached - last))
        last = reached
    return found


def moment(versions: Sequence[Version], what: str, read: Callable[[Object], str | None]) -> float:
    """When something became the case: its timestamp, refined by the arrival of the first version that has it.

    Raises:
        ValueError: no version has it.
    """
    for version in versions:
        text = read(version.object)
        if text:
            written = datetime.fromisoformat(text).timestamp()
            # A whole second stands for all of it; a later arrival says nothing about a time within it.
            return min(max(version.at, written), written + 0.999) if written.is_integer() else written
    name = versions[-1].object["metadata"]["name"] if versions else "an object that was never seen"
    raise ValueError(f"{name} has no moment of {what}")


def table(rows: Sequence[Step]) -> str:
    """The steps as text, one a line, with the sum.

    Example:
        >>> print(table([Step("run", 0.0, 1.25)]))
        run      1.25 s  100 %
        in all   1.25 s
    """
    total = sum(row.seconds for row in rows)
    width = max([len(row.name) for row in rows] + [len("in all")]) + 2
    lines = [
        f"{row.name:<{width}} {row.seconds:5.2f} s  {row.seconds / total if total else 0:4.0%}".replace("%", " %")
        for row in rows
    ]
    return "\n".join([*lines, f"{'in all':<{width}} {total:5.2f} s"])


def _created(item: Object) -> str | None:
    text: str | None = item["metadata"].get("creationTimestamp")
    return text


def _condition(kind: str) -> Callable[[Object], str | None]:
    def read(item: Object) -> str | None:
        for condition in (item.get("status") or {}).get("conditions") or []:
            if condition["type"] == kind and condition["status"] == "True":
                text: str = condition["lastTransitionTime"]
                return text
        return None

    return read


def _container_started(pod: Object) -> str | None:
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status["name"] == RUNTIME_CONTAINER:
            text: str | None = ((status.get("state") or {}).get("running") or {}).get("startedAt")
            return text
    return None
