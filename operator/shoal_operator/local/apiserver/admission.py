"""Defaults and validation of the built-in kinds, one small function each.

Invariant: an object of a built-in kind is stored only after its function here has seen it; a kind without an
entry is stored as it was sent.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.pods import default_pod, quality_of_service, validate_pod
from shoal_operator.local.apiserver.values import Document, dig

DATA_LIMIT_BYTES = 1024 * 1024
"""Most bytes a ConfigMap or Secret may hold."""


def apply_defaults(resource: Resource, document: Document) -> None:
    """Fill in what the kind's real strategy would."""
    default = _DEFAULTS.get(resource.collection)
    if default is not None:
        default(document)


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
    namespace.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    labels = namespace["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = namespace["metadata"].get("name", "")


def _default_service(service: Document) -> None:
    spec = service.setdefault("spec", {})
    for name, value in (
        ("type", "ClusterIP"),
        ("sessionAffinity", "None"),
        ("internalTrafficPolicy", "Cluster"),
        ("ipFamilies", ["IPv4"]),
        ("ipFamilyPolicy", "SingleStack"),
    ):
        spec.setdefault(name, value)
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
    binding.setdefault("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")


def _default_network_policy(policy: Document) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _check_service(service: Document, old: Document | None) -> list[FieldError]:
    spec = service["spec"]
    types = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
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
        if len(ports) > 1 and not port.get("name"):
            problems.append(errors.required(f"{path}.name"))
        if port.get("name") in names:
            problems.append(errors.duplicate_value(f"{path}.name", port.get("name")))
        names.add(port.get("name"))
    before = dig(old, "spec", "clusterIP")
    if before and spec.get("clusterIP") != before:
        problems.append(errors.invalid_value("spec.clusterIPs[0]", spec.get("clusterIP"), "field is immutable"))
    return problems


def _check_data(document: Document, old: Document | None) -> list[FieldError]:
    held = (document.get("data") or {}, document.get("binaryData") or {})
    problems = [
        errors.invalid_value(f"data[{key}]", value, "must be a string")
        for values in held
        for key, value in values.items()
        if not isinstance(value, str)
    ]
    if problems:
        return problems
    if sum(len(value.encode()) for values in held for value in values.values()) > DATA_LIMIT_BYTES:
        problems.append(errors.too_long("data", DATA_LIMIT_BYTES))
    if old is not None and old.get("immutable"):
        changed = any(document.get(name) != old.get(name) for name in ("data", "binaryData", "immutable"))
        if changed:
            problems.append(errors.forbidden_field("data", "field is immutable when `immutable` is set"))
    return problems


def _check_secret(secret: Document, old: Document | None) -> list[FieldError]:
    problems = _check_data(secret, old)
    for key, value in (secret.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            # The value itself stays out of the message: it may be the secret in plain text.
            problems.append(FieldError(f"data[{key}]", "FieldValueInvalid", "Invalid value: not base64"))
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


def _check_binding(binding: Document, old: Document | None) -> list[FieldError]:
    if old is not None and binding.get("roleRef") != old.get("roleRef"):
        return [errors.invalid_value("roleRef", binding.get("roleRef"), "cannot change roleRef")]
    return []


_DEFAULTS: dict[str, Callable[[Document], None]] = {
    "namespaces": _default_namespace,
    "networkpolicies.networking.k8s.io": _default_network_policy,
    "persistentvolumeclaims": _default_claim,
    "pods": default_pod,
    "rolebindings.rbac.authorization.k8s.io": _default_binding,
    "secrets": _default_secret,
    "services": _default_service,
}

_CHECKS: dict[str, Callable[[Document, Document | None], list[FieldError]]] = {
    "configmaps": _check_data,
    "leases.coordination.k8s.io": _check_lease,
    "pods": validate_pod,
    "rolebindings.rbac.authorization.k8s.io": _check_binding,
    "secrets": _check_secret,
    "services": _check_service,
}
