"""Clusters through the whole operator: the world that it makes, and what it leaves alone."""

import asyncio

from shoal.protocol import head_pb2

from .conftest import a_cluster, at_rest, condition, heard, is_true, until

CLUSTER = "/apis/shoal.dev/v1alpha1/namespaces/default/computeclusters/demo"


def node(pod_name, group="small", *, cpus=1, idle_seconds=0.0, state=head_pb2.DRAIN_STATE_ACTIVE):
    return head_pb2.NodeSnapshot(
        node_id=f"node-{pod_name}",
        pod_name=pod_name,
        group=group,
        total=head_pb2.Resources(amounts={"CPU": cpus * 10_000}),
        available=head_pb2.Resources(amounts={"CPU": cpus * 10_000}),
        alive=True,
        idle_seconds=idle_seconds,
        drain_state=state,
    )


def demand(cpus, count):
    shape = head_pb2.Resources(amounts={"CPU": cpus * 10_000})
    return head_pb2.Demand(shape=shape, count=count, kind="task", examples=["work"])


async def make_ready(world, names=("demo-small-0", "demo-small-1", "demo-small-2")):
    await world.api.create("computeclusters", a_cluster())
    head = await world.serve_head()
    head.change(nodes=[node("demo-head", "head", cpus=0), *map(node, names)])
    await until(world.api.cluster, is_true("Ready"))
    return head


async def test_a_cluster_becomes_ready(world):
    async with world.operator():
        await make_ready(world)
        assert await world.api.pod_names() == ["demo-head", "demo-small-0", "demo-small-1", "demo-small-2"]
        cluster = await world.api.cluster()
        assert cluster["status"]["workers"]["ready"] == 3
        head = {"podName": "demo-head", "serviceName": "demo-head", "incarnation": "first"}
        assert head.items() <= cluster["status"]["head"].items()
        assert "finalizers" not in cluster["metadata"]
        assert "annotations" not in cluster["metadata"]
        owner = (await world.api.pods())[0]["metadata"]["ownerReferences"][0]
        assert (owner["uid"], owner["controller"]) == (cluster["metadata"]["uid"], True)


async def test_at_rest_and_after_a_restart_nothing_is_written(world):
    async with world.operator() as operator:
        head = await make_ready(world)
        await at_rest(world, operator)
        before, heard_at = len(world.recorder.writes()), await heard(operator)
        head.change()  # a heartbeat
        await heard(operator, heard_at)
        await at_rest(world, operator)
        assert world.recorder.writes()[before:] == []
    pods = {pod["metadata"]["uid"] for pod in await world.api.pods()}
    version = (await world.api.cluster())["metadata"]["resourceVersion"]
    before = len(world.recorder.writes())
    async with world.operator(seed=1) as operator:
        await heard(operator)
        await at_rest(world, operator)
        assert world.recorder.writes()[before:] == []
    assert {pod["metadata"]["uid"] for pod in await world.api.pods()} == pods
    assert (await world.api.cluster())["metadata"]["resourceVersion"] == version


async def test_few_writes_make_a_cluster_of_four_pods(world):
    async with world.operator() as operator:
        await make_ready(world)
        await at_rest(world, operator)
        writes = world.recorder.writes(without=("/events",))
        assert sum(method == "POST" for method, _ in writes) == 5  # the Secret and four pods
        assert sum("services" in path for _, path in writes) == 1
        assert sum(path.endswith("/status") for _, path in writes) <= 5  # 3 when the machine is quick
        assert len(world.recorder.writes()) == len(writes)
        assert all(code < 300 for method, _, code in world.recorder.requests if method not in {"GET", "WATCH"})


async def test_lost_pods_come_back_under_their_names(world):
    async with world.operator():
        await make_ready(world)
        before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await world.api.pods()}
        await world.api.delete("/api/v1/namespaces/default/pods/demo-small-1")

        def is_replaced(pods):
            uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}
            return uids.keys() == before.keys() and uids["demo-small-1"] != before["demo-small-1"]

        await until(world.api.pods, is_replaced)


async def test_workers_grow_from_demand_and_idle_ones_go(world):
    groups = [{"name": "small", "maxReplicas": 5, "idleTimeoutSeconds": 1, "resources": {"CPU": 1}}]
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(workerGroups=groups))
        head = await world.serve_head()
        head.change(nodes=[node("demo-head", "head", cpus=0)], demands=[demand(1, 2)])
        await until(world.api.pod_names, lambda names: names == ["demo-head", "demo-small-0", "demo-small-1"])
        workers = [node("demo-small-0"), node("demo-small-1")]
        head.change(nodes=[node("demo-head", "head", cpus=0), *workers], demands=[])
        await until(world.api.cluster, lambda cluster: cluster["status"]["workers"]["ready"] == 2)
        for worker in head.snapshot.nodes:
            worker.idle_seconds = 5.0
        head.change()
        await until(world.api.pod_names, lambda names: names == ["demo-head"])
        drained = {identity for kind, identity in head.commands if kind == "drain"}
        assert drained == {"node-demo-small-0", "node-demo-small-1"}
        cluster = await world.api.cluster()
        assert cluster["metadata"]["generation"] == 1, "what the autoscaler wants is not written into the spec"


