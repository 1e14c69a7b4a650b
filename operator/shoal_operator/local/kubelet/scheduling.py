"""Whether the one local node can take a pod, in the words of the Kubernetes scheduler.

Invariant: pure; a pod that is refused carries a reason for every test it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from shoal_operator.local.kubelet.quantity import parse

Object = Mapping[str, Any]

FINISHED: Final = ("Succeeded", "Failed")
_REPELLING: Final = ("NoSchedule", "NoExecute")
"""Effects of taints that keep new pods away; ``PreferNoSchedule`` means nothing where there is one node."""
_CORDON: Final = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
"""What a pod has to tolerate to come to a cordoned node."""


def pod_requests(pod: Object) -> dict[str, Decimal]:
    """What a pod asks for: the sum over containers, at least the largest init container; limits fill in."""
    spec = pod.get("spec") or {}
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or []:
        for name, amount in _requests(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in spec.get("initContainers") or []:
        for name, amount in _requests(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def _requests(container: Object) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse(amount) for name, amount in asked.items()}


def sum_requests(pods: Iterable[Object]) -> dict[str, Decimal]:
    """What pods that still run hold together."""
    total: dict[str, Decimal] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in FINISHED:
            continue
        for name, amount in pod_requests(pod).items():
            total[name] = total.get(name, Decimal(0)) + amount
    return total


def why_unschedulable(
    pod: Object, node: Object | None, used: Mapping[str, Decimal], pods_on_node: int = 0
) -> str | None:
    """None when the pod fits on ``node``, else the scheduler's message.

    Args:
        pod: the pod; its node selector, tolerations and requests count, node affinity does not.
        node: a Node object; labels, taints, ``unschedulable`` and ``status.allocatable`` count; None: no node.
        used: what the node's pods request together.
        pods_on_node: how many pods it has that have not ended.
    """
    if node is None:
        return "no nodes available to schedule pods"
    closed = _why_closed(pod, node)
    return _refusal([closed], helpful=False) if closed else _why_no_room(pod, node, used, pods_on_node)


def _why_closed(pod: Object, node: Object) -> str:
    """Why the node would not take the pod if it were empty; asked in the scheduler's order, "" if it would."""
    spec = node.get("spec") or {}
    if spec.get("unschedulable") and not _tolerates(pod, _CORDON):
        return "1 node(s) were unschedulable"
    if any(one.get("effect") in _REPELLING and not _tolerates(pod, one) for one in spec.get("taints") or []):
        return "1 node(s) had untolerated taint(s)"
    selector = (pod.get("spec") or {}).get("nodeSelector") or {}
    labels = (node.get("metadata") or {}).get("labels") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return "1 node(s) didn't match Pod's node affinity/selector"
    return ""


def _tolerates(pod: Object, taint: Object) -> bool:
    return any(_matches(one, taint) for one in (pod.get("spec") or {}).get("tolerations") or [])


def _matches(toleration: Object, taint: Object) -> bool:
    """As Kubernetes: an empty effect is every effect, an empty key with ``Exists`` every key."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _why_no_room(pod: Object, node: Object, used: Mapping[str, Decimal], pods_on_node: int) -> str | None:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    short: list[str] = []
    too_large = False
    if pods_on_node >= int(parse(allocatable.get("pods", "110"))):
        short.append("1 Too many pods")
    for name, amount in sorted(pod_requests(pod).items()):
        capacity = parse(allocatable.get(name, "0"))
        if amount > capacity - used.get(name, Decimal(0)) and amount > 0:
            short.append(f"1 Insufficient {name}")
            too_large = too_large or amount > capacity
    return _refusal(short, helpful=not too_large) if short else None


def _refusal(reasons: list[str], *, helpful: bool) -> str:
    preemption = (
        "1 No preemption victims found for incoming pod" if helpful else "1 Preemption is not helpful for scheduling"
    )
    return f"0/1 nodes are available: {', '.join(reasons)}. preemption: 0/1 nodes are available: {preemption}."
