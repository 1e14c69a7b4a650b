"""ResourceQuotas: what a namespace may hold, and what it holds.

Invariant: an object that would take a quota beyond its hard limits is refused, in the real server's words, and nothing
changes. What counts is what stands in the store at that moment, never a status, which may be a moment late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from shoal_operator.domain.quantities import parse_quantity
from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.context import Context
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.pods import quality_of_service
from shoal_operator.local.apiserver.values import Document, dig

QUOTAS = "resourcequotas"
Amounts = dict[str, Decimal]

_COUNTED = ("configmaps", "persistentvolumeclaims", "replicationcontrollers", QUOTAS, "secrets", "services")
"""Kinds that a quota may name without ``count/``; pods have a rule of their own."""
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_NAMED = frozenset([*_COUNTED, "pods", *_COMPUTE, *(f"limits.{name}" for name in _COMPUTE)])
_MOST = Decimal(2**63 - 1)
_TO_BE_SAID = frozenset(f"{prefix}{name}" for prefix in ("", "requests.", "limits.") for name in ("cpu", "memory"))
"""Where a quota limits one of these, every container has to say how much it takes."""

_SCOPES: dict[str, Callable[[Document], bool]] = {
    "Terminating": lambda pod: dig(pod, "spec", "activeDeadlineSeconds") is not None,
    "NotTerminating": lambda pod: dig(pod, "spec", "activeDeadlineSeconds") is None,
    "BestEffort": lambda pod: quality_of_service(pod) == "BestEffort",
    "NotBestEffort": lambda pod: quality_of_service(pod) != "BestEffort",
}


def admit(context: Context, resource: Resource, document: Document) -> None:
    """Refuse a new object for which a quota of its namespace has no room; StatusError 403."""
    meta = document["metadata"]
    for key, quota in context.store.scan(QUOTAS, meta.get("namespace", "")) if resource.namespaced else ():
        if not _covers(quota, resource.collection, document):
            continue
        hard = _hard(quota)
        silent = _silent(document, hard) if resource.collection == "pods" else ""
        if silent:
            detail = f"failed quota: {key.name}: must specify {silent}"
            raise errors.forbidden(resource.group_resource, meta.get("name", ""), detail)
        asked, used = _usage(resource.collection, document), _used(context, quota)
        over = sorted(name for name, amount in asked.items() if name in hard and used[name] + amount > hard[name])
        if over:
            words = (f"{word}: {_listed(over, of)}" for word, of in _said(asked, used, hard))
            detail = f"exceeded quota: {key.name}, {', '.join(words)}"
            raise errors.forbidden(resource.group_resource, meta.get("name", ""), detail)


def _said(asked: Amounts, used: Amounts, hard: Amounts) -> tuple[tuple[str, Amounts], ...]:
    return ("requested", asked), ("used", used), ("limited", hard)


def _listed(names: list[str], amounts: Amounts) -> str:
    return ",".join(f"{name}={shown(name, amounts[name])}" for name in names)


def refresh(context: Context) -> None:
    """Write into every quota's status what its namespace holds, where that has changed."""
    for key, quota in context.store.scan(QUOTAS):
        used = {name: shown(name, amount) for name, amount in _used(context, quota).items()}
        status = {"hard": dict(dig(quota, "spec", "hard", default={})), "used": used}
        if quota.get("status") != status:
            context.store.put(key, quota | {"metadata": dict(quota["metadata"]), "status": status})


def problems(quota: Document, _old: Document | None) -> list[FieldError]:
    """What is wrong with a quota, or is not counted here: that is refused, never left out in silence."""
    found = []
    for name, text in (dig(quota, "spec", "hard", default={}) or {}).items():
        where = f"spec.hard[{name}]"
        is_request = name.startswith("requests.") and name != "requests.storage"
        if not (name in _NAMED or is_request or name.startswith("count/")):
            found.append(errors.invalid_value(where, name, "the embedded API server does not count this"))
        elif _amount(text) < 0:
            found.append(errors.invalid_value(where, text, "must be greater than or equal to 0"))
    for index, scope in enumerate(dig(quota, "spec", "scopes", default=[]) or []):
        if scope not in _SCOPES:
            found.append(errors.not_supported(f"spec.scopes[{index}]", scope, _SCOPES))
    for index, need in enumerate(dig(quota, "spec", "scopeSelector", "matchExpressions", default=[]) or []):
        where = f"spec.scopeSelector.matchExpressions[{index}]"
        if need.get("scopeName") not in _SCOPES:
            found.append(errors.not_supported(f"{where}.scopeName", need.get("scopeName"), _SCOPES))
        elif need.get("operator") != "Exists":
            found.append(errors.not_supported(f"{where}.operator", need.get("operator"), ["Exists"]))
    return found


