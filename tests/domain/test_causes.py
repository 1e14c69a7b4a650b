"""Why a pod does not run: statuses of a real kubelet, and the one cause that each has."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal_operator.domain.cluster.causes import cause_of
from shoal_operator.domain.cluster.notices import PODS_MAX, read_notices, silent_pods
from shoal_operator.domain.cluster.observed import PodView, pod_view
from shoal_operator.domain.cluster.pod_reasons import PodReason
from shoal_operator.domain.pod_quantities import with_place
from shoal_operator.domain.refusals import explain_refusal

PODS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "fixtures" / "pods.json").read_text())
"""Cut out of pods of Kubernetes 1.36; a name with + is the same pod at another point of its loop."""
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)

CAUSES = {
    "fine": None,
    "sidecar": None,
    "sandbox": None,
    "unready": None,
    "init-never": None,
    "deadline": None,
    "image-absent": ("ImageUnavailable", "ErrImagePull: rpc error: code = NotFound", "check the image's name"),
    "image-refused": ("ImageUnavailable", "connection refused", "reach its registry"),
    "image-private": ("ImagePullDenied", "401 Unauthorized", "create the Secret that `imagePullSecrets`"),
    "image-invalid": ("ImageUnavailable", "invalid reference format", "check the image's name"),
    "image-never": ("ImageUnavailable", "pull policy of Never", "set imagePullPolicy"),
    "cpu": ("Unschedulable", "0/1 nodes are available: 1 Insufficient cpu", "ask for less"),
    "gpu": ("Unschedulable", "1 Insufficient nvidia.com/gpu", "add nodes"),
    "selector": ("Unschedulable", "node affinity/selector", "correct nodeSelector"),
    "taint": ("Unschedulable", "1 node(s) had untolerated taint(s)", "add a toleration"),
    "pvc-absent": ("VolumeClaimPending", 'persistentvolumeclaim "absent" not found', "kubectl get pvc"),
    "pvc-pending": ("VolumeClaimPending", "unbound immediate PersistentVolumeClaims", "kubectl get pvc"),
    "gated": ("SchedulingGated", "example.com/gate", "take it away"),
    "crash": ("CrashLoop", "exit code 3: no such file: /etc/app.conf", "kubectl logs crash -c shoal --previous"),
    "no-command": ("ContainerNotStarted", 'exec: "nosuchcommand": executable file not found', "check the container"),
    "init-crash": ("InitContainerFailed", "init container `first`: Error: exit code 4", "logs init-crash -c first"),
    "init-stuck": ("InitContainerRuns", "it has run since 2026-", "logs init-stuck -c first"),
    "env-secret": ("ContainerMisconfigured", 'secret "absent" not found', "create what is missing"),
    "run-as": ("ContainerMisconfigured", "breaks non-root policy", "correct the pod template"),
    "oom": ("OutOfMemory", "OOMKilled", "raise the container's memory limit"),
    "evicted": ("Evicted", 'Usage of EmptyDir volume "d" exceeds the limit', "sizeLimit"),
    "out-of-cpu": ("NodeRefusedPod", "Node didn't have enough resource: cpu", "it is replaced"),
}
UNCERTAIN = {"init-stuck", "oom"}
"""These may come by themselves: they are still counted on."""


def view(name: str) -> PodView:
    return pod_view(PODS[name])


@pytest.mark.parametrize("name", [name for name in PODS if not name.endswith("+")])
def test_a_real_pod_has_one_cause_in_its_own_words(name: str) -> None:
    cause, expected = cause_of(view(name)), CAUSES[name]
    if expected is None:
        assert cause is None
        return
    assert cause is not None
    reason, quoted, hint = expected
    assert cause.reason == reason
    assert cause.message.startswith(f"pod {name}: ")
    assert quoted in cause.words
    assert hint in cause.hint
    assert cause.is_blocking is (name not in UNCERTAIN)
    assert "preemption" not in cause.message


@pytest.mark.parametrize("name", [name.removesuffix("+") for name in PODS if name.endswith("+")])
def test_a_pod_in_a_loop_keeps_its_cause_all_the_way_round(name: str) -> None:
    first, second = cause_of(view(name)), cause_of(view(f"{name}+"))
    assert first is not None
    assert second is not None
    assert (first.reason, first.message) == (second.reason, second.message)


def container(**fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": {"phase": "Running", "containerStatuses": [{"name": "c", **fields}]}}


def ended(seconds: int, **fields: Any) -> dict[str, Any]:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"startedAt": begin.isoformat(), "finishedAt": (begin + timedelta(seconds=seconds)).isoformat()}
    return {"terminated": {"exitCode": 1, "reason": "Error", **times, **fields}}


@pytest.mark.parametrize(
    ("pod", "reason", "blocks"),
    [
        (container(state=ended(1), restartCount=0), "ContainerRestarted", False),
        (container(state={"running": {}}, lastState=ended(1), restartCount=1), "ContainerRestarted", False),
        (container(state={"running": {}}, lastState=ended(1), restartCount=2), "CrashLoop", True),
        (container(state={"running": {}}, lastState=ended(4000), restartCount=9), "ContainerRestarted", False),
        (container(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(1)), "CrashLoop", True),
    ],
)
def test_one_restart_is_no_loop(pod: dict[str, Any], reason: str, blocks: bool) -> None:
    cause = cause_of(pod_view(pod))
    assert cause is not None
    assert (cause.reason, cause.is_blocking) == (reason, blocks)


def test_a_pod_whose_node_is_lost_says_so_before_it_is_thrown_out() -> None:
    conditions = [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n7"}, "status": {"conditions": conditions}}
    cause = cause_of(pod_view(pod))
    assert cause is not None
    assert (cause.reason, cause.words) == ("NodeLost", "NodeNotReady: node n7 does not answer")
    leaving = {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}  # type: ignore[dict-item]
    lost = {"metadata": leaving, "status": {"reason": "NodeLost", "message": "node n7 is unresponsive"}}
    cause = cause_of(pod_view(lost))
    assert cause is not None
    assert cause.reason == "NodeLost"


def test_a_preempted_pod_says_by_whom() -> None:
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "by x"}
    cause = cause_of(pod_view({"metadata": {"name": "p"}, "status": {"conditions": [disrupted]}}))
    assert cause is not None
    assert (cause.reason, cause.words) == ("PodDisrupted", "PreemptionByScheduler: by x")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("FailedMount", "VolumeNotMounted"),
        ("FailedAttachVolume", "VolumeNotMounted"),
        ("FailedCreatePodSandBox", "SandboxFailed"),
        ("FailedScheduling", "Unschedulable"),
        ("Unhealthy", "ProbeFails"),
    ],
)
def test_events_speak_for_a_pod_whose_status_is_silent(event: str, reason: str) -> None:
    events = [
        {"type": "Normal", "reason": "Scheduled", "note": "to node1"},
        {"type": "Warning", "reason": event, "note": "older", "deprecatedLastTimestamp": "2026-01-01T00:00:00Z"},
        {"type": "Warning", "reason": event, "note": "newer", "deprecatedLastTimestamp": "2026-01-01T00:00:09Z"},
        {"type": "Warning", "reason": "SomethingElse", "note": "?"},
    ]
    cause = cause_of(replace(view("sandbox"), notices=read_notices(events, age_seconds=60.0)))
    assert cause is not None
    assert cause.reason == reason
    assert cause.words.endswith(": newer")


def test_a_failing_probe_is_no_news_while_a_pod_starts() -> None:
    events = [{"type": "Warning", "reason": "Unhealthy", "note": "Startup probe failed"}]
    assert read_notices(events, age_seconds=3.0) == ()


def test_a_missing_pull_secret_is_named() -> None:
    said = "Unable to retrieve some image pull secrets (registry)"
    notices = (PodReason("FailedToRetrieveImagePullSecret", said),)
    cause = cause_of(replace(view("image-private"), notices=notices))
    assert cause is not None
    assert said in cause.message


def test_only_silent_pods_are_asked_about_and_few_at_a_time() -> None:
    def aged(pod: str, seconds: float, **fields: Any) -> PodView:
        return replace(view(pod), created=NOW - timedelta(seconds=seconds), **fields)

    assert silent_pods([aged("cpu", 60), aged("image-absent", 60), aged("fine", 60)], NOW) == ((), None)
    assert silent_pods([aged("sandbox", 0.5)], NOW) == ((), 1.5)
    asked, wait = silent_pods([aged("sandbox", 2.0, name=f"p{n}") for n in range(9)], NOW)
    assert ([pod.name for pod in asked], wait) == (["p0", "p1", "p2"], None)
    assert len(asked) == PODS_MAX
    known = aged("sandbox", 9, notices=(PodReason("FailedMount", "x"),))
    assert silent_pods([known], NOW)[0] == (known,)
    assert silent_pods([aged("image-private", 9)], NOW)[0] != ()


FORBIDDEN = 'pods "a" is forbidden: '


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [
        (403, FORBIDDEN + "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0", "QuotaExceeded"),
        (403, FORBIDDEN + "failed quota: cpu: must specify limits.memory for: shoal", "AdmissionDenied"),
        (403, FORBIDDEN + 'violates PodSecurity "restricted:latest": runAsNonRoot != true', "AdmissionDenied"),
        (422, FORBIDDEN + "ValidatingAdmissionPolicy 'team' with binding 'team' denied request: x", "AdmissionDenied"),
        (400, 'admission webhook "w.example.com" denied the request: no', "AdmissionDenied"),
        (500, 'Internal error occurred: failed calling webhook "w.example.com": ...', "AdmissionUnavailable"),
        (
            403,
            FORBIDDEN + 'error looking up service account c/a: serviceaccount "a" not found',
            "ServiceAccountMissing",
        ),
        (403, FORBIDDEN + "no PriorityClass with name absent was found", "PriorityClassMissing"),
        (403, FORBIDDEN + 'pod rejected: RuntimeClass "none-such" not found', "AdmissionDenied"),
        (403, FORBIDDEN + 'User "system:serviceaccount:a:shoal" cannot create resource "pods"', "WriteRefused"),
        (422, 'Pod "a" is invalid: spec.containers[0].image: Required value', "InvalidTemplate"),
        (400, 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: ...', "InvalidTemplate"),
    ],
)
def test_a_refusal_of_the_api_server_is_named(code: int, words: str, reason: str) -> None:
    refusal = explain_refusal("small", "demo-small-0", code, words)
    assert refusal.reason == reason
    assert words in refusal.message


def test_a_wrong_quantity_is_named_with_its_place() -> None:
    containers = [{"name": "side"}, {"name": "shoal", "resources": {"limits": {"memory": "4Gi", "cpu": "lots"}}}]
    words = with_place("quantities must match the regular expression '...'", {"spec": {"containers": containers}})
    assert "spec.containers[1].resources.limits.cpu is `lots`" in words
    assert "regular expression" in words
    assert with_place("something else", {"spec": {"containers": containers}}) == "something else"
