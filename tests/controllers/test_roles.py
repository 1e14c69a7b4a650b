"""The operator with exactly the rights of its table: what it lacks is refused and fails, what it has is used.

The embedded API server enforces the roles; the recorder in front of it makes every request of the operator one of its
service account, as it is in a cluster.
"""

import asyncio

import pytest

from shoal.protocol import head_pb2
from shoal_operator.kube import rbac
from shoal_operator.kube.resources import resource_of
from shoal_operator.local.apiserver import authorization
from shoal_operator.local.apiserver.paths import parse

from .conftest import DRY_RUN, a_cluster, a_job, condition, is_true, until
from .test_clusters import CLUSTER, demand, node

NAMESPACE = "shoal-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:shoal"
LEASE = "shoal-operator"
SPOILED = 422
GROUP = "rbac.authorization.k8s.io"
GROUPS = [{"name": "small", "maxReplicas": 5, "idleTimeoutSeconds": 1, "resources": {"CPU": 1}}]


async def grant(world, *, namespaces=()):
    """The roles as the chart makes them: over all namespaces, or in each of those given."""
    work = rbac.rules(rbac.WORK, lease_name=LEASE)
    await world.api.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    if namespaces:
        for namespace in namespaces:
            await bind(world, "", namespace, "work", work)
    else:
        await bind(world, "Cluster", None, "work", work)
    await bind(world, "", NAMESPACE, "election", rbac.rules(rbac.ELECTION, lease_name=LEASE))
    world.recorder.user = ACCOUNT


