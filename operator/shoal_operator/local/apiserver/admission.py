"""Defaults and validation of the built-in kinds, one small function each.

Invariant: an object of a built-in kind is stored only after its function here has seen it; a kind without an
entry is stored as it was sent.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from shoal_operator.local.apiserver import errors, quota
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.pods import admit_pod, default_pod, quality_of_service, validate_pod
from shoal_operator.local.apiserver.values import Document, clone, dig

DATA_LIMIT_BYTES = 1024 * 1024
"""Most bytes a ConfigMap or Secret may hold."""


def apply_defaults(resource: Resource, document: Document) -> None:
    """Fill in what the kind's real strategy would."""
    default = _DEFAULTS.get(resource.collection)
    if default is not None:
        default(document)


def admit(resource: Resource, document: Document) -> None:
    """What admission plugins of the real server add, on behalf of nobody."""
    match resource.collection:
        case "pods":
            admit_pod(document)
        case "namespaces":
            spec = document["spec"] = document.get("spec") or {}
            spec.setdefault("finalizers", ["kubernetes"])
        case "events":
            # Go writes these even when they are empty.
            for name, empty in _EVENT_FIELDS.items():
                document.setdefault(name, clone(empty))
        case "services" if dig(document, "spec", "type") != "ExternalName":
            document["spec"].setdefault("ipFamilies", ["IPv4"])
            document["spec"].setdefault("ipFamilyPolicy", "SingleStack")


_EVENT_FIELDS: Document = {
    "eventTime": None,
    "firstTimestamp": None,
    "lastTimestamp": None,
    "reportingComponent": "",
    "reportingInstance": "",
    "source": {},
}


def initial_status(resource: Resource, document: Document) -> None:
    """The status a new object starts with; what the client sent as status is dropped before."""
    match resource.collection:
        case "pods":
            document["status"] = {"phase": "Pending", "qosClass": quality_of_service(document)}
        case "namespaces":
            document["status"] = {"phase": "Active"}
        case "services":
            document["status"] = {"loadBalancer": {}}
        case "persistentvolumeclaims":
            document["status"] = {"phase": "Pending"}
        case "poddisruptionbudgets.policy":
            counts = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")
            document["status"] = dict.fromkeys(counts, 0)


def validate(resource: Resource, document: Document, old: Document | None) -> list[FieldError]:
    """What is wrong with an object of a built-in kind."""
    check = _CHECKS.get(resource.collection)
    return check(document, old) if check is not None else []


