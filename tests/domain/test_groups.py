"""Groups in the model world: added, removed, reordered, renamed, suspended; replicas of several hosts; lost heads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_operator.domain.cluster.assessment import HANG_SECONDS
from shoal_operator.domain.cluster.head_life import backoff_seconds
from shoal_operator.domain.cluster.workers import NODE_DEAD_SECONDS
from shoal_operator.domain.head import DrainState
from shoal_operator.domain.names import group_service_name, worker_pod_name

from .conftest import ClusterWorld

MakeWorld = Callable[..., Any]
A = {"name": "a", "minReplicas": 2, "maxReplicas": 4, "resources": {"CPU": 1}}
B = {"name": "b", "minReplicas": 1, "maxReplicas": 4, "resources": {"CPU": 1}}
SLICES = {"name": "slices", "minReplicas": 2, "maxReplicas": 3, "hostsPerReplica": 4, "resources": {"CPU": 1}}


def running(cluster_world: MakeWorld, *groups: dict[str, Any], **spec: Any) -> Any:
    """A world at rest whose pods all run."""
    world = cluster_world(**copy.deepcopy({"workerGroups": list(groups), **spec}))
    settle(world)
    return world


def settle(world: Any, most: int = 40) -> None:
    """Pods start, drains end, and plans are carried out until nothing is left to do."""
    for _ in range(most):
        plan = world.reconcile()
        pending = [name for name, pod in world.pods.items() if pod["status"]["phase"] == "Pending"]
        world.start_pods()
        draining = [name for name, node in world.nodes.items() if node.drain_state is DrainState.DRAINING]
        for name in draining:
            world.finish(name)
        if plan.is_empty and not pending and not draining:
            return
    raise AssertionError("does not come to rest")


def uids(world: Any, group: str = "") -> dict[str, str]:
    pods = {n: p["metadata"] for n, p in world.pods.items()}
    return {n: meta["uid"] for n, meta in pods.items() if group in ("", meta["labels"]["shoal.dev/group"])}


def test_an_added_group_touches_no_other_pod(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, A)
    before = uids(world)
    world.spec["workerGroups"].insert(0, dict(B))
    settle(world)
    assert before.items() <= uids(world).items()
    assert len(uids(world, "b")) == 1


def test_reordered_groups_touch_no_pod(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, A, B)
    before = uids(world)
    world.spec["workerGroups"].reverse()
    assert world.reconcile().is_empty
    assert uids(world) == before


def test_a_removed_group_is_drained_and_then_deleted(cluster_world: MakeWorld) -> None:
    """P16a: removing a worker group orphans nothing, and what runs there ends first."""
    world = running(cluster_world, A, B)
    kept = uids(world, "b") | uids(world, "head")
    del world.spec["workerGroups"][0]
    plan = world.reconcile()
    assert plan.delete_pods == ()
    assert all('"GroupRemoved"' in note.annotations["shoal.dev/drain"] for note in plan.annotate_pods)
    assert {command.only_if_idle for command in world.reconcile().head_commands} == {False}
    assert world.reconcile().delete_pods == (), "busy workers finish"
    world.finish("demo-a-0")
    assert [item.name for item in world.reconcile().delete_pods] == ["demo-a-0"]
    settle(world)
    assert uids(world) == kept


def test_a_renamed_group_is_one_removed_and_one_added(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, A, B)
    kept = uids(world, "b") | uids(world, "head")
    world.spec["workerGroups"][0]["name"] = "c"
    settle(world)
    assert kept.items() <= uids(world).items()
    assert (len(uids(world, "c")), uids(world, "a")) == (2, {})


def test_a_suspended_group_goes_and_comes_back_alone(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, A, B)
    kept = uids(world, "b") | uids(world, "head")
    world.spec["workerGroups"][0]["suspend"] = True
    settle(world)
    assert uids(world) == kept
    assert world.condition("Ready")["status"] == "True"
    world.spec["workerGroups"][0]["suspend"] = False
    settle(world)
    assert kept.items() <= uids(world).items()
    assert len(uids(world, "a")) == 2


def test_fewer_replicas_takes_exactly_so_many_and_the_right_ones(cluster_world: MakeWorld) -> None:
    """P12: pending first, then idle, then the newest; never one more than asked."""
    fixed = {"autoscaling": {"enabled": False}}
    world = running(cluster_world, {**A, "replicas": 4}, **fixed)
    world.wait(60)
    world.lose_pod("demo-a-1")
    world.reconcile()
    world.idle("demo-a-2", 5)
    for replicas, left in ((3, {"0", "2", "3"}), (2, {"0", "3"}), (1, {"0"})):
        world.spec["workerGroups"][0]["replicas"] = replicas
        if replicas == 1:
            world.pods["demo-a-3"]["metadata"]["creationTimestamp"] = "2026-01-02T03:05:00Z"
        for _ in range(8):
            world.reconcile()
            for name, node in list(world.nodes.items()):
                if node.drain_state is DrainState.DRAINING:
                    world.finish(name)
        assert {name.rpartition("-")[2] for name in world.workers()} == left
    assert world.reconcile().is_empty


def terminate(world: Any, name: str) -> None:
    world.pods[name]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    world.nodes.pop(name, None)


def test_pods_on_their_way_out_do_not_count_but_are_not_made_up_for_without_end(cluster_world: MakeWorld) -> None:
    """P20: a worker that hangs in Terminating does not keep its group under size."""
    world = running(cluster_world, {**A, "minReplicas": 2, "maxReplicas": 2})
    for _ in range(6):
        for name in list(world.nodes):
            terminate(world, name)
        settle(world)
    alive = [n for n in world.workers() if "deletionTimestamp" not in world.pods[n]["metadata"]]
    assert len(world.workers()) == 4, "one group's worth more, no more than that"
    assert len(alive) <= 2


def slices(world: Any) -> dict[str, set[str]]:
    """Host indexes by replica index."""
    found: dict[str, set[str]] = {}
    for name in world.workers():
        labels = world.pods[name]["metadata"]["labels"]
        found.setdefault(labels["shoal.dev/replica-index"], set()).add(labels["shoal.dev/host-index"])
    return found


def test_several_hosts_have_indexes_names_and_a_service(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, SLICES)
    assert slices(world) == {"0": {"0", "1", "2", "3"}, "1": {"0", "1", "2", "3"}}
    service = world.services["demo-slices"]["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    spec = world.pods["demo-slices-1-h2"]["spec"]
    assert (spec["hostname"], spec["subdomain"]) == ("demo-slices-1-h2", "demo-slices")
    env = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
    assert (env["SHOAL_REPLICA_INDEX"], env["SHOAL_HOST_INDEX"], env["SHOAL_HOSTS_PER_REPLICA"]) == ("1", "2", "4")
    assert world.status["workerGroups"][0]["ready"] == 8
    assert world.condition("Ready")["status"] == "True"
    world.spec["workerGroups"] = [dict(A)]
    settle(world)
    assert "demo-slices" not in world.services


def test_a_lost_host_replaces_the_whole_replica(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, SLICES)
    kept = {name: uid for name, uid in uids(world).items() if "-1-" in name}
    before = {name: uid for name, uid in uids(world).items() if "-0-" in name}
    world.lose_pod("demo-slices-0-h2")
    plan = world.reconcile()
    assert sorted(item.name for item in plan.delete_pods) == [f"demo-slices-0-h{host}" for host in (0, 1, 3)]
    settle(world)
    assert sorted(map(len, slices(world).values())) == [4, 4]
    assert kept.items() <= uids(world).items()
    assert not set(before.values()) & set(uids(world).values())
    world.spec["workerGroups"][0]["minReplicas"] = 3
    settle(world)
    assert {index: len(hosts) for index, hosts in slices(world).items()} == {"0": 4, "1": 4, "2": 4}, "no gap stays"


def test_a_replica_that_never_ran_keeps_its_hosts_when_one_is_refused(cluster_world: MakeWorld) -> None:
    """P13: a host that a quota refuses is made again; the others are not torn down for it."""
    world = cluster_world(workerGroups=[{**SLICES, "minReplicas": 1}])
    world.reconcile()
    world.lose_pod("demo-slices-0-h3")
    world.start_pods()
    before = uids(world)
    plan = world.reconcile()
    assert [pod["metadata"]["name"] for pod in plan.create_pods] == ["demo-slices-0-h3"]
    assert plan.delete_pods == ()
    settle(world)
    assert before.items() <= uids(world).items()
    assert slices(world) == {"0": {"0", "1", "2", "3"}}


def test_a_host_that_hangs_in_terminating_takes_its_replica_with_it(cluster_world: MakeWorld) -> None:
    """Its name is not free for who knows how long, so the replica is made anew under another index."""
    world = cluster_world(workerGroups=[{**SLICES, "minReplicas": 1}])
    world.reconcile()
    world.reconcile()
    terminate(world, "demo-slices-0-h3")
    world.start_pods()
    world.nodes.pop("demo-slices-0-h3")
    plan = world.reconcile()
    assert (plan.delete_pods, plan.create_pods) == ((), ()), "it may be gone in a moment"
    assert 0 < plan.requeue_after_seconds <= HANG_SECONDS
    world.wait(plan.requeue_after_seconds)
    plan = world.reconcile()
    assert {item.name for item in plan.delete_pods} == {f"demo-slices-0-h{host}" for host in (0, 1, 2)}
    assert {pod["metadata"]["name"] for pod in plan.create_pods} == {f"demo-slices-1-h{host}" for host in range(4)}
    assert [event.reason for event in plan.events] == ["HostLost"]
    settle(world)
    assert world.condition("Ready")["status"] == "True"


def test_more_hanging_pods_than_are_made_up_for_are_told(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, {**A, "minReplicas": 2, "maxReplicas": 2})
    for _ in range(2):
        for name in list(world.nodes):
            terminate(world, name)
            world.pods[name]["spec"]["nodeName"] = "rack-7"
        world.wait(2 * HANG_SECONDS)
        settle(world)
    assert world.status["workerGroups"][0]["ready"] == 0
    assert (world.status["reason"], "rack-7" in world.status["message"]) == ("NodeLost", True)


@pytest.mark.parametrize("group", [SLICES, A], ids=["several hosts", "one host"])
def test_a_node_that_is_dead_in_a_living_pod_is_replaced_after_a_time_of_grace(
    cluster_world: MakeWorld, group: dict[str, Any]
) -> None:
    world = running(cluster_world, group)
    name = "demo-slices-0-h2" if group is SLICES else "demo-a-0"
    lost = {n for n in world.workers() if n.startswith(name.partition("-h")[0])}
    before, node = uids(world), world.nodes[name]
    world.nodes[name] = replace(node, alive=False)
    (note,) = world.reconcile().annotate_pods
    assert (note.name, note.annotations.keys()) == (name, {"shoal.dev/node-dead-since"})
    assert 0 < world.reconcile().requeue_after_seconds <= NODE_DEAD_SECONDS
    world.wait(NODE_DEAD_SECONDS / 2)
    world.nodes[name] = node
    (note,) = world.reconcile().annotate_pods
    assert note.annotations == {"shoal.dev/node-dead-since": None}, "its container was started again"
    world.nodes[name] = replace(node, alive=False)
    world.reconcile()
    del world.nodes[name]  # the head forgets the dead after a while
    world.wait(NODE_DEAD_SECONDS + 1)
    assert {item.name for item in world.reconcile().delete_pods} == lost
    settle(world)
    kept = {n: uid for n, uid in before.items() if n not in lost}
    assert kept.items() <= uids(world).items()
    assert len(uids(world)) == len(before)


def test_nodes_that_a_new_head_does_not_know_yet_are_not_dead(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, SLICES)
    world.nodes.clear()
    world.wait(1000)
    assert world.reconcile().annotate_pods == ()
    assert (world.status["reason"], "kubectl logs" in world.status["message"]) == ("NotJoined", True)


def test_a_slow_host_is_waited_for(cluster_world: MakeWorld) -> None:
    world = cluster_world(workerGroups=[{**SLICES, "minReplicas": 1}])
    world.reconcile()
    world.hold_up_pod("demo-slices-0-h3", "ErrImagePull", "slow registry")
    kept = world.pods.pop("demo-slices-0-h3")
    world.start_pods()
    world.pods["demo-slices-0-h3"] = kept
    world.wait(3600)
    world.settle()
    assert len(world.workers()) == 4
    assert world.condition("Ready")["status"] == "False"
    assert "slow registry" in world.status["message"]


def test_several_hosts_scale_down_as_a_whole(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, SLICES, autoscaling={"enabled": False})
    world.spec["workerGroups"][0] |= {"replicas": 2}
    settle(world)
    world.spec["workerGroups"][0] |= {"replicas": 1}
    settle(world)
    assert [len(hosts) for hosts in slices(world).values()] == [4]


def test_several_hosts_are_updated_replica_by_replica(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, {**SLICES, "minReplicas": 2, "maxReplicas": 2})
    world.spec["workerGroups"][0]["template"] = {"spec": {"nodeSelector": {"disk": "new"}}}
    most = 0
    for _ in range(40):
        plan = world.reconcile()
        most = max(most, len(world.workers()))
        world.start_pods()
        for name, node in list(world.nodes.items()):
            if node.drain_state is DrainState.DRAINING:
                world.finish(name)
        if plan.is_empty and world.condition("UpToDate")["status"] == "True":
            break
    assert most == 12
    assert sorted(map(len, slices(world).values())) == [4, 4]
    assert all("nodeSelector" in world.pods[name]["spec"] for name in world.workers())


def test_a_suspension_that_began_is_finished_before_pods_come_back(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, A)
    before = set(uids(world).values())
    world.spec["suspend"] = True
    world.reconcile()
    world.spec["suspend"] = False
    plan = world.reconcile()
    assert (len(plan.delete_pods), plan.create_pods) == (3, ())
    assert world.condition("Suspended")["reason"] == "Suspending"
    world.reconcile()
    settle(world)
    assert len(world.pods) == 3
    assert not before & set(uids(world).values())
    assert world.condition("Suspended")["reason"] == "NotSuspended"


def test_a_lost_head_is_replaced_at_once_and_workers_stay(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, A)
    workers = uids(world, "a")
    world.wait(1000)
    world.lose_pod("demo-head")
    world.head_answers = False
    assert [pod["metadata"]["name"] for pod in world.reconcile().create_pods] == ["demo-head"]
    settle(world)
    assert uids(world, "a") == workers


def test_a_head_on_a_lost_machine_is_said_with_what_to_do(cluster_world: MakeWorld) -> None:
    """Never two heads: the pod has to go first, and only people can say that its machine is off."""
    world = running(cluster_world, A)
    world.pods["demo-head"]["spec"]["nodeName"] = "rack-7"
    world.pods["demo-head"]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    world.head_answers = False
    plan = world.reconcile()
    assert world.condition("HeadReady")["reason"] == "HeadStopped"
    world.wait(plan.requeue_after_seconds)
    assert world.reconcile().create_pods == ()
    condition = world.condition("HeadReady")
    assert (condition["status"], condition["reason"], world.status["reason"]) == ("False", *["HeadNodeLost"] * 2)
    for words in ("rack-7", "kubectl delete node rack-7", "kubectl delete pod demo-head --force"):
        assert words in condition["message"]
    del world.pods["demo-head"]
    settle(world)
    assert world.condition("Ready")["status"] == "True"


def test_an_operator_that_never_heard_the_head_says_what_the_one_before_said(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, A)
    world.observe = lambda: replace(ClusterWorld.observe(world), head=None, head_problem="no route to it")
    world.reconcile()
    before = world.status
    assert world.condition("HeadReachable")["reason"] == "HeadUnreachable"
    world.observe = lambda: replace(ClusterWorld.observe(world), head=None)
    assert world.reconcile().is_empty
    assert world.status == before


def test_heads_that_end_soon_come_back_more_and_more_slowly(cluster_world: MakeWorld) -> None:
    """P21b: a head that crashes is a condition with its words, not a hot loop."""
    world = running(cluster_world, A)
    waits = []
    for _ in range(7):
        world.end_pod("demo-head")
        world.head_answers = False
        plan = world.reconcile()
        assert plan.delete_pods == ()
        waits.append(plan.requeue_after_seconds)
        reason = world.condition("HeadReady")["reason"]
        world.wait(plan.requeue_after_seconds)
        assert [item.name for item in world.reconcile().delete_pods] == ["demo-head"]
        world.status = copy.deepcopy(world.status)
        assert [pod["metadata"]["name"] for pod in world.reconcile().create_pods] == ["demo-head"]
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    assert reason == "HeadCrashLoop"
    assert "the host needs memory" in world.condition("HeadReady")["message"] or world.status["head"]["failures"] == 7
    world.wait(601)
    world.end_pod("demo-head")
    assert [item.name for item in world.reconcile().delete_pods] == ["demo-head"]
    world.reconcile()
    assert world.status["head"]["failures"] == 0
    assert backoff_seconds(10**6) == 300


@settings(max_examples=80, deadline=None)
@given(
    one=st.tuples(
        st.from_regex(r"[a-z]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True), st.from_regex(r"[a-z0-9](-[a-z0-9])?")
    ),
    cut=st.integers(0, 8),
)
def test_no_two_clusters_share_a_name(one: tuple[str, str], cut: int) -> None:
    """Cluster `a` with group `b-c` and cluster `a-b` with group `c`."""
    words = "-".join(one).split("-")
    pairs = {("-".join(words[:i]), "-".join(words[i:])) for i in range(1, len(words))}
    names = [worker_pod_name(*pair, 0) for pair in pairs] + [worker_pod_name(*pair, 0, cut) for pair in pairs]
    names += [group_service_name(*pair) for pair in pairs]
    assert len(set(names)) == len(names)


def test_usual_names_stay_short() -> None:
    assert worker_pod_name("demo", "small", 3) == "demo-small-3"
    assert worker_pod_name("a-b", "c", 0) != worker_pod_name("a", "b-c", 0)


@pytest.mark.parametrize("edit", ["state", "service"])
def test_head_service_and_claim_follow_the_spec(cluster_world: MakeWorld, edit: str) -> None:
    world = running(cluster_world, A, state={"backend": "PersistentVolume", "volume": {"size": "2Gi"}})
    claim = world.others["PersistentVolumeClaim/demo-state"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert claim["metadata"]["ownerReferences"][0]["uid"] == "cluster-uid"
    head = world.pods["demo-head"]["spec"]
    assert {"name": "shoal-state", "persistentVolumeClaim": {"claimName": "demo-state"}} in head["volumes"]
    assert {"name": "shoal-state", "mountPath": "/var/lib/shoal"} in head["containers"][0]["volumeMounts"]
    assert head["securityContext"]["fsGroup"] == 65532
    if edit == "state":
        world.spec["state"]["volume"] |= {"deletionPolicy": "Retain"}
        settle(world)
        assert "ownerReferences" not in world.others["PersistentVolumeClaim/demo-state"]["metadata"]
    else:
        service = {"type": "LoadBalancer", "annotations": {"x": "y"}, "labels": {"team": "z"}}
        world.spec["head"] = {"service": service}
        settle(world)
        made = world.services["demo-head"]
        assert (made["spec"]["type"], made["metadata"]["labels"]["team"]) == ("LoadBalancer", "z")
        assert made["metadata"]["annotations"]["x"] == "y"
    assert world.reconcile().is_empty


def test_a_head_with_its_state_in_redis_finds_the_server_and_its_own_keys(cluster_world: MakeWorld) -> None:
    redis = {"url": "redis://cache:6379/0", "passwordSecret": {"name": "cache"}}
    world = running(cluster_world, A, state={"backend": "Redis", "redis": redis})
    assert not any(key.startswith("PersistentVolumeClaim") for key in world.others)
    container = world.pods["demo-head"]["spec"]["containers"][0]
    given = " ".join(container["args"])
    assert "--state-url redis://cache:6379/0 --state-name cluster-uid --state-retention-seconds 2592000" in given
    assert "--state-dir" not in given
    password = {"secretKeyRef": {"name": "cache", "key": "password"}}
    assert {"name": "SHOAL_STATE_PASSWORD", "valueFrom": password} in container["env"]
    workers = [pod for name, pod in world.pods.items() if name != "demo-head"]
    assert workers
    assert "SHOAL_STATE_PASSWORD" not in str(workers)


def test_a_claim_of_ones_own_is_mounted_and_never_written(cluster_world: MakeWorld) -> None:
    world = running(cluster_world, A, state={"backend": "PersistentVolume", "volume": {"claimName": "mine"}})
    assert not any(key.startswith("PersistentVolumeClaim") for key in world.others)
    volumes = world.pods["demo-head"]["spec"]["volumes"]
    assert {"name": "shoal-state", "persistentVolumeClaim": {"claimName": "mine"}} in volumes
