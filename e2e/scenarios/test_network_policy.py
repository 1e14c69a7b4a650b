"""Who reaches a cluster's pods. Where nothing enforces policies, the policy itself is looked at."""

from __future__ import annotations

import json
from typing import Any

from e2e import manifests
from e2e.manifests import Manifest
from e2e.world import World, is_true

CONTROL_PORT = 7380
FRAMES_PORT = 7381
STRANGERS_PORT = 8000
FRIENDS = {"podSelector": {"matchLabels": {"friend": "yes"}}}

MEET = """
    import os
    import shoal

    @shoal.remote(num_cpus=1)
    class Place:
        def make(self):
            return bytes(1 << 20)

        def size(self, value):
            return len(value), os.environ["POD_NAME"]

    first, second = Place.remote(), Place.remote()
    print("met", shoal.get([first.size.remote(second.make.remote()), second.size.remote(first.make.remote())]))
"""

LOOK_OUT = """
    import os
    import socket
    import shoal

    def reach(host, port):
        try:
            socket.create_connection((host, port), 3).close()
        except OSError:
            return False
        return True

    @shoal.remote(num_cpus=1)
    def look(friend, stranger, port):
        name = "kubernetes.default.svc.cluster.local"
        return [reach(friend, port), reach(stranger, port), bool(socket.gethostbyname(name))]

    words = [os.environ["FRIEND"], os.environ["STRANGER"], int(os.environ["PORT"])]
    print("friend, stranger, DNS:", shoal.get(look.remote(*words)))
"""


def bystander(world: World, name: str, **labels: str) -> Manifest:
    """A pod of nobody's cluster, with a port open and Python to try other ones."""
    context = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "python",
        "image": world.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "http.server", str(STRANGERS_PORT), "--directory", "/var/empty"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "containers": [container],
        "securityContext": context,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def address(world: World, pod: str) -> str:
    return str(world.pods.now()[pod]["status"]["podIP"])


def reaches(world: World, pod: str, host: str, port: int) -> bool:
    """Whether a connection from the pod is answered within two seconds."""
    code = f"import socket; socket.create_connection(({host!r}, {port}), 2)"
    ended = world.kubectl.run("exec", pod, "--", "python", "-c", code)
    assert ended.code == 0 or "Error" in ended.err, ended.err
    return ended.code == 0


def policy(world: World, name: str) -> Any:
    found = world.kubectl("get", "networkpolicy", name, "--ignore-not-found", "--output=json")
    return json.loads(found) if found.strip() else None


def shared(world: World, **security: Any) -> Manifest:
    head, groups = manifests.head_with("programs"), [manifests.group(minReplicas=2, maxReplicas=2)]
    spec = manifests.cluster_spec(world.image, groups, head=head, security={"networkPolicy": security})
    return manifests.cluster("shared", spec)


def test_only_the_cluster_the_operator_and_those_named_reach_the_pods(world: World) -> None:
    world.apply(manifests.program("programs", MEET), shared(world, ingressFrom=[FRIENDS]))
    world.until(lambda: is_true(world.clusters.last("shared"), "Ready"), "the operator reaches the head")
    made = world.until(lambda: policy(world, "shared"), "there is a policy")
    assert made["spec"]["podSelector"] == {"matchLabels": {"shoal.dev/cluster": "shared"}}
    assert made["spec"]["ingress"][-1] == {"from": [FRIENDS]}
    if world.provider.enforces_network_policies:
        strangers_are_kept_out(world)
    world.apply(manifests.job("job", clusterRef={"name": "shared"}, entrypoint="python $PROGRAMS/main.py"))
    output = world.finish()["status"]["outputTail"]
    assert "(1048576, 'shared-small-0')" in output, "workers reach each other"
    assert "(1048576, 'shared-small-1')" in output
    assert is_true(world.clusters.last("shared"), "HeadReachable"), "and the operator still reaches the head"

    world.patch("computecluster/shared", {"spec": {"security": {"networkPolicy": {"mode": "None"}}}})
    world.until(lambda: policy(world, "shared") is None, "the policy goes")
    if world.provider.enforces_network_policies:
        worker = address(world, "shared-small-0")
        world.until(lambda: reaches(world, "stranger", worker, FRAMES_PORT), "the stranger reaches a worker now")
        assert reaches(world, "stranger", address(world, "shared-head"), CONTROL_PORT)


