"""When containers start, restart and wait: the pod's state machine.

Invariant: pure; ``now`` is an argument (seconds since the epoch). A container runs at most once at a time; an
init container runs alone and in order; a crash that repeats waits longer each time, up to a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

Object = Mapping[str, Any]
State = Literal["Waiting", "Running", "Terminated"]

_START_ERROR_CODE: Final = 128


@dataclass(frozen=True)
class RestartPolicy:
    """How long a crashed container waits: ``base``, doubled after each crash, at most ``maximum`` seconds.

    The first restart is immediate; a container that ran for ``2 * maximum`` starts over.
    """

    base_seconds: float = 10.0
    maximum_seconds: float = 300.0

    def next(self, current: float) -> float:
        """The back-off after one more crash."""
        return self.base_seconds if current == 0 else min(current * 2, self.maximum_seconds)


@dataclass(frozen=True)
class Ended:
    """How a run of a container ended."""

    exit_code: int
    reason: str
    started_at: float
    finished_at: float
    message: str = ""
    signal: int = 0
    container_id: str = ""


@dataclass(frozen=True)
class Record:
    """What is known of one container. ``backoff_seconds`` is 0 before the first restart."""

    name: str
    state: State = "Waiting"
    reason: str = "ContainerCreating"
    message: str = ""
    container_id: str = ""
    started_at: float = 0.0
    ended: Ended | None = None
    last: Ended | None = None
    restart_count: int = 0
    backoff_seconds: float = 0.0
    retry_at: float = 0.0
    started: bool = False
    ready: bool = False

    @property
    def never_ran(self) -> bool:
        """Whether no run was ever attempted to the end."""
        return self.state == "Waiting" and self.ended is None and self.last is None


@dataclass(frozen=True)
class Decision:
    """What to do now: the containers to start, and when to look again without being told to."""

    start: tuple[str, ...] = ()
    wake_at: float | None = None
    init_failed: bool = False


def running(record: Record, now: float, container_id: str, *, has_startup: bool, has_readiness: bool) -> Record:
    """A record of a container that was just started."""
    return replace(
        record,
        state="Running",
        reason="",
        message="",
        container_id=container_id,
        started_at=now,
        last=record.ended or record.last,
        ended=None,
        started=not has_startup,
        ready=not has_startup and not has_readiness,
    )


def ended(record: Record, outcome: Ended, policy: RestartPolicy) -> Record:
    """A record of a container whose run is over; decides how long a restart would wait."""
    ran_long = outcome.finished_at - outcome.started_at > 2 * policy.maximum_seconds
    backoff = 0.0 if ran_long and outcome.started_at > 0 else record.backoff_seconds
    return replace(
        record,
        state="Terminated",
        reason="",
        message="",
        ended=outcome,
        started=False,
        ready=False,
        backoff_seconds=backoff,
        retry_at=outcome.finished_at + backoff,
    )


def restarting(record: Record, policy: RestartPolicy) -> Record:
    """A record that counts one more restart; call it just before the new run is tried."""
    if record.ended is None:
        return record
    return replace(
        record,
        restart_count=record.restart_count + 1,
        backoff_seconds=policy.next(record.backoff_seconds),
    )


def exit_outcome(status: int, started_at: float, finished_at: float, container_id: str) -> Ended:
    """How a process ended, as a container runtime reports it (a signal is 128 + its number).

    Args:
        status: the exit status; negative when a signal ended the process.
    """
    code = status if status >= 0 else 128 - status
    number = -status if status < 0 else 0
    reason = "Completed" if code == 0 else "Error"
    return Ended(code, reason, started_at, finished_at, signal=number, container_id=container_id)


def start_failure(message: str, now: float, container_id: str) -> Ended:
    """How a run ended that never began."""
    return Ended(_START_ERROR_CODE, "StartError", 0.0, now, message=message, container_id=container_id)


def wants_restart(record: Record, restart_policy: str, *, is_init: bool) -> bool:
    """Whether the spec asks for another run of an ended container."""
    if record.ended is None:
        return False
    if is_init:
        return record.ended.exit_code != 0 and restart_policy != "Never"
    if restart_policy == "Always":
        return True
    return restart_policy == "OnFailure" and record.ended.exit_code != 0


def decide(spec: Object, records: Mapping[str, Record], now: float) -> Decision:
    """Which containers of a pod to start now.

    Args:
        spec: the pod's spec.
        records: one record for every container and init container.
    """
    restart_policy = str(spec.get("restartPolicy") or "Always")
    for container in spec.get("initContainers") or []:
        record = records[container["name"]]
        if record.state == "Terminated" and record.ended is not None and record.ended.exit_code == 0:
            continue
        if record.state == "Running":
            return Decision()
        if record.state == "Terminated" and not wants_restart(record, restart_policy, is_init=True):
            return Decision(init_failed=True)
        return _start_or_wait([record], restart_policy, now, is_init=True)
    todo = [records[container["name"]] for container in spec.get("containers") or []]
    return _start_or_wait(todo, restart_policy, now, is_init=False)


def _start_or_wait(todo: list[Record], restart_policy: str, now: float, *, is_init: bool) -> Decision:
    start: list[str] = []
    waits: list[float] = []
    for record in todo:
        if record.state == "Running":
            continue
        if record.state == "Terminated" and not wants_restart(record, restart_policy, is_init=is_init):
            continue
        if record.retry_at <= now:
            start.append(record.name)
        else:
            waits.append(record.retry_at)
    return Decision(tuple(start), min(waits, default=None))


def phase(spec: Object, records: Mapping[str, Record]) -> str:
    """The pod's phase."""
    restart_policy = str(spec.get("restartPolicy") or "Always")
    for container in spec.get("initContainers") or []:
        record = records[container["name"]]
        if record.state == "Terminated" and record.ended is not None and record.ended.exit_code == 0:
            continue
        failed = record.state == "Terminated" and not wants_restart(record, restart_policy, is_init=True)
        return "Failed" if failed else "Pending"
    main = [records[container["name"]] for container in spec.get("containers") or []]
    if any(record.never_ran for record in main):
        return "Pending"
    over = [
        record
        for record in main
        if record.state == "Terminated" and not wants_restart(record, restart_policy, is_init=False)
    ]
    if len(over) < len(main):
        return "Running"
    codes = [record.ended.exit_code for record in over if record.ended is not None]
    return "Succeeded" if not any(codes) else "Failed"
