"""Faults that keep a cluster from running, with the words that the object must have, and what repairs each.

Pure: a table. Invariant: a fault is in the manifests alone, so that the same table breaks any Kubernetes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from e2e import manifests
from e2e.manifests import Manifest

NAME: Final = "broken"
HEAD: Final = f"{NAME}-head"
WORKER: Final = f"{NAME}-small-0"
NO_REGISTRY: Final = "localhost:1/none:1"
"""Nothing listens there, on no node."""
EVERYWHERE: Final = frozenset({"local", "bare", "kind"})
REAL: Final = frozenset({"bare", "kind"})


@dataclass(frozen=True)
class Fault:
    """One way to break a cluster.

    Attributes:
        reason: the word in the conditions, in ``status.reason`` and in the Event.
        words: what the message quotes.
        sign: what the pod's own status says then; empty where it says nothing, or there is no pod.
        head: pod spec of the head's template.
        worker: pod spec of a worker group's template; a worker is then wanted at least.
        spec: further fields of the cluster's spec.
        before: objects that are there before; removed with the repair.
        missing: objects whose absence is the fault; applied as the repair.
        places: the providers on which the fault means something.
        condition: the specific one.
    """

    name: str
    reason: str
    words: str
    sign: str = ""
    head: Mapping[str, Any] = field(default_factory=dict)
    worker: Mapping[str, Any] | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Manifest, ...] = ()
    missing: tuple[Manifest, ...] = ()
    places: frozenset[str] = EVERYWHERE
    is_blocking: bool = True

    @property
    def condition(self) -> str:
        """The specific condition."""
        return "HeadReady" if self.worker is None else "WorkersReady"

    @property
    def pod(self) -> str:
        """Name of the pod that does not run."""
        return HEAD if self.worker is None else WORKER

    def cluster(self, image: str) -> Manifest:
        """The broken cluster."""
        spec = _spec(image, self.head, {} if self.worker is None else self.worker, wants_worker=self.worker is not None)
        return manifests.cluster(NAME, {**spec, **self.spec})

    def repaired(self, image: str) -> Manifest:
        """The same without the fault in it (the spec stays when something was missing, or in the way)."""
        if self.before or self.missing:
            return self.cluster(image)
        return manifests.cluster(NAME, _spec(image, {}, {}, wants_worker=self.worker is not None))


def _spec(image: str, head: Mapping[str, Any], worker: Mapping[str, Any], *, wants_worker: bool) -> Manifest:
    group = manifests.group(template=manifests.template(**worker), minReplicas=int(wants_worker))
    return manifests.cluster_spec(image, (group,), head={"template": manifests.template(**head)})


def _runtime(**fields: Any) -> dict[str, Any]:
    """A pod spec whose container ``shoal`` has some fields."""
    return {"containers": [{"name": "shoal", **fields}]}


def _volume(source: Manifest) -> dict[str, Any]:
    mount = _runtime(volumeMounts=[{"name": "extra", "mountPath": "/extra"}])
    return {**mount, "volumes": [{"name": "extra", **source}]}


def _named(kind: str, name: str, api_version: str = "v1", **fields: Any) -> Manifest:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def _init(image: str, program: str) -> dict[str, Any]:
    command = ["python", "-c", program]
    first = {"name": "first", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}
    return {"initContainers": [first]}


def faults(image: str, namespace: str, private_registry: str) -> dict[str, Fault]:
    """The table, by name.

    Args:
        image: the runtime image, present on the nodes.
        namespace: where the cluster will be.
        private_registry: ``host:port`` of a registry that wants credentials.
    """
    policy = f"{namespace}-team"
    return {
        fault.name: fault
        for fault in (*_of_pods(image, namespace, private_registry), *_of_admission(policy, namespace))
    }


def _of_pods(image: str, namespace: str, private_registry: str) -> tuple[Fault, ...]:
    return (
        Fault("image", "ImageUnavailable", NO_REGISTRY, "ErrImagePull", spec={"image": NO_REGISTRY}, places=REAL),
        Fault(
            "image-worker",
            "ImageUnavailable",
            NO_REGISTRY,
            "ErrImagePull",
            worker=_runtime(image=NO_REGISTRY),
            places=REAL,
        ),
        Fault(
            "pull-secret",
            "ImagePullDenied",
            "401 Unauthorized",
            "401 Unauthorized",
            head={"imagePullSecrets": [{"name": "absent"}], **_runtime(image=f"{private_registry}/private:1")},
            places=frozenset({"bare"}),
        ),
        Fault("cpu", "Unschedulable", "Insufficient cpu", "Unschedulable", head=_runtime(**_asks(cpu="9999"))),
        Fault(
            "gpu", "Unschedulable", "nvidia.com/gpu", "Unschedulable", worker=_runtime(**_asks(**{"nvidia.com/gpu": 8}))
        ),
        Fault(
            "selector", "Unschedulable", "node", "Unschedulable", worker={"nodeSelector": {"shoal.dev/e2e": "nowhere"}}
        ),
        Fault("taint", "Unschedulable", "untolerated taint", "Unschedulable", worker={}, places=frozenset({"bare"})),
        Fault(
            "claim",
            "VolumeClaimPending",
            'persistentvolumeclaim "absent" not found',
            "persistentvolumeclaim",
            head=_volume({"persistentVolumeClaim": {"claimName": "absent"}}),
            places=REAL,
        ),
        Fault(
            "gate",
            "SchedulingGated",
            "shoal.dev/e2e",
            "SchedulingGated",
            worker={"schedulingGates": [{"name": "shoal.dev/e2e"}]},
        ),
        Fault(
            "head-crashes",
            "HeadCrashLoop",
            "exit code",
            "CrashLoopBackOff",
            head=_runtime(env=[{"name": "PYTHONHOME", "value": "/nowhere"}]),
        ),
        Fault(
            "worker-crashes",
            "CrashLoop",
            "exit code",
            "CrashLoopBackOff",
            worker=_runtime(env=[{"name": "PYTHONHOME", "value": "/nowhere"}]),
        ),
        Fault(
            "memory",
            "OutOfMemory",
            "OOMKilled",
            "OOMKilled",
            head=_runtime(resources={"limits": {"memory": "24Mi"}}),
            places=REAL,
        ),
        Fault("init-fails", "InitContainerFailed", "exit code 7", "exitCode", head=_init(image, "raise SystemExit(7)")),
        Fault(
            "init-stuck",
            "InitContainerRuns",
            "init container `first`",
            "first",
            head=_init(image, "import time; time.sleep(3600)"),
            is_blocking=False,
        ),
        Fault(
            "variable",
            "ContainerMisconfigured",
            '"absent" not found',
            "CreateContainerConfigError",
            head=_runtime(envFrom=[{"secretRef": {"name": "absent"}}]),
            missing=(_named("Secret", "absent"),),
        ),
        Fault(
            "volume",
            "VolumeNotMounted",
            '"absent" not found',
            head=_volume({"configMap": {"name": "absent"}}),
            missing=(_named("ConfigMap", "absent"),),
        ),
        Fault(
            "sandbox",
            "SandboxFailed",
            "no runtime",
            head={"runtimeClassName": f"{namespace}-absent"},
            before=(_named("RuntimeClass", f"{namespace}-absent", "node.k8s.io/v1", handler="absent"),),
            places=REAL,
        ),
        Fault(
            "evicted",
            "Evicted",
            "exceeds the limit",
            "Evicted",
            head={
                **_volume({"emptyDir": {"sizeLimit": "1Mi"}}),
                "containers": [
                    _runtime()["containers"][0],
                    {
                        "name": "hungry",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": [
                            "python",
                            "-c",
                            "open('/extra/x', 'wb').write(bytes(9 << 20)); import time; time.sleep(600)",
                        ],
                        "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                    },
                ],
            },
            places=REAL,
        ),
    )


def _asks(**resources: Any) -> dict[str, Any]:
    return {"resources": {"limits": {name: str(amount) for name, amount in resources.items()}}}


def _of_admission(policy: str, namespace: str) -> tuple[Fault, ...]:
    quota = _named("ResourceQuota", "small", spec={"hard": {"pods": "0"}})
    return (
        Fault("quota", "QuotaExceeded", "exceeded quota: small", before=(quota,), places=REAL),
        Fault(
            "quota-worker",
            "QuotaExceeded",
            "exceeded quota: small",
            worker={},
            before=(_named("ResourceQuota", "small", spec={"hard": {"pods": "1"}}),),
            places=REAL,
        ),
        Fault("pod-security", "AdmissionDenied", "violates PodSecurity", head={"hostNetwork": True}, places=REAL),
        Fault("policy", "AdmissionDenied", "no pods today", before=_denying_policy(policy, namespace), places=REAL),
        Fault(
            "webhook",
            "AdmissionUnavailable",
            "failed calling webhook",
            before=_dead_webhook(policy, namespace),
            places=REAL,
        ),
        Fault(
            "service-account",
            "ServiceAccountMissing",
            'serviceaccount "absent" not found',
            head={"serviceAccountName": "absent"},
            missing=(_named("ServiceAccount", "absent"),),
            places=REAL,
        ),
        Fault(
            "priority-class",
            "PriorityClassMissing",
            "no PriorityClass with name",
            head={"priorityClassName": policy},
            places=REAL,
        ),
        Fault(
            "template",
            "InvalidTemplate",
            'unknown field "spec.tolerationz"',
            worker={"tolerationz": []},
        ),
    )


def _denying_policy(name: str, namespace: str) -> tuple[Manifest, ...]:
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return (
        _named(
            "ValidatingAdmissionPolicy",
            name,
            "admissionregistration.k8s.io/v1",
            spec={
                "matchConstraints": {"resourceRules": rules},
                "validations": [{"expression": "false", "message": "no pods today"}],
            },
        ),
        _named(
            "ValidatingAdmissionPolicyBinding",
            name,
            "admissionregistration.k8s.io/v1",
            spec={"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}},
        ),
    )


def _dead_webhook(name: str, namespace: str) -> tuple[Manifest, ...]:
    webhook = {
        "name": "down.shoal.dev",
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    return (_named("ValidatingWebhookConfiguration", name, "admissionregistration.k8s.io/v1", webhooks=[webhook]),)


NAMES: Final = tuple(faults("image", "namespace", "registry"))
