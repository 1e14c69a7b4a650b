"""Why is it not running: every fault is on the object within seconds, in its own words, until it is repaired."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from e2e import manifests
from e2e.api import Object
from e2e.faults import faults, names
from e2e.faults.fault import HEAD, NAME, Fault
from e2e.world import World, condition, is_true

SECONDS: Final = 5.0
"""From the pod's own status (or from the cluster, where there is no pod) to the cluster's."""
TAINT: Final = "shoal.dev/e2e=yes:NoSchedule"


class _Registry(http.server.BaseHTTPRequestHandler):
    """Wants credentials for everything."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="e2e"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def private_registry() -> Iterator[str]:
    """``host:port`` of a registry on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"localhost:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Only the faults that mean something where the scenarios run."""
    if "name" in metafunc.fixturenames:
        found = names(metafunc.config.option.provider)
        alone = [pytest.mark.alone]
        metafunc.parametrize("name", [pytest.param(one, marks=alone if one == "taint" else []) for one in found])


def test_a_fault_is_on_the_object_and_heals(
    name: str, world: World, private_registry: str, print_at_end: list[str]
) -> None:
    fault = faults(world.image, world.namespace, private_registry)[name]
    try:
        _break(world, fault)
        seconds = _is_told(world, fault)
        print_at_end.append(f"cause {name}: {seconds:.2f}")
        _is_told_to_people(world, fault)
    finally:
        _remove(world, fault)
    _repair(world, fault)
    world.until(lambda: is_true(world.clusters.last(NAME), "Ready"), "the cluster is ready", 40.0)
    world.until(lambda: not _status(world).get("reason"), "nothing holds it up any more")


def _break(world: World, fault: Fault) -> None:
    if fault.before:
        world.apply(*fault.before)
        if fault.reason.startswith("Admission"):
            world.until(lambda: _refuses_pods(world), "the API server refuses pods")
        elif fault.reason == "QuotaExceeded":
            path = f"/api/v1/namespaces/{world.namespace}/resourcequotas/small"
            world.until(lambda: ((world.api.find(path) or {}).get("status") or {}).get("hard"), "the quota counts")
    if fault.name == "taint":
        world.kubectl("taint", "nodes", "--all", TAINT)
        head = {"tolerations": [{"key": "shoal.dev/e2e", "operator": "Exists"}]}
        spec = fault.cluster(world.image)["spec"]
        world.apply(manifests.cluster(NAME, {**spec, "head": {"template": manifests.template(**head)}}))
        return
    world.apply(fault.cluster(world.image))


