"""Single fields of pods whose values the real server checks.

Invariant: pure; each problem is in the real server's words. What several fields say together stands in `pods`.
"""

from __future__ import annotations

import re
from typing import Any

from shoal_operator.local.apiserver import errors, metadata
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.values import Document

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MOST_SECONDS = 2**31 - 1
_SUFFIXES = {
    **{letter + "i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)},
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
}


def validate(spec: Document) -> list[FieldError]:
    """Fields of the spec itself."""
    problems: list[FieldError] = []
    policy, deadline = spec.get("dnsPolicy"), spec.get("activeDeadlineSeconds")
    if policy not in _DNS_POLICIES:
        problems.append(errors.not_supported("spec.dnsPolicy", policy, _DNS_POLICIES))
    if deadline is not None and not 1 <= deadline <= _MOST_SECONDS:
        detail = f"must be between 1 and {_MOST_SECONDS}, inclusive"
        problems.append(errors.invalid_value("spec.activeDeadlineSeconds", deadline, detail))
    for key in spec.get("nodeSelector") or {}:
        problems += metadata.validate_key("spec.nodeSelector", key)
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        operator = toleration.get("operator", "Equal")
        if operator not in ("Equal", "Exists"):
            path = f"spec.tolerations[{index}].operator"
            problems.append(errors.not_supported(path, operator, ("Equal", "Exists")))
    return problems


def validate_volume(path: str, volume: Document) -> list[FieldError]:
    """A volume has one source."""
    sources = sorted(name for name in volume if name != "name")
    # In the order in which the real server looks: emptyDir is the first, the others follow.
    sources.sort(key=lambda name: name != "emptyDir")
    words = "may not specify more than 1 volume type"
    return [errors.forbidden_field(f"{path}.{name}", words) for name in sources[1:]]


def validate_container(path: str, container: Document) -> list[FieldError]:
    """Fields of a container that stand alone."""
    problems: list[FieldError] = []
    policy = container.get("imagePullPolicy")
    if policy not in _PULL_POLICIES:
        problems.append(errors.not_supported(f"{path}.imagePullPolicy", policy, _PULL_POLICIES))
    for name in _PROBES:
        if isinstance(container.get(name), dict):
            problems += _validate_probe(f"{path}.{name}", container[name])
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    for name, requested in (resources.get("requests") or {}).items():
        limit = limits.get(name)
        if limit is not None and amount(requested) > amount(limit):
            detail = f"must be less than or equal to {name} limit of {limit}"
            problems.append(errors.invalid_value(f"{path}.resources.requests", requested, detail))
    return problems


def _validate_probe(path: str, probe: Document) -> list[FieldError]:
    handlers = [name for name in _HANDLERS if probe.get(name) is not None]
    if not handlers:
        return [errors.required(path, "must specify a handler type")]
    words = "may not specify more than 1 handler type"
    return [errors.forbidden_field(f"{path}.{name}", words) for name in handlers[1:]]


def amount(quantity: Any) -> float:
    """A quantity as a number; raises ValueError for text that is none.

    Example: `amount("64Mi")` is 67108864.0.
    """
    found = re.fullmatch(r"([+-]?[0-9.]+)([KMGTPE]i|[numkMGTPE]?)", str(quantity))
    return float(found[1]) * _SUFFIXES[found[2]] if found else float(str(quantity))