async def bind(world, scope, namespace, name, rules):
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    head = {"apiVersion": f"{GROUP}/v1", "metadata": metadata}
    await world.api.create(f"{scope.lower()}roles", head | {"kind": f"{scope}Role", "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "shoal", "namespace": NAMESPACE}
    reference = {"apiGroup": GROUP, "kind": f"{scope}Role", "name": name}
    binding = {"kind": f"{scope}RoleBinding", "roleRef": reference, "subjects": [subject]}
    assert await world.api.create(f"{scope.lower()}rolebindings", head | binding)


def used(world):
    """The verbs of every request that was let through: ``{("pods", "create"), ...}``."""
    found = set()
    for method, path, status in world.recorder.requests:
        target = parse(path)
        if target is None or status in (401, 403, SPOILED):
            continue
        resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
        plain = {"WATCH": "GET", DRY_RUN: "POST"}.get(method, method)
        verb = authorization.verb_of(plain, named=bool(target.name), watch=method == "WATCH")
        found.add((resource, verb))
        if (method, status) == ("PATCH", 201):
            found.add((resource, "create"))
    return found


def denied(world):
    return [(method, path) for method, path, status in world.recorder.requests if status in (401, 403)]


def declared(*, seldom):
    return {
        (permission.plural, verb)
        for permission in (*rbac.WORK, *rbac.ELECTION)
        for verb in permission.verbs
        if bool(permission.seldom) is seldom
    }


async def work_through_everything(world):
    """A cluster that drains a worker, a refused pod that is told twice, and a job that is cleared away."""
    await world.api.create("computeclusters", a_cluster(workerGroups=GROUPS))
    head = await world.serve_head()
    head.change(nodes=[node("demo-head", "head", cpus=0)], demands=[demand(1, 1)])
    await until(world.api.pod_names, lambda names: names == ["demo-head", "demo-small-0"])
    head.change(nodes=[node("demo-head", "head", cpus=0), node("demo-small-0", idle_seconds=5.0)], demands=[])
    await until(world.api.pod_names, lambda names: names == ["demo-head"])

    await a_budget_and_a_policy_come_and_go(world, head)
    await a_job_uses_the_cluster_and_leaves(world, head)
    await world.api.create("computeclusters", a_cluster("secure", security={"tls": {"mode": "Operator"}}))
    await until(lambda: world.api.secret("secure-tls"))

    spoil = world.recorder.spoil
    world.recorder.spoil = lambda method, path: SPOILED if (method, path.endswith("/pods")) == ("POST", True) else None
    refuse = world.recorder.spoil
    await world.api.create("computeclusters", a_cluster("refused", workerGroups=[]))
    await until(world.api.events, lambda events: any(name == "refused" for _, name in events))
    world.recorder.spoil = spoil
    world.kubelet.paused = True  # no pod starts, and none says why: its Events are looked up
    await world.api.patch(CLUSTER.replace("demo", "refused"), {"spec": {"image": "another:1"}})
    await until(lambda: asyncio.sleep(0, ("events", "list") in used(world)))
    world.recorder.spoil, world.kubelet.paused = refuse, False
    await world.api.delete("/api/v1/namespaces/default/pods/refused-head")
    await until(lambda: asyncio.sleep(0, ("events", "patch") in used(world)))
    world.recorder.spoil = spoil

    await world.api.create("computejobs", a_job("passing", ttlSecondsAfterFinished=1))
    head = await world.serve_head("passing")
    await until(lambda: world.api.job("passing"), is_true("Running"))
    head.finish_jobs()
    await until(lambda: world.api.job("passing"), lambda job: job is None)
    await world.api.create("computejobs", a_job("kept"))
    head = await world.serve_head("kept")
    await until(lambda: world.api.job("kept"), is_true("Running"))
    head.finish_jobs()
    await until(lambda: world.api.cluster("kept"), lambda cluster: cluster is None)


async def a_job_uses_the_cluster_and_leaves(world, head):
    await world.api.create("computejobs", a_job("guest", clusterRef={"name": "demo"}))
    await until(lambda: world.api.job("guest"), is_true("Running"))
    head.finish_jobs()
    await until(lambda: world.api.job("guest"), is_true("Complete"))


async def a_budget_and_a_policy_come_and_go(world, head):
    budget = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/demo-head"
    policy = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/demo"
    head.change(jobs=[head_pb2.JobSnapshot(submission_id="a", state=head_pb2.JOB_STATE_RUNNING)])
    await until(lambda: world.api.call("GET", budget))
    head.change(jobs=[])
    await until(lambda: world.api.call("GET", budget), lambda found: found is None)
    assert await world.api.call("GET", policy)
    await world.api.patch(CLUSTER, {"spec": {"security": {"networkPolicy": {"mode": "None"}}}})
    await until(lambda: world.api.call("GET", policy), lambda found: found is None)


@pytest.mark.parametrize("namespaces", [(), ("default",)], ids=["everywhere", "one namespace"])
async def test_the_operator_needs_what_its_table_says_and_no_more(world, namespaces):
    await grant(world, namespaces=namespaces)
    election = {"leader_election": True, "lease_name": LEASE, "lease_namespace": NAMESPACE}
    async with world.operator(with_kopf=True, namespaces=namespaces, **election):
        await work_through_everything(world)
        await until(lambda: asyncio.sleep(0, ("leases", "update") in used(world)), seconds=15)
    assert denied(world) == []
    assert used(world) <= declared(seldom=False), "requests that the table does not know"
    assert declared(seldom=False) - used(world) == set(), "rights that nothing needs"


async def test_without_a_right_the_operator_stays_alive_and_goes_on_when_it_comes(world):
    world.recorder.user = ACCOUNT
    async with world.operator() as operator:
        await until(lambda: asyncio.sleep(0, denied(world)))
        assert not operator.task.done()
        await grant(world)
        await world.api.create("computeclusters", a_cluster())
        await until(world.api.pod_names, seconds=20)


async def test_a_missing_right_is_on_the_object(world):
    await grant(world)
    rules = [rule for rule in rbac.rules(rbac.WORK, lease_name=LEASE) if rule["resources"] != ["services"]]
    path = f"/apis/{GROUP}/v1/clusterroles/work"
    reading = {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]}
    await world.api.patch(path, {"rules": [*rules, reading]})
    async with world.operator():
        await world.api.create("computeclusters", a_cluster())
        cluster = await until(world.api.cluster, lambda found: "is forbidden" in str(found))
        assert ACCOUNT in str(cluster["status"])
        assert condition(cluster, "Ready")[0] == "False"


async def test_owners_that_block_their_deletion_need_the_right_to_finalize(world):
    """As where the API server runs OwnerReferencesPermissionEnforcement, which the embedded one does."""
    await grant(world)
    rules = [rule for rule in rbac.rules(rbac.WORK, lease_name=LEASE) if "finalizers" not in rule["resources"][0]]
    await world.api.patch(f"/apis/{GROUP}/v1/clusterroles/work", {"rules": rules})
    async with world.operator():
        await world.api.create("computeclusters", a_cluster())
        await until(world.api.cluster, lambda found: "cannot set blockOwnerDeletion" in str(found))
        assert await world.api.pod_names() == []


def test_the_table_grants_nothing_that_is_dangerous():
    for permission in (*rbac.WORK, *rbac.ELECTION):
        assert "*" not in (*permission.verbs, permission.plural, permission.resource.group)
        assert permission.reason
    granted = declared(seldom=False) | declared(seldom=True)
    assert not granted & {("secrets", verb) for verb in ("list", "watch", "update", "delete")}
    assert not [
        plural for plural, _ in granted if plural.startswith(("pods/", "roles", "clusterrole", "serviceaccounts"))
    ]


def test_every_kind_of_the_table_is_one_that_the_operator_knows():
    for permission in (*rbac.WORK, *rbac.ELECTION):
        kind = {"apiVersion": permission.resource.api_version, "kind": permission.resource.kind}
        assert resource_of(kind) == permission.resource
