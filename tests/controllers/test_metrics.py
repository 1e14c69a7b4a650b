"""What /metrics says of a whole run: names of the table, bounded labels, and numbers that are right."""

import asyncio
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shoal_operator.controllers.world import World
from shoal_operator.domain.reasons import ConditionType, Reason
from shoal_operator.telemetry import catalogue, state
from shoal_operator.telemetry.metrics import OTHER, RULES

from .conftest import a_cluster, a_job, is_true, until
from .test_clusters import CLUSTER, demand, node

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
KINDS = {resource.kind for resource, _, _ in World().feeds()}
REASONS = {*Reason, "Other"}
ALLOWED = {
    "controller": {"computecluster", "computejob"},
    "result": {"success", "requeue", "requeue_after", "conflict", "unavailable", "error"}
    | {"created", "exists", "refused", "failed"},
    "method": {"GET", "WATCH", "POST", "PUT", "PATCH", "DELETE"},
    "kind": KINDS,
    "state": {*state.WORKER_STATES, "connecting", "connected", "unreachable"},
    "command": {"SubmitJob", "StopJob", "DrainNode"},
    "role": {"head", "worker"},
    "rule": {*RULES, OTHER},
    "condition": set(ConditionType),
    "status": {"True", "False", "Unknown"},
    "outcome": {"Complete", "Failed"},
    "verdict": set(state.VERDICTS),
}
RELISTS = {"start", "gone", "error", "schedule"}
SECRETIVE = "a-name-that-nobody-may-see"


def samples(operator):
    families = text_string_to_metric_families(operator.metrics.render().decode())
    return [each for family in families for each in family.samples]


def value(operator, metric, **labels):
    full = catalogue.PREFIX + metric
    found = [each.value for each in samples(operator) if each.name == full and each.labels == labels]
    assert len(found) <= 1
    return found[0] if found else None


async def reaches(operator, wanted, metric, **labels):
    await until(lambda: asyncio.sleep(0, value(operator, metric, **labels)), lambda found: found == wanted)


async def a_whole_run(world, operator):
    """A cluster that gets workers, one job that succeeds and one that fails, a pod that is replaced."""
    await world.api.create("computeclusters", a_cluster())
    head = await world.serve_head()
    head.change(nodes=[node("demo-head", "head", cpus=0)])
    await until(world.api.pod_names, lambda names: "demo-small-2" in names)
    names = ("demo-small-0", "demo-small-1", "demo-small-2")
    head.change(nodes=[node("demo-head", "head", cpus=0), *map(node, names)], demands=[demand(64, 3)])
    await until(world.api.cluster, is_true("Ready"))
    for name, outcome in ((f"{SECRETIVE}-1", "Complete"), (f"{SECRETIVE}-2", "Failed")):
        await world.api.create("computejobs", a_job(name))
        head = await world.serve_head(name)
        await until(lambda name=name: world.api.job(name), is_true("Running"))
        head.finish_jobs() if outcome == "Complete" else head.finish_jobs(state=4, exit_code=3)
        await until(lambda name=name: world.api.job(name), is_true(outcome))


async def test_the_numbers_of_a_whole_run(world):
    async with world.operator() as operator:
        await a_whole_run(world, operator)
        await reaches(operator, 1, "clusters_observed")
        await reaches(operator, 2, "jobs_observed")
        await reaches(operator, 1, "clusters", condition="Ready", status="True", reason="AllReady")
        await reaches(operator, 1, "jobs_finished_total", outcome="Complete", reason="Succeeded")
        await reaches(operator, 1, "clusters_unmet_demand", verdict="Infeasible")
        assert value(operator, "cluster_ready_seconds_count") >= 1
        assert value(operator, "job_wait_seconds_count") == 2
        assert value(operator, "job_run_seconds_count", outcome="Complete") == 1
        assert value(operator, "job_run_seconds_count", outcome="Failed") == 1
        assert value(operator, "worker_join_seconds_count") >= 3
        assert value(operator, "autoscaler_decision_seconds_count") > 0
        assert value(operator, "demand_waiting") == 3
        assert value(operator, "workers", state="ready") == 3
        assert value(operator, "head_links", state="connected") == 1
        assert value(operator, "pod_creations_total", role="head", result="created") == 3
        assert value(operator, "workers_added_total", rule="MinReplicas") == 3
        assert value(operator, "clusters_not_ready_longest_seconds") == 0
        assert value(operator, "informer_synced", kind="Pod") == 1
        check_bounds(operator)
        assert SECRETIVE not in operator.metrics.render().decode()
        assert "demo" not in operator.metrics.render().decode()


