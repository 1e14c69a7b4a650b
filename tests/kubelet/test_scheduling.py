from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from shoal_operator.local.kubelet.proxy import endpoints
from shoal_operator.local.kubelet.quantity import parse
from shoal_operator.local.kubelet.scheduling import pod_requests, sum_requests, why_unschedulable

NODE = {
    "metadata": {"labels": {"zone": "a"}},
    "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "3"}},
}


def pod(cpu: str = "1", selector: Any = None, **resources: str) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, **resources}}}
    return {"metadata": {"name": "p"}, "spec": {"containers": [container], "nodeSelector": selector}}


PREFIX = "0/1 nodes are available: "


@pytest.mark.parametrize(
    ("one", "used", "count", "message"),
    [
        (pod(), {}, 0, None),
        (pod(selector={"zone": "a"}), {}, 0, None),
        (pod("4"), {}, 0, None),
        (pod("4.1"), {}, 0, "1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful"),
        (pod("2"), {"cpu": Decimal(3)}, 1, "1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preempt"),
        (pod(selector={"zone": "b"}), {}, 0, "1 node(s) didn't match Pod's node affinity/selector."),
        (pod(**{"nvidia.com/gpu": "1"}), {}, 0, "1 Insufficient nvidia.com/gpu."),
        (pod(), {}, 3, "1 Too many pods."),
        (pod("9", memory="9Gi"), {}, 0, "1 Insufficient cpu, 1 Insufficient memory."),
    ],
)
def test_whether_a_pod_fits(one: dict[str, Any], used: dict[str, Decimal], count: int, message: str | None) -> None:
    found = why_unschedulable(one, NODE, used, count)
    if message is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(PREFIX + message)


TAINT = {"key": "team", "value": "a", "effect": "NoSchedule"}
TAINTED = "1 node(s) had untolerated taint(s). preemption: 0/1 nodes are available: 1 Preemption is not helpful"


@pytest.mark.parametrize(
    ("spec", "tolerations", "message"),
    [
        ({"taints": [TAINT]}, [], TAINTED),
        ({"taints": [{**TAINT, "effect": "NoExecute"}]}, [{**TAINT, "operator": "Equal"}], TAINTED),
        ({"taints": [{**TAINT, "effect": "PreferNoSchedule"}]}, [], None),
        ({"taints": [TAINT]}, [{**TAINT, "operator": "Equal"}], None),
        ({"taints": [TAINT]}, [{"key": "team", "value": "b"}], TAINTED),
        ({"taints": [TAINT]}, [{"key": "team", "operator": "Exists"}], None),
        ({"taints": [TAINT]}, [{"operator": "Exists"}], None),
        ({"taints": [TAINT, {**TAINT, "key": "other"}]}, [TAINT], TAINTED),
        ({"unschedulable": True}, [], "1 node(s) were unschedulable."),
        ({"unschedulable": True}, [{"operator": "Exists"}], None),
    ],
)
def test_who_may_come_to_a_node(spec: Any, tolerations: list[Any], message: str | None) -> None:
    one = pod()
    one["spec"]["tolerations"] = tolerations
    found = why_unschedulable(one, {**NODE, "spec": spec}, {})
    assert (found is None) if message is None else (found or "").startswith(PREFIX + message)


def test_without_a_node_nothing_fits() -> None:
    assert why_unschedulable(pod(), None, {}) == "no nodes available to schedule pods"


def test_what_a_pod_asks_for() -> None:
    one = {
        "spec": {
            "containers": [
                {"resources": {"requests": {"cpu": "1"}}},
                {"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}},
            ],
            "initContainers": [{"resources": {"requests": {"cpu": "2"}}}, {"resources": {}}],
        }
    }
    assert pod_requests(one) == {"cpu": Decimal(2), "memory": Decimal(1024**3)}


def test_finished_pods_hold_nothing() -> None:
    assert sum_requests([{**pod("2"), "status": {"phase": "Succeeded"}}, pod("1")]) == {"cpu": Decimal(1)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.1", Decimal("0.1")), ("100m", Decimal("0.1")), ("1Ki", 1024), ("1e3", 1000), ("2E", 2 * 10**18), (3, 3)],
)
def test_quantities(text: str, expected: Any) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "one", "1 Gi", "1KB", "--1"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse(text)


def backend(name: str, ready: bool, **changes: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "labels": {"app": "x"}, **changes}
    ports = [{"name": "web", "containerPort": 8080}]
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "c", "ports": ports}]},
        "status": {"podIP": f"ip-{name}", "conditions": [condition]},
    }


def test_endpoints_are_ready_pods_of_the_selector() -> None:
    service = {"metadata": {"namespace": "n"}, "spec": {"selector": {"app": "x"}}}
    pods = [
        backend("b", True),
        backend("a", True),
        backend("unready", False),
        backend("going", True, deletionTimestamp="now"),
        backend("other", True, labels={"app": "y"}),
        backend("far", True, namespace="m"),
    ]
    by_name = {"port": 80, "targetPort": "web"}
    assert endpoints(service, by_name, pods) == [("ip-a", 8080), ("ip-b", 8080)]
    assert endpoints(service, {"port": 80}, pods)[0] == ("ip-a", 80)
    assert endpoints(service, {"port": 80, "targetPort": "none"}, pods) == []
    assert endpoints({**service, "spec": {}}, by_name, pods) == []
