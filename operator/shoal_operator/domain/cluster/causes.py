"""Why a pod does not run: one cause, named with one word of ours, in the pod's own words, with what to do.

Invariant: the function is pure, and steady: a pod that goes round in a loop (pull, back off, pull; start, crash, wait)
keeps one cause all the way round, so that one trouble is one transition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.cluster.pod_reasons import INIT_RUNNING, NODE_NOT_READY, PodReason
from shoal_operator.domain.reasons import Reason

LOOP_RESTARTS: Final = 2
"""From so many restarts on, a container that runs but is not ready counts as being in a loop."""
LOOP_RUN_SECONDS: Final = 600.0
"""A container that ran longer than this before it ended is not in a loop: the kubelet forgets its back-off too."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why one pod does not run."""

    reason: Reason
    pod_name: str
    words: str
    """The pod's own: ``container `shoal`: ErrImagePull: no such image``."""
    hint: str = ""
    """What to do; may be empty."""
    is_blocking: bool = True
    """Whether the pod will not come by itself soon, so that it is not counted on."""

    @property
    def message(self) -> str:
        """All of it in one line, for people."""
        text = f"pod {self.pod_name}: {self.words}"
        return f"{text}; {self.hint}" if self.hint else text


def cause_of(pod: PodView) -> Cause | None:
    """What keeps the pod from running; None while it runs, or may just need a moment.

    Args:
        pod: the pod, with ``notices`` if Events were looked up.
    """
    if pod.ready and not pod.is_deleting and not pod.has_ended:
        return None
    if pod.is_deleting or pod.has_ended:
        return _first(pod, _OUTSIDE) or _out_of_memory(pod)
    return _first(pod, {**_OUTSIDE, **_SCHEDULING}) or _of_containers(pod) or _of_notices(pod)


@dataclass(frozen=True, slots=True)
class _Rule:
    reason: Reason
    hint: str = ""


_LOGS: Final = "see `kubectl logs {pod} -c {container} --previous`"
_DESCRIBE: Final = "see `kubectl describe pod {pod}`"
_IMAGE: Final = _Rule(
    Reason.IMAGE_UNAVAILABLE, "check the image's name in the spec, and that nodes can reach its registry"
)
_DISRUPTED: Final = _Rule(Reason.POD_DISRUPTED, "it is replaced as soon as it is gone")
_REFUSED: Final = _Rule(Reason.NODE_REFUSED_POD, "it is replaced")

_OUTSIDE: Final[Mapping[str, _Rule]] = {
    "Evicted": _Rule(Reason.EVICTED, "raise the requests or the volume's sizeLimit in the pod template"),
    "NodeLost": _Rule(Reason.NODE_LOST, "bring the node back, or remove it from Kubernetes"),
    NODE_NOT_READY: _Rule(Reason.NODE_LOST, "bring the node back, or remove it from Kubernetes"),
    "NodeShutdown": _DISRUPTED,
    "Preempting": _DISRUPTED,
    "PreemptionByScheduler": _DISRUPTED,
    "EvictionByEvictionAPI": _DISRUPTED,
    "DeletionByTaintManager": _DISRUPTED,
    "DeletionByPodGC": _DISRUPTED,
    "TerminationByKubelet": _DISRUPTED,
    "NodeAffinity": _REFUSED,
    "OutOfcpu": _REFUSED,
    "OutOfmemory": _REFUSED,
    "OutOfpods": _REFUSED,
    "UnexpectedAdmissionError": _REFUSED,
}
"""What happens to pods from outside, running or not."""

_MEMORY: Final = _Rule(Reason.OUT_OF_MEMORY, "raise the container's memory limit in the pod template")
_GATED: Final = _Rule(Reason.SCHEDULING_GATED, "whoever set the gate has to take it away")
_SCHEDULING: Final[Mapping[str, _Rule]] = {
    "SchedulingGated": _GATED,
    "Unschedulable": _Rule(Reason.UNSCHEDULABLE),
    "SchedulerError": _Rule(Reason.UNSCHEDULABLE, "see the log of kube-scheduler"),
}

