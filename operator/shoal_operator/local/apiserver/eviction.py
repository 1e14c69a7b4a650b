"""Evictions: deletes that keep disruption budgets.

Invariant: a healthy pod that a budget protects goes only when the budget allows one more disruption, and uses that
one up; one that is not ready goes as ``unhealthyPodEvictionPolicy`` says. A budget that no controller has counted is
counted here, from the pods that stand.
"""

from __future__ import annotations

from typing import Any

from shoal_operator.local.apiserver import deletion, errors, subresources, writes
from shoal_operator.local.apiserver.context import Context, DeleteOptions, read_delete_options
from shoal_operator.local.apiserver.errors import StatusError
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.store import Key
from shoal_operator.local.apiserver.values import Document, clone, dig

BUDGETS = "poddisruptionbudgets.policy"
RETRY_SECONDS = 10
_UNPROTECTED = ("Pending", "Succeeded", "Failed")
"""Phases in which a pod does no work that an eviction could disrupt."""
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


def evict_pod(context: Context, resource: Resource, namespace: str | None, name: str, body: Any) -> Document:
    """POST pods/NAME/eviction; StatusError 429 where a budget forbids it."""
    key = context.key(resource, namespace, name)
    pod = context.store.get(key)
    if pod is None:
        raise errors.not_found("pods", name)
    options = read_delete_options(dig(body, "deleteOptions", default={}) or {}, {})
    if dig(pod, "status", "phase") not in _UNPROTECTED and not pod["metadata"].get("deletionTimestamp"):
        _use_budget(context, pod, options)
    if not options.dry_run:
        _mark_disrupted(context, key, pod)
    deletion.delete(context, resource, namespace, name, options)
    return subresources.success() | {"code": 201}


def _use_budget(context: Context, pod: Document, options: DeleteOptions) -> None:
    namespace = pod["metadata"]["namespace"]
    labels = pod["metadata"].get("labels") or {}
    found = [
        (key, budget)
        for key, budget in context.store.scan(BUDGETS, namespace)
        if selects(dig(budget, "spec", "selector"), labels)
    ]
    if len(found) > 1:
        raise errors.plain(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    for key, budget in found:
        healthy, wanted, allowed = count(context, budget)
        if not _is_ready(pod) and _lets_unhealthy_go(budget, healthy, wanted):
            continue
        if allowed < 1:
            raise _refusal(f"The disruption budget {key.name} needs {wanted} healthy pods and has {healthy} currently")
        if not options.dry_run and _is_counted(budget):
            new = clone(budget)
            new["status"]["disruptionsAllowed"] = allowed - 1
            writes.commit(context, key, new)


def _lets_unhealthy_go(budget: Document, healthy: int, wanted: int) -> bool:
    """Whether a pod that is not ready may go without counting as a disruption."""
    policy = dig(budget, "spec", "unhealthyPodEvictionPolicy", default="IfHealthyBudget")
    return policy == "AlwaysAllow" or healthy >= wanted > 0


def _refusal(cause: str) -> StatusError:
    details = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    return StatusError(429, "TooManyRequests", _REFUSED, details)


def _is_counted(budget: Document) -> bool:
    seen = dig(budget, "status", "observedGeneration", default=0)
    return bool(seen >= budget["metadata"].get("generation", 1))


def count(context: Context, budget: Document) -> tuple[int, int, int]:
    """Healthy pods, how many there must be, and how many may go now."""
    if _is_counted(budget):
        status = budget["status"]
        names = ("currentHealthy", "desiredHealthy", "disruptionsAllowed")
        healthy, wanted, allowed = (int(status.get(name, 0)) for name in names)
        return healthy, wanted, allowed
    selector = dig(budget, "spec", "selector")
    pods = [
        pod
        for _, pod in context.store.scan("pods", budget["metadata"]["namespace"])
        if selects(selector, pod["metadata"].get("labels") or {})
    ]
    healthy = sum(_is_ready(pod) for pod in pods)
    most = dig(budget, "spec", "maxUnavailable")
    if most is not None:
        wanted = len(pods) - _share(most, len(pods))
    else:
        wanted = _share(dig(budget, "spec", "minAvailable", default=1), len(pods))
    return healthy, wanted, max(0, healthy - wanted)


def _share(amount: Any, of: int) -> int:
    """A number, or a percentage rounded up."""
    if isinstance(amount, str) and amount.endswith("%"):
        return -(-int(amount[:-1]) * of // 100)
    return int(amount)


def _is_ready(pod: Document) -> bool:
    conditions = dig(pod, "status", "conditions", default=[])
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def selects(selector: Any, labels: dict[str, str]) -> bool:
    """Whether a metav1.LabelSelector matches; an absent one matches nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(need, labels) for need in selector.get("matchExpressions") or ())


def _holds(need: Document, labels: dict[str, str]) -> bool:
    held, values = labels.get(need["key"]), need.get("values") or ()
    match need.get("operator"):
        case "In":
            return held in values
        case "NotIn":
            return held not in values
        case "Exists":
            return held is not None
        case "DoesNotExist":
            return held is None
    return False


def _mark_disrupted(context: Context, key: Key, pod: Document) -> None:
    """Say on the pod why it goes."""
    new = clone(pod)
    conditions = [c for c in dig(new, "status", "conditions", default=[]) if c.get("type") != "DisruptionTarget"]
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": context.now(),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    new["status"] = new.get("status", {}) | {"conditions": [*conditions, condition]}
    writes.commit(context, key, new)