def _refuses_pods(world: World) -> bool:
    security = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "c", "image": "none", "securityContext": security}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try"}, "spec": {"containers": [container]}}
    return world.kubectl.run("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(pod)).code != 0


def _status(world: World) -> dict[str, Any]:
    return (world.clusters.last(NAME) or {}).get("status") or {}


def _is_told(world: World, fault: Fault) -> float:
    """Wait for the words; returns how long they took.

    The condition counts. The summary of a worker's fault comes when the head is ready: what is first is said first.
    """
    kind = "InvalidSpec" if fault.reason == "InvalidTemplate" else fault.condition

    def has_it(words: Object) -> bool:
        return words.get("reason") == fault.reason and fault.words in (words.get("message") or "")

    def says(cluster: Object) -> bool:
        return has_it(cluster.get("status") or {})

    told = world.until(lambda: world.clusters.first(NAME, says), f"the cluster says {fault.reason}")
    first = world.clusters.first(NAME, lambda cluster: has_it(condition(cluster, kind)) or says(cluster))
    assert first is not None
    specific = told.object if fault.reason == "InvalidTemplate" else world.clusters.last(NAME)
    if fault.reason != "Evicted":  # the pod is replaced at once, so the condition moves on
        assert condition(specific, kind)["reason"] == fault.reason
        assert condition(specific, kind)["status"] == ("True" if kind == "InvalidSpec" else "False")
        assert fault.words in condition(specific, kind)["message"]
    world.until(lambda: condition(told.object, "Ready").get("status") == "False", "it is not ready")
    begun = world.clusters.first(NAME, lambda _: True)
    if fault.sign:
        begun = world.pods.first(fault.pod, lambda pod: fault.sign in json.dumps(pod.get("status") or {}))
    elif fault.reason in ("VolumeNotMounted", "SandboxFailed"):
        begun = world.pods.first(fault.pod, lambda _: True)
    assert begun is not None
    seconds = first.at - begun.at
    assert seconds <= SECONDS, f"{fault.name} took {seconds:.1f} s"
    return seconds


def _is_told_to_people(world: World, fault: Fault) -> None:
    """`kubectl get` and `kubectl describe` are enough; one Event a transition."""
    if fault.reason != "Evicted":
        assert fault.reason in world.kubectl("get", "computecluster", NAME)

    def event() -> str:
        described = world.kubectl("describe", "computecluster", NAME).partition("Events:")[2]
        return described if fault.reason in described else ""

    lines = world.until(event, "there is an Event").splitlines()
    told = [line for line in lines if f" {fault.reason} " in line]
    assert len(told) == 1, told


def _remove(world: World, fault: Fault) -> None:
    if fault.name == "taint":
        world.kubectl("taint", "nodes", "--all", f"{TAINT.partition('=')[0]}-")
    for item in fault.before:
        if item["kind"] != "RuntimeClass" or fault.name != "sandbox":
            world.kubectl("delete", item["kind"].lower(), item["metadata"]["name"])


def _repair(world: World, fault: Fault) -> None:
    if fault.missing:
        world.apply(*fault.missing)
    elif fault.name == "gate":
        remove = [{"op": "remove", "path": "/spec/schedulingGates"}]
        world.kubectl("patch", "pod", fault.pod, "--type=json", "--patch", json.dumps(remove))
    elif fault.name == "sandbox":
        world.apply(Fault(NAME, "", "").repaired(world.image))
        world.kubectl("delete", "runtimeclass", fault.before[0]["metadata"]["name"])
    elif not fault.before and fault.name != "taint":
        world.apply(fault.repaired(world.image))


WIDE = """
    import shoal

    @shoal.remote(num_cpus=64)
    def wide():
        return 64

    print("answer:", shoal.get(wide.remote()), flush=True)
"""
TWO_AT_ONCE = """
    import time
    import shoal

    @shoal.remote(num_cpus=1)
    def wait_for_the_other():
        while shoal.cluster_resources().get("CPU", 0) < 2:
            time.sleep(0.05)

    shoal.get([wait_for_the_other.remote() for _ in range(2)])
    print("both ran", flush=True)
"""


@pytest.mark.parametrize(
    ("program", "reason", "words", "repair"),
    [
        (WIDE, "Infeasible", "needs 64 CPU, group `small` offers at most 1", {"resources": {"CPU": 64}}),
        (TWO_AT_ONCE, "LimitReached", "maxReplicas (1)", {"maxReplicas": 2}),
    ],
    ids=["infeasible", "limit"],
)
def test_work_that_gets_no_worker_says_why_on_cluster_and_job(
    world: World, program: str, reason: str, words: str, repair: dict[str, Any], print_at_end: list[str]
) -> None:
    world.start_job(program, groups=(manifests.group(maxReplicas=1),))
    world.until(lambda: is_true(world.jobs.last("job"), "Running"), "the job runs")

    def says(item: Object) -> bool:
        status = item.get("status") or {}
        return status.get("reason") == reason and words in (status.get("message") or "")

    told = world.until(lambda: world.clusters.first("job", says), f"the cluster says {reason}")
    world.until(lambda: world.jobs.first("job", says), f"the job says {reason}")
    running = world.jobs.first("job", lambda job: is_true(job, "Running"))
    assert running is not None
    print_at_end.append(f"cause {reason.lower()}: {max(0.0, told.at - running.at):.2f}")
    event = "InfeasibleDemand" if reason == "Infeasible" else reason
    world.until(lambda: event in world.kubectl("describe", "computecluster", "job").partition("Events:")[2], "an Event")
    groups = [manifests.group(**{"maxReplicas": 1, **repair})]
    world.patch("computejob/job", {"spec": {"clusterSpec": {"workerGroups": groups}}})
    world.finish()


def test_a_job_repeats_what_holds_its_cluster_up(world: World) -> None:
    head = {"template": manifests.template(containers=[{"name": "shoal", "resources": {"requests": {"cpu": "9999"}}}])}
    spec = manifests.cluster_spec(world.image, head=head)
    world.start_job("print('never')", clusterSpec=spec)

    def says(item: Object) -> bool:
        return (item.get("status") or {}).get("reason") == "Unschedulable"

    cluster = world.until(lambda: world.clusters.first("job", says), "the cluster says why")
    job = world.until(lambda: world.jobs.first("job", says), "the job says why")
    assert job.object["status"]["message"] == cluster.object["status"]["message"]
    running = condition(job.object, "Running")
    assert (running["status"], running["reason"]) == ("False", "Unschedulable")
    assert "Insufficient cpu" in running["message"]
    assert "Unschedulable" in world.kubectl("get", "computejob", "job")
    assert job.at - cluster.at < SECONDS


def test_a_head_behind_a_wrong_port_says_what_the_network_said(
    world: World, request: pytest.FixtureRequest, print_at_end: list[str]
) -> None:
    if request.config.option.provider == "local":
        pytest.skip("a Service of local mode is the pod's own port")
    world.apply(manifests.cluster(NAME, manifests.cluster_spec(world.image)))
    path = f"/api/v1/namespaces/{world.namespace}/services/{HEAD}"
    service = world.until(lambda: world.api.find(path), "the Service is there")
    ports = [{**port, "targetPort": 1} for port in service["spec"]["ports"]]
    world.patch(f"service/{HEAD}", {"spec": {"ports": ports}})

    def says(item: Object) -> bool:
        status = item.get("status") or {}
        return status.get("reason") == "HeadUnreachable" and "refused" in status["message"]

    told = world.until(lambda: world.clusters.first(NAME, says), "the cluster says HeadUnreachable")
    ready = world.pods.first(HEAD, lambda pod: is_true(pod, "Ready"))
    assert ready is not None
    print_at_end.append(f"cause head-unreachable: {told.at - ready.at:.2f}")
    world.patch(f"service/{HEAD}", {"spec": {"ports": service["spec"]["ports"]}})
    world.until(lambda: is_true(world.clusters.last(NAME), "Ready"), "the cluster is ready", 40.0)
