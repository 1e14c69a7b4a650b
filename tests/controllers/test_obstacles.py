"""What keeps pods from running is on the object, in the words of whoever refuses, and heals by itself."""

import asyncio

from .conftest import DRY_RUN, a_cluster, a_job, at_rest, condition, is_true, until
from .test_clusters import CLUSTER, demand, node

PODS = "/api/v1/namespaces/default/pods"
QUOTA = (403, 'pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0')
TWO = [
    {"name": "first", "priority": 1, "maxReplicas": 2, "resources": {"CPU": 1}},
    {"name": "second", "maxReplicas": 2, "resources": {"CPU": 1}},
]


def refuse(world, word, answer):
    """The server refuses pods whose body has the word."""
    world.recorder.spoil_body = lambda method, path, body: (
        answer if method == "POST" and path == PODS and word in body else None
    )


def reason(cluster):
    return ((cluster or {}).get("status") or {}).get("reason")


def events_of(world, wanted):
    async def read():
        return [event for event in await world.api.events() if event[0] == wanted]

    return read


async def test_a_full_quota_of_one_group_stops_no_other_and_heals_by_itself(world):
    refuse(world, '"demo-small-0"', QUOTA)
    groups = [{"name": "small", "minReplicas": 1}, {"name": "large", "minReplicas": 2}]
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(workerGroups=groups))
        names = ["demo-head", "demo-large-0", "demo-large-1"]
        await until(world.api.pod_names, lambda found: found == names)
        head = await world.serve_head()
        head.change(nodes=[node("demo-head", "head", cpus=0), node("demo-large-0"), node("demo-large-1")])
        cluster = await until(world.api.cluster, lambda found: reason(found) == "QuotaExceeded")
        assert "exceeded quota: small, requested: pods=1" in cluster["status"]["message"]
        assert "demo-small-0" in cluster["status"]["message"]
        assert condition(cluster, "WorkersReady") == ("False", "QuotaExceeded")
        await until(world.api.cluster, lambda found: condition(found, "Ready") == ("False", "QuotaExceeded"))
        refuse(world, "nobody", QUOTA)
        await until(world.api.pod_names, lambda found: "demo-small-0" in found, seconds=6)
        assert await events_of(world, "QuotaExceeded")() == [("QuotaExceeded", "demo")]
        head.change(nodes=[*head.snapshot.nodes, node("demo-small-0")])
        await until(world.api.cluster, is_true("Ready"))
        assert reason(await world.api.cluster()) is None


async def test_no_worker_takes_the_heads_place_where_a_quota_has_room_for_one_pod(world):
    taken = []

    def one_pod(method, path, body):
        if method != "POST" or path != PODS:
            return None
        taken.append('"demo-head"' in body)
        return None if len(taken) == 1 else QUOTA

    world.recorder.spoil_body = one_pod
    async with world.operator():
        await world.api.create("computeclusters", a_cluster())
        await until(world.api.pod_names, lambda found: found == ["demo-head"])
        await until(world.api.cluster, lambda found: condition(found, "WorkersReady") == ("False", "QuotaExceeded"))
        assert taken[0]


async def test_the_next_group_steps_in_for_one_that_is_refused(world):
    refuse(world, '"demo-first-', QUOTA)
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(workerGroups=TWO))
        head = await world.serve_head()
        head.change(nodes=[node("demo-head", "head", cpus=0)], demands=[demand(1, 2)])
        await until(world.api.pod_names, lambda found: found == ["demo-head", "demo-second-0", "demo-second-1"])


async def test_an_unknown_field_in_a_template_is_said_before_any_pod_is_made(world):
    bad = {"spec": {"tolerationz": [], "containers": [{"name": "shoal", "imagePullPolicie": "Never"}]}}
    groups = [{"name": "small", "minReplicas": 1, "template": bad}, {"name": "large", "minReplicas": 1}]
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster(workerGroups=groups))
        cluster = await until(world.api.cluster, lambda found: reason(found) == "InvalidTemplate")
        assert condition(cluster, "InvalidSpec") == ("True", "InvalidTemplate")
        assert condition(cluster, "Ready") == ("False", "InvalidTemplate")
        assert 'unknown field "spec.tolerationz"' in cluster["status"]["message"]
        assert "group `small`" in cluster["status"]["message"]
        await until(world.api.pod_names, lambda found: found == ["demo-head", "demo-large-0"])
        await at_rest(world, operator)
        made = [path for method, path in world.recorder.writes() if path == PODS]
        assert len(made) == 2
        groups[0].pop("template")
        await world.api.patch(CLUSTER, {"spec": {"workerGroups": groups}})
        await until(world.api.pod_names, lambda found: "demo-small-0" in found)
        await until(world.api.cluster, lambda found: condition(found, "InvalidSpec") == ("False", "Valid"))