_START: Final = _Rule(Reason.CONTAINER_NOT_STARTED, f"check the container in the pod template; {_DESCRIBE}")
_WAITING: Final[Mapping[str, _Rule]] = {
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "InvalidImageName": _IMAGE,
    "ImageInspectError": _IMAGE,
    "RegistryUnavailable": _IMAGE,
    "SignatureValidationFailed": _IMAGE,
    "ErrImageNeverPull": _Rule(
        Reason.IMAGE_UNAVAILABLE, "bring the image to the node, or set imagePullPolicy to IfNotPresent"
    ),
    "CreateContainerConfigError": _Rule(
        Reason.CONTAINER_MISCONFIGURED, "create what is missing, or correct the pod template"
    ),
    "CreateContainerError": _START,
    "RunContainerError": _START,
    "StartError": _START,
}
_NEVER_STARTED: Final = ("StartError", "ContainerCannotRun")
"""How a RunContainerError shows between two attempts."""
_DENIED: Final = _Rule(
    Reason.IMAGE_PULL_DENIED, "create the Secret that `imagePullSecrets` of the pod template names, or correct it"
)
_VOLUME: Final = _Rule(Reason.VOLUME_NOT_MOUNTED, "create what is missing, or correct the volume in the pod template")
_NOTICES: Final[Mapping[str, _Rule]] = {
    "FailedMount": _VOLUME,
    "FailedAttachVolume": _VOLUME,
    "FailedMapVolume": _VOLUME,
    "FailedCreatePodSandBox": _Rule(Reason.SANDBOX_FAILED, "check the node's network and its container runtime"),
    "NetworkNotReady": _Rule(Reason.SANDBOX_FAILED, "check the node's network plugin"),
    "FailedScheduling": _Rule(Reason.UNSCHEDULABLE),
    "Unhealthy": _Rule(Reason.PROBE_FAILS, "see `kubectl logs {pod}`"),
    "FailedPostStartHook": _START,
}
"""Warning Events that explain a silent status, the most telling first."""

_SHORT_OF: Final = (
    (re.compile(r"persistentvolumeclaim|PersistentVolumeClaim"), "see `kubectl get pvc`; create or bind the claim"),
    (re.compile(r"resourceclaim|ResourceClaim"), "create the ResourceClaim, or free a device"),
    (re.compile(r"Insufficient|Too many pods"), "ask for less in the pod template, or add nodes"),
    (re.compile(r"taint"), "add a toleration to the pod template, or nodes without the taint"),
    (re.compile(r"node affinity|node selector"), "correct nodeSelector or affinity, or label a node"),
    (re.compile(r"affinity rules|topology spread"), "relax the rule in the pod template, or add nodes"),
)
_PREEMPTION: Final = re.compile(r"\.( no new claims to deallocate,)? (preemption: .*|not found)$", re.DOTALL)
_BACK_OFF: Final = re.compile(r'^Back-off pulling image "[^"]*": \w+: ')
_UNAUTHORISED: Final = re.compile(
    r"\b40[13]\b|unauthori[sz]ed|authorization failed|access denied|no basic auth credentials|denied:", re.IGNORECASE
)


def _first(pod: PodView, rules: Mapping[str, _Rule]) -> Cause | None:
    for said in pod.reasons:
        rule = rules.get(said.reason)
        if rule is not None:
            return _scheduling(pod, said) if rule.reason is Reason.UNSCHEDULABLE else _say(pod, said, rule)
    return None


def _scheduling(pod: PodView, said: PodReason) -> Cause:
    """The scheduler's words without what it says about preemption, which helps nobody."""
    message = _PREEMPTION.sub("", said.message)
    hints = [hint for pattern, hint in _SHORT_OF if pattern.search(message)]
    is_claim = bool(hints) and hints[0] is _SHORT_OF[0][1]
    reason = Reason.VOLUME_CLAIM_PENDING if is_claim else Reason.UNSCHEDULABLE
    return _say(pod, PodReason(said.reason, message), _Rule(reason, "; ".join(hints[:2])))