def _default_namespace(namespace: Document) -> None:
    labels = namespace["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = namespace["metadata"].get("name", "")


def _default_service(service: Document) -> None:
    spec = service.setdefault("spec", {})
    for name, value in (("type", "ClusterIP"), ("sessionAffinity", "None")):
        spec.setdefault(name, value)
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _default_secret(secret: Document) -> None:
    secret.setdefault("type", "Opaque")
    plain = secret.pop("stringData", None)
    if isinstance(plain, dict):
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        secret["data"] = (secret.get("data") or {}) | encoded


def _default_claim(claim: Document) -> None:
    claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _default_binding(binding: Document) -> None:
    group = "rbac.authorization.k8s.io"
    binding.setdefault("roleRef", {}).setdefault("apiGroup", group)
    for subject in binding.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", group)


def _default_network_policy(policy: Document) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def undecodable_secret(secret: Document) -> str | None:
    """What Go says of data that is not base64; the value stays out of it, it may be the secret in plain text."""
    for value in (secret.get("data") or {}).values():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            return f"illegal base64 data at input byte {_first_bad_byte(str(value))}"
    return None


def _first_bad_byte(text: str) -> int:
    allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
    return next((index for index, letter in enumerate(text) if letter not in allowed), len(text) // 4 * 4)


def _check_service(service: Document, old: Document | None) -> list[FieldError]:
    spec = service["spec"]
    types = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    protocols = ("SCTP", "TCP", "UDP")
    problems: list[FieldError] = []
    if spec["type"] not in types:
        problems.append(errors.not_supported("spec.type", spec["type"], types))
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec["type"] != "ExternalName":
        problems.append(errors.required("spec.ports"))
    names: set[Any] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        number = port.get("port")
        if not isinstance(number, int) or not 0 < number < 65536:
            detail = "must be between 1 and 65535, inclusive"
            problems.append(errors.invalid_value(f"{path}.port", number, detail))
            if port.get("targetPort") == number:
                problems.append(errors.invalid_value(f"{path}.targetPort", number, detail))
        if port.get("protocol") not in protocols:
            problems.append(errors.not_supported(f"{path}.protocol", port.get("protocol"), protocols))
        if len(ports) > 1 and not port.get("name"):
            problems.append(errors.required(f"{path}.name"))
        if port.get("name") and port["name"] in names:
            problems.append(errors.duplicate_value(f"{path}.name", port.get("name")))
        names.add(port.get("name"))
    before = dig(old, "spec", "clusterIP")
    if before and spec.get("clusterIP") != before:
        detail = "may not change once set"
        problems.append(errors.invalid_value("spec.clusterIPs[0]", [spec.get("clusterIP")], detail))
    return problems


def _check_data(document: Document, old: Document | None) -> list[FieldError]:
    named = {"data": document.get("data") or {}, "binaryData": document.get("binaryData") or {}}
    problems = [
        errors.invalid_value(f"{field}[{key}]", key, _DATA_KEY_WORDS)
        for field, values in named.items()
        for key in values
        if not _DATA_KEY.match(key)
    ]
    held = named.values()
    if sum(len(value.encode()) for values in held for value in values.values()) > DATA_LIMIT_BYTES:
        problems.append(errors.too_long("[]" if document["kind"] == "ConfigMap" else "data", DATA_LIMIT_BYTES))
    if old is not None and old.get("immutable"):
        problems += [
            errors.forbidden_field(name, "field is immutable when `immutable` is set")
            for name in ("immutable", "data", "binaryData")
            if document.get(name) != old.get(name)
        ][:1]
    return problems


def _check_secret(secret: Document, old: Document | None) -> list[FieldError]:
    problems = _check_data(secret, old)
    needed = _SECRET_KEYS.get(str(secret.get("type")), ())
    problems += [errors.required(f"data[{key}]") for key in needed if key not in (secret.get("data") or {})]
    if old is not None and secret.get("type") != old.get("type"):
        problems.append(errors.invalid_value("type", secret.get("type"), "field is immutable"))
    return problems


def _check_lease(lease: Document, _old: Document | None) -> list[FieldError]:
    spec = lease.get("spec") or {}
    problems = []
    for name in ("leaseDurationSeconds", "leaseTransitions"):
        value = spec.get(name)
        least = 1 if name == "leaseDurationSeconds" else 0
        if value is not None and (not isinstance(value, int) or value < least):
            words = "must be greater than 0" if least else "must be greater than or equal to 0"
            problems.append(errors.invalid_value(f"spec.{name}", value, words))
    return problems


def _check_role(role: Document, _old: Document | None) -> list[FieldError]:
    return [
        errors.required(f"rules[{index}].verbs", "verbs must contain at least one value")
        for index, rule in enumerate(role.get("rules") or ())
        if not rule.get("verbs")
    ]


def _check_binding(binding: Document, old: Document | None) -> list[FieldError]:
    wanted = binding.get("roleRef") or {}
    if old is not None and wanted != old.get("roleRef"):
        shown = {
            go: wanted.get(name, "") for go, name in (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
        }
        return [errors.invalid_value("roleRef", shown, "cannot change roleRef")]
    problems = []
    if wanted.get("kind") not in _ROLE_KINDS:
        problems.append(errors.not_supported("roleRef.kind", wanted.get("kind", ""), _ROLE_KINDS))
    if not wanted.get("name"):
        problems.append(errors.required("roleRef.name"))
    return problems


def _check_claim(claim: Document, old: Document | None) -> list[FieldError]:
    if old is not None:
        return []
    problems = []
    if not dig(claim, "spec", "accessModes"):
        problems.append(errors.required("spec.accessModes", "at least 1 access mode is required"))
    if not dig(claim, "spec", "resources", "requests", "storage"):
        problems.append(errors.required("spec.resources[storage]"))
    return problems


def _check_budget(budget: Document, _old: Document | None) -> list[FieldError]:
    spec = budget.get("spec") or {}
    if spec.get("minAvailable") is None or spec.get("maxUnavailable") is None:
        return []
    names = ("MinAvailable", "Selector", "MaxUnavailable", "UnhealthyPodEvictionPolicy")
    shown = {name: spec.get(name[0].lower() + name[1:]) for name in names}
    return [errors.invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set")]


def _check_event(event: Document, _old: Document | None) -> list[FieldError]:
    about = event.get("involvedObject") or {}
    space = about.get("namespace") or "default"
    if space == event["metadata"].get("namespace"):
        return []
    shown = about.get("namespace", "")
    return [errors.invalid_value("involvedObject.namespace", shown, "does not match event.namespace")]


_DEFAULTS: dict[str, Callable[[Document], None]] = {
    "namespaces": _default_namespace,
    "networkpolicies.networking.k8s.io": _default_network_policy,
    "persistentvolumeclaims": _default_claim,
    "pods": default_pod,
    "rolebindings.rbac.authorization.k8s.io": _default_binding,
    "secrets": _default_secret,
    "services": _default_service,
}

_ROLE_KINDS = ("Role", "ClusterRole")
_SECRET_KEYS = {"kubernetes.io/tls": ("tls.crt", "tls.key")}
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+\Z")
_DATA_KEY_WORDS = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)

_CHECKS: dict[str, Callable[[Document, Document | None], list[FieldError]]] = {
    "configmaps": _check_data,
    "events": _check_event,
    "leases.coordination.k8s.io": _check_lease,
    "persistentvolumeclaims": _check_claim,
    "poddisruptionbudgets.policy": _check_budget,
    "pods": validate_pod,
    "resourcequotas": quota.problems,
    "roles.rbac.authorization.k8s.io": _check_role,
    "rolebindings.rbac.authorization.k8s.io": _check_binding,
    "secrets": _check_secret,
    "services": _check_service,
}
