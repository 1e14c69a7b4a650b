"""What a pod's own status says about why it does not run, in Kubernetes' own words.

Invariant: only words are taken out, nothing is judged; the same status gives the same reasons in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

ContainerState = Literal["", "waiting", "running", "terminated", "last"]
"""Where a reason stands in a container's status; ``last`` is lastState.terminated. Empty when it is the pod's."""

NODE_NOT_READY: Final = "NodeNotReady"
"""Ours: the node controller took Ready from a pod whose containers are fine. Kubernetes gives no reason then."""
INIT_RUNNING: Final = "InitContainerRunning"
"""Ours: an init container (no sidecar) runs, and everything waits for its end."""
SIDECAR_POLICY: Final = "Always"


@dataclass(frozen=True, slots=True)
class PodReason:
    """One thing that holds a pod up, in Kubernetes' own words."""

    reason: str
    """ImagePullBackOff, CrashLoopBackOff, Unschedulable, OOMKilled, Error, ..."""
    message: str = ""
    container: str = ""
    """Empty when it is about the pod."""
    state: ContainerState = ""
    is_init: bool = False
    """Whether the container is an init container."""
    ran_seconds: float | None = None
    """For ended containers: how long they ran."""


def read_reasons(pod: Mapping[str, Any]) -> tuple[PodReason, ...]:
    """Everything that a pod's status names as being in its way: the pod's own first, then init, then containers.

    Args:
        pod: a Pod as JSON. Missing parts are taken as empty; nothing raises.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = {c.get("name") for c in spec.get("initContainers") or [] if c.get("restartPolicy") == SIDECAR_POLICY}
    found = [*_of_pod(spec, status)]
    for entry in status.get("initContainerStatuses") or []:
        found += _of_init_container(entry, is_sidecar=entry.get("name") in sidecars)
    for entry in status.get("containerStatuses") or []:
        found += _of_container(entry, is_init=False)
    return tuple(found)


def read_last_end(pod: Mapping[str, Any], container: str) -> tuple[PodReason | None, datetime | None]:
    """How and when the container ended that was last started again in place; nothing where it never was."""
    for entry in (pod.get("status") or {}).get("containerStatuses") or []:
        last = (entry.get("lastState") or {}).get("terminated")
        if last and entry.get("name") == container:
            return _ended(last, container, "last", is_init=False), _moment(last.get("finishedAt"))
    return None, None


def _of_pod(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[PodReason]:
    if status.get("reason"):
        yield PodReason(status["reason"], status.get("message") or "")
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or []}
    disrupted = conditions.get("DisruptionTarget", {})
    if disrupted.get("status") == "True":
        yield PodReason(disrupted.get("reason") or "DisruptionTarget", disrupted.get("message") or "")
    scheduled = conditions.get("PodScheduled", {})
    gates = [str(gate.get("name")) for gate in spec.get("schedulingGates") or []]
    if gates:
        yield PodReason("SchedulingGated", f"the pod has scheduling gates: {', '.join(gates)}")
    elif scheduled.get("status") == "False":
        yield PodReason(scheduled.get("reason") or "Unschedulable", scheduled.get("message") or "")
    ready, containers = conditions.get("Ready", {}), conditions.get("ContainersReady", {})
    if ready.get("status") != "True" and containers.get("status") == "True" and not ready.get("reason"):
        yield PodReason(NODE_NOT_READY, f"node {spec.get('nodeName') or '?'} does not answer")


def _of_init_container(entry: Mapping[str, Any], *, is_sidecar: bool) -> Iterator[PodReason]:
    state = entry.get("state") or {}
    if (state.get("terminated") or {}).get("exitCode") == 0:
        return
    if state.get("running") and not is_sidecar:
        since = state["running"].get("startedAt") or "?"
        yield PodReason(INIT_RUNNING, f"it has run since {since}", entry.get("name", ""), "running", is_init=True)
    yield from _of_container(entry, is_init=not is_sidecar)


def _of_container(entry: Mapping[str, Any], *, is_init: bool) -> Iterable[PodReason]:
    name, state = entry.get("name", ""), entry.get("state") or {}
    detail = state.get("waiting")
    if detail:
        yield PodReason(detail.get("reason") or "Waiting", detail.get("message") or "", name, "waiting", is_init)
    detail = state.get("terminated")
    if detail:
        yield _ended(detail, name, "terminated", is_init)
    last = (entry.get("lastState") or {}).get("terminated")
    if last and not entry.get("ready"):
        yield _ended(last, name, "last", is_init)


def _ended(detail: Mapping[str, Any], name: str, state: ContainerState, is_init: bool) -> PodReason:
    code = f"exit code {detail['exitCode']}" if "exitCode" in detail else ""
    said = str(detail.get("message") or "").strip()
    began, ended = (_moment(detail.get(key)) for key in ("startedAt", "finishedAt"))
    ran = (ended - began) / timedelta(seconds=1) if began and ended else None
    text = ": ".join(part for part in (code, said) if part)
    return PodReason(detail.get("reason") or "Terminated", text, name, state, is_init, ran)


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