async def test_many_workers_are_one_decision_and_few_writes_beyond_their_pods(world):
    count = 60
    groups = [{"name": name, "maxReplicas": count // 2, "resources": {"CPU": 1}} for name in ("a", "b")]
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(workerGroups=groups))
        head = await world.serve_head()
        await until(world.api.cluster, lambda found: condition(found, "HeadReachable") == ("True", "HeadAnswers"))
        before = len(world.recorder.writes())
        head.change(demands=[demand(1, count)])
        await until(world.api.pod_names, lambda names: len(names) == count + 1)
        await until(world.api.events, lambda events: ("CreatedWorkers", "demo") in events)
        await until(world.api.cluster, lambda found: found["status"]["workers"]["pending"] == count)
        added = [line for line in head.decisions if line.startswith("add ")]
        assert [line.partition(" to ")[0] for line in added] == ["add 30 workers"] * 2, "one decision: a line a group"
        assert len(world.recorder.writes()) - before <= count + 8, "pods, and a few for each group"
        pod = next(pod for pod in await world.api.pods() if pod["metadata"]["name"] == "demo-a-0")
        assert pod["metadata"]["annotations"]["shoal.dev/created-for"].startswith("Demand: 30 tasks of 1 CPU")


async def looked_at(operator, nodes):
    """The operator has heard of so many nodes, and nothing waits for a look."""

    async def done():
        view = operator._heads.view(("default", "demo"))
        return len(view.nodes) == nodes and all(controller.queue.is_idle for controller in operator._controllers)

    await until(done)


async def test_counts_of_workers_that_join_one_by_one_are_told_together(world):
    count = 10
    groups = [{"name": "small", "minReplicas": count, "resources": {"CPU": 1}}]
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster(workerGroups=groups))
        head = await world.serve_head()
        await until(world.api.pod_names, lambda names: len(names) == count + 1)
        await until(world.api.cluster, lambda found: condition(found, "HeadReachable") == ("True", "HeadAnswers"))
        before = len(world.recorder.writes())
        nodes = [node("demo-head", "head", cpus=0)]
        for index in range(count):
            nodes.append(node(f"demo-small-{index}"))
            head.change(nodes=nodes)
            await looked_at(operator, len(nodes))  # each is a snapshot of its own, and a pass
        await until(world.api.cluster, lambda found: found["status"]["workers"]["ready"] == count)
        told = [path for _, path in world.recorder.writes()[before:] if path.endswith("/status")]
        assert len(told) <= 5, "not one for each worker"
        assert condition(await world.api.cluster(), "WorkersReady") == ("True", "AllReady")


async def test_a_shape_that_no_group_can_hold_is_said(world):
    async with world.operator():
        head = await make_ready(world)
        head.change(demands=[demand(8, 1)])
        cluster = await until(
            world.api.cluster, lambda found: condition(found, "DemandSatisfied") == ("False", "Infeasible")
        )
        assert "8 CPU" in cluster["status"]["message"]
        await until(world.api.events, lambda events: ("InfeasibleDemand", "demo") in events)


async def test_a_head_that_does_not_answer_is_a_condition_and_pods_stay(world):
    async with world.operator() as operator:
        head = await make_ready(world)
        uids = {pod["metadata"]["uid"] for pod in await world.api.pods()}
        await head.server.stop(0)
        await until(world.api.cluster, lambda found: (condition(found, "HeadReachable") or "")[0] == "False")
        await at_rest(world, operator)
        assert {pod["metadata"]["uid"] for pod in await world.api.pods()} == uids


async def test_suspend_takes_the_pods_and_resume_brings_them_back(world):
    async with world.operator():
        head = await make_ready(world)
        await world.api.patch(CLUSTER, {"spec": {"suspend": True}})
        await until(world.api.pods, lambda pods: pods == [])
        await head.server.stop(0)
        await world.api.patch(CLUSTER, {"spec": {"suspend": False}})
        await until(world.api.pod_names, lambda names: len(names) == 4)
        await until(world.api.cluster, lambda found: found["status"].get("reason") != "WriteRefused")