def _amount(text: Any) -> Decimal:
    """A quantity of a stored object; as in Kubernetes, those beyond 64 bits are the largest there is."""
    try:
        return min(parse_quantity(text), _MOST)
    except ValueError:  # its form was checked: it is the exponent that is out of range
        return Decimal(0) if "e-" in str(text).lower() else _MOST


def _hard(quota: Document) -> Amounts:
    return {name: _amount(text) for name, text in (dig(quota, "spec", "hard", default={}) or {}).items()}


def _covers(quota: Document, collection: str, document: Document) -> bool:
    """Whether the quota is about an object of its namespace; one with scopes is about pods alone."""
    selected = dig(quota, "spec", "scopeSelector", "matchExpressions", default=[]) or []
    scopes = [*(dig(quota, "spec", "scopes", default=[]) or []), *(need["scopeName"] for need in selected)]
    return not scopes or (collection == "pods" and all(_SCOPES[scope](document) for scope in scopes))


def _used(context: Context, quota: Document) -> Amounts:
    total = dict.fromkeys(_hard(quota), Decimal(0))
    for collection in {_collection(name) for name in total}:
        for _, document in context.store.scan(collection, quota["metadata"]["namespace"]):
            for name, amount in _usage(collection, document).items() if _covers(quota, collection, document) else ():
                if name in total:
                    total[name] += amount
    return total


def _collection(name: str) -> str:
    return name.removeprefix("count/") if name.startswith("count/") or name in _COUNTED else "pods"


def _usage(collection: str, document: Document) -> Amounts:
    """What one object takes of quotas, by their words."""
    taken = {f"count/{collection}": Decimal(1)} if collection != "events" else {}
    if collection in _COUNTED:
        taken[collection] = Decimal(1)
    if collection != "pods" or dig(document, "status", "phase") in ("Succeeded", "Failed"):
        return taken
    requests, limits = (_total(document["spec"], part) for part in ("requests", "limits"))
    taken |= {"pods": Decimal(1)} | {name: amount for name, amount in requests.items() if name in _COMPUTE}
    taken |= {f"requests.{name}": amount for name, amount in requests.items()}
    return taken | {f"limits.{name}": amount for name, amount in limits.items() if name in _COMPUTE}


def _total(spec: Document, part: str) -> Amounts:
    """What a pod's containers take together, and its init containers one by one."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        for name, text in (dig(container, "resources", part) or {}).items():
            total[name] = total.get(name, Decimal(0)) + _amount(text)
    for container in spec.get("initContainers") or ():
        for name, text in (dig(container, "resources", part) or {}).items():
            total[name] = max(total.get(name, Decimal(0)), _amount(text))
    return total


def _silent(pod: Document, hard: Mapping[str, Any]) -> str:
    """Which containers do not say what a quota counts: "limits.cpu for: a,b; memory for: b", or nothing."""
    missing: dict[str, list[str]] = {}
    for container in (*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())):
        requests, limits = (dig(container, "resources", part) or {} for part in ("requests", "limits"))
        said = {*requests, *(f"requests.{name}" for name in requests), *(f"limits.{name}" for name in limits)}
        for name in _TO_BE_SAID & hard.keys() - said:
            missing.setdefault(name, []).append(container["name"])
    return "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


def shown(name: str, amount: Decimal) -> str:
    """An amount as Kubernetes writes it: bytes in powers of 1024 where they are whole, the rest in powers of 1000.

    Example:
        >>> shown("requests.memory", Decimal(2**25)), shown("cpu", Decimal("0.5")), shown("pods", Decimal(3))
        ('32Mi', '500m', '3')
    """
    if amount != amount.to_integral_value():
        return f"{(amount * 1000).to_integral_value(ROUND_CEILING)}m"
    is_bytes = name.endswith(("memory", "storage")) and amount % 1024 == 0
    base, suffixes = (1024, ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")) if is_bytes else (1000, "_kMGTPE")
    number, power = int(amount), 0
    while number and number % base == 0 and power < len(suffixes) - 1:
        number, power = number // base, power + 1
    return f"{number}{suffixes[power].strip('_')}"