async def test_templates_are_tried_once_and_not_again_after_a_restart(world):
    def tries():
        return [path for method, path, _ in world.recorder.requests if method == DRY_RUN]

    async with world.operator():
        for name in ("one", "two", "three"):
            await world.api.create("computeclusters", a_cluster(name))
        await until(world.api.pod_names, lambda found: len(found) == 12)
        assert 2 <= len(tries()) <= 6  # the head's and the workers', alike in all; at most once a cluster that races
        before = len(tries())
        await world.api.create("computeclusters", a_cluster("four"))
        await until(world.api.pod_names, lambda found: len(found) == 16)
        assert len(tries()) == before
    async with world.operator(seed=1) as operator:
        await at_rest(world, operator)
        assert len(tries()) == before


async def test_events_of_a_silent_pod_are_looked_up_and_told(world):
    world.kubelet.paused = True
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster(workerGroups=[]))
        (pod,) = await until(world.api.pods)
        about = {"kind": "Pod", "namespace": "default", "name": "demo-head", "uid": pod["metadata"]["uid"]}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "demo-head.1", "namespace": "default"},
            "involvedObject": about,
            "type": "Warning",
            "reason": "FailedMount",
            "message": 'MountVolume.SetUp failed for volume "x" : configmap "absent" not found',
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
        await world.api.create("events", event)
        cluster = await until(world.api.cluster, lambda found: reason(found) == "VolumeNotMounted")
        assert 'configmap "absent" not found' in cluster["status"]["message"]
        assert condition(cluster, "HeadReady") == ("False", "VolumeNotMounted")
        await until(events_of(world, "VolumeNotMounted"))
        world.kubelet.paused = False
        await until(world.api.cluster, is_true("HeadReady"))
        await until(lambda: asyncio.sleep(0, operator._obstacles._notices._clusters), lambda silent: not silent)
        looks = len(lookups(world))
        await world.api.patch(CLUSTER, {"metadata": {"annotations": {"look": "again"}}})
        await at_rest(world, operator)
        assert len(lookups(world)) == looks


def lookups(world):
    return [path for method, path, _ in world.recorder.requests if method == "GET" and path.endswith("/events")]


async def test_a_head_that_was_never_reached_says_what_is_in_the_way(world):
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(workerGroups=[]))
        cluster = await until(world.api.cluster, lambda found: reason(found) == "HeadUnreachable")
        assert "connection refused" in cluster["status"]["message"]
        assert condition(cluster, "Ready") == ("False", "HeadUnreachable")
        await world.serve_head()
        await until(world.api.cluster, is_true("Ready"))


def forget_kinds(world, word):
    """Admission has yet to learn the kinds of owners, for what has the word in its body."""
    words = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion shoal.dev/v1"
    answer = (403, f'pods "x" is forbidden: {words} Kind ComputeCluster: no matches for kind "ComputeCluster"')
    world.recorder.spoil_body = lambda method, path, body: (
        answer if method in ("POST", "PATCH") and '"blockOwnerDeletion":' in body and word in body else None
    )


async def test_kinds_that_the_server_has_yet_to_learn_are_on_the_cluster_and_heal_by_themselves(world):
    forget_kinds(world, "")
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(workerGroups=[{"name": "small"}]))
        cluster = await until(world.api.cluster, lambda found: reason(found) == "WriteRefused")
        assert "cannot find RESTMapping" in cluster["status"]["message"]
        assert "tried again by itself" in str(cluster["status"])
        assert condition(cluster, "Ready")[0] == "False"
        forget_kinds(world, '"Pod"')
        cluster = await until(world.api.cluster, lambda found: reason(found) == "AdmissionUnavailable", seconds=10)
        assert "half a minute" in cluster["status"]["message"]
        forget_kinds(world, "nothing at all")
        await until(world.api.pod_names, lambda found: found == ["demo-head"], seconds=10)
        head = await world.serve_head()
        head.change(nodes=[node("demo-head", "head", cpus=0)])
        cluster = await until(world.api.cluster, is_true("Ready"))
        assert reason(cluster) is None


async def test_a_job_whose_cluster_is_refused_for_that_says_so_and_goes_on(world):
    forget_kinds(world, '"ComputeCluster"')
    async with world.operator():
        await world.api.create("computejobs", a_job())
        job = await until(world.api.job, lambda found: reason(found) == "WriteRefused")
        assert "cannot find RESTMapping" in job["status"]["message"]
        forget_kinds(world, "nothing at all")
        await until(world.api.pod_names, seconds=10)