async def test_a_deleted_cluster_leaves_nothing_and_its_head_is_let_go(world):
    async with world.operator() as operator:
        await make_ready(world)
        await world.api.delete(CLUSTER)
        await until(world.api.pods, lambda pods: pods == [])
        assert await world.api.cluster() is None
        assert await world.api.secret("demo-token") is None
        links = 'shoal_operator_head_links{state="connected"} '
        await until(lambda: asyncio.sleep(0, operator.metrics.render().decode()), lambda text: f"{links}0.0" in text)


async def test_a_token_of_ones_own_is_used_and_left_alone(world):
    token = "b3duLXRva2VuLW93bi10b2tlbi1vd24tdG9rZW4="
    meta = {"name": "demo-token", "namespace": "default"}
    await world.api.create(
        "secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"token": token}}
    )
    async with world.operator():
        await make_ready(world)
        assert not any("secrets" in path for _, path in world.recorder.writes())
        await world.api.delete(CLUSTER)
        await until(world.api.pods, lambda pods: pods == [])
    assert (await world.api.secret("demo-token"))["data"] == {"token": token}


async def test_no_pod_starts_with_the_token_of_an_earlier_cluster_of_the_name(world):
    owner = {"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "of-the-cluster-before", "controller": True}
    meta = {"name": "demo-token", "namespace": "default", "ownerReferences": [owner], "finalizers": ["x.com/hold"]}
    await world.api.create(
        "secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"token": "b2xkLXRva2Vu"}}
    )
    async with world.operator():
        await world.api.create("computeclusters", a_cluster())
        await until(lambda: asyncio.sleep(0, world.recorder.writes()), lambda writes: str(writes).count("secrets") > 1)
        assert await world.api.pods() == []
        old = await world.api.secret("demo-token")
        await world.api.delete("/api/v1/namespaces/default/secrets/demo-token")
        await world.api.patch("/api/v1/namespaces/default/secrets/demo-token", {"metadata": {"finalizers": None}})
        await until(world.api.pods, seconds=30.0)
        assert (await world.api.secret("demo-token"))["metadata"]["uid"] != old["metadata"]["uid"]


async def test_a_token_secret_without_a_token_is_said(world):
    meta = {"name": "demo-token", "namespace": "default"}
    await world.api.create("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"key": "eA=="}})
    async with world.operator():
        await world.api.create("computeclusters", a_cluster())
        cluster = await until(world.api.cluster, lambda found: "has no key 'token'" in str(found.get("status")))
        assert condition(cluster, "Ready")[0] == "False"


async def test_an_invalid_spec_is_explained_and_touches_nothing(world):
    async with world.operator():
        bad = a_cluster(workerGroups=[{"name": "small", "template": {"spec": "words"}}])
        await world.api.create("computeclusters", bad)
        cluster = await until(world.api.cluster, is_true("InvalidSpec"))
        assert "spec.workerGroups[0].template.spec" in cluster["status"]["message"]
        assert await world.api.pods() == []


async def test_what_another_controller_manages_is_left_alone(world):
    async with world.operator():
        await world.api.create("computeclusters", a_cluster("theirs", managedBy="example.com/other"))
        await make_ready(world)
        assert all(name.startswith("demo-") for name in await world.api.pod_names())
        assert not any("theirs" in path for _, path in world.recorder.writes())


async def test_a_refused_pod_is_said_and_not_tried_in_a_hot_loop(world):
    world.recorder.spoil = lambda method, path: 422 if method == "POST" and path.endswith("/pods") else None
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster())
        await until(world.api.events, lambda events: ("InvalidTemplate", "demo") in events)
        await until(world.api.cluster, lambda found: (found.get("status") or {}).get("reason") == "InvalidTemplate")
        assert "spoiled by the test" in (await world.api.cluster())["status"]["message"]
        await at_rest(world, operator)  # so the next try is not soon
        tries = [path for method, path in world.recorder.writes() if path.endswith("/pods")]
        assert len(tries) <= 4
        world.recorder.spoil = lambda method, path: None
        await world.api.patch(CLUSTER, {"spec": {"image": "another:1"}})
        await until(world.api.pod_names, lambda names: len(names) == 4)
        await until(world.api.cluster, lambda found: found["status"].get("reason") != "InvalidTemplate")


async def test_an_operator_of_one_namespace_sees_no_other(world):
    await world.api.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}})
    async with world.operator(namespaces=("theirs",)):
        await world.api.create("computeclusters", a_cluster())
        theirs = a_cluster("other")
        theirs["metadata"]["namespace"] = "theirs"
        await world.api.create("computeclusters", theirs)
        path = "/api/v1/namespaces/theirs/pods"
        await until(lambda: world.api.call("GET", path), lambda found: len(found["items"]) == 4)
        assert await world.api.pods() == []
        paths = {path for method, path, _ in world.recorder.requests if method in {"GET", "WATCH"}}
        assert all("/namespaces/theirs/" in path for path in paths - {"/version"})
