"""Faults of pods that are there and do not run. Pure."""

from __future__ import annotations

from typing import Final

from e2e.faults.fault import NO_REGISTRY, REAL, Fault, asks, init, named, runtime, volume

STAYS: Final = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit()); signal.pause()"
"""A program that never ends by itself. As a container's first process it has to ask for SIGTERM, or it is not told."""
FAILS: Final = STAYS.replace("exit()", "exit(1)")
"""The same, and a failure when it is told to end: a pod whose containers all end well has not failed, and Kubernetes
forgets that it was evicted."""


def of_images(private_registry: str) -> tuple[Fault, ...]:
    """Images that cannot be had."""
    return (
        Fault("image", "ImageUnavailable", NO_REGISTRY, "ErrImagePull", spec={"image": NO_REGISTRY}, places=REAL),
        Fault(
            "image-worker",
            "ImageUnavailable",
            NO_REGISTRY,
            "ErrImagePull",
            worker=runtime(image=NO_REGISTRY),
            places=REAL,
        ),
        Fault(
            "pull-secret",
            "ImagePullDenied",
            "401 Unauthorized",
            "401 Unauthorized",
            head={"imagePullSecrets": [{"name": "absent"}], **runtime(image=f"{private_registry}/private:1")},
            places=frozenset({"bare"}),
        ),
    )


def of_scheduling() -> tuple[Fault, ...]:
    """Pods that no node takes."""
    return (
        Fault("cpu", "Unschedulable", "Insufficient cpu", "Unschedulable", head=runtime(**asks(cpu="9999"))),
        Fault(
            "gpu",
            "Unschedulable",
            "nvidia.com/gpu",
            "Unschedulable",
            worker=runtime(**asks(**{"nvidia.com/gpu": 8})),
            places=REAL,
        ),
        Fault(
            "selector",
            "Unschedulable",
            "node",
            "Unschedulable",
            worker={"nodeSelector": {"shoal.dev/e2e": "nowhere"}},
            places=REAL,
        ),
        Fault("taint", "Unschedulable", "untolerated taint", "Unschedulable", worker={}, places=frozenset({"bare"})),
        Fault(
            "claim",
            "VolumeClaimPending",
            'persistentvolumeclaim "absent" not found',
            "persistentvolumeclaim",
            head=volume({"persistentVolumeClaim": {"claimName": "absent"}}),
            places=REAL,
        ),
        Fault(
            "gate",
            "SchedulingGated",
            "shoal.dev/e2e",
            "SchedulingGated",
            worker={"schedulingGates": [{"name": "shoal.dev/e2e"}]},
        ),
    )


def of_containers(image: str) -> tuple[Fault, ...]:
    """Containers that end, or never do."""
    return (
        Fault(
            "head-crashes",
            "HeadCrashLoop",
            "exit code",
            "CrashLoopBackOff",
            head=runtime(env=[{"name": "PYTHONHOME", "value": "/nowhere"}]),
        ),
        Fault(
            "worker-crashes",
            "CrashLoop",
            "exit code",
            "CrashLoopBackOff",
            worker=runtime(env=[{"name": "PYTHONHOME", "value": "/nowhere"}]),
            places=REAL,
        ),
        Fault(
            "memory",
            "OutOfMemory",
            "OOMKilled",
            "OOMKilled",
            head=runtime(resources={"limits": {"memory": "24Mi"}}),
            places=REAL,
        ),
        Fault("init-fails", "InitContainerFailed", "exit code 7", "exitCode", head=init(image, "raise SystemExit(7)")),
        Fault(
            "init-stuck",
            "InitContainerRuns",
            "init container `first`",
            "first",
            head=init(image, STAYS),
        ),
    )


def of_surroundings(image: str, namespace: str) -> tuple[Fault, ...]:
    """What a pod needs around its containers."""
    return (
        Fault(
            "variable",
            "ContainerMisconfigured",
            '"absent" not found',
            "CreateContainerConfigError",
            head=runtime(envFrom=[{"secretRef": {"name": "absent"}}]),
            missing=(named("Secret", "absent"),),
        ),
        Fault(
            "volume",
            "VolumeNotMounted",
            '"absent" not found',
            head=volume({"configMap": {"name": "absent"}}),
            missing=(named("ConfigMap", "absent"),),
        ),
        Fault(
            "sandbox",
            "SandboxFailed",
            "no runtime",
            head={"runtimeClassName": f"{namespace}-absent"},
            before=(named("RuntimeClass", f"{namespace}-absent", "node.k8s.io/v1", handler="absent"),),
            places=REAL,
        ),
        Fault(
            "evicted",
            "Evicted",
            "exceeds the limit",
            "Evicted",
            head={
                **volume({"emptyDir": {"sizeLimit": "1Mi"}}),
                "containers": [
                    runtime()["containers"][0],
                    {
                        "name": "hungry",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": [
                            "python",
                            "-c",
                            f"open('/extra/x', 'wb').write(bytes(9 << 20)); {FAILS}",
                        ],
                        "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                    },
                ],
            },
            places=REAL,
        ),
    )