def _out_of_memory(pod: PodView) -> Cause | None:
    said = next((said for said in pod.reasons if said.reason == "OOMKilled" and said.state == "terminated"), None)
    return _say(pod, said, _MEMORY) if said else None


def _of_containers(pod: PodView) -> Cause | None:
    for said in pod.reasons:
        if said.container:
            cause = _of_container(pod, said)
            if cause is not None:
                return cause
    return None


def _of_container(pod: PodView, said: PodReason) -> Cause | None:
    if said.state == "waiting" and said.reason in _WAITING:
        return _of_image(pod, said) if _WAITING[said.reason].reason is Reason.IMAGE_UNAVAILABLE else _waits(pod, said)
    if said.reason == INIT_RUNNING:
        rule = _Rule(Reason.INIT_CONTAINER_RUNS, "see `kubectl logs {pod} -c {container}`")
        return None if _last(pod, said.container) else _say(pod, said, rule, is_blocking=False)
    if said.state == "waiting" and said.reason == "CrashLoopBackOff":
        return _crash(pod, _last(pod, said.container) or said, is_loop=True)
    if said.state in ("terminated", "last"):
        return _crash(pod, said, is_loop=_is_looping(pod, said))
    return None


def _waits(pod: PodView, said: PodReason) -> Cause:
    return _say(pod, said, _WAITING[said.reason])


def _of_image(pod: PodView, said: PodReason) -> Cause:
    """Pulling and waiting for the next pull are one trouble, so they get the same words."""
    name = "ErrImagePull" if said.reason == "ImagePullBackOff" else said.reason
    quoted = PodReason(name, _BACK_OFF.sub("", said.message), said.container)
    rule = _DENIED if _UNAUTHORISED.search(said.message) else _WAITING[said.reason]
    secret = next((note for note in pod.notices if note.reason == "FailedToRetrieveImagePullSecret"), None)
    if rule is _DENIED and secret is not None:
        quoted = PodReason(name, f"{quoted.message}; {secret.message}", said.container)
    return _say(pod, quoted, rule)


def _crash(pod: PodView, ended: PodReason, *, is_loop: bool) -> Cause:
    if ended.reason == "OOMKilled":
        return _say(pod, ended, _MEMORY, is_blocking=is_loop)
    if ended.reason in _NEVER_STARTED:
        said = PodReason("RunContainerError", ended.message.removeprefix("exit code 128: "), ended.container)
        return _say(pod, said, _START)
    if ended.is_init:
        return _say(pod, ended, _Rule(Reason.INIT_CONTAINER_FAILED, _LOGS))
    rule = _Rule(Reason.CRASH_LOOP if is_loop else Reason.CONTAINER_RESTARTED, _LOGS)
    return _say(pod, ended, rule, is_blocking=is_loop)


def _is_looping(pod: PodView, ended: PodReason) -> bool:
    ran_long = ended.ran_seconds is not None and ended.ran_seconds > LOOP_RUN_SECONDS
    return pod.restarts >= LOOP_RESTARTS and not ran_long


def _last(pod: PodView, container: str) -> PodReason | None:
    ended = (said for said in pod.reasons if said.container == container and said.state in ("last", "terminated"))
    return next(ended, None)


def _of_notices(pod: PodView) -> Cause | None:
    for name, rule in _NOTICES.items():
        said = next((note for note in pod.notices if note.reason == name), None)
        if said is not None:
            if rule.reason is Reason.UNSCHEDULABLE:
                return _scheduling(pod, said)
            return _say(pod, said, rule, is_blocking=rule.reason is not Reason.PROBE_FAILS)
    return None


def _say(pod: PodView, said: PodReason, rule: _Rule, *, is_blocking: bool = True) -> Cause:
    kind = "init container" if said.is_init else "container"
    where = f"{kind} `{said.container}`: " if said.container else ""
    quoted = f"{said.reason}: {said.message}" if said.message else said.reason
    hint = rule.hint.format(pod=pod.name, container=said.container)
    return Cause(rule.reason, pod.name, where + quoted, hint, is_blocking)
