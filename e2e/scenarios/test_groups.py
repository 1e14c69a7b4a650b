"""Worker groups come, go, rest and grow without touching others; replicas of several hosts come and go as one."""

from __future__ import annotations

from typing import Any

from e2e import manifests
from e2e.world import World, condition, is_true

HOSTS = 3


def quick(**fields: Any) -> manifests.Manifest:
    """A group whose pods end soon when they are deleted."""
    return manifests.group(maxReplicas=2, **{"template": manifests.template(terminationGracePeriodSeconds=2), **fields})


def apply(world: World, *groups: manifests.Manifest) -> None:
    world.apply(manifests.cluster("demo", manifests.cluster_spec(world.image, groups)))


def uids(world: World, group: str) -> dict[str, str]:
    """Pods of a group that stay, by name."""
    pods = world.pods.now().values()
    mine = [pod["metadata"] for pod in pods if pod["metadata"]["labels"].get("shoal.dev/group") == group]
    return {meta["name"]: meta["uid"] for meta in mine if "deletionTimestamp" not in meta}


def are_ready(world: World, group: str, count: int) -> bool:
    ready = [pod for pod in world.workers(ready=True) if pod["metadata"]["labels"]["shoal.dev/group"] == group]
    return len(ready) == len(uids(world, group)) == count


def test_groups_are_added_removed_suspended_and_nothing_else_is_touched(world: World) -> None:
    one, two = quick(name="one", minReplicas=1), quick(name="two", minReplicas=1)
    apply(world, one)
    world.until(lambda: are_ready(world, "one", 1), "the first group runs")
    kept = uids(world, "one") | uids(world, "head")
    apply(world, two, one)
    world.until(lambda: are_ready(world, "two", 1), "the added group runs")
    apply(world, {**two, "suspend": True}, one)
    world.until(lambda: not uids(world, "two"), "the suspended group goes")
    world.until(lambda: is_true(world.clusters.last("demo"), "Ready"), "the cluster is ready without it")
    apply(world, two, one)
    world.until(lambda: are_ready(world, "two", 1), "it comes back")
    apply(world, one)
    world.until(lambda: not uids(world, "two"), "the removed group goes")
    assert uids(world, "one") | uids(world, "head") == kept


def test_replicas_of_several_hosts_come_run_and_go_as_one(world: World) -> None:
    group = quick(name="slices", minReplicas=1, hostsPerReplica=HOSTS, idleTimeoutSeconds=60)
    apply(world, group)
    world.until(lambda: are_ready(world, "slices", HOSTS), "all hosts of the replica run")
    names = [f"demo-slices-0-h{host}" for host in range(HOSTS)]
    assert sorted(uids(world, "slices")) == names
    pod = world.pods.now()[names[2]]
    assert pod["metadata"]["labels"]["shoal.dev/host-index"] == "2"
    service = world.kubectl("get", "service", "demo-slices", "--output=jsonpath={.spec.clusterIP}")
    assert service == "None"

    def all_marked() -> bool:
        notes = [world.pods.now()[name]["metadata"].get("annotations", {}) for name in names]
        return all("shoal.dev/replica-ran" in note for note in notes)

    world.until(all_marked, "the replica is known to have run")
    before = set(uids(world, "slices").values())
    world.kubectl("delete", "pod", names[1], "--wait=false")

    def is_new() -> bool:
        return are_ready(world, "slices", HOSTS) and not before & set(uids(world, "slices").values())

    world.until(is_new, "the loss of one host replaced the whole replica", 40)
    apply(world, {**group, "minReplicas": 0, "maxReplicas": 0})
    world.until(lambda: not uids(world, "slices"), "the replica goes as a whole", 40)


def test_a_suspension_is_finished_before_pods_come_back(world: World) -> None:
    apply(world, quick(name="one", minReplicas=1))
    world.until(lambda: are_ready(world, "one", 1), "the group runs")
    before = set((uids(world, "one") | uids(world, "head")).values())
    world.patch("computecluster/demo", {"spec": {"suspend": True}})
    world.until(lambda: condition(world.clusters.last("demo"), "Suspended").get("reason") == "Suspending", "it begins")
    world.patch("computecluster/demo", {"spec": {"suspend": False}})
    world.until(lambda: are_ready(world, "one", 1), "the pods come back", 40)
    assert not before & set((uids(world, "one") | uids(world, "head")).values())


def test_a_head_with_its_state_on_a_volume_goes_on_where_the_old_one_stopped(world: World) -> None:
    spec = manifests.cluster_spec(
        world.image, [quick(name="one", minReplicas=1)], state={"backend": "PersistentVolume"}
    )
    world.apply(manifests.cluster("demo", spec))
    world.until(lambda: is_true(world.clusters.last("demo"), "Ready"), "the cluster is ready")
    owner = world.kubectl("get", "pvc", "demo-state", "--output=jsonpath={.metadata.ownerReferences[0].kind}")
    assert owner == "ComputeCluster"
    head, workers = uids(world, "head"), uids(world, "one")
    nodes = (world.clusters.last("demo") or {})["status"]["workers"]["ready"]
    world.kubectl("delete", "pod", "demo-head", "--wait=false")
    world.until(lambda: uids(world, "head") and uids(world, "head") != head, "another head comes", 45)
    world.until(lambda: is_true(world.clusters.last("demo"), "Ready"), "the cluster is ready again", 45)
    assert uids(world, "one") == workers
    assert (world.clusters.last("demo") or {})["status"]["workers"]["ready"] == nodes
    program = "python -c \"import shoal; f = shoal.remote(num_cpus=1)(lambda: 'again'); print(shoal.get(f.remote()))\""
    world.apply(manifests.job("job", clusterRef={"name": "demo"}, entrypoint=program))
    assert "again" in world.finish()["status"]["outputTail"]


def test_a_lost_head_is_replaced_and_workers_stay(world: World) -> None:
    apply(world, quick(name="one", minReplicas=1))
    world.until(lambda: are_ready(world, "one", 1), "the group runs")
    head, workers = uids(world, "head"), uids(world, "one")
    world.kubectl("delete", "pod", "demo-head", "--wait=false")
    world.until(lambda: uids(world, "head") and uids(world, "head") != head, "another head comes", 45)
    world.until(lambda: is_true(world.clusters.last("demo"), "Ready"), "the cluster is ready again", 45)
    assert uids(world, "one") == workers
