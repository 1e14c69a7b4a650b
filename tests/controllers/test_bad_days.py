"""What goes wrong around the operator: it converges, and the world stays one."""

import asyncio
import random

import pytest

from shoal_operator.control.expectations import Expectations
from shoal_operator.controllers.executor import Executor
from shoal_operator.domain.plan import Plan, PodAnnotation, PodDeletion

from .conftest import a_cluster, a_job, at_rest, heard, is_true, until

CLUSTER = "/apis/shoal.dev/v1alpha1/namespaces/default/computeclusters/demo"


async def test_two_operators_at_once_make_one_cluster(world):
    async with world.operator() as first, world.operator(seed=1) as second:
        await world.api.create("computeclusters", a_cluster())
        head = await world.serve_head()
        await until(world.api.pod_names, lambda names: len(names) == 4)
        for operator in (first, second):
            await heard(operator)
        await at_rest(world, first, second)
        assert await world.api.pod_names() == ["demo-head", "demo-small-0", "demo-small-1", "demo-small-2"]
        assert head.streams == 2


def marks(pod):
    """What a plan may change of a pod."""
    metadata = pod["metadata"]
    return metadata["uid"], metadata.get("annotations"), metadata.get("deletionTimestamp")


@pytest.mark.parametrize(
    "plan",
    [
        Plan(delete_pods=(PodDeletion("demo-small-0", "uid-of-an-earlier-pod", "Idle"),)),
        Plan(annotate_pods=(PodAnnotation("demo-small-0", "uid-of-an-earlier-pod", {"shoal.dev/drain": "{}"}),)),
    ],
    ids=["delete", "annotate"],
)
async def test_a_plan_for_an_earlier_pod_spares_the_one_that_has_its_name_now(world, plan):
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster())
        await until(world.api.pod_names, lambda names: len(names) == 4)
        secrets = (operator._tokens, operator._certificates)
        parts = (operator.client, operator.world, operator._heads, *secrets, operator._events)
        executor = Executor(*parts, Expectations(), operator._clock)
        before = [marks(pod) for pod in await world.api.pods()]
        outcome = await executor.execute(plan, await world.api.cluster())
        assert outcome.retry
        assert [marks(pod) for pod in await world.api.pods()] == before


@pytest.mark.parametrize("seed", range(3))
async def test_a_server_that_fails_every_third_time_only_delays(world, seed):
    rng = random.Random(seed)
    world.recorder.spoil = lambda method, path: rng.choice((409, 429, 500, 503)) if rng.random() < 0.3 else None
    async with world.operator(seed=seed):
        await world.api.create(
            "computejobs", a_job(clusterSpec={"workerGroups": [{"name": "small", "minReplicas": 3}]})
        )
        await until(world.api.pod_names, lambda names: len(names) == 4, seconds=30)
        head = await world.serve_head()
        await until(world.api.job, is_true("Running"), seconds=30)
        head.finish_jobs()
        await until(world.api.job, is_true("Complete"), seconds=30)
        await until(world.api.pods, lambda pods: pods == [], seconds=30)
        assert {kind for kind, _ in head.commands} == {"submit"}
        assert len({identity for _, identity in head.commands}) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_killed_at_any_moment_its_successor_goes_on(world, seed):
    rng = random.Random(seed)
    await world.api.create("computeclusters", a_cluster())
    seen = {}
    for attempt in range(6):
        async with world.operator(seed=attempt) as operator:
            await asyncio.sleep(rng.uniform(0.0, 0.25))
            operator.task.cancel()
        for pod in await world.api.pods():
            uid = seen.setdefault(pod["metadata"]["name"], pod["metadata"]["uid"])
            assert pod["metadata"]["uid"] == uid
    async with world.operator(seed=99):
        await until(world.api.pod_names, lambda names: len(names) == 4)
        for pod in await world.api.pods():
            assert seen.get(pod["metadata"]["name"], pod["metadata"]["uid"]) == pod["metadata"]["uid"]


async def test_a_lost_watch_of_pods_does_not_double_them(world):
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster())
        await world.serve_head()
        await until(world.api.pod_names, lambda names: len(names) == 4)
        world.recorder.spoil = lambda method, path: 410 if method == "WATCH" and path.endswith("/pods") else None
        await world.api.delete("/api/v1/namespaces/default/pods/demo-small-0")
        await until(world.api.pod_names, lambda names: len(names) == 4)
        await at_rest(world, operator)
        assert await world.api.pod_names() == ["demo-head", "demo-small-0", "demo-small-1", "demo-small-2"]


