"""What `shoal local run` says while it waits: from two states of the world to lines of text.

Invariant: pure; equal snapshots give no line; the order of lines is job, cluster, pods; nothing is said twice
for one change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shoal_operator.domain import labels

Object = Mapping[str, Any]

FINAL: Final = ("Complete", "Failed")
_BAD_WAITS: Final = (
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ImagePullBackOff",
    "StartError",
)


@dataclass(frozen=True)
class Snapshot:
    """The objects of a run as they are now, by name."""

    jobs: Mapping[str, Object] = field(default_factory=dict)
    clusters: Mapping[str, Object] = field(default_factory=dict)
    pods: Mapping[str, Object] = field(default_factory=dict)


def condition(item: Object | None, kind: str) -> Object | None:
    """A condition of an object, None when it has none of that type."""
    for one in ((item or {}).get("status") or {}).get("conditions") or []:
        if one.get("type") == kind:
            found: Object = one
            return found
    return None


def outcome(job: Object | None) -> str | None:
    """``Complete`` or ``Failed`` once the job has ended."""
    for kind in FINAL:
        found = condition(job, kind)
        if found is not None and found.get("status") == "True":
            return kind
    return None


def render(previous: Snapshot, current: Snapshot) -> list[str]:
    """The lines that tell what has changed."""
    lines: list[str] = []
    for name, job in current.jobs.items():
        lines.extend(_job(name, previous.jobs.get(name), job))
    said = {_status(job, "message") for job in current.jobs.values()}
    for name, cluster in current.clusters.items():
        lines.extend(_cluster(name, previous.clusters.get(name), cluster, said))
    for name, pod in current.pods.items():
        lines.extend(_pod(name, previous.pods.get(name), pod))
    lines.extend(f"pod {name}: gone" for name in previous.pods if name not in current.pods)
    return lines


def _sentence(one: Object) -> str:
    reason, message = one.get("reason") or "", one.get("message") or ""
    return f"{reason}: {message}" if reason and message else reason or message


def _status(item: Object | None, name: str) -> Any:
    return ((item or {}).get("status") or {}).get(name)


def _job(name: str, before: Object | None, job: Object) -> list[str]:
    lines = [] if before is not None else [f"job {name}: created"]
    for kind in ("Suspended", "Running", *FINAL):
        now, then = condition(job, kind), condition(before, kind)
        if now is None or now.get("status") != "True":
            continue
        if then is None or then.get("status") != "True":
            detail = now.get("message") or ""
            lines.append(f"job {name}: {kind}" + (f" ({detail})" if detail else ""))
    if outcome(job) is None:
        lines.extend(_waiting(f"job {name}", before, job))
    lines.extend(_tasks(name, before, job))
    return lines


def _tasks(name: str, before: Object | None, job: Object) -> list[str]:
    now, then = _status(job, "tasks") or {}, _status(before, "tasks") or {}
    if now == then or not now.get("submitted"):
        return []
    failed = f", {now['failed']} failed" if now.get("failed") else ""
    return [f"job {name}: {now.get('finished', 0)} of {now['submitted']} tasks done{failed}"]


def _waiting(title: str, before: Object | None, item: Object) -> list[str]:
    """Why something waits, when that is new."""
    now = (_status(item, "reason"), _status(item, "message"))
    then = (_status(before, "reason"), _status(before, "message"))
    if now == then or not any(now):
        return []
    return [f"{title}: waits: {_sentence({'reason': now[0], 'message': now[1]})}"]


def _cluster(name: str, before: Object | None, cluster: Object, said: set[Any]) -> list[str]:
    # A job that waits for its cluster says the same: once is enough.
    lines = [] if _status(cluster, "message") in said else _waiting(f"cluster {name}", before, cluster)
    ready, was_ready = condition(cluster, "Ready"), condition(before, "Ready")
    if ready is not None and ready.get("status") == "True" and (was_ready or {}).get("status") != "True":
        lines.append(f"cluster {name}: ready")
    counts, then = _workers(cluster), _workers(before)
    if counts != then and (any(counts.values()) or any(then.values())):
        text = f"{counts['ready']} of {counts['desired']} ready"
        extra = [f"{counts[key]} {key}" for key in ("pending", "draining") if counts[key]]
        lines.append(f"cluster {name}: workers: {', '.join([text, *extra])}")
    return lines


def _workers(cluster: Object | None) -> dict[str, int]:
    workers = _status(cluster, "workers") or {}
    return {key: int(workers.get(key) or 0) for key in ("desired", "ready", "pending", "draining")}


def pod_word(pod: Object) -> str:
    """One word or sentence for the state of a pod."""
    if "deletionTimestamp" in pod["metadata"]:
        return "stopping"
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return f"waits: {_sentence(scheduled)}"
    for container in _status(pod, "containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _BAD_WAITS:
            last = (container.get("lastState") or {}).get("terminated") or {}
            detail = last.get("message") or (last and f"exit code {last.get('exitCode')}") or waiting.get("message")
            return f"waits: {waiting['reason']}" + (f": {detail}" if detail else "")
    ready = condition(pod, "Ready")
    if ready is not None and ready.get("status") == "True":
        return "ready"
    phase = str(_status(pod, "phase") or "Pending")
    return {"Pending": "starting", "Running": "running"}.get(phase, phase.lower())


def _pod(name: str, before: Object | None, pod: Object) -> list[str]:
    lines: list[str] = []
    word = pod_word(pod)
    # Between its start and its readiness a pod says nothing that a person waits for.
    if word != "running" and (before is None or pod_word(before) != word):
        lines.append(f"pod {name}: {word}")
    now, then = _restarts(pod), _restarts(before)
    if now > then:
        lines.append(f"pod {name}: restarted ({now} so far)")
    return lines


def crashed(previous: Snapshot, current: Snapshot) -> list[str]:
    """The pods whose containers have crashed since: their last words are worth showing."""
    return [name for name, pod in current.pods.items() if _crashes(pod) > _crashes(previous.pods.get(name))]


def _crashes(pod: Object | None) -> int:
    statuses = _status(pod, "containerStatuses") or []
    ended = [(one.get("state") or {}).get("terminated") or {} for one in statuses]
    return _restarts(pod) + sum(1 for one in ended if one.get("exitCode"))


def _restarts(pod: Object | None) -> int:
    return sum(int(one.get("restartCount") or 0) for one in _status(pod, "containerStatuses") or [])


def failure_text(job: Object) -> str:
    """Why a job failed; its output has been shown before."""
    return _sentence(condition(job, "Failed") or {}) or "no reason was given"


def pods_of(pods: Sequence[Object], clusters: Sequence[str]) -> dict[str, Object]:
    """The pods of these clusters, by name."""
    return {
        pod["metadata"]["name"]: pod
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(labels.CLUSTER) in clusters
    }
