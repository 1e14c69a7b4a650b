"""Pod templates: what people write into them arrives in the pods and works there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e import manifests
from e2e.world import World

PROGRAM = """
    import os, pathlib, time
    import shoal

    def read(path, seconds=20):
        file = pathlib.Path(path)
        deadline = time.monotonic() + seconds
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return file.read_text().strip()

    @shoal.remote(num_cpus=1)
    def look():
        shared = os.environ["SHARED"]
        return {
            "env": os.environ["PLAIN"],
            "from": os.environ["FROM_A_CONFIGMAP"],
            "secret": os.environ["FROM_A_SECRET"],
            "volume": read(os.environ["SETTINGS"] + "/FROM_A_CONFIGMAP"),
            "init": read(shared + "/init"),
            "sidecar": read(shared + "/sidecar"),
        }

    for name, value in shoal.get(look.remote()).items():
        print(name, "=", value, flush=True)
"""
SIDECAR = """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path(os.environ["SHARED"], "sidecar").write_text("from the sidecar")
signal.pause()
"""
INIT = 'import os, pathlib; pathlib.Path(os.environ["SHARED"], "init").write_text("from the init container")'

LOCKED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD_SECURITY = {
    "runAsNonRoot": True,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
    "fsGroupChangePolicy": "OnRootMismatch",
}
TOLERATION = {"key": "shoal.dev/e2e", "operator": "Exists", "effect": "NoSchedule"}


@pytest.fixture
def priority_class(world: World) -> Iterator[str]:
    """A PriorityClass of the scenario's own, where the server has the kind; else its name must do."""
    name = world.namespace
    if world.api.find("/apis/scheduling.k8s.io/v1") is None:
        yield name
        return
    world.apply(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": 1000,
            "description": "of a scenario",
        }
    )
    yield name
    world.kubectl("delete", "priorityclass", name)


def full_template(image: str, priority_class: str) -> dict[str, Any]:
    """A template with everything that people put into templates."""
    shared = {"name": "shared", "mountPath": "/shared"}
    environment = {"name": "SHARED", "value": "/shared"}
    container = {"image": image, "imagePullPolicy": "IfNotPresent", "securityContext": LOCKED, "env": [environment]}
    return manifests.template(
        nodeSelector={"kubernetes.io/os": "linux"},
        tolerations=[TOLERATION],
        imagePullSecrets=[{"name": "registry"}],
        serviceAccountName="runner",
        priorityClassName=priority_class,
        securityContext=POD_SECURITY,
        terminationGracePeriodSeconds=7,
        volumes=[
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "shared", "emptyDir": {"sizeLimit": "1Mi"}},
        ],
        initContainers=[
            {"name": "first", **container, "command": ["python", "-c", INIT], "volumeMounts": [shared]},
        ],
        containers=[
            {
                "name": "shoal",
                "env": [{"name": "PLAIN", "value": "plain"}, {"name": "SETTINGS", "value": "/settings"}, environment],
                "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "hidden"}}],
                "volumeMounts": [{"name": "settings", "mountPath": "/settings", "readOnly": True}, shared],
                "securityContext": LOCKED,
            },
            {"name": "sidecar", **container, "command": ["python", "-c", SIDECAR], "volumeMounts": [shared]},
        ],
    )


def objects() -> list[dict[str, Any]]:
    """What the template refers to."""
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runner"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings"},
            "data": {"FROM_A_CONFIGMAP": "from a ConfigMap"},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hidden"},
            "stringData": {"FROM_A_SECRET": "from a Secret"},
        },
    ]


def test_a_template_arrives_in_pods_and_works(world: World, priority_class: str) -> None:
    template = full_template(world.image, priority_class)
    world.apply(*objects())
    world.start_job(PROGRAM, groups=(manifests.group(template=template),))
    output = world.finish()["status"]["outputTail"]
    for line in (
        "env = plain",
        "from = from a ConfigMap",
        "secret = from a Secret",
        "volume = from a ConfigMap",
        "init = from the init container",
        "sidecar = from the sidecar",
    ):
        assert line in output, output
    pod = world.pods.last("job-small-0")
    assert pod is not None
    given, found = template["spec"], pod["spec"]
    for field in ("nodeSelector", "imagePullSecrets", "serviceAccountName", "priorityClassName"):
        assert found[field] == given[field], field
    assert POD_SECURITY.items() <= found["securityContext"].items()
    assert found["terminationGracePeriodSeconds"] == 7
    assert TOLERATION in found["tolerations"]
    assert {volume["name"] for volume in found["volumes"]} >= {"settings", "shared", "shoal-token"}
    assert [container["name"] for container in found["initContainers"]] == ["first"]
    assert [container["name"] for container in found["containers"]] == ["shoal", "sidecar"]
    runtime = found["containers"][0]
    assert runtime["envFrom"] == given["containers"][0]["envFrom"]
    assert LOCKED.items() <= runtime["securityContext"].items()
    assert {mount["mountPath"] for mount in runtime["volumeMounts"]} >= {"/settings", "/shared"}
    assert found["automountServiceAccountToken"] is False


def test_a_template_that_no_node_fits_is_explained(world: World) -> None:
    template = manifests.template(nodeSelector={"shoal.dev/e2e": "nowhere"})
    world.start_job(PROGRAM, groups=(manifests.group(template=template),))
    world.until(
        lambda: (world.jobs.last("job") or {}).get("status", {}).get("reason") == "Unschedulable",
        "the job says why it waits",
    )
    message = (world.jobs.last("job") or {})["status"]["message"]
    assert "node affinity/selector" in message, message