async def test_a_pod_that_hangs_in_its_end_freezes_no_group(world):
    """Its machine is dead, so that the pod which the operator has deleted is never gone."""
    groups = [{"name": "small", "minReplicas": 1, "maxReplicas": 1}, {"name": "large", "minReplicas": 1}]
    pod = "/api/v1/namespaces/default/pods/demo-small-0"
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(workerGroups=groups, updateStrategy={"type": "Recreate"}))
        await until(world.api.pod_names, lambda names: names == ["demo-head", "demo-large-0", "demo-small-0"])
        await world.api.patch(pod, {"metadata": {"finalizers": ["example.com/dead"]}})
        groups[0]["template"] = {"metadata": {"annotations": {"changed": "yes"}}}
        await world.api.patch(CLUSTER, {"spec": {"workerGroups": groups}})
        names = ["demo-head", "demo-large-0", "demo-small-0", "demo-small-1"]
        await until(world.api.pod_names, lambda found: found == names)
        assert "deletionTimestamp" in (await world.api.call("GET", pod))["metadata"]
        groups[1]["minReplicas"] = 2
        await world.api.patch(CLUSTER, {"spec": {"workerGroups": groups}})
        await until(world.api.pod_names, lambda found: found == sorted([*names, "demo-large-1"]))
        await world.api.patch(pod, {"metadata": {"finalizers": None}})


def has_looked(operator, version):
    """The operator knows of the version, from the head and from the cluster's label, and has made its pass."""
    view, cluster = operator._heads.view(("default", "demo")), operator.world.clusters.get("default", "demo")
    told = {view and view.incarnation, (cluster["metadata"].get("labels") or {}).get("touched")}
    return told == {version} and all(controller.queue.is_idle for controller in operator._controllers)


async def test_a_late_watch_repeats_no_write(world):
    world.recorder.lag_seconds = lambda path: 0.7 if path.endswith("/pods") else 0.0
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster())
        head = await world.serve_head()
        await until(world.api.pod_names, lambda names: len(names) == 4)
        for _ in range(5):
            version = str(head.snapshot.version)
            head.change(incarnation=version)  # something to look at, again and again
            await world.api.patch(CLUSTER, {"metadata": {"labels": {"touched": version}}})
            await until(lambda version=version: asyncio.sleep(0, has_looked(operator, version)))
        await world.api.patch(CLUSTER, {"spec": {"suspend": True}})
        await until(world.api.pods, lambda pods: pods == [])
        await at_rest(world, operator)
        on_pods = [request[::2] for request in world.recorder.requests if "/pods" in request[1]]
        assert on_pods.count(("POST", 201)) == 4
        assert on_pods.count(("POST", 409)) == 0
        assert sum(method == "DELETE" for method, _ in on_pods) == 4


async def test_many_clusters_at_once_come_up_whole(world):
    async with world.operator() as operator:
        for number in range(20):
            await world.api.create("computeclusters", a_cluster(f"c{number:02}"))
        await until(world.api.pod_names, lambda names: len(names) == 80, seconds=30)
        await at_rest(world, operator)
        assert len(await world.api.pod_names()) == 80


async def test_a_standby_waits_and_takes_over_at_once_when_the_leader_leaves(world):
    async with world.operator(leader_election=True) as leader:
        await world.api.create("computeclusters", a_cluster("first"))
        await until(world.api.pod_names, lambda names: len(names) == 4)
        async with world.operator(seed=1, leader_election=True):
            await world.api.create("computeclusters", a_cluster("second"))
            await until(world.api.pod_names, lambda names: len(names) == 8)
            leader.stop()
            await leader.task
            await world.api.create("computeclusters", a_cluster("third"))
            await until(world.api.pod_names, lambda names: len(names) == 12, seconds=6)
            writes = world.recorder.writes()
            tried = [path for method, path in writes if method == "POST" and path.endswith("/pods")]
            assert len(tried) == 12, "a standby that did not wait would have tried the pods of the second cluster, too"