def strangers_are_kept_out(world: World) -> None:
    world.apply(bystander(world, "stranger"), bystander(world, "friend", friend="yes"))
    for name in ("stranger", "friend"):
        world.until(lambda: world.pod_is_ready(name), f"pod {name} is ready")  # noqa: B023 - waits at once
    head, worker = address(world, "shared-head"), address(world, "shared-small-0")
    places = [(worker, FRAMES_PORT), (head, CONTROL_PORT), (head, FRAMES_PORT), ("shared-head", CONTROL_PORT)]
    for host, port in places:
        world.until(lambda: reaches(world, "friend", host, port), f"the friend reaches {host}:{port}")  # noqa: B023
        world.until(lambda: not reaches(world, "stranger", host, port), f"the stranger is kept from {host}:{port}")  # noqa: B023


def test_pods_connect_to_nobody_but_those_named_where_the_spec_says_so(world: World) -> None:
    world.apply(manifests.program("programs", LOOK_OUT), shared(world, egressTo=[FRIENDS]))
    world.until(lambda: is_true(world.clusters.last("shared"), "Ready"), "the cluster is ready")
    made = world.until(lambda: policy(world, "shared"), "there is a policy")
    assert made["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made["spec"]["egress"][-1] == {"to": [FRIENDS]}
    if not world.provider.enforces_network_policies:
        return
    world.apply(bystander(world, "stranger"), bystander(world, "friend", friend="yes"))
    for name in ("stranger", "friend"):
        world.until(lambda: world.pod_is_ready(name), f"pod {name} is ready")  # noqa: B023 - waits at once
        world.until(lambda: reaches(world, "stranger", address(world, name), STRANGERS_PORT), f"{name} listens")  # noqa: B023
    words = {"PORT": str(STRANGERS_PORT), "FRIEND": address(world, "friend"), "STRANGER": address(world, "stranger")}
    places = [{"name": key, "value": value} for key, value in words.items()]
    job = manifests.job("job", clusterRef={"name": "shared"}, entrypoint="python $PROGRAMS/main.py", env=places)
    world.apply(job)
    assert "friend, stranger, DNS: [True, False, True]" in world.finish()["status"]["outputTail"]


def test_a_policy_that_somebody_opens_or_deletes_is_put_right(world: World) -> None:
    world.apply(manifests.cluster("plain", manifests.cluster_spec(world.image)))
    before = world.until(lambda: policy(world, "plain"), "there is a policy")
    world.patch("networkpolicy/plain", {"spec": {"ingress": [{}], "egress": [{}], "policyTypes": ["Ingress"]}})
    world.until(lambda: policy(world, "plain")["spec"] == before["spec"], "it is as it was")
    world.kubectl("delete", "networkpolicy", "plain")
    world.until(lambda: (policy(world, "plain") or {}).get("spec") == before["spec"], "it is back")


def test_a_policy_of_that_name_that_is_somebody_elses_is_left_alone_and_said(world: World) -> None:
    theirs = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "plain"},
        "spec": {"podSelector": {"matchLabels": {"app": "theirs"}}, "policyTypes": ["Ingress"]},
    }
    world.apply(theirs, manifests.cluster("plain", manifests.cluster_spec(world.image)))
    world.until(lambda: "NetworkPolicy/plain" in str(world.clusters.last("plain")), "the cluster says so")
    found = policy(world, "plain")
    assert found["spec"] == theirs["spec"]
    assert "ownerReferences" not in found["metadata"]
