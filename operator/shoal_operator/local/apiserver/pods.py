"""Pods: the defaults the real server fills in, and what it refuses.

Both are given pods whose fields have the right types. Invariant: `default_pod` adds and never changes;
`validate_pod` reports, in the real server's words, at least every problem that would keep a kubelet from
starting the pod.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shoal_operator.local.apiserver import errors, podfields
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.values import Document, clone

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_ENV_WORDS = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_ENV_NAME = re.compile(r"[^=\x00-\x1f\x7f]+\Z")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
DEFAULT_GRACE_PERIOD_SECONDS = 30
_FILE_MODE = 0o644


def default_pod(pod: Document) -> None:
    """Fill in what a pod's spec leaves open."""
    spec = pod.setdefault("spec", {})
    for name, value in (
        ("restartPolicy", "Always"),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
        ("terminationGracePeriodSeconds", DEFAULT_GRACE_PERIOD_SECONDS),
        ("enableServiceLinks", True),
        ("securityContext", {}),
    ):
        spec.setdefault(name, clone(value))
    if isinstance(spec["terminationGracePeriodSeconds"], int) and spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


_NOT_READY_SECONDS = 300


def admit_pod(pod: Document) -> None:
    """What admission adds: the account, the priority of pods that name none, and how long a lost node is borne."""
    spec = pod["spec"]
    spec.setdefault("serviceAccountName", "default")
    if not spec.get("priorityClassName"):
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    held = list(spec.get("tolerations") or ())
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(_tolerates(toleration, key) for toleration in held):
            held.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _NOT_READY_SECONDS}
            )
    spec["tolerations"] = held


def _tolerates(toleration: Document, key: str) -> bool:
    same_key = toleration.get("key", "") in ("", key)
    return same_key and toleration.get("effect", "") in ("", "NoExecute")


def _default_container(container: Document) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(str(container.get("image", ""))))
    resources = container.setdefault("resources", {})
    if resources.get("limits"):
        resources["requests"] = resources["limits"] | (resources.get("requests") or {})
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for probe in (container[name] for name in _PROBES if container.get(name)):
        _default_probe(probe)


def _pull_policy(image: str) -> str:
    tag = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[2]
    return "Always" if "@" not in image and tag in ("", "latest") else "IfNotPresent"


def _default_probe(probe: Document) -> None:
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(name, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _default_volume(volume: Document) -> None:
    for kind in ("secret", "configMap", "downwardAPI", "projected"):
        if isinstance(volume.get(kind), dict):
            volume[kind].setdefault("defaultMode", _FILE_MODE)
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}


def validate_pod(pod: Document, old: Document | None) -> list[FieldError]:
    """What is wrong with a pod, or with the change from `old` to it."""
    spec = pod["spec"]
    problems = _validate_spec(spec)
    if old is not None and not problems:
        problems += _validate_change(spec, old["spec"])
    return problems


def _validate_spec(spec: Document) -> list[FieldError]:
    problems: list[FieldError] = []
    if not spec.get("containers"):
        problems.append(errors.required("spec.containers"))
    policies = ("Always", "OnFailure", "Never")
    if spec.get("restartPolicy") not in policies:
        problems.append(errors.not_supported("spec.restartPolicy", spec.get("restartPolicy"), policies))
    problems += podfields.validate(spec)
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        problems += _validate_unique_name(f"spec.volumes[{index}]", volume, volumes)
        problems += podfields.validate_volume(f"spec.volumes[{index}]", volume)
    containers: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            path = f"spec.{field}[{index}]"
            problems += _validate_unique_name(path, container, containers)
            problems += _validate_container(path, container, volumes)
    return problems


def _validate_unique_name(path: str, named: Document, seen: set[str]) -> list[FieldError]:
    name = named.get("name")
    if not name:
        return [errors.required(f"{path}.name")]
    if len(name) > 63 or not _LABEL.match(name):
        detail = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
            "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
            "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        )
        return [errors.invalid_value(f"{path}.name", name, detail)]
    if name in seen:
        return [errors.duplicate_value(f"{path}.name", name)]
    seen.add(name)
    return []


def _validate_container(path: str, container: Document, volumes: set[str]) -> list[FieldError]:
    problems: list[FieldError] = []
    if not container.get("image"):
        problems.append(errors.required(f"{path}.image"))
    problems += podfields.validate_container(path, container)
    problems += _validate_mounts(path, container, volumes)
    problems += _validate_environment(path, container)
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if not isinstance(number, int) or not 0 < number < 65536:
            detail = "must be between 1 and 65535, inclusive"
            problems.append(errors.invalid_value(f"{path}.ports[{index}].containerPort", number, detail))
    return problems


def _validate_mounts(path: str, container: Document, volumes: set[str]) -> list[FieldError]:
    problems: list[FieldError] = []
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where = f"{path}.volumeMounts[{index}]"
        if mount.get("name") not in volumes:
            words = f"Not found: {errors.show(mount.get('name'))}"
            problems.append(FieldError(f"{where}.name", "FieldValueNotFound", words))
        if not mount.get("mountPath"):
            problems.append(errors.required(f"{where}.mountPath"))
    return problems


def _validate_environment(path: str, container: Document) -> list[FieldError]:
    problems: list[FieldError] = []
    for index, variable in enumerate(container.get("env") or ()):
        where = f"{path}.env[{index}]"
        if not variable.get("name"):
            problems.append(errors.required(f"{where}.name"))
        elif not _ENV_NAME.match(variable["name"]):
            problems.append(errors.invalid_value(f"{where}.name", variable["name"], _ENV_WORDS))
        if variable.get("value") and variable.get("valueFrom"):
            detail = "may not be specified when `value` is not empty"
            problems.append(errors.invalid_value(f"{where}.valueFrom", "", detail))
    return problems


def _validate_change(spec: Document, old: Document) -> list[FieldError]:
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(old.get(field) or ()):
            kind = "containers" if field == "containers" else "init containers"
            return [errors.forbidden_field(f"spec.{field}", f"pod updates may not add or remove {kind}")]
    if _comparable(spec, old) == _comparable(old, old):
        return []
    detail = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [errors.forbidden_field("spec", detail)]


def _comparable(spec: Document, old: Document) -> Any:
    """What of a pod's spec may never change. A first `nodeName` may: the process kubelet binds by patch."""
    fixed = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")}
    if not old.get("nodeName"):
        fixed.pop("nodeName", None)
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [item | {"image": ""} for item in fixed[field]]
    return fixed


def quality_of_service(pod: Mapping[str, Any]) -> str:
    """The QoS class that a pod's requests and limits of CPU and memory give it; other resources do not count."""
    containers = [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]
    amounts = [_requests_and_limits(container.get("resources") or {}) for container in containers]
    if not any(requests or limits for requests, limits in amounts):
        return "BestEffort"
    if any(len(limits) < len(_COMPUTE) or requests != limits for requests, limits in amounts):
        return "Burstable"
    return "Guaranteed"


_COMPUTE = ("cpu", "memory")


def _requests_and_limits(resources: Document) -> tuple[Document, Document]:
    """Of CPU and memory; a limit without a request is the request too."""
    limits = {name: amount for name, amount in (resources.get("limits") or {}).items() if name in _COMPUTE}
    requests = {name: amount for name, amount in (resources.get("requests") or {}).items() if name in _COMPUTE}
    return limits | requests, limits