def check_bounds(operator):
    exported = catalogue.exported_names()
    for each in samples(operator):
        assert each.name in exported, each.name
        for label, found in each.labels.items():
            if label == "le":
                continue
            if label == "reason":
                assert found in (RELISTS if "relists" in each.name else REASONS), each
            elif label == "code":
                assert re.fullmatch(r"0|[1-5]\d\d", found), each
            elif label == "version":
                assert re.fullmatch(r"\d+\.\d+\.\d+\S*", found), each
            else:
                assert found in ALLOWED[label], each


async def test_pods_that_go_are_counted_by_why(world):
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster())
        await until(world.api.pod_names, lambda names: len(names) == 4)
        await world.api.patch(CLUSTER, {"spec": {"suspend": True}})
        await reaches(operator, 4, "pod_deletions_total", reason="Suspended")


async def test_with_names_on_request_and_no_more_than_the_limit(world, monkeypatch, caplog):
    monkeypatch.setattr(state, "OBJECTS_MAX", 1)
    async with world.operator(per_object_metrics=True) as operator:
        for name in ("a", "b"):
            await world.api.create("computeclusters", a_cluster(name, suspend=True))
        await reaches(operator, 2, "clusters_observed")
        ready = {"namespace": "default", "name": "a", "condition": "Ready"}
        await reaches(operator, 1, "cluster_condition", **ready, status="false")
        assert value(operator, "cluster_workers", namespace="default", name="a", state="desired") == 0
        assert value(operator, "per_object_metrics_cut", kind="ComputeCluster") == 1
        assert not [each for each in samples(operator) if each.labels.get("name") == "b"]
        assert caplog.text.count("only the first 1 objects") == 1


async def test_who_does_not_lead_says_nothing_of_the_world(world):
    """Else a sum over two replicas would count everything twice."""
    async with world.operator(leader_election=True) as first:
        await world.api.create("computeclusters", a_cluster())
        await reaches(first, 1, "clusters_observed")
        async with world.operator(leader_election=True) as second:
            await reaches(second, 1, "informer_objects", kind="ComputeCluster")
            assert value(second, "clusters_observed") is None
            assert value(second, "leader_election_master_status") == 0
            await until(lambda: asyncio.sleep(0, second.health.unready()), lambda found: found is None)


async def test_a_restart_counts_no_milestone_again(world):
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster())
        head = await world.serve_head()
        names = ("demo-small-0", "demo-small-1", "demo-small-2")
        head.change(nodes=[node("demo-head", "head", cpus=0), *map(node, names)])
        await until(world.api.cluster, is_true("Ready"))
        await reaches(operator, 1, "cluster_ready_seconds_count")
    await asyncio.sleep(1.1)  # time stamps of the API have seconds
    async with world.operator() as operator:
        await reaches(operator, 1, "head_links", state="connected")
        await world.api.patch(CLUSTER, {"metadata": {"annotations": {"look": "again"}}})
        await reaches(operator, 1, "clusters", condition="Ready", status="True", reason="AllReady")
        assert value(operator, "cluster_ready_seconds_count") == 0
        assert value(operator, "worker_join_seconds_count") == 0


def test_the_table_stands_in_the_documentation():
    """Written by `python -m shoal_operator.telemetry.catalogue`."""
    assert catalogue.render_table() in DOCUMENT.read_text(encoding="utf-8")


def test_names_of_the_table_follow_the_conventions():
    names = [spec.name for spec in catalogue.CATALOGUE]
    assert len(set(names)) == len(names)
    for spec in catalogue.CATALOGUE:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.name)
        assert (spec.kind == "counter") == spec.name.endswith("_total"), spec
        assert bool(spec.buckets) == (spec.kind == "histogram"), spec
        assert spec.kind != "histogram" or spec.name.endswith("_seconds"), spec
        assert list(spec.buckets) == sorted(set(spec.buckets))
        assert spec.meaning.endswith(".")
        assert not {"name", "namespace", "uid", "pod"} & set(spec.labels) or spec in catalogue.PER_OBJECT


@pytest.mark.parametrize("spec", catalogue.LEADER_ONLY, ids=lambda spec: spec.name)
def test_state_of_the_world_is_in_the_table(spec):
    assert spec in catalogue.CATALOGUE
