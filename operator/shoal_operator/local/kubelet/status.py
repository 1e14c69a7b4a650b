"""The status of a pod as the kubelet writes it, from its records.

Invariant: pure; the same records and time-stamped conditions give the same status, so that an unchanged pod
is never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from shoal_operator.local.apiserver.pods import quality_of_service
from shoal_operator.local.kubelet.lifecycle import Ended, Record, phase, wants_restart

Object = Mapping[str, Any]

_INITIALIZING: Final = "PodInitializing"


def timestamp(seconds: float) -> str:
    """RFC 3339 with seconds, as the API has it.

    Example:
        >>> timestamp(0)
        '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _terminated(outcome: Ended) -> dict[str, Any]:
    state: dict[str, Any] = {
        "exitCode": outcome.exit_code,
        "reason": outcome.reason,
        "startedAt": timestamp(outcome.started_at),
        "finishedAt": timestamp(outcome.finished_at),
        "containerID": _container_id(outcome.container_id),
    }
    if outcome.signal:
        state["signal"] = outcome.signal
    if outcome.message:
        state["message"] = outcome.message
    return state


def _container_id(identity: str) -> str:
    return f"process://{identity}" if identity else ""


def _state(pod: Object, record: Record, now: float, will_restart: bool) -> tuple[dict[str, Any], Ended | None]:
    """The container's state and its last termination."""
    if record.state == "Running":
        return {"running": {"startedAt": timestamp(record.started_at)}}, record.last
    if record.state == "Terminated" and record.ended is not None:
        if will_restart and record.backoff_seconds > 0 and record.retry_at > now:
            return {"waiting": {"reason": "CrashLoopBackOff", "message": backoff_message(pod, record)}}, record.ended
        return {"terminated": _terminated(record.ended)}, record.last
    waiting = {"reason": record.reason}
    if record.message:
        waiting["message"] = record.message
    return {"waiting": waiting}, record.last


def backoff_message(pod: Object, record: Record) -> str:
    """What kubectl shows for a container that waits before its next try."""
    metadata = pod["metadata"]
    wait = _duration(record.backoff_seconds)
    return (
        f"back-off {wait} restarting failed container={record.name} "
        f"pod={metadata['name']}_{metadata.get('namespace', '')}({metadata.get('uid', '')})"
    )


def _duration(seconds: float) -> str:
    """Go's notation, ``1m20s``."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"


def container_status(pod: Object, container: Object, record: Record, now: float, *, is_init: bool) -> dict[str, Any]:
    """One entry of ``containerStatuses``."""
    policy = str(pod["spec"].get("restartPolicy") or "Always")
    state, last = _state(pod, record, now, wants_restart(record, policy, is_init=is_init))
    finished_well = record.ended is not None and record.ended.exit_code == 0
    return {
        "name": record.name,
        "image": container.get("image", ""),
        "imageID": "",
        "containerID": _container_id(record.container_id),
        "ready": record.state == "Terminated" and finished_well if is_init else record.ready,
        "started": record.started,
        "restartCount": record.restart_count,
        "state": state,
        "lastState": {"terminated": _terminated(last)} if last is not None else {},
    }


def pod_status(
    pod: Object,
    records: Mapping[str, Record],
    now: float,
    *,
    pod_ip: str,
    host_ip: str,
    started_at: float,
) -> dict[str, Any]:
    """The whole status of a pod that is bound to this node.

    Args:
        pod: the pod; the conditions in its status keep their transition times.
        started_at: when the kubelet took the pod.
    """
    spec = pod["spec"]
    init = list(spec.get("initContainers") or [])
    main = list(spec.get("containers") or [])
    initialized = all(_succeeded(records[container["name"]]) for container in init)
    shown = dict(records)
    if not initialized:
        for container in main:
            record = shown[container["name"]]
            if record.never_ran and record.reason == "ContainerCreating":
                shown[container["name"]] = Record(record.name, reason=_INITIALIZING)
    status: dict[str, Any] = {
        "phase": phase(spec, records),
        "conditions": conditions(pod, shown, now, initialized=initialized),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": timestamp(started_at),
        "qosClass": quality_of_service(pod),
        "containerStatuses": [
            container_status(pod, container, shown[container["name"]], now, is_init=False) for container in main
        ],
    }
    if pod_ip:
        status["podIP"] = pod_ip
        status["podIPs"] = [{"ip": pod_ip}]
    if init:
        status["initContainerStatuses"] = [
            container_status(pod, container, shown[container["name"]], now, is_init=True) for container in init
        ]
    return status


def _succeeded(record: Record) -> bool:
    return record.state == "Terminated" and record.ended is not None and record.ended.exit_code == 0


def conditions(pod: Object, records: Mapping[str, Record], now: float, *, initialized: bool) -> list[dict[str, Any]]:
    """PodScheduled, Initialized, ContainersReady and Ready, with kept transition times."""
    spec = pod["spec"]
    names = [container["name"] for container in spec.get("containers") or []]
    unready = [name for name in names if not records[name].ready]
    current = phase(spec, records)
    if current in ("Succeeded", "Failed"):
        verdict = ("False", "PodCompleted" if current == "Succeeded" else "PodFailed", "")
    elif unready:
        verdict = ("False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        verdict = ("True", "", "")
    waiting_init = [
        container["name"]
        for container in spec.get("initContainers") or []
        if not _succeeded(records[container["name"]])
    ]
    first = (
        ("True", "", "")
        if initialized
        else (
            "False",
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(waiting_init)}]",
        )
    )
    wanted = {
        "PodScheduled": ("True", "", ""),
        "Initialized": first,
        "ContainersReady": verdict,
        "Ready": _gated(pod, verdict),
    }
    own = [_condition(pod, kind, *values, now=now) for kind, values in wanted.items()]
    others = [dict(one) for one in _previous(pod) if one.get("type") not in wanted]
    return own + others


def _gated(pod: Object, verdict: tuple[str, str, str]) -> tuple[str, str, str]:
    """Ready also needs every readiness gate."""
    if verdict[0] != "True":
        return verdict
    met = {one.get("type") for one in _previous(pod) if one.get("status") == "True"}
    missing = [
        gate["conditionType"] for gate in pod["spec"].get("readinessGates") or [] if gate["conditionType"] not in met
    ]
    if not missing:
        return verdict
    return (
        "False",
        "ReadinessGatesNotReady",
        f'corresponding condition of pod readiness gate "{missing[0]}" is not met.',
    )


def _previous(pod: Object) -> Sequence[Object]:
    return (pod.get("status") or {}).get("conditions") or []


def _condition(pod: Object, kind: str, value: str, reason: str, message: str, *, now: float) -> dict[str, Any]:
    changed = timestamp(now)
    for one in _previous(pod):
        if one.get("type") == kind and one.get("status") == value:
            changed = one.get("lastTransitionTime") or changed
    condition: dict[str, Any] = {"type": kind, "status": value, "lastTransitionTime": changed}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition
