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


def why_unschedulable(pod: Object, node: Object, used: Mapping[str, Decimal], pods_on_node: int = 0) -> str | None:
    """None when the pod fits on ``node``, else the scheduler's message.

    Args:
        node: a Node object; its labels, taints and ``status.allocatable`` count.
        used: what the node's pods request together.
    """
    selector = (pod.get("spec") or {}).get("nodeSelector") or {}
    labels = (node.get("metadata") or {}).get("labels") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return _refusal(["1 node(s) didn't match Pod's node affinity/selector"], helpful=False)
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
